/**
 * A scalar in odd signed digits.
 *
 * X25519 multiplies by e = clamp(private key), a multiple of 8 from 2^254 to 2^255 - 8. With m = e / 8 and
 * Q = 8 P it is m Q, exactly, for every point P of the curve: Q has the prime order l (or is the neutral
 * element), whatever the order of P, and `2^251 <= m < 2^252 < l` needs no reduction.
 *
 * An odd m' below 2^252 is a sum of `d(i) 2^(W i)` over n windows of W bits, n W at least 252, with every d(i)
 * odd and within 2^W: with `t = (m' - 1) / 2 + 2^(W n - 1)` and t(i) its W-bit digits, `d(i) = 2 t(i) - (2^W - 1)`.
 * No digit is zero, so no partial sum is the neutral element, and there are no carries. An even m is replaced by
 * l - m, which is odd, also below 2^252, and gives the opposite point: the same u.
 *
 * The absolute values of all `d(i) 2^(W i)` of a scalar together stay below 2^252, and so below l: n W = 252 gives
 * that at once, and where n W is more, the highest digit of a number below 2^252 is that much smaller. Sums over
 * different windows are therefore neither equal nor opposite modulo l unless they are so as whole numbers.
 */

/** l = 2^252 + 27742317777372353535851937790883648493, the order of the base point, little-endian. */
const ORDER: readonly number[] = [
  0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0,
  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/** How many windows of `width` bits hold a scalar. */
export function windowCount(width: number): number {
  return Math.ceil(252 / width);
}

/**
 * The digits t(i) of a private key, lowest first, without a branch or an address that depends on it.
 *
 * @param digits - Receives {@link windowCount} digits from 0 to 2^width - 1, from `at` on.
 * @param privateKey - Holds 32 bytes from `start` on, not clamped.
 * @param width - W, 2 to 8.
 */
export function signedDigits(
  digits: Uint8Array,
  at: number,
  privateKey: Uint8Array,
  start: number,
  width: number,
): void {
  // m = clamp(private key) >> 3; the three lowest bits fall out, the two bytes above let the digits look ahead.
  const m = new Uint8Array(34);
  const top = (privateKey[start + 31] & 127) | 64;
  for (let i = 0; i < 30; i++) m[i] = (privateKey[start + i] >> 3) | (privateKey[start + i + 1] << 5);
  m[30] = (privateKey[start + 30] >> 3) | (top << 5);
  m[31] = top >> 3;
  const even = (m[0] & 1) - 1;
  let borrow = 0;
  for (let i = 0; i < 32; i++) {
    const difference = ORDER[i] - m[i] + borrow;
    borrow = difference >> 8;
    m[i] ^= (m[i] ^ difference) & even;
  }
  const count = windowCount(width);
  for (let i = 0; i < count; i++) {
    // (m' - 1) / 2 is m' without its lowest bit.
    const bit = width * i + 1;
    const word = m[bit >> 3] | (m[(bit >> 3) + 1] << 8);
    digits[at + i] = (word >> (bit & 7)) & ((1 << width) - 1);
  }
  digits[at + count - 1] |= 1 << (width - 1);
  m.fill(0);
}

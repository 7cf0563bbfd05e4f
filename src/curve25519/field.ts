/**
 * Arithmetic modulo p = 2^255 - 19 in double-precision numbers, for many elements in one array.
 *
 * JavaScript has no 64-bit integers that are fast, but every engine, also one without WebAssembly, multiplies
 * doubles in one instruction, and a double holds integers up to 2^53 exactly. So an element is the sum of
 * twelve signed limbs, 21.25 bits apart on average (the representation of the original curve25519 software).
 * Limb i is a multiple of its weight 2^e(i), e(i) = ceil(21.25 i), AND CARRIES THAT WEIGHT:
 *
 *     i       0   1   2   3   4   5    6    7    8    9    10   11  (12)
 *     e(i)    0  22  43  64  85  107  128  149  170  192  213  234  255
 *
 * Because e(i) + e(j) is at least e(i + j), the product of limbs i and j belongs into column i + j as it stands; from
 * column 12 on it is multiplied by 19 * 2^-255, which moves it down by twelve columns modulo p. All numbers
 * stay far from the smallest double (the least product that is moved down is 2^255), so nothing is denormal.
 *
 * A number x below 2^(51 + n) is rounded to the nearest multiple of 2^n by x + ROUND_n - ROUND_n, where
 * ROUND_n = 1.5 * 2^(52 + n): the carry out of limb i rounds to e(i + 1). The kernels name these constants inside
 * their functions: only there does every engine, also in a bundle, fold them into the code (a third of the time).
 *
 * Bounds, "h(i)" being half the limb's width, 2^(e(i+1) - 1):
 * - CARRIED: every limb is at most 1.01 h(i). All products, squares and {@link carry} return this.
 * - A factor of a product may be a sum or difference of two carried elements (2.02 h(i)). Where nothing else
 *   is said, that is what functions take. More is an error that nothing checks at run time; the tests hold
 *   every function against BigInt with all limbs at these limits.
 *
 * An element is named by its array and the index of its first limb. The output may be one of the inputs.
 * No function branches on a limb, and no address depends on one.
 */

/** Limbs, and so doubles, an element. */
export const LIMBS = 12;

/** e(0) to e(12). */
export const EXPONENTS: readonly number[] = [0, 22, 43, 64, 85, 107, 128, 149, 170, 192, 213, 234, 255];

/** out = x + y, not carried: the bounds add up. */
export function add(
  out: Float64Array,
  o: number,
  x: Float64Array,
  p: number,
  y: Float64Array,
  q: number,
): void {
  for (let i = 0; i < LIMBS; i++) out[(o + i) | 0] = x[(p + i) | 0] + y[(q + i) | 0];
}

/** out = x - y, not carried: the bounds add up. */
export function subtract(
  out: Float64Array,
  o: number,
  x: Float64Array,
  p: number,
  y: Float64Array,
  q: number,
): void {
  for (let i = 0; i < LIMBS; i++) out[(o + i) | 0] = x[(p + i) | 0] - y[(q + i) | 0];
}

/** out = x. */
export function copy(out: Float64Array, o: number, x: Float64Array, p: number): void {
  for (let i = 0; i < LIMBS; i++) out[(o + i) | 0] = x[(p + i) | 0];
}

/** out = a whole number from 0 to 2^20, carried. */
export function setSmall(out: Float64Array, o: number, value: number): void {
  out[o] = value;
  for (let i = 1; i < LIMBS; i++) out[(o + i) | 0] = 0;
}

/**
 * Carries an element in place: every limb at most 2^46 times its weight on the way in (so that the chain, which
 * adds less than 2^26 to a limb, and the fold, 2^25.1 times 19, stay far below 2^53), CARRIED on the way out.
 */
export function carry(x: Float64Array, p: number): void {
  let over = 0;
  for (let i = 0; i < LIMBS; i++) over = carryLimb(x, p + i, over, EXPONENTS[i + 1]);
  over = carryLimb(x, p, 19 * 2 ** -255 * over, EXPONENTS[1]);
  x[p + 1] += over;
}

/** Adds what comes in to a limb and returns what goes out of it: the nearest multiple of the next weight. */
function carryLimb(x: Float64Array, at: number, incoming: number, exponent: number): number {
  const limb = x[at] + incoming;
  const round = 1.5 * 2 ** (52 + exponent);
  const outgoing = limb + round - round;
  x[at] = limb - outgoing;
  return outgoing;
}

/**
 * An element from 32 bytes, little-endian. Bit 255 is ignored and values from p to 2^255 - 1 are taken modulo p,
 * as RFC 7748 asks. The result is carried.
 */
export function fromBytes(out: Float64Array, o: number, bytes: Uint8Array, start: number): void {
  for (let i = 0; i < LIMBS; i++) {
    const first = EXPONENTS[i] >> 3;
    const width = EXPONENTS[i + 1] - EXPONENTS[i];
    let word = bytes[start + first] | (bytes[start + first + 1] << 8) | (bytes[start + first + 2] << 16);
    if (first < 29) word |= bytes[start + first + 3] << 24;
    const limb = (word >>> (EXPONENTS[i] & 7)) & ((1 << width) - 1);
    out[o + i] = limb * 2 ** EXPONENTS[i];
  }
  carry(out, o);
}

/** The one encoding below p, 32 bytes, little-endian, of an element that is at most a sum of two carried ones. */
export function toBytes(bytes: Uint8Array, start: number, x: Float64Array, p: number): void {
  const digits = canonicalDigits(x, p);
  let bits = 0;
  let waiting = 0;
  let at = start;
  for (let i = 0; i < LIMBS; i++) {
    waiting |= digits[i] << bits;
    for (bits += EXPONENTS[i + 1] - EXPONENTS[i]; bits >= 8; bits -= 8) {
      bytes[at++] = waiting;
      waiting >>>= 8;
    }
  }
  bytes[at] = waiting;
  digits.fill(0);
}

/** 1 where the element is 0 modulo p, else 0; for an element that is at most a sum of two carried ones. */
export function isZeroElement(x: Float64Array, p: number): number {
  const digits = canonicalDigits(x, p);
  let any = 0;
  for (let i = 0; i < LIMBS; i++) any |= digits[i];
  digits.fill(0);
  return (any - 1) >>> 31;
}

/** The limbs as whole numbers from 0 to 2^width - 1, their sum below p. The caller wipes them. */
function canonicalDigits(x: Float64Array, p: number): Int32Array {
  // Limbs of a sum of two are within 2.02 * 2^21 of their weight: they fit.
  const digits = new Int32Array(LIMBS);
  for (let i = 0; i < LIMBS; i++) digits[i] = x[p + i] * 2 ** -EXPONENTS[i];
  // The first round leaves a value from -19 * 3 to 2^255 + 19 * 3, the second one from 0 to 2^255 - 1.
  for (let round = 0; round < 2; round++) {
    const over = propagate(digits);
    digits[0] += 19 * over;
  }
  propagate(digits);
  // Values from p to 2^255 - 1: adding 19 overflows exactly for them, and what is left then is the value - p.
  const reduced = Int32Array.from(digits);
  reduced[0] += 19;
  const take = -propagate(reduced);
  for (let i = 0; i < LIMBS; i++) digits[i] ^= (digits[i] ^ reduced[i]) & take;
  reduced.fill(0);
  return digits;
}

/** Brings every digit into its width and returns what stands at 2^255 and above. */
function propagate(digits: Int32Array): number {
  let over = 0;
  for (let i = 0; i < LIMBS; i++) {
    const width = EXPONENTS[i + 1] - EXPONENTS[i];
    const digit = digits[i] + over;
    over = digit >> width;
    digits[i] = digit & ((1 << width) - 1);
  }
  return over;
}

import { FpInvertBatch, FpLegendre } from '@noble/curves/abstract/modular.js';
import { normalizeZ } from '@noble/curves/abstract/curve.js';
import type { EdwardsPoint } from '@noble/curves/abstract/edwards.js';
import { copyBytes } from '../encoding/bytes.js';
import { POINT, addPoints, ed25519, sumScratch, uCoordinate } from './edwards.js';
import { KeyBackupError } from '../errors.js';
import { LIMBS, fromBytes } from './field.js';

/**
 * The multiples of a point P for a sum over windows of signed digits.
 *
 * Entry j of window i is (2 j + 1) 2^(W i) Q in short Weierstrass form, Q = 8 P: 6 doubles for x, then 6 for y. Each
 * double holds the exact sum of two limbs (43 bits together), so that a selection reads half as much.
 */
export interface RecipientTable {
  /** The u-coordinate of P, 32 bytes. */
  readonly publicKey: Uint8Array;
  /** W, the bits of a window. */
  readonly width: number;
  readonly entries: Float64Array;
}

/** A / 3 = 486662 / 3, the difference between x of the short Weierstrass form and u. */
export const THIRD_OF_A = 19298681539552699237261830834781317975544997444273427339909597334652188435537n;

/** A square root of -486664 = -(A + 2): x of the Edwards form is ROOT u / v. */
const ROOT = 51042569399160536130206135233146329284152202253034631822681833788666877215207n;

/** Length of an entry. */
export const ENTRY = LIMBS;

/**
 * The point Q = 8 P of prime order for a u-coordinate of the curve, up to its sign, which does not change the resulting
 * u. Undefined on the twist and for a point P of low order. Not constant-time: for public keys only.
 */
export function recipientPoint(publicKey: Uint8Array): EdwardsPoint | undefined {
  const { Fp } = ed25519().Point;
  const u = Fp.create(uCoordinate(publicKey));
  const square = Fp.mul(u, Fp.add(Fp.mul(u, Fp.add(u, 486662n)), 1n));
  if (FpLegendre(Fp, square) === -1) return undefined;
  // u = -1 is on the twist, so the divisor is not zero.
  const y = Fp.div(Fp.sub(u, 1n), Fp.add(u, 1n));
  const point = ed25519().Point.fromBytes(Fp.toBytes(y)).clearCofactor();
  return point.is0() ? undefined : point;
}

/** Builds the table of a public key and its point Q; noble computes the first multiples of every window. */
export function buildTable(publicKey: Uint8Array, point: EdwardsPoint, width: number): RecipientTable {
  const windows = windowCount(width);
  const size = 1 << (width - 1);
  const entries = new Float64Array(windows * size * ENTRY);
  // 2^(W i) Q and twice that, for every window.
  const points: EdwardsPoint[] = [];
  const doubles: EdwardsPoint[] = [];
  for (let i = 0, base = point; i < windows; i++) {
    points.push(base);
    base = base.double();
    doubles.push(base);
    for (let k = 1; k < width; k++) base = base.double();
  }
  const sums = weierstrass([...points, ...doubles]);
  const steps = sums.subarray(windows * POINT);
  const scratch = sumScratch(windows);
  for (let j = 0; j < size; j++) {
    // (2 j - 1) Q + 2 Q: small multiples of a point of prime order, never equal, opposite or neutral.
    if (j > 0 && !addPoints(sums, 0, steps, 0, windows, scratch)) {
      throw new KeyBackupError(
        'backend-failed',
        'table of multiples: expected distinct points, got equal ones',
      );
    }
    for (let i = 0; i < windows; i++) pack(entries, (i * size + j) * ENTRY, sums, i * POINT);
  }
  return { publicKey: copyBytes(publicKey), width, entries };
}

function pack(entries: Float64Array, at: number, points: Float64Array, p: number): void {
  for (let k = 0; k < ENTRY; k++) entries[at + k] = points[p + 2 * k] + points[p + 2 * k + 1];
}

/** Edwards points, not of low order, in short Weierstrass form: u = (1 + y) / (1 - y), v = sqrt(-486664) u / x. */
function weierstrass(points: readonly EdwardsPoint[]): Float64Array {
  const { Fp } = ed25519().Point;
  const affine = normalizeZ(ed25519().Point, [...points]);
  const inverses = FpInvertBatch(
    Fp,
    affine.map(({ x, y }) => Fp.mul(Fp.sub(1n, y), x)),
    true,
  );
  const result = new Float64Array(points.length * POINT);
  affine.forEach(({ x, y }, i) => {
    const overX = Fp.mul(Fp.add(1n, y), inverses[i]);
    fromBytes(result, i * POINT, Fp.toBytes(Fp.add(Fp.mul(overX, x), THIRD_OF_A)), 0);
    fromBytes(result, i * POINT + LIMBS, Fp.toBytes(Fp.mul(overX, ROOT)), 0);
  });
  return result;
}

/** l = 2^252 + 27742317777372353535851937790883648493, the order of the base point, little-endian. */
const ORDER: readonly number[] = [
  0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0,
  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/** The number of windows of `width` bits in a scalar. */
export function windowCount(width: number): number {
  return Math.ceil(252 / width);
}

/**
 * Recodes a private key into odd signed digits, without a branch or an address that depends on it.
 *
 * X25519 multiplies by e = clamp(private key), a multiple of 8 from 2^254 to 2^255 - 8. With m = e / 8 and Q = 8 P the
 * product is m Q, exactly, for every point P of the curve: Q has the prime order l (or is the neutral element) whatever
 * the order of P, and `2^251 <= m < 2^252 < l` needs no reduction.
 *
 * An odd m' below 2^252 is a sum of `d(i) 2^(W i)` over n windows of W bits, n W at least 252, with every d(i) odd and
 * within 2^W: with `t = (m' - 1) / 2 + 2^(W n - 1)` and its W-bit digits t(i), `d(i) = 2 t(i) - (2^W - 1)`. No digit is
 * zero, so no partial sum is the neutral element, and there are no carries. An even m is replaced by l - m, which is odd,
 * also below 2^252, and gives the opposite point with the same u.
 *
 * The absolute values of all `d(i) 2^(W i)` of a scalar add up to less than 2^252, and so less than l: directly where
 * n W = 252; where n W is more, the highest digit of a number below 2^252 is that much smaller. So sums over different
 * windows are equal or opposite modulo l only if they are as integers.
 *
 * @param digits - Receives the {@link windowCount} digits t(i), from 0 to 2^width - 1, lowest first, from `at` on.
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
  // m = clamp(private key) >> 3, without the three lowest bits. Two more bytes let the last digits read ahead.
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

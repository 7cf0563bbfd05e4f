import { FpInvertBatch, FpLegendre } from '@noble/curves/abstract/modular.js';
import { normalizeZ } from '@noble/curves/abstract/curve.js';
import type { EdwardsPoint } from '@noble/curves/abstract/edwards.js';
import { POINT, addPoints, sumScratch } from './affine-sum.js';
import { copyBytes } from '../encoding/bytes.js';
import { ed25519 } from './edwards.js';
import { KeyBackupError } from '../errors.js';
import { LIMBS, fromBytes } from './field.js';
import { windowCount } from './signed-digits.js';

/**
 * The multiples of one point that a sum over windows of signed digits needs.
 *
 * Window i, entry j is (2 j + 1) 2^(W i) Q in short Weierstrass form, Q = 8 P. Two limbs share a double, which
 * holds their sum exactly (they are 43 bits together), so that a selection reads half as much: 6 doubles for x,
 * then 6 for y.
 */
export interface RecipientTable {
  /** The u-coordinate of P, 32 bytes. */
  readonly publicKey: Uint8Array;
  /** W, the bits of a window. */
  readonly width: number;
  readonly entries: Float64Array;
}

/** A / 3 = 486662 / 3: what x of the short Weierstrass form is more than u. */
export const THIRD_OF_A = 19298681539552699237261830834781317975544997444273427339909597334652188435537n;

/** One of the two square roots of -486664 = -(A + 2): the Edwards form's x is ROOT u / v. */
const ROOT = 51042569399160536130206135233146329284152202253034631822681833788666877215207n;

/** Doubles an entry. */
export const ENTRY = LIMBS;

type Point = EdwardsPoint;

/** What a u-coordinate belongs to: a point of the curve, the twist, or nothing that could keep a secret. */
export type Recipient = Point | 'twist' | 'low-order';

/**
 * The point Q = 8 P of prime order for a u-coordinate of the curve; a point of low order P gives `low-order`, a
 * u-coordinate of the twist (also one of low order there) `twist`. Not constant time: public keys only.
 */
export function recipientPoint(u: Uint8Array): Recipient {
  const { Fp } = ed25519().Point;
  const value = Fp.create(littleEndian(u) & ((1n << 255n) - 1n));
  const square = Fp.mul(value, Fp.add(Fp.mul(value, Fp.add(value, 486662n)), 1n));
  if (FpLegendre(Fp, square) === -1) return 'twist';
  // Either sign of v does: both give the same u in the end. u = -1 is on the twist, so the divisor is not zero.
  const y = Fp.div(Fp.sub(value, 1n), Fp.add(value, 1n));
  const point = ed25519().Point.fromBytes(Fp.toBytes(y)).clearCofactor();
  return point.is0() ? 'low-order' : point;
}

function littleEndian(bytes: Uint8Array): bigint {
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]);
  return value;
}

/** Builds the table of a public key and its point Q, with noble's points for the windows' bases. */
export function buildTable(publicKey: Uint8Array, point: Point, width: number): RecipientTable {
  const windows = windowCount(width);
  const size = 1 << (width - 1);
  const entries = new Float64Array(windows * size * ENTRY);
  // 2^(W i) Q and twice that, for every window.
  const points: Point[] = [];
  const doubles: Point[] = [];
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
      throw new KeyBackupError('backend-failed', 'table of multiples: two of them met, which cannot be');
    }
    for (let i = 0; i < windows; i++) pack(entries, (i * size + j) * ENTRY, sums, i * POINT);
  }
  return { publicKey: copyBytes(publicKey), width, entries };
}

function pack(entries: Float64Array, at: number, points: Float64Array, p: number): void {
  for (let k = 0; k < ENTRY; k++) entries[at + k] = points[p + 2 * k] + points[p + 2 * k + 1];
}

/** Edwards points, none of low order, in short Weierstrass form: u = (1 + y) / (1 - y), v = sqrt(-486664) u / x. */
function weierstrass(points: readonly Point[]): Float64Array {
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

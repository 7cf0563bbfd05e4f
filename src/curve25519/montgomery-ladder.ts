import { LIMBS, fromBytes, setSmall, toBytes } from './field.js';
import { invertMany } from './field-inverse.js';
import { multiply, square } from './field-product.js';
import { KeyBackupError } from '../errors.js';

/** So many agreements share one inversion: beyond some hundreds nothing is gained, and memory is. */
const CHUNK = 256;

/**
 * X25519 (RFC 7748, section 5) of many pairs.
 *
 * Scalars are clamped, bit 255 of a u-coordinate is ignored, non-canonical u-coordinates are accepted. Every
 * agreement runs the same sequence of operations; no branch and no address depends on a scalar or a point.
 *
 * @param scalars - 32 bytes each, or 32 bytes for all of them.
 * @param points - u-coordinates, 32 bytes each, or 32 bytes for all of them.
 * @returns New: 32 bytes each; 32 zero bytes for a point of low order, which never disturbs the others.
 * @throws {@link KeyBackupError} `bad-length` when the two arrays do not fit together.
 */
export function ladderMany(scalars: Uint8Array, points: Uint8Array): Uint8Array {
  const count = pairCount(scalars, points);
  const results = new Uint8Array(32 * count);
  const scalarStep = scalars.length === 32 ? 0 : 32;
  const pointStep = points.length === 32 ? 0 : 32;
  const chunk = Math.min(count, CHUNK);
  const numerators = new Float64Array(chunk * LIMBS);
  const denominators = new Float64Array(chunk * LIMBS);
  const prefix = new Float64Array(chunk * LIMBS);
  const work = new Float64Array(ELEMENTS * LIMBS);
  for (let done = 0; done < count; done += chunk) {
    const size = Math.min(chunk, count - done);
    for (let i = 0; i < size; i++) {
      climb(work, scalars, (done + i) * scalarStep, points, (done + i) * pointStep);
      numerators.set(work.subarray(X2, X2 + LIMBS), i * LIMBS);
      denominators.set(work.subarray(Z2, Z2 + LIMBS), i * LIMBS);
    }
    invertMany(denominators, 0, size, prefix);
    for (let i = 0; i < size; i++) {
      multiply(numerators, i * LIMBS, numerators, i * LIMBS, denominators, i * LIMBS);
      toBytes(results, (done + i) * 32, numerators, i * LIMBS);
    }
  }
  for (const secret of [numerators, denominators, prefix, work]) secret.fill(0);
  return results;
}

function pairCount(scalars: Uint8Array, points: Uint8Array): number {
  const count = Math.max(scalars.length, points.length) / 32;
  const fits = (length: number): boolean => length === 32 || length === 32 * count;
  if (scalars.length === 0 || points.length === 0) {
    if (scalars.length % 32 === 0 && points.length % 32 === 0 && count <= 1) return 0;
  } else if (Number.isInteger(count) && fits(scalars.length) && fits(points.length)) {
    return count;
  }
  throw new KeyBackupError(
    'bad-length',
    `scalars and points: expected 32 bytes or the same multiple of 32, got ${scalars.length} and ${points.length}`,
  );
}

// Where the elements of one ladder stand in its working array.
const X1 = 0;
const X2 = 1 * LIMBS;
const Z2 = 2 * LIMBS;
const X3 = 3 * LIMBS;
const Z3 = 4 * LIMBS;
const A = 5 * LIMBS;
const B = 6 * LIMBS;
const ELEMENTS = 7;

/**
 * One ladder: leaves numerator and denominator of the result in X2 and Z2.
 *
 * The pair (R0, R1), R1 - R0 = P, stands in the slots 2 and 3 so that slot 2 is the one doubled last. A step
 * doubles R(bit), which is in slot 3 exactly when this bit differs from the one before, and adds R0 + R1.
 */
function climb(w: Float64Array, scalars: Uint8Array, s: number, points: Uint8Array, p: number): void {
  fromBytes(w, X1, points, p);
  setSmall(w, X2, 1);
  setSmall(w, Z2, 0);
  w.copyWithin(X3, X1, X1 + LIMBS);
  setSmall(w, Z3, 1);
  let previous = 0;
  for (let t = 254; t >= 0; t--) {
    // Clamping: bit 254 is one, bits 2 to 0 are zero; t is no secret. The last bit leaves the result in slot 2.
    const bit = t === 254 ? 1 : t < 3 ? 0 : (scalars[s + (t >> 3)] >> (t & 7)) & 1;
    step(w, bit ^ previous);
    previous = bit;
  }
}

/**
 * One step, with the names of RFC 7748: A and B belong to the point that is doubled, so they are selected; the
 * products DA and CB are the same two whichever it is, and the sign of DA - CB disappears in its square.
 *
 * Bounds: X and Z are carried, so sums and differences of two are what a factor may be at most.
 */
function step(w: Float64Array, other: number): void {
  sumAndDifference(w, X2, Z2);
  sumAndDifference(w, X3, Z3);
  select(w, A, X2, X3, other);
  select(w, B, Z2, Z3, other);
  multiply(w, X3, w, X3, w, Z2); // CB or DA
  multiply(w, Z3, w, Z3, w, X2); // DA or CB
  sumAndDifference(w, X3, Z3);
  square(w, X3, w, X3); // x_3 = (DA + CB)^2
  square(w, Z3, w, Z3);
  multiply(w, Z3, w, Z3, w, X1); // z_3 = x_1 (DA - CB)^2
  square(w, A, w, A); // AA
  square(w, B, w, B); // BB
  multiply(w, X2, w, A, w, B); // x_2 = AA BB
  doublingFactors(w, A, B);
  multiply(w, Z2, w, A, w, B); // z_2 = E (AA + a24 E)
}

/** (x, y) = (x + y, x - y). Written out, like the rest of a step: a loop took twice as long. */
// prettier-ignore
function sumAndDifference(w: Float64Array, p: number, q: number): void {
  const x0 = w[p], y0 = w[q];
  w[p] = x0 + y0; w[q] = x0 - y0;
  const x1 = w[(p + 1) | 0], y1 = w[(q + 1) | 0];
  w[(p + 1) | 0] = x1 + y1; w[(q + 1) | 0] = x1 - y1;
  const x2 = w[(p + 2) | 0], y2 = w[(q + 2) | 0];
  w[(p + 2) | 0] = x2 + y2; w[(q + 2) | 0] = x2 - y2;
  const x3 = w[(p + 3) | 0], y3 = w[(q + 3) | 0];
  w[(p + 3) | 0] = x3 + y3; w[(q + 3) | 0] = x3 - y3;
  const x4 = w[(p + 4) | 0], y4 = w[(q + 4) | 0];
  w[(p + 4) | 0] = x4 + y4; w[(q + 4) | 0] = x4 - y4;
  const x5 = w[(p + 5) | 0], y5 = w[(q + 5) | 0];
  w[(p + 5) | 0] = x5 + y5; w[(q + 5) | 0] = x5 - y5;
  const x6 = w[(p + 6) | 0], y6 = w[(q + 6) | 0];
  w[(p + 6) | 0] = x6 + y6; w[(q + 6) | 0] = x6 - y6;
  const x7 = w[(p + 7) | 0], y7 = w[(q + 7) | 0];
  w[(p + 7) | 0] = x7 + y7; w[(q + 7) | 0] = x7 - y7;
  const x8 = w[(p + 8) | 0], y8 = w[(q + 8) | 0];
  w[(p + 8) | 0] = x8 + y8; w[(q + 8) | 0] = x8 - y8;
  const x9 = w[(p + 9) | 0], y9 = w[(q + 9) | 0];
  w[(p + 9) | 0] = x9 + y9; w[(q + 9) | 0] = x9 - y9;
  const x10 = w[(p + 10) | 0], y10 = w[(q + 10) | 0];
  w[(p + 10) | 0] = x10 + y10; w[(q + 10) | 0] = x10 - y10;
  const x11 = w[(p + 11) | 0], y11 = w[(q + 11) | 0];
  w[(p + 11) | 0] = x11 + y11; w[(q + 11) | 0] = x11 - y11;
}

/** out = x where `other` is 0, y where it is 1: by a product, not by a branch. */
// prettier-ignore
function select(w: Float64Array, o: number, p: number, q: number, other: number): void {
  const x0 = w[p];
  w[o] = x0 + other * (w[q] - x0);
  const x1 = w[(p + 1) | 0];
  w[(o + 1) | 0] = x1 + other * (w[(q + 1) | 0] - x1);
  const x2 = w[(p + 2) | 0];
  w[(o + 2) | 0] = x2 + other * (w[(q + 2) | 0] - x2);
  const x3 = w[(p + 3) | 0];
  w[(o + 3) | 0] = x3 + other * (w[(q + 3) | 0] - x3);
  const x4 = w[(p + 4) | 0];
  w[(o + 4) | 0] = x4 + other * (w[(q + 4) | 0] - x4);
  const x5 = w[(p + 5) | 0];
  w[(o + 5) | 0] = x5 + other * (w[(q + 5) | 0] - x5);
  const x6 = w[(p + 6) | 0];
  w[(o + 6) | 0] = x6 + other * (w[(q + 6) | 0] - x6);
  const x7 = w[(p + 7) | 0];
  w[(o + 7) | 0] = x7 + other * (w[(q + 7) | 0] - x7);
  const x8 = w[(p + 8) | 0];
  w[(o + 8) | 0] = x8 + other * (w[(q + 8) | 0] - x8);
  const x9 = w[(p + 9) | 0];
  w[(o + 9) | 0] = x9 + other * (w[(q + 9) | 0] - x9);
  const x10 = w[(p + 10) | 0];
  w[(o + 10) | 0] = x10 + other * (w[(q + 10) | 0] - x10);
  const x11 = w[(p + 11) | 0];
  w[(o + 11) | 0] = x11 + other * (w[(q + 11) | 0] - x11);
}

/**
 * From AA and BB, both carried, E = AA - BB and AA + a24 E, a24 = 121665, in their places.
 *
 * Before its carry the latter is at most (1.01 + 121665 * 2.02) h(i), below 2^18 h(i). All limbs are carried at
 * once, not one after the other: what comes in from below adds at most 2^17 times the weight of the limb, one
 * eighth of h(i), and 19 * 2^17 to limb 0, 1.2 h(0). So limb 0 is at most 2.2 h(0) and the others 1.2 h(i), which
 * beside E at 2.02 h(i) makes smaller columns than two factors at 2.02 h(i) do.
 */
// prettier-ignore
function doublingFactors(w: Float64Array, p: number, q: number): void {
  const ROUND_22 = 1.5 * 2 ** 74, ROUND_43 = 1.5 * 2 ** 95, ROUND_64 = 1.5 * 2 ** 116, ROUND_85 = 1.5 * 2 ** 137;
  const ROUND_107 = 1.5 * 2 ** 159, ROUND_128 = 1.5 * 2 ** 180, ROUND_149 = 1.5 * 2 ** 201, ROUND_170 = 1.5 * 2 ** 222;
  const ROUND_192 = 1.5 * 2 ** 244, ROUND_213 = 1.5 * 2 ** 265, ROUND_234 = 1.5 * 2 ** 286, ROUND_255 = 1.5 * 2 ** 307;
  const FOLD = 19 * 2 ** -255;
  const x0 = w[p];
  const e0 = x0 - w[q];
  const c0 = x0 + 121665 * e0;
  const carry1 = c0 + ROUND_22 - ROUND_22;
  w[q] = e0;
  const x1 = w[(p + 1) | 0];
  const e1 = x1 - w[(q + 1) | 0];
  const c1 = x1 + 121665 * e1;
  const carry2 = c1 + ROUND_43 - ROUND_43;
  w[(q + 1) | 0] = e1;
  w[(p + 1) | 0] = c1 - carry2 + carry1;
  const x2 = w[(p + 2) | 0];
  const e2 = x2 - w[(q + 2) | 0];
  const c2 = x2 + 121665 * e2;
  const carry3 = c2 + ROUND_64 - ROUND_64;
  w[(q + 2) | 0] = e2;
  w[(p + 2) | 0] = c2 - carry3 + carry2;
  const x3 = w[(p + 3) | 0];
  const e3 = x3 - w[(q + 3) | 0];
  const c3 = x3 + 121665 * e3;
  const carry4 = c3 + ROUND_85 - ROUND_85;
  w[(q + 3) | 0] = e3;
  w[(p + 3) | 0] = c3 - carry4 + carry3;
  const x4 = w[(p + 4) | 0];
  const e4 = x4 - w[(q + 4) | 0];
  const c4 = x4 + 121665 * e4;
  const carry5 = c4 + ROUND_107 - ROUND_107;
  w[(q + 4) | 0] = e4;
  w[(p + 4) | 0] = c4 - carry5 + carry4;
  const x5 = w[(p + 5) | 0];
  const e5 = x5 - w[(q + 5) | 0];
  const c5 = x5 + 121665 * e5;
  const carry6 = c5 + ROUND_128 - ROUND_128;
  w[(q + 5) | 0] = e5;
  w[(p + 5) | 0] = c5 - carry6 + carry5;
  const x6 = w[(p + 6) | 0];
  const e6 = x6 - w[(q + 6) | 0];
  const c6 = x6 + 121665 * e6;
  const carry7 = c6 + ROUND_149 - ROUND_149;
  w[(q + 6) | 0] = e6;
  w[(p + 6) | 0] = c6 - carry7 + carry6;
  const x7 = w[(p + 7) | 0];
  const e7 = x7 - w[(q + 7) | 0];
  const c7 = x7 + 121665 * e7;
  const carry8 = c7 + ROUND_170 - ROUND_170;
  w[(q + 7) | 0] = e7;
  w[(p + 7) | 0] = c7 - carry8 + carry7;
  const x8 = w[(p + 8) | 0];
  const e8 = x8 - w[(q + 8) | 0];
  const c8 = x8 + 121665 * e8;
  const carry9 = c8 + ROUND_192 - ROUND_192;
  w[(q + 8) | 0] = e8;
  w[(p + 8) | 0] = c8 - carry9 + carry8;
  const x9 = w[(p + 9) | 0];
  const e9 = x9 - w[(q + 9) | 0];
  const c9 = x9 + 121665 * e9;
  const carry10 = c9 + ROUND_213 - ROUND_213;
  w[(q + 9) | 0] = e9;
  w[(p + 9) | 0] = c9 - carry10 + carry9;
  const x10 = w[(p + 10) | 0];
  const e10 = x10 - w[(q + 10) | 0];
  const c10 = x10 + 121665 * e10;
  const carry11 = c10 + ROUND_234 - ROUND_234;
  w[(q + 10) | 0] = e10;
  w[(p + 10) | 0] = c10 - carry11 + carry10;
  const x11 = w[(p + 11) | 0];
  const e11 = x11 - w[(q + 11) | 0];
  const c11 = x11 + 121665 * e11;
  const carry12 = c11 + ROUND_255 - ROUND_255;
  w[(q + 11) | 0] = e11;
  w[(p + 11) | 0] = c11 - carry12 + carry11;
  w[p] = c0 - carry1 + FOLD * carry12;
}

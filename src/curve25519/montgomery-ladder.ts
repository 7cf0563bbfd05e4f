import { LIMBS, fromBytes, invertMany, setSmall, toBytes } from './field.js';
import { doublingFactors, multiply, select, square, sumAndDifference } from './field-mul.js';
import { KeyBackupError } from '../errors.js';

/** Agreements that share one inversion. Larger chunks are no faster and take more memory. */
const CHUNK = 256;

/**
 * X25519 (RFC 7748, section 5) of many pairs.
 *
 * Scalars are clamped, bit 255 of a u-coordinate is ignored, non-canonical u-coordinates are accepted. Every agreement
 * runs the same sequence of operations; no branch and no address depends on a scalar or a point.
 *
 * @param scalars - 32 bytes each, or 32 bytes for all of them.
 * @param points - u-coordinates, 32 bytes each, or 32 bytes for all of them.
 * @returns A new array, 32 bytes each; 32 zero bytes for a point of low order, which does not affect the others.
 * @throws {@link KeyBackupError} `bad-length` when the lengths do not match.
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
      ladder(work, scalars, (done + i) * scalarStep, points, (done + i) * pointStep);
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

// Offsets of the elements in the working array of a ladder.
const X1 = 0;
const X2 = 1 * LIMBS;
const Z2 = 2 * LIMBS;
const X3 = 3 * LIMBS;
const Z3 = 4 * LIMBS;
const A = 5 * LIMBS;
const B = 6 * LIMBS;
const ELEMENTS = 7;

/**
 * One ladder: leaves the numerator and denominator of the result in X2 and Z2.
 *
 * The pair (R0, R1), R1 - R0 = P, is in the slots 2 and 3 so that slot 2 holds the point doubled last. A step doubles
 * R(bit), which is in slot 3 exactly when this bit differs from the previous one, and adds R0 + R1.
 */
function ladder(w: Float64Array, scalars: Uint8Array, s: number, points: Uint8Array, p: number): void {
  fromBytes(w, X1, points, p);
  setSmall(w, X2, 1);
  setSmall(w, Z2, 0);
  w.copyWithin(X3, X1, X1 + LIMBS);
  setSmall(w, Z3, 1);
  let previous = 0;
  for (let t = 254; t >= 0; t--) {
    // Clamping: bit 254 is one, bits 2 to 0 are zero; t is public. The last bit leaves the result in slot 2.
    const bit = t === 254 ? 1 : t < 3 ? 0 : (scalars[s + (t >> 3)] >> (t & 7)) & 1;
    step(w, bit ^ previous);
    previous = bit;
  }
}

/**
 * One step, with the names of RFC 7748: A and B belong to the doubled point, so they are selected. The products DA and
 * CB are the same either way, and the sign of DA - CB vanishes in its square.
 *
 * Bounds: X and Z are carried, so their sums and differences are valid factors.
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

import { LIMBS, add, carry, fromBytes, setSmall, subtract, toBytes } from './field.js';
import { invertMany } from './field-inverse.js';
import { multiply, square } from './field-product.js';
import { KeyBackupError } from './errors.js';

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
const SUM2 = 5 * LIMBS;
const DIFFERENCE2 = 6 * LIMBS;
const SUM3 = 7 * LIMBS;
const DIFFERENCE3 = 8 * LIMBS;
const SUM = 9 * LIMBS;
const DIFFERENCE = 10 * LIMBS;
const E = 11 * LIMBS;
const ELEMENTS = 12;

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
 * Bounds: X and Z are carried, sums and differences of two are the limit of a factor.
 */
function step(w: Float64Array, other: number): void {
  sumsAndSelection(w, other);
  multiply(w, X3, w, DIFFERENCE3, w, SUM2); // DA or CB
  multiply(w, Z3, w, DIFFERENCE2, w, SUM3); // CB or DA
  add(w, SUM2, w, X3, w, Z3);
  subtract(w, SUM3, w, X3, w, Z3);
  square(w, X3, w, SUM2); // x_3 = (DA + CB)^2
  square(w, Z3, w, SUM3);
  multiply(w, Z3, w, Z3, w, X1); // z_3 = x_1 (DA - CB)^2
  square(w, SUM, w, SUM); // AA
  square(w, DIFFERENCE, w, DIFFERENCE); // BB
  multiply(w, X2, w, SUM, w, DIFFERENCE); // x_2 = AA BB
  subtract(w, E, w, SUM, w, DIFFERENCE); // E = AA - BB
  addMultipleOfE(w);
  multiply(w, Z2, w, SUM, w, E); // z_2 = E (AA + a24 E)
}

/** The sums and differences of both slots, and (A, B) of the slot that `other` (0 or 1) says. */
function sumsAndSelection(w: Float64Array, other: number): void {
  for (let i = 0; i < LIMBS; i++) {
    const x2 = w[(X2 + i) | 0];
    const z2 = w[(Z2 + i) | 0];
    const x3 = w[(X3 + i) | 0];
    const z3 = w[(Z3 + i) | 0];
    const sum2 = x2 + z2;
    const sum3 = x3 + z3;
    const difference2 = x2 - z2;
    const difference3 = x3 - z3;
    w[(SUM2 + i) | 0] = sum2;
    w[(SUM3 + i) | 0] = sum3;
    w[(DIFFERENCE2 + i) | 0] = difference2;
    w[(DIFFERENCE3 + i) | 0] = difference3;
    w[(SUM + i) | 0] = sum2 + other * (sum3 - sum2);
    w[(DIFFERENCE + i) | 0] = difference2 + other * (difference3 - difference2);
  }
}

/** SUM = AA + a24 E: at most (1.01 + 121665 * 2.02) h(i), which is below 2^40, the limit of {@link carry} being 2^46. */
function addMultipleOfE(w: Float64Array): void {
  for (let i = 0; i < LIMBS; i++) w[(SUM + i) | 0] += 121665 * w[(E + i) | 0];
  carry(w, SUM);
}

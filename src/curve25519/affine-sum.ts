import { LIMBS, isZeroElement, setSmall } from './field.js';
import { invert } from './field-inverse.js';
import { multiply } from './field-product.js';
import { multiplyDifference, multiplyDifferenceMinus, squareMinusTwo } from './affine-product.js';

/**
 * Additions of points in affine coordinates, many at once with one inversion.
 *
 * Points are on curve25519 in short Weierstrass form, x = u + A/3 and y = v: there an addition needs no constant
 * of the curve. A point is the elements x and y, one after the other, both carried.
 */

/** Doubles a point. */
export const POINT = 2 * LIMBS;

/** Arrays that {@link addPoints} needs and overwrites. */
export interface SumScratch {
  /** One element more than there are additions. */
  readonly prefix: Float64Array;
  readonly few: Float64Array;
}

/** Scratch for up to `count` additions at once. */
export function sumScratch(count: number): SumScratch {
  return { prefix: new Float64Array((count + 1) * LIMBS), few: new Float64Array(7 * LIMBS) };
}

/**
 * sum(i) = sum(i) + other(i) for `count` pairs of points: 5 products and a square each, and one inversion.
 *
 * No pair may be equal or opposite, nor contain the neutral element, which has no affine form. Equal or opposite
 * points have the same x, and one such pair makes the product of all differences zero.
 *
 * @returns Whether that product was not zero. If it was, `sum` is what it was before.
 */
export function addPoints(
  sum: Float64Array,
  sumAt: number,
  other: Float64Array,
  otherAt: number,
  count: number,
  scratch: SumScratch,
): boolean {
  const { prefix, few } = scratch;
  const running = 0;
  const inverse = LIMBS;
  const slope = 2 * LIMBS;
  const product = count * LIMBS;
  // Forward: prefix(i) = the product of the differences x2 - x1 before i.
  setSmall(prefix, 0, 1);
  for (let i = 0; i < count; i++) {
    const p = sumAt + i * POINT;
    const q = otherAt + i * POINT;
    multiplyDifference(prefix, (i + 1) * LIMBS, other, q, sum, p, prefix, i * LIMBS);
  }
  if (isZeroElement(prefix, product) === 1) return false;
  invert(few, running, prefix, product, few.subarray(3 * LIMBS));
  // Backward: running = the inverse of the product of the differences up to i.
  for (let i = count - 1; i >= 0; i--) {
    const p = sumAt + i * POINT;
    const q = otherAt + i * POINT;
    multiply(few, inverse, few, running, prefix, i * LIMBS);
    multiplyDifference(few, running, other, q, sum, p, few, running);
    // k = (y2 - y1) / (x2 - x1); x3 = k^2 - x1 - x2; y3 = k (x2 - x3) - y2
    multiplyDifference(few, slope, other, q + LIMBS, sum, p + LIMBS, few, inverse);
    squareMinusTwo(sum, p, few, slope, sum, p, other, q);
    multiplyDifferenceMinus(sum, p + LIMBS, other, q, sum, p, few, slope, other, q + LIMBS);
  }
  return true;
}

import { LIMBS, copy, isZeroElement, setSmall } from './field.js';
import { multiply, square } from './field-product.js';

/** How many elements of scratch {@link invert} needs. */
const INVERT_SCRATCH = 4;

/**
 * out = x^(p - 2), the inverse, and 0 for 0; x at most a sum of two carried elements. Always the same
 * 254 squares and 11 products.
 *
 * @param scratch - 4 elements that are neither x nor out; wiped.
 */
export function invert(
  out: Float64Array,
  o: number,
  x: Float64Array,
  p: number,
  scratch: Float64Array = new Float64Array(INVERT_SCRATCH * LIMBS),
): void {
  // p - 2 = 2^255 - 21. The comments give exponents; "n ones" is 2^n - 1.
  const a = 0;
  const b = LIMBS;
  const c = 2 * LIMBS;
  const t = 3 * LIMBS;
  const s = scratch;
  square(s, a, x, p); // 2
  squareTimes(s, t, s, a, 2); // 8
  multiply(s, b, s, t, x, p); // 9
  multiply(s, a, s, b, s, a); // 11
  square(s, t, s, a); // 22
  multiply(s, b, s, t, s, b); // 31: 5 ones
  extendOnes(s, b, c, t); // 250 ones
  squareTimes(s, t, s, t, 5); // 2^255 - 32
  multiply(out, o, s, t, s, a); // 2^255 - 21
  s.fill(0);
}

/**
 * From the exponent 2^5 - 1 ("5 ones") at `b` to 2^250 - 1 at `t`: the stretch that the powers of this field share.
 * Overwrites `b`, `c` and `t`, which are three elements of one array.
 */
export function extendOnes(s: Float64Array, b: number, c: number, t: number): void {
  squareTimes(s, t, s, b, 5);
  multiply(s, b, s, t, s, b); // 10 ones
  squareTimes(s, t, s, b, 10);
  multiply(s, c, s, t, s, b); // 20 ones
  squareTimes(s, t, s, c, 20);
  multiply(s, t, s, t, s, c); // 40 ones
  squareTimes(s, t, s, t, 10);
  multiply(s, b, s, t, s, b); // 50 ones
  squareTimes(s, t, s, b, 50);
  multiply(s, c, s, t, s, b); // 100 ones
  squareTimes(s, t, s, c, 100);
  multiply(s, t, s, t, s, c); // 200 ones
  squareTimes(s, t, s, t, 50);
  multiply(s, t, s, t, s, b); // 250 ones
}

/** out = x^(2^times). */
export function squareTimes(out: Float64Array, o: number, x: Float64Array, p: number, times: number): void {
  square(out, o, x, p);
  for (let i = 1; i < times; i++) square(out, o, out, o);
}

/**
 * Inverts `count` carried elements in place with one inversion (Montgomery's trick); a zero stays zero and does
 * not disturb the others.
 *
 * A zero would turn the product of all, and with it every inverse, to zero: one hostile key could spoil the
 * batch it travels in. So it is replaced by one on the way in and its inverse by zero on the way out, both
 * through a mask.
 *
 * @param prefix - At least `count` elements, overwritten.
 */
export function invertMany(x: Float64Array, p: number, count: number, prefix: Float64Array): void {
  if (count === 0) return;
  const keep = new Float64Array(count);
  const running = new Float64Array(2 * LIMBS);
  const inverse = 0;
  const own = LIMBS;
  setSmall(running, 0, 1);
  for (let i = 0; i < count; i++) {
    const at = p + i * LIMBS;
    const zero = isZeroElement(x, at);
    keep[i] = 1 - zero;
    x[at] += zero;
    copy(prefix, i * LIMBS, running, 0);
    multiply(running, 0, running, 0, x, at);
  }
  invert(running, inverse, running, 0);
  for (let i = count - 1; i >= 0; i--) {
    const at = p + i * LIMBS;
    multiply(running, own, running, inverse, prefix, i * LIMBS);
    multiply(running, inverse, running, inverse, x, at);
    for (let k = 0; k < LIMBS; k++) x[at + k] = running[own + k] * keep[i];
  }
  running.fill(0);
  keep.fill(0);
}

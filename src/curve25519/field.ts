import { multiply, square } from './field-mul.js';

/**
 * Arithmetic modulo p = 2^255 - 19 in double-precision numbers, for many elements in one array.
 *
 * JavaScript has no fast 64-bit integers, but every engine multiplies doubles in one instruction, also without
 * WebAssembly, and a double holds integers up to 2^53 exactly. So an element is the sum of twelve signed limbs of 21.25
 * bits on average (the representation of the original curve25519 software). Limb i is a multiple of its weight 2^e(i),
 * e(i) = ceil(21.25 i), and carries that weight:
 *
 *     i       0   1   2   3   4   5    6    7    8    9    10   11  (12)
 *     e(i)    0  22  43  64  85  107  128  149  170  192  213  234  255
 *
 * Since e(i) + e(j) is at least e(i + j), the product of limbs i and j belongs into column i + j unchanged. From column
 * 12 on it is multiplied by 19 * 2^-255, which moves it down by twelve columns modulo p. The smallest product moved down
 * is 2^255, so no number is denormal.
 *
 * A number x below 2^(51 + n) is rounded to the nearest multiple of 2^n by x + ROUND_n - ROUND_n with
 * ROUND_n = 1.5 * 2^(52 + n); the carry out of limb i rounds to e(i + 1). The kernels define these constants in the
 * function body: only there does every engine fold them into the code, also in a bundle (a third of the time).
 *
 * Bounds, where h(i) is half the width of a limb, 2^(e(i+1) - 1):
 * - CARRIED: every limb is at most 1.01 h(i). All products, squares and {@link carry} return this.
 * - A factor of a product may be a sum or difference of two carried elements (2.02 h(i)). Functions accept this unless
 *   they say otherwise. Nothing checks it at run time; the tests hold every function against BigInt with all limbs at
 *   these limits.
 *
 * An element is given by its array and the index of its first limb. The output may be one of the inputs. No function
 * branches on a limb, and no address depends on one.
 */

/** Limbs of an element, each a double. */
export const LIMBS = 12;

/** e(0) to e(12). */
const EXPONENTS: readonly number[] = [0, 22, 43, 64, 85, 107, 128, 149, 170, 192, 213, 234, 255];

/** 2^e(0) to 2^e(12): a table, because a power with a variable exponent takes as long as a product of elements. */
const WEIGHTS: readonly number[] = [
  1,
  2 ** 22,
  2 ** 43,
  2 ** 64,
  2 ** 85,
  2 ** 107,
  2 ** 128,
  2 ** 149,
  2 ** 170,
  2 ** 192,
  2 ** 213,
  2 ** 234,
  2 ** 255,
];

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
 * Carries an element in place. Input limbs may be up to 2^46 times their weight: the chain adds less than 2^26 to a
 * limb and the fold 2^25.1 times 19, far below 2^53. The result is CARRIED.
 */
export function carry(x: Float64Array, p: number): void {
  let over = 0;
  for (let i = 0; i < LIMBS; i++) over = carryLimb(x, p + i, over, WEIGHTS[i + 1]);
  over = carryLimb(x, p, 19 * 2 ** -255 * over, WEIGHTS[1]);
  x[p + 1] += over;
}

/** Adds the incoming carry to a limb and returns the outgoing one, the nearest multiple of the next weight. */
function carryLimb(x: Float64Array, at: number, incoming: number, weight: number): number {
  const limb = x[at] + incoming;
  const round = 1.5 * 2 ** 52 * weight;
  const outgoing = limb + round - round;
  x[at] = limb - outgoing;
  return outgoing;
}

/**
 * An element from 32 bytes, little-endian. Bit 255 is ignored and values from p to 2^255 - 1 are reduced modulo p, as
 * RFC 7748 requires. The result is carried.
 */
export function fromBytes(out: Float64Array, o: number, bytes: Uint8Array, start: number): void {
  for (let i = 0; i < LIMBS; i++) {
    const first = EXPONENTS[i] >> 3;
    const width = EXPONENTS[i + 1] - EXPONENTS[i];
    let word = bytes[start + first] | (bytes[start + first + 1] << 8) | (bytes[start + first + 2] << 16);
    if (first < 29) word |= bytes[start + first + 3] << 24;
    const limb = (word >>> (EXPONENTS[i] & 7)) & ((1 << width) - 1);
    out[o + i] = limb * WEIGHTS[i];
  }
  carry(out, o);
}

/** The canonical encoding, 32 bytes, little-endian, of at most a sum of two carried elements. */
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

/** 1 if the element, at most a sum of two carried ones, is 0 modulo p; else 0. */
export function isZeroElement(x: Float64Array, p: number): number {
  const digits = canonicalDigits(x, p);
  let any = 0;
  for (let i = 0; i < LIMBS; i++) any |= digits[i];
  digits.fill(0);
  return (any - 1) >>> 31;
}

/** The limbs as whole numbers from 0 to 2^width - 1, their sum below p. The caller wipes them. */
function canonicalDigits(x: Float64Array, p: number): Int32Array {
  // The limbs of a sum of two are at most 2.02 * 2^21 times their weight.
  const digits = new Int32Array(LIMBS);
  for (let i = 0; i < LIMBS; i++) digits[i] = x[p + i] / WEIGHTS[i];
  // The first round leaves a value from -19 * 3 to 2^255 + 19 * 3, the second a value from 0 to 2^255 - 1.
  for (let round = 0; round < 2; round++) {
    const over = propagate(digits);
    digits[0] += 19 * over;
  }
  propagate(digits);
  // Adding 19 overflows exactly for values from p to 2^255 - 1 and leaves the value minus p.
  const reduced = Int32Array.from(digits);
  reduced[0] += 19;
  const take = -propagate(reduced);
  for (let i = 0; i < LIMBS; i++) digits[i] ^= (digits[i] ^ reduced[i]) & take;
  reduced.fill(0);
  return digits;
}

/** Reduces every digit to its width and returns the carry at 2^255. */
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

/**
 * out = x^(p - 2), the inverse, and 0 for 0; x at most a sum of two carried elements. Always 254
 * squares and 11 products.
 *
 * @param scratch - 4 elements that are neither x nor out; wiped.
 */
export function invert(
  out: Float64Array,
  o: number,
  x: Float64Array,
  p: number,
  scratch: Float64Array = new Float64Array(4 * LIMBS),
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
 * From the exponent 2^5 - 1 ("5 ones") at `b` to 2^250 - 1 at `t`, the common part of this field's power chains.
 * Overwrites `b`, `c` and `t`, three elements of one array.
 */
function extendOnes(s: Float64Array, b: number, c: number, t: number): void {
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
function squareTimes(out: Float64Array, o: number, x: Float64Array, p: number, times: number): void {
  square(out, o, x, p);
  for (let i = 1; i < times; i++) square(out, o, out, o);
}

/**
 * Inverts `count` carried elements in place with one inversion (Montgomery's trick). A zero stays zero.
 *
 * A zero would make the product of all elements zero, and so every inverse: one hostile key could spoil its batch. So a
 * mask replaces a zero by one before, and its inverse by zero after.
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

import { ENTRY, windowCount } from '../../curve25519/fixed-base-table.js';
import { WIDTH } from '../../curve25519/x25519.js';
import {
  I32,
  type ModuleBuilder,
  V128,
  and,
  doubles,
  i32,
  i32Add,
  i32And,
  i32ShiftLeft,
  i32ShiftRight,
  i32Subtract,
  i32Xor,
  isEqual,
  loadByte,
  loadSplat,
  multiply,
  multiplyAdd,
  subtract,
} from './emitter.js';
import { ELEMENT, POINT, limbwise, loadElement, product, small, square, storeElement } from './field.js';

/** Windows of a scalar. */
export const WINDOWS = windowCount(WIDTH);

/** Entries of a window. Each is six limbs for x and then six for y. */
const SIZE = 1 << (WIDTH - 1);

/** Bytes of one window of a table. */
export const WINDOW = 8 * ENTRY * SIZE;

/**
 * Adds `select(points, window, digits, count)`: `count` pairs of points, the multiples for two scalars' digits in one
 * window of a table. Digits are those of `signedDigits`, {@link WINDOWS} bytes for each scalar.
 *
 * Every entry is read and multiplied by 1 or 0, so no address depends on a digit.
 */
export function addSelect(module: ModuleBuilder): void {
  module.add('select', 4, (f, points, window, digits, count) => {
    f.repeat(count, () => {
      const read = [0, WINDOWS].map((offset) => {
        const digit = f.let(I32, loadByte(digits, offset));
        // -1 if the digit is negative, which its top bit tells, else 0. Then |d| = 2 j + 1.
        const negative = f.let(I32, i32Subtract(i32ShiftRight(digit, i32(WIDTH - 1)), i32(1)));
        return { j: i32And(i32Xor(digit, negative), i32(SIZE - 1)), negative };
      });
      const j = f.let(V128, doubles(read[0].j, read[1].j));
      const one = f.let(V128, small(1));
      const limbs = Array.from({ length: ENTRY }, () => f.let(V128, small(0)));
      for (let entry = 0; entry < SIZE; entry++) {
        const mask = f.let(V128, and(isEqual(j, small(entry)), one));
        limbs.forEach((limb, i) => {
          f.set(limb, multiplyAdd(mask, loadSplat(window, 8 * (entry * ENTRY + i)), limb));
        });
      }
      const signOf = ({ negative }: (typeof read)[number]) => i32Add(i32(1), i32ShiftLeft(negative, i32(1)));
      const sign = f.let(V128, doubles(signOf(read[0]), signOf(read[1])));
      storeElement(f, points, limbs.slice(0, 6));
      storeElement(
        f,
        points,
        limbs.slice(6).map((limb) => multiply(limb, sign)),
        ELEMENT,
      );
      f.advance(points, POINT);
      f.advance(digits, 2 * WINDOWS);
    });
  });
}

/**
 * Adds the two halves of `sum(i) = sum(i) + other(i)` for `count` pairs of affine points in short Weierstrass form with
 * one inversion, as `addPoints` of `curve25519/edwards.ts`: no pair may be equal or opposite.
 *
 * - `differences(sum, other, prefix, count)`: from prefix(0) on, prefix(i + 1) = prefix(i) (x of other(i) - x of sum(i)).
 * - `addPoints(sum, other, prefix, count, inverse)`, with the addresses where sum, other and prefix(0) to prefix(count - 1)
 *   end: it goes backwards. `inverse` is that of prefix(count) and is overwritten.
 *
 * Coordinates are carried; a difference of two is at most twice as large.
 */
export function addPointSums(module: ModuleBuilder): void {
  module.add('differences', 4, (f, sum, other, prefix, count) => {
    f.repeat(count, () => {
      const difference = limbwise(f, subtract, loadElement(f, other), loadElement(f, sum));
      storeElement(f, prefix, product(f, difference, loadElement(f, prefix)), ELEMENT);
      f.advance(sum, POINT);
      f.advance(other, POINT);
      f.advance(prefix, ELEMENT);
    });
  });
  module.add('addPoints', 5, (f, sum, other, prefix, count, inverse) => {
    f.repeat(count, () => {
      for (const points of [sum, other]) f.advance(points, -POINT);
      f.advance(prefix, -ELEMENT);
      const [x1, y1] = [0, ELEMENT].map((offset) => loadElement(f, sum, offset));
      const [x2, y2] = [0, ELEMENT].map((offset) => loadElement(f, other, offset));
      const running = loadElement(f, inverse);
      const own = product(f, running, loadElement(f, prefix));
      storeElement(f, inverse, product(f, running, limbwise(f, subtract, x2, x1)));
      // k = (y2 - y1) / (x2 - x1); x3 = k^2 - x1 - x2; y3 = k (x2 - x3) - y2
      const k = product(f, limbwise(f, subtract, y2, y1), own);
      const x3 = square(f, k, x1, x2);
      storeElement(f, sum, x3);
      storeElement(f, sum, product(f, k, limbwise(f, subtract, x2, x3), y2), ELEMENT);
    });
  });
}

import {
  type Code,
  I32,
  type ModuleBuilder,
  V128,
  add,
  doubles,
  i32,
  i32Add,
  i32And,
  i32ShiftRight,
  i32Xor,
  loadByte,
  multiplyAdd,
  subtract,
} from './emitter.js';
import {
  ELEMENT,
  type Element,
  limbwise,
  loadElement,
  plusA24Times,
  product,
  square,
  storeElement,
} from './field.js';

// Where its elements are in the memory of a ladder.
export const X1 = 0;
export const X2 = ELEMENT;
export const Z2 = 2 * ELEMENT;
export const X3 = 3 * ELEMENT;
export const Z3 = 4 * ELEMENT;

/** Bytes of the memory of a ladder. */
export const LADDER = 5 * ELEMENT;

/** Bit t of a little-endian number in memory. */
function bit(address: Code, t: Code): Code {
  const byte = loadByte(i32Add(address, i32ShiftRight(t, i32(3))));
  return i32And(i32ShiftRight(byte, i32And(t, i32(7))), i32(1));
}

/**
 * Adds `ladder(work, first, second)`: two ladders (RFC 7748, section 5), one in each lane, for two clamped scalars of 32
 * bytes. `work` holds X1 = u, X2 = 1, Z2 = 0, X3 = u, Z3 = 1, and then the result as X2 / Z2.
 *
 * The pair (R0, R1), R1 - R0 = P, is in the slots 2 and 3 so that slot 2 holds the point doubled last. A step doubles
 * R(bit), which is in slot 3 exactly when this bit differs from the previous one, and adds R0 + R1. The last bit of a
 * clamped scalar is zero and leaves the result in slot 2.
 *
 * All five elements are carried, so sums and differences are at most twice as large, and the bounds of factors multiply
 * to at most 4.
 */
export function addLadder(module: ModuleBuilder): void {
  module.add('ladder', 3, (f, work, first, second) => {
    const previous = [f.let(I32, i32(0)), f.let(I32, i32(0))];
    f.repeat(i32(255), (t) => {
      const bits = [f.let(I32, bit(first, t)), f.let(I32, bit(second, t))];
      const other = f.let(V128, doubles(i32Xor(bits[0], previous[0]), i32Xor(bits[1], previous[1])));
      bits.forEach((now, lane) => {
        f.set(previous[lane], now);
      });
      // x or y, where `other` is 0 or 1: the difference of the limbs is exact.
      const select = (x: Element, y: Element) =>
        limbwise(f, (a, b) => multiplyAdd(other, subtract(b, a), a), x, y);
      const [x2, z2, x3, z3] = [X2, Z2, X3, Z3].map((slot) => loadElement(f, work, slot));
      const [sum2, difference2] = [limbwise(f, add, x2, z2), limbwise(f, subtract, x2, z2)];
      const [sum3, difference3] = [limbwise(f, add, x3, z3), limbwise(f, subtract, x3, z3)];
      // With the names of RFC 7748. DA and CB are the same for either bit, and their order vanishes in the squares.
      const cb = product(f, sum3, difference2);
      const da = product(f, difference3, sum2);
      storeElement(f, work, square(f, limbwise(f, add, da, cb)), X3);
      const squared = square(f, limbwise(f, subtract, da, cb));
      storeElement(f, work, product(f, squared, loadElement(f, work, X1)), Z3);
      const aa = square(f, select(sum2, sum3));
      const bb = square(f, select(difference2, difference3));
      storeElement(f, work, product(f, aa, bb), X2);
      const e = limbwise(f, subtract, aa, bb);
      storeElement(f, work, product(f, e, plusA24Times(f, e, aa)), Z2);
    });
  });
}

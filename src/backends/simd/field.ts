import {
  type Code,
  type FunctionBuilder,
  V128,
  add,
  i32,
  load,
  loadSplat,
  multiply,
  multiplyAdd,
  subtract,
} from './emitter.js';

/**
 * Writes arithmetic modulo p = 2^255 - 19 for two numbers at once, one in each lane of vectors of two doubles.
 *
 * An element is the sum of six signed limbs of 42.5 bits on average. Limb i is a multiple of its weight 2^e(i),
 * e(i) = ceil(42.5 i), and carries that weight:
 *
 *     i       0   1   2    3    4    5   (6)
 *     e(i)    0  43  85  128  170  213  255
 *
 * So a limb is the sum of two limbs of `curve25519/field.ts`, and h(i) = 2^(e(i+1) - 1) is half its width.
 *
 * A product of two limbs has up to 89 bits, and a double has 53. A fused multiplication and addition gives both halves
 * of it: added to ROUND(k) = 1.5 * 2^(52 + e(k+1)), which rounds the sum to a multiple of 2^e(k+1), it leaves the high
 * half; and added to what the high half grew by, negated, it leaves exactly the rest, at most 2^(e(k+1) - 1). The high
 * half belongs into column k + 1. Limbs i and j belong into column i + j, since e(i) + e(j) is at least e(i+j); from
 * column 6 on one of them is multiplied by FOLD = 19 * 2^-255 before, which is exact.
 *
 * Bounds:
 * - CARRIED: every limb is at most 1.01 h(i). All products and squares give this, and so do elements from outside.
 * - The factors of a product may be a and b times as large where a b is at most 9: then the terms of a column add up to less than
 *   2^50.6 * 2^e(k+1) (column 0), where 2^51 * 2^e(k+1) is the limit at which ROUND(k) leaves its binade. The rests add up
 *   to at most 6 h(k), and with the high half of the column before, below 2^50.7 * 2^e(k), they are exact.
 * - One parallel carry is enough: it is below 2^9 times the weight of the next limb.
 */

/** Limbs of an element. */
export const LIMBS = 6;

/** Bytes of a pair of elements: limb by limb, two doubles each. */
export const ELEMENT = 16 * LIMBS;

/** Bytes of an affine point, x and then y. */
export const POINT = 2 * ELEMENT;

/** e(0) to e(6). */
export const EXPONENTS: readonly number[] = [0, 43, 85, 128, 170, 213, 255];

const indices = EXPONENTS.slice(0, LIMBS).map((_, index) => index);

/** What the memory begins with. A constant in the code would be built anew by three instructions at every use. */
export const CONSTANTS: readonly number[] = [
  ...indices.map((k) => 1.5 * 2 ** (52 + EXPONENTS[k + 1])),
  19 * 2 ** -255,
  121665,
  ...Array.from({ length: 16 }, (_, number) => number),
];

function constant(index: number): Code {
  return loadSplat(i32(0), 8 * index);
}

const round = constant;
const FOLD = constant(LIMBS);
/** a24 of RFC 7748, (486662 - 2) / 4. */
const A24 = constant(LIMBS + 1);

/** A number from 0 to 15. */
export function small(value: number): Code {
  return constant(LIMBS + 2 + value);
}

/** What reads the limbs. */
export type Element = readonly Code[];

export function loadElement(f: FunctionBuilder, address: Code, offset = 0): Element {
  return indices.map((i) => f.let(V128, load(address, offset + 16 * i)));
}

export function storeElement(f: FunctionBuilder, address: Code, x: Element, offset = 0): void {
  x.forEach((limb, i) => {
    f.store(address, offset + 16 * i, limb);
  });
}

/** A sum, a difference or another operation of limbs, not carried. */
export function limbwise(
  f: FunctionBuilder,
  operation: (x: Code, y: Code) => Code,
  x: Element,
  y: Element,
): Element {
  return x.map((limb, i) => f.let(V128, operation(limb, y[i])));
}

/** The sum of a column, in two halves. */
interface Column {
  readonly low: Code;
  readonly high: Code;
}

function column(f: FunctionBuilder, k: number, terms: readonly (readonly [Code, Code])[]): Column {
  let sum = round(k);
  const rests = terms.map(([x, y]) => {
    const next = f.let(V128, multiplyAdd(x, y, sum));
    const rest = f.let(V128, multiplyAdd(x, y, subtract(sum, next)));
    sum = next;
    return rest;
  });
  return {
    low: f.let(
      V128,
      rests.reduce((low, rest) => add(low, rest)),
    ),
    high: f.let(V128, subtract(sum, round(k))),
  };
}

/** Adds to every limb what comes from the one before, and FOLD times what comes from the last to the first. */
function moveUp(f: FunctionBuilder, x: Element, coming: Element): Element {
  return x.map((limb, k) =>
    f.let(V128, k === 0 ? multiplyAdd(coming[LIMBS - 1], FOLD, limb) : add(limb, coming[k - 1])),
  );
}

function joined(f: FunctionBuilder, columns: readonly Column[]): Element {
  return moveUp(
    f,
    columns.map(({ low }) => low),
    columns.map(({ high }) => high),
  );
}

function carried(f: FunctionBuilder, x: Element): Element {
  const carries = x.map((limb, k) => f.let(V128, subtract(add(limb, round(k)), round(k))));
  return moveUp(f, limbwise(f, subtract, x, carries), carries);
}

/** x y - minus; the bounds of x and y multiply to at most 9, what is subtracted is carried. The result is carried. */
export function product(f: FunctionBuilder, x: Element, y: Element, ...minus: Element[]): Element {
  const folded = limbwise(
    f,
    multiply,
    y,
    indices.map(() => FOLD),
  );
  const columns = indices.map((k) =>
    column(
      f,
      k,
      indices.map((i) => [x[i], i <= k ? y[k - i] : folded[k + LIMBS - i]]),
    ),
  );
  return carried(f, lessAll(f, joined(f, columns), minus));
}

/** x^2 - minus; x is at most three carried elements, what is subtracted is carried. The result is carried. */
export function square(f: FunctionBuilder, x: Element, ...minus: Element[]): Element {
  const twice = limbwise(f, add, x, x);
  const folded = limbwise(
    f,
    multiply,
    x,
    indices.map(() => FOLD),
  );
  const columns = indices.map((k) => {
    const pairs = indices.map((i) => [i, (k - i + LIMBS) % LIMBS] as const).filter(([i, j]) => i <= j);
    return column(
      f,
      k,
      pairs.map(([i, j]) => [i < j ? twice[i] : x[i], i <= k ? x[j] : folded[j]]),
    );
  });
  return carried(f, lessAll(f, joined(f, columns), minus));
}

function lessAll(f: FunctionBuilder, x: Element, minus: readonly Element[]): Element {
  return minus.reduce((rest, y) => limbwise(f, subtract, rest, y), x);
}

/** y + a24 x, for x at most two carried elements and y carried. The result is at most twice as large as a carried one. */
export function plusA24Times(f: FunctionBuilder, x: Element, y: Element): Element {
  const columns = x.map((limb, k) => column(f, k, [[limb, A24]]));
  return limbwise(f, add, y, joined(f, columns));
}

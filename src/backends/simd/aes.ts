import {
  type Code,
  type FunctionBuilder,
  type ModuleBuilder,
  I32,
  V128,
  addI8,
  and,
  i32,
  i32Add,
  isLessI8,
  load,
  shiftRightI32,
  swizzle,
  xor,
} from './emitter.js';
import { CONSTANTS } from './field.js';

/**
 * Writes AES-256 in CBC (FIPS 197, NIST SP 800-38A) for two messages at once. No branch and no address depends on keys or
 * messages: the S-box is looked up in vectors, four bits at a time.
 *
 * For that a byte is x = i w + j v, where i and j are of the field of 16 elements, and w and v are conjugate with w v = 1.
 * With a = (w + v)^2 and k = i + j, its norm is N = k^2 + a i j, and its inverse (i v + j w) / N. With
 *
 *     io = 1 / (1/i + a/k) + j = N / (k + a i)
 *     jo = 1 / (1/j + a/k) + i = N / (k + a j)
 *
 * the inverse is linear in 1/io and 1/jo. So one table of inverses, one of a times them, and for each end a pair of
 * tables are enough. Infinity is a number from 128 on, in whose place `swizzle` gives 0.
 */

/** Bytes of a block. */
export const BLOCK = 16;

const ROUNDS = 14;
const LAST_KEY = ROUNDS * BLOCK;

/** Where the IV is that follows the round keys, of which the last is not used, and where the message begins. */
export const IV = BLOCK * (ROUNDS + 2);
export const HEAD = IV + BLOCK;

/** The product of two bytes modulo x^8 + x^4 + x^3 + x + 1. */
function times(x: number, y: number): number {
  let product = 0;
  for (let bit = 7; bit >= 0; bit--) {
    product = (product << 1) ^ ((product >> 7) * 0x11b) ^ (((y >> bit) & 1) * x);
  }
  return product;
}

const power = (x: number, exponent: number): number =>
  exponent === 0 ? 1 : times(x, power(x, exponent - 1));
/** In the field of 16, and 0 for 0. */
const inverse = (x: number): number => power(x, 14);
const nibbles = Array.from({ length: 16 }, (_, n) => n);

/** A linear function of bits by its values for 1, 2, 4, ... */
const linear = (values: readonly number[]) => (x: number) =>
  values.reduce((sum, value, bit) => sum ^ (((x >> bit) & 1) * value), 0);

/** The linear part of the S-box. */
const affine = linear(Array.from({ length: 8 }, (_, bit) => rotateByte(0x1f, bit)));

function rotateByte(x: number, bits: number): number {
  return ((x << bits) | (x >> (8 - bits))) & 255;
}

/** The vectors that the functions read. */
export function aesTables(): number[] {
  const bytes = Array.from({ length: 256 }, (_, x) => x);
  // The powers of an element of order 15 are the elements but 0 of the field of 16, and four of them span it.
  const root = bytes.find((x) => x > 1 && power(x, 15) === 1 && power(x, 5) !== 1 && power(x, 3) !== 1) ?? 0;
  const element = linear([0, 1, 2, 3].map((n) => power(root, n)));
  const nameOf = (x: number) => nibbles.find((n) => element(n) === x) ?? 128;
  const w = bytes.find((x) => x > 1 && power(x, 17) === 1) ?? 0;
  const v = power(w, 16);
  const a = times(w ^ v, w ^ v);
  /** i and k of a byte, as 16 i + k. */
  const parts = new Map(
    nibbles.flatMap((i) =>
      nibbles.map((j) => [times(element(i), w) ^ times(element(j), v), 16 * i + (i ^ j)] as const),
    ),
  );
  const partsOf = (x: number) => parts.get(x) ?? 0;
  const inverseAffine = new Map(bytes.map((x) => [affine(x), x]));
  const ofInverse = (f: (x: number) => number) => nibbles.map((n) => f(inverse(element(n))));
  // 1/x = (io' (b v + w) + jo' (v + b w)) / a^2 for io' = 1 / io, jo' = 1 / jo and b = 1 + a
  const [io, jo] = [times(1 ^ a, v) ^ w, v ^ times(1 ^ a, w)].map((x) => times(x, inverse(times(a, a))));
  const before = (f: (x: number) => number) =>
    [nibbles.map((n) => f(n)), nibbles.map((n) => f(16 * n))].flat();
  const after = (f: (x: number) => number) =>
    [io, jo].flatMap((factor) => ofInverse((x) => f(times(factor, x))));
  return [
    ...ofInverse((x) => (x === 0 ? 128 : nameOf(x))),
    ...ofInverse((x) => (x === 0 ? 128 : nameOf(times(a, x)))),
    ...before(partsOf),
    ...after(affine),
    ...before((x) => partsOf(inverseAffine.get(x) ?? 0)),
    ...after((x) => x),
    ...[15, 0x63, 0x1b, 0].flatMap((byte) => nibbles.map(() => byte)),
    ...nibbles.map((n) => (n % 4 === 0 ? 1 : 0)),
    ...permutations(),
  ];
}

/** Where {@link aesTables} begin and end. */
export const TABLES = 8 * CONSTANTS.length;
export const TABLES_END = TABLES + 23 * BLOCK;

// Where each vector is, in blocks from there on.
const [INVERSE, A_INVERSE, FORWARD, BACKWARD] = [0, 1, 2, 6];
const [NIBBLE, AFFINE, POLYNOMIAL, ZERO, RCON] = [10, 11, 12, 13, 14];
const [SHIFT_ROWS, UNSHIFT_ROWS, ONE_DOWN, TWO_DOWN] = [15, 16, 17, 18];
const [LAST_WORD, LAST_WORD_ROTATED, ONE_LATER, TWO_LATER] = [19, 20, 21, 22];

/** The vectors of permutations. The bytes of a block are columns of four rows. */
function permutations(): number[] {
  const at = (row: number, column: number) => (row & 3) + 4 * (column & 3);
  return [
    (row: number, column: number) => at(row, column + row),
    (row: number, column: number) => at(row, column - row),
    (row: number, column: number) => at(row + 1, column),
    (row: number, column: number) => at(row + 2, column),
    (row: number) => at(row, 3),
    (row: number) => at(row + 1, 3),
    // With zeros before them.
    (row: number, column: number) => (column < 1 ? 128 : at(row, column - 1)),
    (row: number, column: number) => (column < 2 ? 128 : at(row, column - 2)),
  ].flatMap((from) => nibbles.map((n) => from(n & 3, n >> 2)));
}

/** What is done to a block, as FIPS 197 names it. */
function steps(f: FunctionBuilder) {
  const vector = (index: number) => load(i32(0), TABLES + BLOCK * index);
  const keep = (value: Code) => f.let(V128, value);
  const look = (index: number, x: Code) => swizzle(vector(index), x);
  const permute = (x: Code, index: number) => keep(swizzle(x, vector(index)));
  /** The low and the high half of every byte. */
  const halves = (x: Code) =>
    [and(x, vector(NIBBLE)), and(shiftRightI32(x, i32(4)), vector(NIBBLE))].map(keep);
  /** By the four tables from `table` on. */
  const invert = (x: Code, table: number) => {
    const [low, high] = halves(x);
    const [k, i] = halves(keep(xor(look(table, low), look(table + 1, high))));
    const j = keep(xor(i, k));
    const ak = keep(look(A_INVERSE, k));
    const io = keep(xor(look(INVERSE, xor(look(INVERSE, i), ak)), j));
    const jo = keep(xor(look(INVERSE, xor(look(INVERSE, j), ak)), i));
    return keep(xor(look(table + 2, io), look(table + 3, jo)));
  };
  const double = (x: Code) => keep(xor(addI8(x, x), and(isLessI8(x, vector(ZERO)), vector(POLYNOMIAL))));
  const mixColumns = (x: Code) => {
    const down = permute(x, ONE_DOWN);
    const sum = keep(xor(x, down));
    return keep(xor(xor(double(sum), down), permute(sum, TWO_DOWN)));
  };
  return {
    vector,
    keep,
    permute,
    subBytes: (x: Code) => keep(xor(invert(x, FORWARD), vector(AFFINE))),
    invSubBytes: (x: Code) => invert(keep(xor(x, vector(AFFINE))), BACKWARD),
    mixColumns,
    invMixColumns: (x: Code) => mixColumns(keep(xor(x, double(double(keep(xor(x, permute(x, TWO_DOWN)))))))),
  };
}

/**
 * Adds, for memory that begins with round keys and IV, see {@link HEAD}:
 *
 * - `expandKey(keys)`: the round keys after the first two, which are the key.
 * - `encryptBlocks(first, second, count)` and `decryptBlocks`: `count` blocks each of two messages in place. The IV becomes
 *   that of the blocks that follow.
 */
export function addAes(module: ModuleBuilder): void {
  module.add('expandKey', 1, (f, keys) => {
    const { keep, vector, permute, subBytes } = steps(f);
    const rcon = keep(vector(RCON));
    const sums = (x: Code) => {
      const two = keep(xor(x, permute(x, ONE_LATER)));
      return xor(two, permute(two, TWO_LATER));
    };
    f.repeat(i32(ROUNDS / 2), () => {
      const [even, odd] = [keep(load(keys, 0)), keep(load(keys, BLOCK))];
      const word = permute(subBytes(odd), LAST_WORD_ROTATED);
      const nextEven = keep(xor(sums(even), xor(word, rcon)));
      f.store(keys, 2 * BLOCK, nextEven);
      f.store(keys, 3 * BLOCK, xor(sums(odd), permute(subBytes(nextEven), LAST_WORD)));
      f.set(rcon, addI8(rcon, rcon));
      f.advance(keys, 2 * BLOCK);
    });
  });
  addBlocks(module, 'encryptBlocks', true);
  addBlocks(module, 'decryptBlocks', false);
}

function addBlocks(module: ModuleBuilder, name: string, encrypts: boolean): void {
  const [firstKey, lastKey] = encrypts ? [0, LAST_KEY] : [LAST_KEY, 0];
  module.add(name, 3, (f, first, second, count) => {
    const { keep, permute, subBytes, invSubBytes, mixColumns, invMixColumns } = steps(f);
    const substitute = (x: Code) =>
      encrypts ? subBytes(permute(x, SHIFT_ROWS)) : invSubBytes(permute(x, UNSHIFT_ROWS));
    const round = (x: Code, key: Code) =>
      encrypts ? xor(mixColumns(substitute(x)), key) : invMixColumns(xor(substitute(x), key));
    const messages = [first, second].map((head) => ({
      head,
      keys: f.let(I32, head),
      data: f.let(I32, i32Add(head, i32(IV))),
      previous: keep(load(head, IV)),
      x: keep(load(head, IV)),
    }));
    f.repeat(count, () => {
      for (const { head, keys, data, previous, x } of messages) {
        f.advance(data, BLOCK);
        f.set(keys, i32Add(head, i32(firstKey)));
        f.set(x, xor(load(data, 0), load(keys, 0)));
        if (encrypts) f.set(x, xor(x, previous));
      }
      f.repeat(i32(ROUNDS - 1), () => {
        for (const { keys, x } of messages) {
          f.advance(keys, encrypts ? BLOCK : -BLOCK);
          f.set(x, round(x, load(keys, 0)));
        }
      });
      for (const { head, data, previous, x } of messages) {
        f.set(x, xor(substitute(x), load(head, lastKey)));
        if (!encrypts) f.set(x, xor(x, previous));
        f.set(previous, encrypts ? x : load(data, 0));
        f.store(data, 0, x);
      }
    });
    for (const { head, previous } of messages) f.store(head, IV, previous);
  });
}

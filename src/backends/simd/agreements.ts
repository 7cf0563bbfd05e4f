import { littleEndian } from '../../curve25519/edwards.js';
import { THIRD_OF_A, signedDigits, type RecipientTable } from '../../curve25519/fixed-base-table.js';
import { LIMBS, fromBytes, subtract, toBytes } from '../../curve25519/field.js';
import { WIDTH } from '../../curve25519/x25519.js';
import { ELEMENT, POINT } from './field.js';
import { START, type Kernel } from './kernel.js';
import { LADDER, X1, X2, X3, Z2, Z3 } from './ladder.js';
import { WINDOW, WINDOWS } from './table-sums.js';

const TABLE = WINDOWS * WINDOW;
const MOST_TABLES = 2;

/** Tables stay in memory. All behind them is wiped after every chunk. */
export const WORK = START + MOST_TABLES * TABLE;

/** Agreements at a time. Larger chunks gain less than 1 %. */
const LADDERS = 128;
const PRODUCTS = 64;

/** X25519 by a {@link Kernel}, two scalars at a time; the last of an odd count is done twice. */
export class Agreements {
  readonly #kernel: Kernel;
  /** The tables in memory. */
  readonly #tables: RecipientTable[] = [];
  /** A / 3. */
  readonly #third = new Float64Array(LIMBS);

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    fromBytes(this.#third, 0, littleEndian(THIRD_OF_A), 0);
  }

  /**
   * As `ladderMany` in `curve25519/montgomery-ladder.ts`, of scalars and points that match.
   *
   * @returns A new array.
   */
  ladderMany(scalars: Uint8Array, points: Uint8Array): Uint8Array {
    const results = new Uint8Array(
      scalars.length && points.length && Math.max(scalars.length, points.length),
    );
    const part = (keys: Uint8Array, start: number) =>
      keys.length === 32 ? keys : keys.subarray(start, start + 32 * LADDERS);
    for (let start = 0; start < results.length; start += 32 * LADDERS) {
      this.#ladders(results.subarray(start, start + 32 * LADDERS), part(scalars, start), part(points, start));
    }
    return results;
  }

  #ladders(results: Uint8Array, scalars: Uint8Array, points: Uint8Array): void {
    const kernel = this.#kernel;
    const pairs = Math.ceil(results.length / 64);
    const [first, second, inverse] = [WORK, WORK + 32, WORK + 64];
    const works = Array.from({ length: pairs }, (_, pair) => inverse + ELEMENT + pair * LADDER);
    works.forEach((work, pair) => {
      for (const lane of [0, 1]) {
        const at = Math.min(64 * pair + 32 * lane, results.length - 32);
        this.#writeScalar(lane === 0 ? first : second, scalars, at % scalars.length);
        kernel.write(work + X1, lane, points, at % points.length);
      }
      kernel.writeSmall(work + X2, 1);
      kernel.writeSmall(work + Z2, 0);
      kernel.copy(work + X3, work + X1);
      kernel.writeSmall(work + Z3, 1);
      kernel.functions.ladder(work, first, second);
    });
    this.#invertAll(works, inverse);
    works.forEach((work, pair) => {
      kernel.functions.multiply(work + X2, work + X2, work + X3);
      for (let lane = 0; lane < 2 && 64 * pair + 32 * lane < results.length; lane++)
        toBytes(results, 64 * pair + 32 * lane, kernel.read(work + X2, lane), 0);
    });
    kernel.wipe(WORK, inverse + ELEMENT + pairs * LADDER);
  }

  #writeScalar(address: number, scalars: Uint8Array, start: number): void {
    const { bytes } = this.#kernel;
    for (let i = 0; i < 32; i++) bytes[address + i] = scalars[start + i];
    bytes[address] &= 248;
    bytes[address + 31] = (bytes[address + 31] & 127) | 64;
  }

  /** X3 = 1 / Z2 in the memory of every ladder, with one inversion. */
  #invertAll(works: readonly number[], inverse: number): void {
    const kernel = this.#kernel;
    const { multiply } = kernel.functions;
    // Z3 becomes the product of Z2 up to this ladder.
    let last = works[0];
    kernel.copy(last + Z3, last + Z2);
    for (const work of works.slice(1)) {
      multiply(work + Z3, last + Z3, work + Z2);
      last = work;
    }
    if (kernel.hasZero(last + Z3)) {
      // A point of low order, which is public. It would make every inverse zero.
      for (const work of works) kernel.invert(work + X3, work + Z2);
      return;
    }
    kernel.invert(inverse, last + Z3);
    for (let i = works.length - 1; i > 0; i--) {
      multiply(works[i] + X3, inverse, works[i - 1] + Z3);
      multiply(inverse, inverse, works[i] + Z2);
    }
    kernel.copy(works[0] + X3, inverse);
  }

  /** As `tableProducts` in `curve25519/fixed-base.ts`, of one table or two of {@link WIDTH}. */
  tableProducts(tables: readonly RecipientTable[], scalars: Uint8Array): Uint8Array[] {
    tables.forEach((table, t) => {
      if (this.#tables[t] !== table) this.#kernel.writeDoubles(START + t * TABLE, table.entries);
      this.#tables[t] = table;
    });
    const results = tables.map(() => new Uint8Array(scalars.length));
    for (let start = 0; start < scalars.length; start += 32 * PRODUCTS) {
      const part = scalars.subarray(start, start + 32 * PRODUCTS);
      const parts = results.map((result) => result.subarray(start, start + 32 * PRODUCTS));
      if (!this.#products(parts, part)) {
        tables.forEach((table, t) => {
          this.#ladders(parts[t], part, table.publicKey);
        });
      }
    }
    return results;
  }

  /** @returns False if two points met, which only a damaged table can cause. */
  #products(results: readonly Uint8Array[], scalars: Uint8Array): boolean {
    const kernel = this.#kernel;
    const pairs = Math.ceil(scalars.length / 64);
    const points = results.length * pairs;
    const inverse = WORK;
    const sums = inverse + ELEMENT;
    const prefix = sums + WINDOWS * points * POINT;
    const digits = prefix + ((WINDOWS >> 1) * points + 1) * ELEMENT;
    for (let i = 0; i < 2 * pairs; i++) {
      const start = Math.min(32 * i, scalars.length - 32);
      signedDigits(kernel.bytes, digits + i * WINDOWS, scalars, start, WIDTH);
    }
    for (let window = 0; window < WINDOWS; window++) {
      for (let t = 0; t < results.length; t++) {
        const selected = sums + (window * points + t * pairs) * POINT;
        kernel.functions.select(selected, START + t * TABLE + window * WINDOW, digits + window, pairs);
      }
    }
    const done = this.#sumWindows(sums, points, prefix, inverse);
    if (done) {
      results.forEach((result, t) => {
        for (let at = 0; at < result.length; at += 32) {
          const x = kernel.read(sums + (t * pairs + (at >> 6)) * POINT, (at >> 5) & 1);
          subtract(x, 0, x, 0, this.#third, 0);
          toBytes(result, at, x, 0);
        }
      });
    }
    kernel.wipe(WORK, digits + 2 * pairs * WINDOWS);
    return done;
  }

  /** Adds the upper half of the windows to the lower half until one is left, as `curve25519/fixed-base.ts` does. */
  #sumWindows(sums: number, points: number, prefix: number, inverse: number): boolean {
    const kernel = this.#kernel;
    kernel.writeSmall(prefix, 1);
    for (let windows = WINDOWS; windows > 1;) {
      const count = (windows >> 1) * points;
      windows -= windows >> 1;
      const other = sums + windows * points * POINT;
      const product = prefix + count * ELEMENT;
      kernel.functions.differences(sums, other, prefix, count);
      if (kernel.hasZero(product)) return false;
      kernel.invert(inverse, product);
      kernel.functions.addPoints(sums + count * POINT, other + count * POINT, product, count, inverse);
    }
    return true;
  }
}

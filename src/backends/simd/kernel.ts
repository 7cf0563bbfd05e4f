import { LIMBS, carry, fromBytes, isZeroElement } from '../../curve25519/field.js';
import { ModuleBuilder, load, multiplyAdd } from './emitter.js';
import { CONSTANTS, ELEMENT, loadElement, product, square, storeElement } from './field.js';
import { TABLES, TABLES_END, addAes, aesTables } from './aes.js';
import { addLadder } from './ladder.js';
import { addCompress } from './sha256.js';
import { addPointSums, addSelect } from './table-sums.js';

/** The functions of the module. Arguments are addresses and counts. */
interface Functions {
  /** out = x y, of at most three carried elements each. */
  readonly multiply: (out: number, x: number, y: number) => void;
  /** out = x^(2^times). */
  readonly squareTimes: (out: number, x: number, times: number) => void;
  readonly ladder: (work: number, first: number, second: number) => void;
  readonly select: (points: number, window: number, digits: number, count: number) => void;
  readonly differences: (sum: number, other: number, prefix: number, count: number) => void;
  readonly addPoints: (sum: number, other: number, prefix: number, count: number, inverse: number) => void;
  readonly compress: (out: number, state: number, block: number, rounds: number) => void;
  readonly expandKey: (keys: number) => void;
  readonly encryptBlocks: (first: number, second: number, count: number) => void;
  readonly decryptBlocks: (first: number, second: number, count: number) => void;
  /** out = x y + z, of single vectors. */
  readonly multiplyAdd: (out: number, x: number, y: number, z: number) => void;
}

/** The part of WebAssembly that is used. */
interface WebAssemblyApi {
  instantiate(bytes: Uint8Array): Promise<{
    instance: { exports: Functions & { memory: { buffer: ArrayBuffer } } };
  }>;
}

/** The constants and tables come first, then four elements for power chains. */
const SCRATCH = TABLES_END;

/** The first address that users of a {@link Kernel} may write to. */
export const START = SCRATCH + 4 * ELEMENT;

/** Units of 64 KiB. */
const PAGES = 16;

/**
 * The module and its memory. Every element is a pair, one number in each lane.
 *
 * The machine code was read that V8 makes of all functions, on Node 22.23, 24.22 and 26.12 for x64, by the baseline and by the
 * optimizing compiler: the only jumps are those of the loops and, once a loop, of the checks for interrupts and for the
 * budget of the compiler; every multiplyAdd is one vfmadd, and no selection became a branch. That of other processors
 * and engines was not.
 */
export class Kernel {
  readonly functions: Functions;
  readonly bytes: Uint8Array;
  readonly #doubles: Float64Array;
  /** One number on its way in or out, as in `curve25519/field.ts`. */
  readonly #limbs = new Float64Array(LIMBS);

  private constructor({ memory, ...functions }: Functions & { memory: { buffer: ArrayBuffer } }) {
    this.functions = functions;
    this.bytes = new Uint8Array(memory.buffer);
    this.#doubles = new Float64Array(memory.buffer);
    this.#doubles.set(CONSTANTS);
    this.bytes.set(aesTables(), TABLES);
  }

  /** @throws Where WebAssembly, relaxed SIMD or the permission of the page is missing. */
  static async make(): Promise<Kernel> {
    const { WebAssembly } = globalThis as unknown as { WebAssembly: WebAssemblyApi };
    const { instance } = await WebAssembly.instantiate(moduleBytes());
    return new Kernel({ ...instance.exports });
  }

  /**
   * Whether multiplyAdd rounds once, on which everything here depends. (2^27 + 1)^2 = 2^54 + 2^28 + 1 has one bit more
   * than a double.
   */
  isFused(): boolean {
    const [factor, minus] = [START, START + 16];
    this.#doubles.fill(2 ** 27 + 1, factor / 8, factor / 8 + 2);
    this.#doubles.fill(-(2 ** 54 + 2 ** 28), minus / 8, minus / 8 + 2);
    this.functions.multiplyAdd(factor, factor, factor, minus);
    return this.#doubles[factor / 8] === 1 && this.#doubles[factor / 8 + 1] === 1;
  }

  /** Writes doubles, for tables. */
  writeDoubles(address: number, values: Float64Array): void {
    this.#doubles.set(values, address / 8);
  }

  /** The number in 32 bytes as `fromBytes` reads it, into one lane. */
  write(address: number, lane: number, bytes: Uint8Array, start: number): void {
    const limbs = this.#limbs;
    fromBytes(limbs, 0, bytes, start);
    const at = address / 8 + lane;
    for (let i = 0; i < LIMBS; i += 2) this.#doubles[at + i] = limbs[i] + limbs[i + 1];
  }

  /** A number from 0 to 2^20 in both lanes. */
  writeSmall(address: number, value: number): void {
    const at = address / 8;
    this.#doubles.fill(0, at, at + ELEMENT / 8);
    this.#doubles.fill(value, at, at + 2);
  }

  copy(to: number, from: number): void {
    this.bytes.copyWithin(to, from, from + ELEMENT);
  }

  /** A carried element as one of `curve25519/field.ts`, carried, until the next call. */
  read(address: number, lane: number): Float64Array {
    const limbs = this.#limbs;
    const at = address / 8 + lane;
    for (let i = 0; i < LIMBS; i += 2) {
      limbs[i] = this.#doubles[at + i];
      limbs[i + 1] = 0;
    }
    carry(limbs, 0);
    return limbs;
  }

  /** Whether an element is 0 in one of the lanes. */
  hasZero(address: number): boolean {
    return isZeroElement(this.read(address, 0), 0) + isZeroElement(this.read(address, 1), 0) > 0;
  }

  /** out = x^(p - 2), the inverse, and 0 for 0. The comments give exponents. */
  invert(out: number, x: number): void {
    const { multiply, squareTimes } = this.functions;
    const [a, b, c, t] = [0, 1, 2, 3].map((index) => SCRATCH + index * ELEMENT);
    const power = (to: number, from: number, times: number, factor: number) => {
      squareTimes(t, from, times);
      multiply(to, t, factor);
    };
    squareTimes(a, x, 1); // 2
    power(b, a, 2, x); // 9
    multiply(a, b, a); // 11
    power(b, a, 1, b); // 2^5 - 1
    power(b, b, 5, b); // 2^10 - 1
    power(c, b, 10, b); // 2^20 - 1
    power(c, c, 20, c); // 2^40 - 1
    power(b, c, 10, b); // 2^50 - 1
    power(c, b, 50, b); // 2^100 - 1
    power(c, c, 100, c); // 2^200 - 1
    power(b, c, 50, b); // 2^250 - 1
    power(out, b, 5, a); // 2^255 - 21 = p - 2
  }

  /** Overwrites a part of the memory, and whatever passes through the kernel. */
  wipe(from: number, to: number): void {
    this.bytes.fill(0, SCRATCH, START);
    this.bytes.fill(0, from, to);
    this.#limbs.fill(0);
  }
}

function moduleBytes(): Uint8Array {
  const module = new ModuleBuilder();
  module.add('multiply', 3, (f, out, x, y) => {
    storeElement(f, out, product(f, loadElement(f, x), loadElement(f, y)));
  });
  module.add('squareTimes', 3, (f, out, x, times) => {
    const limbs = loadElement(f, x);
    f.repeat(times, () => {
      square(f, limbs).forEach((limb, i) => {
        f.set(limbs[i], limb);
      });
    });
    storeElement(f, out, limbs);
  });
  addLadder(module);
  addSelect(module);
  addPointSums(module);
  addCompress(module);
  addAes(module);
  module.add('multiplyAdd', 4, (f, out, x, y, z) => {
    f.store(out, 0, multiplyAdd(load(x, 0), load(y, 0), load(z, 0)));
  });
  return module.bytes(PAGES);
}

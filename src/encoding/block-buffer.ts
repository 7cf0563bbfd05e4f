import { concat } from './bytes.js';

/** Holds back what is not yet a whole block of data that comes in pieces. */
export class Remainder {
  readonly #block: number;
  #rest: Uint8Array = new Uint8Array(0);

  /** @param block - Bytes in a block. */
  constructor(block: number) {
    this.#block = block;
  }

  /** Takes in a piece. Returns whole blocks only, maybe none. */
  push(bytes: Uint8Array): Uint8Array {
    const all = this.#rest.length === 0 ? bytes : concat(this.#rest, bytes);
    const whole = all.length - (all.length % this.#block);
    this.#rest = all.slice(whole);
    return all.subarray(0, whole);
  }

  /** What was held back; nothing is afterwards. */
  take(): Uint8Array {
    const rest = this.#rest;
    this.#rest = new Uint8Array(0);
    return rest;
  }
}

import { ctr } from '@noble/ciphers/aes.js';
import { copyBytes, wipe, BlockBuffer } from '../encoding/bytes.js';

const BLOCK = 16;

/** AES-256-CTR of data in pieces, either way, with a counter of 16 bytes, big-endian. */
export class AesCtr {
  readonly #key: Uint8Array;
  readonly #counter: Uint8Array;
  readonly #rest = new BlockBuffer(BLOCK);

  /**
   * @param key - 32 bytes; copied.
   * @param iv - 16 bytes, the first counter; copied.
   */
  constructor(key: Uint8Array, iv: Uint8Array) {
    this.#key = copyBytes(key);
    this.#counter = copyBytes(iv);
  }

  /** Adds a piece. Returns the whole blocks so far. */
  update(bytes: Uint8Array): Uint8Array {
    return this.#apply(this.#rest.push(bytes));
  }

  /** The rest, less than a block. Wipes the key. */
  final(): Uint8Array {
    const last = this.#apply(this.#rest.take());
    this.dispose();
    return last;
  }

  /** Wipes the key of unfinished data. */
  dispose(): void {
    wipe(this.#key);
  }

  #apply(bytes: Uint8Array): Uint8Array {
    if (bytes.length === 0) return bytes;
    const result = ctr(this.#key, this.#counter).encrypt(bytes);
    this.#advance(Math.ceil(bytes.length / BLOCK));
    return result;
  }

  #advance(blocks: number): void {
    let carry = blocks;
    for (let i = BLOCK - 1; carry > 0 && i >= 0; i--) {
      carry += this.#counter[i];
      this.#counter[i] = carry;
      carry = Math.floor(carry / 256);
    }
  }
}

/** {@link AesCtr} in one call. */
export function aesCtr(key: Uint8Array, iv: Uint8Array, bytes: Uint8Array): Uint8Array {
  return bytes.length === 0 ? new Uint8Array(0) : ctr(key, iv).encrypt(bytes);
}

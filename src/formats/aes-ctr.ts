import { ctr } from '@noble/ciphers/aes.js';
import { copyBytes, wipe, BlockBuffer } from '../encoding/bytes.js';
import { assertBytes, awaitBackend } from '../scheme/backend-call.js';

const BLOCK = 16;

/** The part of a `Backend` that encrypts in pieces. */
export interface AesCtrBackend {
  readonly name: string;
  /**
   * AES-256-CTR, either way: 16-byte blocks of data, of which the last may be shorter, and the counter of the first, 16
   * bytes, big-endian. Gives a new array.
   */
  readonly aesCtr?: (
    key: Uint8Array,
    counter: Uint8Array,
    bytes: Uint8Array,
  ) => Uint8Array | Promise<Uint8Array>;
}

/** AES-256-CTR of data in pieces, either way, with a counter of 16 bytes, big-endian. */
export class AesCtr {
  readonly #backend: AesCtrBackend | undefined;
  readonly #key: Uint8Array;
  readonly #counter: Uint8Array;
  readonly #rest = new BlockBuffer(BLOCK);

  /**
   * @param key - 32 bytes; copied.
   * @param iv - 16 bytes, the first counter; copied.
   * @param backend - Encrypts by other means than pure JavaScript.
   */
  constructor(key: Uint8Array, iv: Uint8Array, backend?: AesCtrBackend) {
    this.#backend = backend?.aesCtr && backend;
    this.#key = copyBytes(key);
    this.#counter = copyBytes(iv);
  }

  /** Adds a piece, once the one before is done. Returns the whole blocks so far. */
  update(bytes: Uint8Array): Promise<Uint8Array> {
    return this.#apply(this.#rest.push(bytes));
  }

  /** The rest, less than a block. Wipes the key. */
  async final(): Promise<Uint8Array> {
    const last = await this.#apply(this.#rest.take());
    this.dispose();
    return last;
  }

  /** Wipes the key of unfinished data. */
  dispose(): void {
    wipe(this.#key);
  }

  async #apply(bytes: Uint8Array): Promise<Uint8Array> {
    if (bytes.length === 0) return bytes;
    const backend = this.#backend;
    const counter = copyBytes(this.#counter);
    this.#advance(Math.ceil(bytes.length / BLOCK));
    if (!backend) return ctr(this.#key, counter).encrypt(bytes);
    const result = await awaitBackend(backend, 'aesCtr', () => backend.aesCtr?.(this.#key, counter, bytes));
    return assertBytes(backend, 'aesCtr', result, bytes.length);
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

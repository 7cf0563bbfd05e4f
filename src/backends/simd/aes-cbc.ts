import { sealedLength } from '../../scheme/session-data.js';
import { BLOCK, HEAD, IV } from './aes.js';
import { WORK } from './agreements.js';
import { DERIVED } from './derived-keys.js';
import type { Kernel } from './kernel.js';

/** Bytes of a message at a time. */
const PART = 256 * BLOCK;
const FIRST = WORK;
const SECOND = FIRST + HEAD + PART;
const END = SECOND + HEAD + PART;

/** AES-256-CBC by a {@link Kernel}, under the derived keys of the same slots, two messages at a time. */
export class AesCbc {
  readonly #kernel: Kernel;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  /** The ciphertexts, padded by PKCS#7. */
  encryptMany(derived: Uint8Array, plaintexts: readonly Uint8Array[]): Uint8Array[] {
    const padded = plaintexts.map((plaintext) => {
      const blocks = new Uint8Array(sealedLength(plaintext));
      blocks.fill(blocks.length - plaintext.length, plaintext.length);
      blocks.set(plaintext);
      return blocks;
    });
    return this.#inPlace('encryptBlocks', derived, padded);
  }

  /** The plaintexts with their padding. */
  decryptMany(derived: Uint8Array, ciphertexts: readonly Uint8Array[]): Uint8Array[] {
    const blocks = ciphertexts.map((ciphertext) => new Uint8Array(ciphertext));
    return this.#inPlace('decryptBlocks', derived, blocks);
  }

  /** The last of an odd count is done twice. */
  #inPlace(
    work: 'encryptBlocks' | 'decryptBlocks',
    derived: Uint8Array,
    messages: Uint8Array[],
  ): Uint8Array[] {
    const { bytes, functions } = this.#kernel;
    for (let slot = 0; slot < messages.length; slot += 2) {
      const pair = [
        { head: FIRST, slot },
        { head: SECOND, slot: Math.min(slot + 1, messages.length - 1) },
      ];
      for (const { head, slot } of pair) {
        const keys = derived.subarray(DERIVED * slot, DERIVED * slot + 48);
        bytes.set(keys.subarray(0, 32), head);
        bytes.set(keys.subarray(32), head + IV);
        functions.expandKey(head);
      }
      const length = Math.max(...pair.map(({ slot }) => messages[slot].length));
      for (let done = 0; done < length; done += PART) {
        const parts = pair.map(({ head, slot }) => ({
          at: head + HEAD,
          part: messages[slot].subarray(done, done + PART),
        }));
        for (const { at, part } of parts) bytes.set(part, at);
        functions[work](FIRST, SECOND, Math.min(PART, length - done) / BLOCK);
        for (const { at, part } of parts) part.set(bytes.subarray(at, at + part.length));
      }
    }
    this.#kernel.wipe(WORK, END);
    return messages;
  }
}

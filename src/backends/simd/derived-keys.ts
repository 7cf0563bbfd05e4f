import { WORK } from './agreements.js';
import type { Kernel } from './kernel.js';
import { INITIAL, ROUNDS, SHA_BLOCK, STATE, WORD } from './sha256.js';

/** Bytes derived from a secret: the AES key (32 bytes), the IV (16) and the HMAC of the EMPTY string (32). */
export const DERIVED = 80;

/** Secrets at a time; of the last ones some are done twice. */
const LANES = 4;

// Where things are in the memory, which is wiped after every chunk.
const ROUNDS_AT = WORK;
const INITIAL_AT = ROUNDS_AT + 4 * ROUNDS.length;
/** The two states of an HMAC after its key: with the first HMAC's key, which is zeros, and with another. */
const ZERO_KEY = INITIAL_AT + STATE;
const OWN_KEY = ZERO_KEY + 2 * STATE;
const MAC_KEY = OWN_KEY + 2 * STATE;
/** Blocks whose padding stays: a secret, or the digest of the inner hash; T(1) or T(2) and a number; "1"; nothing. */
const DIGEST = MAC_KEY + STATE;
const NEXT = DIGEST + SHA_BLOCK;
const ONE = NEXT + SHA_BLOCK;
const EMPTY = ONE + SHA_BLOCK;
const PAD = EMPTY + SHA_BLOCK;
const END = PAD + SHA_BLOCK;

/** HKDF-SHA-256 and the MAC by a {@link Kernel}: `deriveKeys` of `scheme/session-data.ts`, four at a time. */
export class DerivedKeys {
  readonly #kernel: Kernel;
  readonly #words: Uint32Array;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    this.#words = new Uint32Array(kernel.bytes.buffer);
  }

  /**
   * @param sharedSecrets - 32 bytes each.
   * @returns {@link DERIVED} bytes each, for the caller to wipe.
   */
  deriveMany(sharedSecrets: Uint8Array): Uint8Array {
    const count = sharedSecrets.length / 32;
    const results = new Uint8Array(DERIVED * count);
    this.#words.set(ROUNDS, ROUNDS_AT / 4);
    INITIAL.forEach((word, i) => {
      this.#setWord(INITIAL_AT, i, word);
    });
    // What is hashed follows a key of one block. It ends by one bit, and the block by the length in bits.
    for (const [block, last, bytes] of [
      [DIGEST, 8, 32],
      [NEXT, 8, 33],
      [ONE, 0, 1],
      [EMPTY, 0, 0],
    ]) {
      this.#setWord(block, last, 0x80000000 >>> (8 * (bytes % 4)));
      this.#setWord(block, 15, 8 * (64 + bytes));
    }
    this.#setWord(ONE, 0, 0x01800000);
    this.#setKey(ZERO_KEY, EMPTY + WORD);
    for (let first = 0; first < count; first += LANES) {
      const slots = Array.from({ length: LANES }, (_, lane) => Math.min(first + lane, count - 1));
      this.#derive(slots, sharedSecrets, results);
    }
    this.#kernel.wipe(WORK, END);
    return results;
  }

  #derive(slots: readonly number[], sharedSecrets: Uint8Array, results: Uint8Array): void {
    const give = (words: number, offset: number) => {
      for (const [lane, slot] of slots.entries()) {
        const out = new DataView(results.buffer, DERIVED * slot + offset);
        for (let i = 0; i < words; i++) out.setUint32(4 * i, this.#words[NEXT / 4 + LANES * i + lane]);
      }
    };
    for (const [lane, slot] of slots.entries()) {
      const secret = new DataView(sharedSecrets.buffer, sharedSecrets.byteOffset + 32 * slot);
      for (let i = 0; i < 8; i++) this.#words[DIGEST / 4 + LANES * i + lane] = secret.getUint32(4 * i);
    }
    this.#digest(NEXT, ZERO_KEY, DIGEST);
    this.#setKey(OWN_KEY, NEXT);
    // T(1) = HMAC(1), T(n) = HMAC(T(n-1) | n).
    this.#digest(NEXT, OWN_KEY, ONE);
    give(8, 0);
    this.#setWord(NEXT, 8, 0x02800000);
    this.#digest(NEXT, OWN_KEY, NEXT);
    this.#kernel.bytes.copyWithin(MAC_KEY, NEXT, NEXT + STATE);
    this.#setWord(NEXT, 8, 0x03800000);
    this.#digest(NEXT, OWN_KEY, NEXT);
    give(4, 32);
    this.#setKey(OWN_KEY, MAC_KEY);
    this.#digest(NEXT, OWN_KEY, EMPTY);
    give(8, 48);
  }

  /** The states of an HMAC after its key, eight words. */
  #setKey(states: number, key: number): void {
    for (const [at, pad] of [
      [states, 0x36363636],
      [states + STATE, 0x5c5c5c5c],
    ]) {
      for (let i = 0; i < 8 * LANES; i++) this.#words[PAD / 4 + i] = this.#words[key / 4 + i] ^ pad;
      for (let i = 8; i < 16; i++) this.#setWord(PAD, i, pad);
      this.#kernel.functions.compress(at, INITIAL_AT, PAD, ROUNDS_AT);
    }
  }

  /** out = HMAC of one block. Overwrites the digest block. */
  #digest(out: number, states: number, block: number): void {
    const { compress } = this.#kernel.functions;
    compress(DIGEST, states, block, ROUNDS_AT);
    compress(out, states + STATE, DIGEST, ROUNDS_AT);
  }

  /** A word of all messages. */
  #setWord(address: number, index: number, value: number): void {
    const at = address / 4 + LANES * index;
    this.#words.fill(value, at, at + LANES);
  }
}

import { expectArray, expectIterable } from '../encoding/arguments.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { expectBytes, isBytes } from '../encoding/bytes.js';
import { KeyBackupError, describe } from '../errors.js';

/** Bytes of one digest. */
const DIGEST_BYTES = 16;
/** A SHA-256 block: the key fills it whole, so that its compression is done once for the set. */
const BLOCK_BYTES = 64;

/**
 * A set of (room id, session id) pairs that keeps a 128-bit keyed digest of each instead of the strings:
 * 16 to 43 bytes a pair. A million pairs fit in memory, and the saved form reveals no ids without the key.
 *
 * The digest is the first half of SHA-256 over a block that holds the key, then the pair. Two pairs cannot be made to
 * collide on purpose; by chance it happens once in 2^89 sets of a million.
 *
 * @example
 * ```ts
 * const seen = new SessionIdSet();
 * seen.add('!room:example.org', 'session'); // true: it is new
 * seen.add('!room:example.org', 'session'); // false
 * ```
 */
export class SessionIdSet {
  /** How many pairs are in the set. */
  size = 0;
  readonly #key: Uint8Array;
  readonly #keyed: ReturnType<typeof sha256.create>;
  readonly #hash = sha256.create();
  readonly #output = new Uint8Array(32);
  readonly #digest = new Uint32Array(this.#output.buffer, 0, 4);
  #input = new Uint8Array(1024);
  /** Open addressing, four words a slot; an empty slot is all zero. */
  #slots = new Uint32Array(4 * 1024);

  /** @param key - 16 bytes; all zero where the set never leaves the memory. */
  constructor(key: Uint8Array = new Uint8Array(DIGEST_BYTES)) {
    this.#key = expectBytes(key, DIGEST_BYTES, 'key').slice();
    const block = new Uint8Array(BLOCK_BYTES);
    block.set(this.#key);
    this.#keyed = sha256.create().update(block);
  }

  /** Whether the pair is in the set. */
  has(roomId: string, sessionId: string): boolean {
    this.#hashPair(roomId, sessionId);
    return this.#slots[this.#find()] !== 0;
  }

  /** Adds the pair. Returns whether it was new. */
  add(roomId: string, sessionId: string): boolean {
    this.#hashPair(roomId, sessionId);
    return this.#insert();
  }

  /** The key and every digest: 16 + 16 * size bytes, a copy. It leaves out the pairs `except`. */
  toBytes(except: Iterable<readonly [roomId: string, sessionId: string]> = []): Uint8Array {
    expectIterable(except, 'except');
    const left = new Set<number>();
    for (const pair of except) {
      expectArray(pair, 'except');
      const [roomId, sessionId] = pair;
      this.#hashPair(roomId, sessionId);
      left.add(this.#find());
    }
    const bytes = new Uint8Array(DIGEST_BYTES * (1 + this.size));
    bytes.set(this.#key);
    const stored = new Uint8Array(this.#slots.buffer);
    let offset = DIGEST_BYTES;
    for (let slot = 0; slot < this.#slots.length; slot += 4) {
      if (this.#slots[slot] === 0 || left.has(slot)) continue;
      bytes.set(stored.subarray(slot * 4, slot * 4 + DIGEST_BYTES), offset);
      offset += DIGEST_BYTES;
    }
    return bytes.slice(0, offset);
  }

  /**
   * The set that {@link SessionIdSet.toBytes} gave.
   *
   * @throws {@link KeyBackupError} `bad-length` when the bytes are not a whole number of digests.
   */
  static fromBytes(bytes: Uint8Array): SessionIdSet {
    if (!isBytes(bytes)) {
      throw new KeyBackupError('bad-length', `ids: expected bytes, got ${describe(bytes)}`);
    }
    if (bytes.length < DIGEST_BYTES || bytes.length % DIGEST_BYTES !== 0) {
      throw new KeyBackupError(
        'bad-length',
        `ids: expected a multiple of ${DIGEST_BYTES} bytes, got ${bytes.length}`,
      );
    }
    const set = new SessionIdSet(bytes.subarray(0, DIGEST_BYTES));
    for (let offset = DIGEST_BYTES; offset < bytes.length; offset += DIGEST_BYTES) {
      set.#output.set(bytes.subarray(offset, offset + DIGEST_BYTES));
      set.#insert();
    }
    return set;
  }

  #hashPair(roomId: string, sessionId: string): void {
    if (typeof roomId !== 'string' || typeof sessionId !== 'string') {
      throw new KeyBackupError('bad-parameters', 'ids: expected two strings, got another value');
    }
    const most = 4 + 3 * (roomId.length + sessionId.length);
    if (this.#input.length < most) this.#input = new Uint8Array(2 * most);
    const input = this.#input;
    // The length in front keeps ("ab", "c") and ("a", "bc") apart.
    new DataView(input.buffer).setUint32(0, roomId.length);
    const length = writeUnits(sessionId, input, writeUnits(roomId, input, 4));
    this.#keyed._cloneInto(this.#hash).update(input.subarray(0, length)).digestInto(this.#output);
    // Zero in the first word marks an empty slot: one digest in 2^32 has its first word moved to 1.
    if (this.#digest[0] === 0) this.#digest[0] = 1;
  }

  #insert(): boolean {
    const slot = this.#find();
    if (this.#slots[slot] !== 0) return false;
    this.#slots.set(this.#digest, slot);
    this.size++;
    if (this.size * 16 > this.#slots.length * 3) this.#grow();
    return true;
  }

  /** The slot of the digest, or the empty one where it belongs. */
  #find(): number {
    const slots = this.#slots;
    const digest = this.#digest;
    const a = digest[0];
    const b = digest[1];
    const c = digest[2];
    const d = digest[3];
    const mask = slots.length / 4 - 1;
    let index = b & mask;
    for (;;) {
      const slot = index * 4;
      if (slots[slot] === 0) return slot;
      if (slots[slot] === a && slots[slot + 1] === b && slots[slot + 2] === c && slots[slot + 3] === d) {
        return slot;
      }
      index = (index + 1) & mask;
    }
  }

  #grow(): void {
    const old = this.#slots;
    this.#slots = new Uint32Array(old.length * 2);
    for (let slot = 0; slot < old.length; slot += 4) {
      if (old[slot] === 0) continue;
      this.#digest.set(old.subarray(slot, slot + 4));
      this.#slots.set(this.#digest, this.#find());
    }
  }
}

/**
 * UTF-16 code units as one byte where ASCII, else three: unlike UTF-8, it keeps two lone surrogates apart, and
 * ids are any strings.
 */
function writeUnits(text: string, bytes: Uint8Array, offset: number): number {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) {
      bytes[offset++] = unit;
    } else {
      bytes[offset++] = 0xe0 | (unit >> 12);
      bytes[offset++] = 0x80 | ((unit >> 6) & 63);
      bytes[offset++] = 0x80 | (unit & 63);
    }
  }
  return offset;
}

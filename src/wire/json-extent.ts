import { utf8Decode } from '../encoding/utf8.js';
import { KeyBackupError } from '../errors.js';

/** The bytes that give JSON its structure. */
export const JSON_BYTES = {
  QUOTE: 0x22,
  COMMA: 0x2c,
  COLON: 0x3a,
  OPEN_BRACKET: 0x5b,
  CLOSE_BRACKET: 0x5d,
  OPEN_BRACE: 0x7b,
  CLOSE_BRACE: 0x7d,
} as const;

/** White space between two values. */
export function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

const { QUOTE, COMMA, OPEN_BRACKET, CLOSE_BRACKET, OPEN_BRACE, CLOSE_BRACE } = JSON_BYTES;
const BACKSLASH = 0x5c;

/** Up to this length, a loop finds the end of a string sooner than a call does. */
const SHORT_STRING = 24;

/** How many bytes of a value are kept, and how deep it may nest. */
export interface ExtentLimits {
  readonly bytes: number;
  readonly depth: number;
}

/** The bytes of a JSON value, or why they were not kept. */
export type Extent =
  | { readonly bytes: Uint8Array; readonly tooLarge?: undefined }
  | { readonly bytes?: undefined; readonly tooLarge: string };

/** A parsed JSON value, or the reason why parsing failed. */
export type Parsed =
  | { readonly value: unknown; readonly error?: undefined }
  | { readonly value?: undefined; readonly error: KeyBackupError };

/** @param place - The path in messages. */
export function parseExtent({ bytes, tooLarge }: Extent, place: string): Parsed {
  if (!bytes) return { error: new KeyBackupError('too-large', `${place}: ${tooLarge}`) };
  try {
    return { value: JSON.parse(utf8Decode(bytes, place)) as unknown };
  } catch (error) {
    if (error instanceof KeyBackupError) return { error };
    // The platform's own message is not kept: it quotes the text.
    return { error: new KeyBackupError('bad-json', `${place}: expected JSON, got something else`) };
  }
}

/**
 * Finds the end of one JSON value in a stream of chunks: skips strings, counts and matches brackets. It keeps a bounded
 * number of bytes; a larger value is skipped to its end.
 *
 * It does not check that the value is JSON; `JSON.parse` does. So a broken record costs no other: a tokenizer stops at
 * the first wrong byte, this goes on after the closing brace.
 */
export class JsonExtent {
  readonly limits: ExtentLimits;
  /** The opening brackets around the current byte, as far as they are tracked. */
  readonly #opened: Uint8Array;
  #path = '';
  /** What earlier chunks held of the value, in one array that grows: a piece may be a single byte. */
  #kept = new Uint8Array(0);
  #value: Uint8Array = this.#kept;
  #length = 0;
  /** How much of it was kept of earlier chunks. */
  #before = 0;
  #depth = 0;
  #tooDeep = false;
  #scalar = false;
  #inString = false;
  #escaped = false;

  constructor(limits: ExtentLimits) {
    this.limits = limits;
    this.#opened = new Uint8Array(limits.depth);
  }

  /** Starts a value. `first` is its first byte, which {@link JsonExtent.feed} gets too; `path` is for messages. */
  begin(first: number, path: string): void {
    this.#path = path;
    this.#length = 0;
    this.#before = 0;
    this.#depth = 0;
    this.#tooDeep = false;
    this.#scalar = first !== QUOTE && first !== OPEN_BRACE && first !== OPEN_BRACKET;
    this.#inString = false;
    this.#escaped = false;
  }

  /**
   * Reads on from `start`.
   *
   * @returns Where the value ends in the chunk (exclusive), or -1 if it continues in the next one.
   * @throws {@link KeyBackupError} `bad-json` when a bracket is closed by one of the other kind: the end of such a
   * value is unknown.
   */
  feed(chunk: Uint8Array, start: number): number {
    this.#before = this.isTooLarge ? 0 : this.#length;
    const end = this.#scalar ? findDelimiter(chunk, start) : this.#skim(chunk, start);
    const stop = end < 0 ? chunk.length : end;
    const before = this.#length;
    this.#length += stop - start;
    if (this.#length <= this.limits.bytes) {
      const piece = chunk.subarray(start, stop);
      // Copied where the rest comes with another chunk, since the producer may reuse this one.
      this.#value = end < 0 || before > 0 ? this.#keep(piece, before) : piece;
    }
    return end;
  }

  /** Whether it is longer than what is kept. */
  get isTooLarge(): boolean {
    return this.#length > this.limits.bytes;
  }

  /** What earlier chunks held of the value, unless it was too large. */
  get kept(): Uint8Array {
    return this.#kept.subarray(0, this.#before);
  }

  /** Appends a piece to the `at` bytes that are kept already, and gives all of them. */
  #keep(piece: Uint8Array, at: number): Uint8Array {
    const length = at + piece.length;
    if (length > this.#kept.length) {
      const larger = new Uint8Array(Math.min(2 * length, this.limits.bytes));
      larger.set(this.#kept.subarray(0, at));
      this.#kept = larger;
    }
    this.#kept.set(piece, at);
    return this.#kept.subarray(0, length);
  }

  /** The value that just ended. The bytes are a view of memory that the next value overwrites. */
  take(): Extent {
    if (this.isTooLarge) {
      return { tooLarge: `expected at most ${this.limits.bytes} bytes, got ${this.#length}` };
    }
    if (this.#tooDeep) return { tooLarge: `expected at most ${this.limits.depth} levels, got more` };
    return { bytes: this.#value };
  }

  #skim(chunk: Uint8Array, start: number): number {
    let i = start;
    while (i < chunk.length) {
      if (this.#inString) {
        i = this.#skipString(chunk, i);
        if (i < 0) return -1;
        if (this.#depth === 0) return i;
        continue;
      }
      const byte = chunk[i++];
      if (byte === QUOTE) {
        this.#inString = true;
      } else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
        if (this.#depth < this.#opened.length) this.#opened[this.#depth] = byte;
        else this.#tooDeep = true;
        this.#depth++;
      } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
        this.#depth--;
        // Both closing brackets stand two behind their opening ones.
        if (this.#depth < this.#opened.length && this.#opened[this.#depth] !== byte - 2) {
          throw new KeyBackupError('bad-json', `${this.#path}: a bracket is closed by one of the other kind`);
        }
        if (this.#depth === 0) return i;
      }
    }
    return -1;
  }

  /** Where the string around `start` ends; -1 if it continues in the next chunk. */
  #skipString(chunk: Uint8Array, start: number): number {
    let i = start;
    if (this.#escaped) {
      this.#escaped = false;
      i++;
    }
    const near = Math.min(chunk.length, i + SHORT_STRING);
    while (i < near) {
      const byte = chunk[i++];
      if (byte === QUOTE) {
        this.#inString = false;
        return i;
      }
      if (byte === BACKSLASH) i++;
    }
    // A backslash at the very end of the loop's reach has moved past the byte it escapes, maybe past the chunk.
    for (let from = i; ; from = i) {
      const quote = from < chunk.length ? chunk.indexOf(QUOTE, from) : -1;
      const stop = quote < 0 ? chunk.length : quote;
      let backslashes = 0;
      while (stop - backslashes > from && chunk[stop - backslashes - 1] === BACKSLASH) backslashes++;
      const escapes = backslashes % 2 === 1;
      if (quote < 0) {
        this.#escaped = from > chunk.length || escapes;
        return -1;
      }
      i = quote + 1;
      if (!escapes) {
        this.#inString = false;
        return i;
      }
    }
  }
}

/** Where a number or a literal ends: before the next comma, closing bracket or white space. */
function findDelimiter(chunk: Uint8Array, start: number): number {
  for (let i = start; i < chunk.length; i++) {
    const byte = chunk[i];
    if (byte === COMMA || byte === CLOSE_BRACE || byte === CLOSE_BRACKET || byte <= 0x20) return i;
  }
  return -1;
}

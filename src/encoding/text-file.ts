import { KeyBackupError } from '../errors.js';
import { concatAll } from './bytes.js';
import { utf8Decode, utf8Encode } from './utf8.js';

/**
 * Text files as people hold them: UTF-8, with a byte order mark or without, or UTF-16, as Windows writes it. Anything else
 * is named, so that nothing is decoded into another text in silence.
 */

/** Bytes that tell the encoding. */
const HEAD = 64;

/** Ends a text on old systems (Ctrl-Z), or fills the last block of a file after a crash. */
const FILLERS: readonly number[] = [0x1a, 0x00];

/** What people save or choose instead of text, by its first bytes. */
const OTHER_KINDS: readonly (readonly [RegExp, string])[] = [
  [/^PK(?:\x03\x04|\x05\x06)/, 'a ZIP archive or an office document; unpack it, or save it as plain text'],
  [/^\x1f\x8b|^BZh[1-9]1AY&SY|^\xfd7zXZ\0|^7z\xbc\xaf|^\x28\xb5\x2f\xfd/, 'a compressed file; unpack it'],
  [/^%PDF-/, 'a PDF; save it as plain text'],
  [/^\{\\rtf/, 'a rich text document (RTF); save it as plain text'],
  [/^\xd0\xcf\x11\xe0/, 'a Word document; save it as plain text'],
  [/^\s*<(?:!doctype|html|head|body|\?xml)\b/i, 'a web page (HTML or XML); save the text alone'],
  [/^bplist/, 'a web archive; save the text alone'],
  [/^\x89PNG|^\xff\xd8\xff|^GIF8|^....ftyp/s, 'a picture; type what it shows'],
  [/^SQLite format 3\0/, 'an SQLite database'],
  [/^\xff\xfe\0\0|^\0\0\xfe\xff/, 'UTF-32; save it as UTF-8'],
];

type Encoding = 'utf-8' | 'utf-16le' | 'utf-16be';

/** The bytes of a text file as UTF-8 without a byte order mark, while they arrive. */
export async function* utf8Of(
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  field: string,
): AsyncGenerator<Uint8Array, void, undefined> {
  const decoder = new TextFile(field);
  for await (const chunk of chunks) {
    const bytes = decoder.push(chunk);
    if (bytes.length > 0) yield bytes;
  }
  const last = decoder.end();
  if (last.length > 0) yield last;
}

/**
 * The text of a whole file, without a byte order mark and fillers at its end. Throws `bad-utf8`, with the place, for
 * anything but UTF-8 or UTF-16 without NUL.
 */
export function decodeTextFile(bytes: Uint8Array, field: string): string {
  const file = new TextFile(field);
  const utf8 = concatAll([file.push(bytes), file.end()]);
  const nul = utf8.indexOf(0);
  if (nul !== -1) throw notText(field, `a NUL byte at ${nul}: it is no text, or damaged`);
  try {
    return utf8Decode(utf8, field);
  } catch {
    throw notText(field, `another encoding: byte ${firstInvalid(bytes)} is not UTF-8; save it as UTF-8`);
  }
}

/** Finds the encoding in the first bytes, and makes UTF-8 of them and of all that follow. */
class TextFile {
  readonly #field: string;
  #encoding: Encoding | undefined;
  #head: Uint8Array = new Uint8Array(0);
  /** The beginning of a character of UTF-16. */
  #part: Uint8Array = new Uint8Array(0);
  /** Fillers, if the file ends after them. */
  #fillers: Uint8Array = new Uint8Array(0);

  constructor(field: string) {
    this.#field = field;
  }

  push(chunk: Uint8Array): Uint8Array {
    if (this.#encoding !== undefined) return this.#decode(chunk);
    this.#head = concatAll([this.#head, chunk]);
    return this.#head.length < HEAD ? new Uint8Array(0) : this.#begin();
  }

  end(): Uint8Array {
    const rest = this.#encoding === undefined ? this.#begin() : new Uint8Array(0);
    if (this.#part.length > 0) throw notText(this.#field, 'UTF-16 that ends in the middle of a character');
    return rest;
  }

  #begin(): Uint8Array {
    const { encoding, mark } = encodingOf(this.#head, this.#field);
    this.#encoding = encoding;
    return this.#decode(this.#head.subarray(mark));
  }

  #decode(chunk: Uint8Array): Uint8Array {
    const utf8 = this.#encoding === 'utf-8' ? chunk : this.#fromUtf16(chunk);
    let end = utf8.length;
    while (end > 0 && FILLERS.includes(utf8[end - 1])) end--;
    // A copy, because the owner may use the chunk again.
    const fillers = utf8.slice(end);
    if (end === 0) {
      this.#fillers = concatAll([this.#fillers, fillers]);
      return new Uint8Array(0);
    }
    const bytes = utf8.subarray(0, end);
    const given = this.#fillers.length === 0 ? bytes : concatAll([this.#fillers, bytes]);
    this.#fillers = fillers;
    return given;
  }

  #fromUtf16(chunk: Uint8Array): Uint8Array {
    const bytes = concatAll([this.#part, chunk]);
    const [high, low] = this.#encoding === 'utf-16be' ? [0, 1] : [1, 0];
    let end = bytes.length - (bytes.length % 2);
    // The first half of a pair waits for the second.
    if (end > 0 && bytes[end - 2 + high] >= 0xd8 && bytes[end - 2 + high] < 0xdc) end -= 2;
    this.#part = bytes.slice(end);
    let text = '';
    for (let i = 0; i < end; i += 2) {
      text += String.fromCharCode((bytes[i + high] << 8) | bytes[i + low]);
    }
    if (/[\ud800-\udfff]/u.test(text)) throw notText(this.#field, 'damaged UTF-16');
    return utf8Encode(text);
  }
}

function encodingOf(head: Uint8Array, field: string): { encoding: Encoding; mark: number } {
  const start = String.fromCharCode(...head.subarray(0, HEAD));
  const letters = start.replace(/^(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)/, '').replace(/\0/g, '');
  const kind = OTHER_KINDS.find(([pattern]) => pattern.test(start) || pattern.test(letters));
  if (kind) throw notText(field, kind[1]);
  if (start.startsWith('\xef\xbb\xbf')) return { encoding: 'utf-8', mark: 3 };
  if (start.startsWith('\xff\xfe')) return { encoding: 'utf-16le', mark: 2 };
  if (start.startsWith('\xfe\xff')) return { encoding: 'utf-16be', mark: 2 };
  // Without a mark it is certain where every second byte is NUL, and no other.
  if (/^(?:[^\0]\0){2,}$/.test(start)) return { encoding: 'utf-16le', mark: 0 };
  if (/^(?:\0[^\0]){2,}$/.test(start)) return { encoding: 'utf-16be', mark: 0 };
  if (/\0[^\0]/.test(start)) throw notText(field, 'NUL bytes: it is no text, or UTF-16; save it as UTF-8');
  return { encoding: 'utf-8', mark: 0 };
}

/** The offset of the first byte that no character of UTF-8 has there. */
function firstInvalid(bytes: Uint8Array): number {
  let i = 0;
  while (i < bytes.length) {
    const lead = bytes[i];
    const length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    try {
      utf8Decode(bytes.subarray(i, i + length), '');
    } catch {
      return i;
    }
    i += length;
  }
  return i;
}

function notText(field: string, got: string): KeyBackupError {
  return new KeyBackupError('bad-utf8', `${field}: expected a text file in UTF-8, got ${got}`);
}

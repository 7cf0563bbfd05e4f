import { base64Encode } from '../encoding/base64.js';
import { KeyBackupError } from '../errors.js';
import { BlockBuffer } from '../encoding/bytes.js';
import { utf8Encode } from '../encoding/utf8.js';

/**
 * The text around a key export: base64 between two lines.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#key-exports
 */

const BEGIN = '-----BEGIN MEGOLM SESSION DATA-----';
const END = '-----END MEGOLM SESSION DATA-----';

/** Bytes in a line of 96 characters, as Element writes it. */
const LINE_BYTES = 72;

/** Longer lines cannot be one of the two and are not kept whole. */
const MAX_LINE = 128;

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const OTHER = 64;
const SPACE = 65;
const PADDING = 66;
const DASH = 67;

/** Writes the text piece by piece, with padding, which some readers require. */
export class ArmorWriter {
  readonly #rest = new BlockBuffer(LINE_BYTES);
  #begun = false;

  /** Adds bytes. Returns whole lines, maybe none. */
  push(bytes: Uint8Array): string {
    const begin = this.#begun ? '' : `${BEGIN}\n`;
    this.#begun = true;
    return begin + lines(this.#rest.push(bytes));
  }

  /** The last lines. */
  end(): string {
    return `${this.push(new Uint8Array(0))}${lines(this.#rest.take())}${END}\n`;
  }
}

function lines(bytes: Uint8Array): string {
  let text = '';
  for (let i = 0; i < bytes.length; i += LINE_BYTES) {
    const line = base64Encode(bytes.subarray(i, i + LINE_BYTES));
    text += `${line.padEnd(4 * Math.ceil(line.length / 4), '=')}\n`;
  }
  return text;
}

/**
 * Reads the text piece by piece. Text before the first line and after the last is ignored, as in Element. Inside, white
 * space is ignored and everything else must be standard base64, padded or not.
 */
export class ArmorReader {
  #state: 'before' | 'body' | 'last-line' | 'after' = 'before';
  #line: number[] = [];
  #group = 0;
  #bits = 0;
  #symbols = 0;
  #padding = 0;
  readonly #table = symbolTable();

  /**
   * Adds a piece of the file.
   *
   * @returns The decoded bytes, maybe none; a new array.
   * @throws {@link KeyBackupError} `bad-export-file`.
   */
  push(chunk: Uint8Array): Uint8Array {
    const decoded = new Uint8Array(Math.ceil((chunk.length * 3) / 4) + 1);
    let length = 0;
    for (const byte of chunk) {
      if (this.#state === 'body') {
        const symbol = byte < 128 ? this.#table[byte] : OTHER;
        if (symbol < 64 && this.#padding === 0) {
          this.#group = ((this.#group << 6) | symbol) & 0xffff;
          this.#symbols++;
          this.#bits += 6;
          if (this.#bits >= 8) {
            this.#bits -= 8;
            decoded[length++] = this.#group >> this.#bits;
          }
        } else if (symbol !== SPACE) {
          this.#mark(symbol, byte);
        }
      } else if (this.#state !== 'after') {
        this.#addToLine(byte);
      }
    }
    return decoded.subarray(0, length);
  }

  /** @throws {@link KeyBackupError} `bad-export-file` if the file is not whole. */
  end(): void {
    if (this.#state === 'last-line') this.#endLine();
    if (this.#state === 'before') throw badExportFile(`expected the line ${BEGIN}, got none`);
    if (this.#state !== 'after')
      throw badExportFile(`expected the line ${END} at the end, got none: it is truncated`);
  }

  #mark(symbol: number, code: number): void {
    if (symbol === PADDING && this.#padding < 2) {
      this.#padding++;
    } else if (symbol === DASH) {
      this.#checkPadding();
      this.#state = 'last-line';
      this.#addToLine(code);
    } else {
      throw badExportFile('expected standard base64 between its two lines, got another character');
    }
  }

  #checkPadding(): void {
    const odd = (this.#symbols + this.#padding) % 4;
    if (this.#symbols % 4 === 1 || (this.#padding > 0 && odd !== 0)) {
      throw badExportFile('expected base64, got a truncated group of characters');
    }
  }

  #addToLine(code: number): void {
    if (code === 0x0a || code === 0x0d) this.#endLine();
    else if (this.#line.length <= MAX_LINE) this.#line.push(code);
  }

  #endLine(): void {
    // A byte order mark before the first line.
    const line = String.fromCharCode(...this.#line).replace(/^\u00ef\u00bb\u00bf/, '');
    this.#line = [];
    if (this.#state === 'before') {
      if (line.trim() === BEGIN) this.#state = 'body';
    } else {
      if (line.trim() !== END) throw badExportFile(`expected the line ${END}, got another`);
      this.#state = 'after';
    }
  }
}

/** A file that is not a key export, or not a whole one. */
export function badExportFile(message: string): KeyBackupError {
  return new KeyBackupError('bad-export-file', `key export: ${message}`);
}

function symbolTable(): Uint8Array {
  const table = new Uint8Array(128).fill(OTHER);
  utf8Encode(ALPHABET).forEach((code, value) => (table[code] = value));
  for (const space of [0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x20]) table[space] = SPACE;
  table['='.charCodeAt(0)] = PADDING;
  table['-'.charCodeAt(0)] = DASH;
  return table;
}

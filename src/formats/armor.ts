import { base64Decode, base64EncodePadded } from '../encoding/base64.js';
import { KeyBackupError } from '../errors.js';
import { BlockBuffer } from '../encoding/bytes.js';
import { utf8Decode } from '../encoding/utf8.js';

/**
 * The text around a key export: base64 between two lines.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#key-exports
 */

const BEGIN = '-----BEGIN MEGOLM SESSION DATA-----';
const END = '-----END MEGOLM SESSION DATA-----';

/** Characters of a line, as Element writes it, and the bytes in it. */
const LINE = 96;
const LINE_BYTES = 72;

/** Longer lines cannot be one of the two and are not kept whole. */
const MAX_LINE = 128;

/** Ends the message about a file of which salvage reads what is there. */
export const ADVICE = '; salvage may read what is there';

const DASH = '-'.charCodeAt(0);

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
  // All at once: a call for every line would cost more than its base64.
  const base64 = base64EncodePadded(bytes);
  let text = '';
  for (let start = 0; start < base64.length; start += LINE) text += `${base64.slice(start, start + LINE)}\n`;
  return text;
}

/**
 * Reads the text piece by piece. Text before the first line and after the last is ignored, as in Element. Inside, white
 * space is ignored and everything else must be standard base64, padded or not.
 */
export class ArmorReader {
  /** Where the body of a lenient reader ends early, and why. */
  damage: KeyBackupError | undefined;
  readonly #lenient: boolean;
  #state: 'before' | 'body' | 'last-line' | 'after' = 'before';
  #line: number[] = [];
  /** Base64 that waits for the rest of its group. */
  #group = '';

  /** @param lenient - Ends the body before the first damage instead of throwing. */
  constructor(lenient = false) {
    this.#lenient = lenient;
  }

  /**
   * Adds a piece of the file.
   *
   * @returns The decoded bytes, maybe none; a new array.
   * @throws {@link KeyBackupError} `bad-export-file`.
   */
  push(chunk: Uint8Array): Uint8Array {
    const symbols = new Uint8Array(chunk.length);
    let length = 0;
    for (const byte of chunk) {
      if (this.#state === 'body' && byte !== DASH) {
        if (!isSpace(byte)) symbols[length++] = byte;
      } else if (this.#state !== 'after') {
        if (this.#state === 'body') this.#state = 'last-line';
        this.#addToLine(byte);
      }
    }
    return this.#decode(symbols.subarray(0, length));
  }

  #decode(symbols: Uint8Array): Uint8Array {
    try {
      const text = this.#group + utf8Decode(symbols, 'key export');
      const padding = text.indexOf('=');
      const whole = padding === -1 ? text.length : padding;
      const end = this.#state === 'body' ? whole - (whole % 4) : text.length;
      this.#group = text.slice(end);
      // Only the last group has padding.
      if (this.#group.length > 4) throw new Error('base64 behind the padding');
      return base64Decode(text.slice(0, end), 'key export');
    } catch {
      this.#reject('expected standard base64 between its two lines, got something else');
      const end = symbols.findIndex((byte) => byte > 0x7f);
      const text = this.#group + utf8Decode(end < 0 ? symbols : symbols.subarray(0, end), 'key export');
      const [groups] = /^(?:[A-Za-z0-9+/]{4})*/.exec(text) ?? [''];
      return base64Decode(groups, 'key export');
    }
  }

  /**
   * Ends the file. Returns the last bytes of one that ends early.
   *
   * @throws {@link KeyBackupError} `bad-export-file` if the file is not whole.
   */
  end(): Uint8Array {
    if (this.#state === 'last-line') this.#endLine();
    if (this.#state === 'before') throw badExportFile(`expected the line ${BEGIN}, got none`);
    if (this.#state !== 'after') {
      this.#reject(
        `expected the line ${END} at the end, got none: the file is cut off, its MAC is missing, and so a wrong passphrase ` +
          'cannot be told from damage',
      );
    }
    return this.#decode(new Uint8Array(0));
  }

  #reject(message: string): void {
    if (!this.#lenient) throw badExportFile(message + ADVICE);
    this.damage ??= badExportFile(message);
    this.#state = 'after';
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
      if (line.trim() !== END) this.#reject(`expected the line ${END}, got another`);
      this.#state = 'after';
    }
  }
}

/** A file that is not a key export, or not a whole one. */
export function badExportFile(message: string): KeyBackupError {
  return new KeyBackupError('bad-export-file', `key export: ${message}`);
}

/** Tab, line feed, vertical tab, form feed, carriage return and space. */
function isSpace(byte: number): boolean {
  return byte === 0x20 || (byte >= 0x09 && byte <= 0x0d);
}

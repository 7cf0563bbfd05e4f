import { expectAnyBytes } from './bytes.js';
import { KeyBackupError, describe } from '../errors.js';
import { utf8Decode } from './utf8.js';

/**
 * Standard base64 as Matrix uses it: written unpadded, except in secret storage. Reading accepts correct padding and
 * non-zero trailing bits, as the servers' own types do; it rejects the URL-safe alphabet, whitespace, wrong padding
 * and everything else.
 */

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const INVALID = 64;
const EQUALS = 61;

/** Bytes on a runtime that writes their base64 itself, several times as fast. */
interface WithBase64 extends Uint8Array {
  readonly toBase64?: (options: { readonly omitPadding: boolean }) => string;
}

const UNPADDED = { omitPadding: true };

/** What Node has before that. */
interface WithBuffer {
  readonly Buffer?: {
    from(memory: ArrayBufferLike, offset: number, length: number): { toString(encoding: 'base64'): string };
  };
}

/** From this many bytes on, a Buffer is made sooner than the loop ends. */
const BUFFER_FROM = 64;

let symbols: Uint8Array | undefined;
let values: Uint8Array | undefined;

function symbolTable(): Uint8Array {
  return (symbols ??= Uint8Array.from(ALPHABET, (symbol) => symbol.charCodeAt(0)));
}

function valueTable(): Uint8Array {
  if (!values) {
    values = new Uint8Array(128).fill(INVALID);
    for (let i = 0; i < 64; i++) values[ALPHABET.charCodeAt(i)] = i;
  }
  return values;
}

/**
 * Unpadded base64 of bytes. Uses table look-ups, so it is not constant-time; see SECURITY.md.
 *
 * @throws {@link KeyBackupError} `bad-parameters` for anything but bytes.
 * @see https://spec.matrix.org/v1.19/appendices/#unpadded-base64
 *
 * @example
 * ```ts
 * import { base64Decode, base64Encode } from 'megolm-backup/engine';
 *
 * console.log(base64Encode(Uint8Array.of(1, 2)), base64Decode('AQI=', 'my field').length); // AQI 2
 * ```
 */
export function base64Encode(bytes: Uint8Array): string {
  expectAnyBytes(bytes, 'bytes');
  const { toBase64 } = bytes as WithBase64;
  if (typeof toBase64 === 'function') return toBase64.call(bytes, UNPADDED);
  const { Buffer } = globalThis as WithBuffer;
  const rest = bytes.length % 3;
  if (Buffer && bytes.length >= BUFFER_FROM) {
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64');
    return rest === 0 ? text : text.slice(0, rest - 3);
  }
  const table = symbolTable();
  const codes = new Uint8Array(Math.ceil((bytes.length * 4) / 3));
  let out = 0;
  let i = 0;
  for (; i < bytes.length - rest; i += 3) {
    const group = (bytes[i] << 16) | (bytes[i + 1] << 8) | bytes[i + 2];
    codes[out++] = table[group >> 18];
    codes[out++] = table[(group >> 12) & 63];
    codes[out++] = table[(group >> 6) & 63];
    codes[out++] = table[group & 63];
  }
  if (rest > 0) {
    const group = (bytes[i] << 16) | (rest === 2 ? bytes[i + 1] << 8 : 0);
    codes[out++] = table[group >> 18];
    codes[out++] = table[(group >> 12) & 63];
    if (rest === 2) codes[out++] = table[(group >> 6) & 63];
  }
  return utf8Decode(codes, 'base64');
}

/** {@link base64Encode} with padding, which other implementations expect in secret storage. */
export function base64EncodePadded(bytes: Uint8Array): string {
  const text = base64Encode(bytes);
  return text.padEnd(Math.ceil(text.length / 4) * 4, '=');
}

/**
 * The bytes of standard base64, padded or not.
 *
 * @param value - Any value; only a base64 string is accepted.
 * @param field - The name of the value, for error messages.
 * @returns A new array.
 * @throws {@link KeyBackupError} `bad-json` when it is not a string; `bad-base64` for a character outside the standard
 * alphabet, wrong padding or an impossible length.
 */
export function base64Decode(value: unknown, field: string): Uint8Array {
  const length = symbolCount(value, field);
  const decoded = decodeNatively(value as string, length);
  if (decoded) return decoded;
  const bytes = new Uint8Array(Math.floor((length * 3) / 4));
  decodeSymbols(value as string, length, field, bytes);
  return bytes;
}

/** {@link base64Decode} of exactly `length` bytes; `undefined` for anything else, and for text far too long. */
export function base64DecodeOr(value: unknown, length: number): Uint8Array | undefined {
  if (typeof value !== 'string' || value.length > 2 * length) return undefined;
  try {
    const bytes = base64Decode(value, 'base64');
    return bytes.length === length ? bytes : undefined;
  } catch {
    return undefined;
  }
}

/** From this many symbols on, the runtime is faster, soon several times. */
const NATIVE_FROM = 100;

/** By the runtime. Undefined where it cannot, and for what is not strict base64. */
function decodeNatively(text: string, length: number): Uint8Array | undefined {
  const native = Uint8Array as { readonly fromBase64?: (text: string) => Uint8Array };
  if (length < NATIVE_FROM || typeof native.fromBase64 !== 'function') return undefined;
  try {
    const bytes = native.fromBase64(text.slice(0, length));
    // It skips whitespace, which shows in the number of bytes.
    return bytes.length === Math.floor((length * 3) / 4) ? bytes : undefined;
  } catch {
    // Its error does not say where.
    return undefined;
  }
}

function decodeSymbols(text: string, length: number, field: string, bytes: Uint8Array): void {
  const table = valueTable();
  let out = 0;
  let i = 0;
  for (; i + 4 <= length; i += 4) {
    const first = text.charCodeAt(i);
    const second = text.charCodeAt(i + 1);
    const third = text.charCodeAt(i + 2);
    const fourth = text.charCodeAt(i + 3);
    const a = table[first & 127];
    const b = table[second & 127];
    const c = table[third & 127];
    const d = table[fourth & 127];
    if ((first | second | third | fourth) >= 128 || (a | b | c | d) >= INVALID) {
      throw unexpectedSymbol(text, length, field);
    }
    bytes[out++] = (a << 2) | (b >> 4);
    bytes[out++] = (b << 4) | (c >> 2);
    bytes[out++] = (c << 6) | d;
  }
  if (i < length) {
    const a = valueAt(table, text, i, length);
    const b = valueAt(table, text, i + 1, length);
    const c = valueAt(table, text, i + 2, length);
    if ((a | b | c) >= INVALID) throw unexpectedSymbol(text, length, field);
    bytes[out++] = (a << 2) | (b >> 4);
    if (i + 2 < length) bytes[out++] = (b << 4) | (c >> 2);
  }
}

/** The six bits of a symbol; 0 past the end, {@link INVALID} for another character. */
function valueAt(table: Uint8Array, text: string, i: number, length: number): number {
  if (i >= length) return 0;
  const code = text.charCodeAt(i);
  return code < 128 ? table[code] : INVALID;
}

function unexpectedSymbol(text: string, length: number, field: string): KeyBackupError {
  const table = valueTable();
  let at = 0;
  while (at < length && valueAt(table, text, at, length) !== INVALID) at++;
  return new KeyBackupError(
    'bad-base64',
    `${field}: expected standard base64, got another character at ${at}`,
  );
}

/** Checks type, length and padding, and returns the number of symbols before the padding. */
function symbolCount(text: unknown, field: string): number {
  if (typeof text !== 'string') {
    throw new KeyBackupError('bad-json', `${field}: expected a base64 string, got ${describe(text)}`);
  }
  let length = text.length;
  let padding = 0;
  while (padding < 2 && length > 0 && text.charCodeAt(length - 1) === EQUALS) {
    length--;
    padding++;
  }
  if (length % 4 === 1) {
    throw new KeyBackupError(
      'bad-base64',
      `${field}: expected base64, got an impossible length of ${length}`,
    );
  }
  if (padding > 0 && (length + padding) % 4 !== 0) {
    throw new KeyBackupError(
      'bad-base64',
      `${field}: expected base64 unpadded or fully padded, got ${padding} "="`,
    );
  }
  return length;
}

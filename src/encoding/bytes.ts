import { KeyBackupError, describe } from '../errors.js';

/** Joins byte arrays into a new one. */
export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  return concatAll(parts);
}

/** {@link concat} of a list: there may be more pieces in it than a call may have arguments. */
export function concatAll(parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const joined = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}

/**
 * Whether two byte arrays are equal, in time that depends on their lengths only.
 *
 * JavaScript engines promise no constant time; this is a loop without branches on the content, which is the
 * most the language allows.
 */
export function equal(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= a[i] ^ b[i];
  return difference === 0;
}

/** Whether every byte is zero, without a branch on the content. */
export function isZero(bytes: Uint8Array): boolean {
  let any = 0;
  for (const byte of bytes) any |= byte;
  return any === 0;
}

/**
 * Overwrites bytes with zeros. A promise about this array only: the runtime may have copied the bytes before,
 * and strings made of them cannot be wiped at all.
 */
export function wipe(...arrays: readonly Uint8Array[]): void {
  for (const array of arrays) array.fill(0);
}

/**
 * Whether a value is a Uint8Array, of this realm or another: an iframe, a `vm` context and jsdom each have a class of
 * their own. A Buffer is one too.
 */
export function isBytes(value: unknown): value is Uint8Array {
  return ArrayBuffer.isView(value) && Object.prototype.toString.call(value) === '[object Uint8Array]';
}

/** The same memory as a plain Uint8Array of this realm, without what a Buffer changes about it. */
export function plainBytes(bytes: Uint8Array): Uint8Array {
  if (Object.getPrototypeOf(bytes) === Uint8Array.prototype) return bytes;
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** A copy that is a plain Uint8Array, also of a Buffer, whose own `slice` would share memory. */
export function copyBytes(bytes: Uint8Array): Uint8Array {
  // Not Uint8Array.from, which goes through the bytes one by one.
  return new Uint8Array(bytes);
}

/**
 * Checks a caller's byte argument.
 *
 * @returns The same memory, see {@link plainBytes}.
 * @throws {@link KeyBackupError} `bad-length` when it is not a Uint8Array of `length` bytes.
 */
export function expectBytes(value: unknown, length: number, field: string): Uint8Array {
  if (!isBytes(value) || value.length !== length) {
    throw new KeyBackupError('bad-length', `${field}: expected ${length} bytes, got ${describe(value)}`);
  }
  return plainBytes(value);
}

/// <reference lib="esnext.disposable" preserve="true" />
import { KeyBackupError, describe } from '../errors.js';

/** Joins byte arrays into a new one. */
export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  return concatAll(parts);
}

/** {@link concat} of a list that may be longer than an argument list. */
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

/** Whether two byte arrays are equal, without a branch on their content: JavaScript allows no better constant time. */
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

/** Overwrites bytes with zeros: these arrays only, not what the runtime copied, and no strings. */
export function wipe(...arrays: readonly Uint8Array[]): void {
  for (const array of arrays) array.fill(0);
}

let tag: PropertyDescriptor | undefined;

/**
 * Whether a value is a Uint8Array, of this realm or another: an iframe, a `vm` context and jsdom each have their own
 * class. A Buffer is one too.
 */
export function isBytes(value: unknown): value is Uint8Array {
  tag ??= Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag);
  return tag?.get?.call(value) === 'Uint8Array';
}

/** The same memory as a plain Uint8Array of this realm, not a Buffer. */
export function plainBytes(bytes: Uint8Array): Uint8Array {
  if (Object.getPrototypeOf(bytes) === Uint8Array.prototype) return bytes;
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** A copy as a plain Uint8Array, also of a Buffer, whose own `slice` shares memory. */
export function copyBytes(bytes: Uint8Array): Uint8Array {
  // Not Uint8Array.from, which iterates.
  return new Uint8Array(bytes);
}

/** Checks a caller's bytes. Returns the same memory, see {@link plainBytes}; throws `bad-length`. */
export function expectBytes(value: unknown, length: number, field: string): Uint8Array {
  if (!isBytes(value) || value.length !== length) {
    throw new KeyBackupError('bad-length', `${field}: expected ${length} bytes, got ${describe(value)}`);
  }
  return plainBytes(value);
}

/** @throws {@link KeyBackupError} `bad-parameters` unless the value is a Uint8Array. */
export function expectAnyBytes(value: unknown, field: string): asserts value is Uint8Array {
  if (isBytes(value)) return;
  throw new KeyBackupError('bad-parameters', `${field}: expected bytes, got ${describe(value)}`);
}

/** `Symbol.dispose`, for `using`; a stand-in where the runtime lacks it. */
export const DISPOSE: typeof Symbol.dispose =
  (Symbol as { readonly dispose?: typeof Symbol.dispose }).dispose ??
  (Symbol.for('Symbol.dispose') as typeof Symbol.dispose);

/** The bytes of a secret key, until they are wiped: the zeros that remain are never used as a key. */
export class SecretBytes {
  readonly #bytes: Uint8Array;
  readonly #name: string;
  #disposed = false;

  /**
   * @param bytes - Kept, not copied.
   * @param name - Names the key in the error.
   */
  constructor(bytes: Uint8Array, name: string) {
    this.#bytes = bytes;
    this.#name = name;
  }

  /** The bytes themselves. Throws `bad-parameters` after {@link SecretBytes.dispose}. */
  get value(): Uint8Array {
    if (this.#disposed) {
      throw new KeyBackupError(
        'bad-parameters',
        `${this.#name}: expected a usable key, got one already disposed`,
      );
    }
    return this.#bytes;
  }

  /** Wipes the bytes. */
  dispose(): void {
    this.#disposed = true;
    wipe(this.#bytes);
  }
}

/** Cuts a stream of pieces into whole blocks; holds back an incomplete one. */
export class BlockBuffer {
  readonly #blockLength: number;
  #rest: Uint8Array = new Uint8Array(0);

  /** @param blockLength - In bytes. */
  constructor(blockLength: number) {
    this.#blockLength = blockLength;
  }

  /** Adds a piece and returns all whole blocks, possibly zero bytes. */
  push(bytes: Uint8Array): Uint8Array {
    const all = this.#rest.length === 0 ? bytes : concat(this.#rest, bytes);
    const whole = all.length - (all.length % this.#blockLength);
    this.#rest = all.slice(whole);
    return all.subarray(0, whole);
  }

  /** Removes and returns the incomplete block. */
  take(): Uint8Array {
    const rest = this.#rest;
    this.#rest = new Uint8Array(0);
    return rest;
  }
}

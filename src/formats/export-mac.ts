import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { assertBytes, callBackend } from '../scheme/backend-call.js';
import type { Pbkdf2Backend } from '../scheme/passphrase.js';
import type { AesCtrBackend } from './aes-ctr.js';
import { MAC } from './export-header.js';

/** HMAC-SHA-256 of data in pieces. */
export interface StreamMac {
  /** Adds a piece; what it returns is not used. */
  update(bytes: Uint8Array): unknown;
  /** Gives the 32 bytes; called once. */
  digest(): Uint8Array;
  /** Wipes the key of unfinished data, if it can. */
  destroy?(): void;
}

/** The part of a `Backend` that reads and writes key exports. */
export interface ExportBackend extends Pbkdf2Backend, AesCtrBackend {
  /** HMAC-SHA-256 in pieces. The key is not kept. */
  readonly hmacSha256?: (key: Uint8Array) => StreamMac;
}

/** The MAC of a file, by a backend or in pure JavaScript. */
export class ExportMac {
  readonly #mac: StreamMac;
  readonly #backend: ExportBackend;

  /** @param key - 32 bytes; copied. */
  constructor(key: Uint8Array, backend: ExportBackend = { name: 'pure JavaScript' }) {
    this.#backend = backend;
    this.#mac = this.#call(() => backend.hmacSha256?.(key)) ?? hmac.create(sha256, key);
  }

  update(bytes: Uint8Array): void {
    this.#call(() => this.#mac.update(bytes));
  }

  digest(): Uint8Array {
    return assertBytes(
      this.#backend,
      'hmacSha256',
      this.#call(() => this.#mac.digest()),
      MAC,
    );
  }

  dispose(): void {
    this.#mac.destroy?.();
  }

  #call<T>(call: () => T): T {
    return callBackend(this.#backend, 'hmacSha256', call);
  }
}

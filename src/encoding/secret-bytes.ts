import { wipe } from './bytes.js';
import { KeyBackupError } from '../errors.js';

/** The bytes of a secret key until they are overwritten: the zeros that remain are never taken for a key. */
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

  /** Overwrites them. */
  dispose(): void {
    this.#disposed = true;
    wipe(this.#bytes);
  }
}

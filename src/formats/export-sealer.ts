import { randomBytes } from '@noble/hashes/utils.js';
import { concat, wipe } from '../encoding/bytes.js';
import { KeyBackupError, numberOr } from '../errors.js';
import { MAX_ITERATIONS, passwordBytes, pbkdf2, type DeriveOptions } from '../scheme/passphrase.js';
import { AesCtr } from './aes-ctr.js';
import { ArmorWriter } from './armor.js';
import { headerBytes } from './export-header.js';
import { ExportMac, type ExportBackend } from './export-mac.js';

/** A file with fewer rounds is read but never written. */
const MIN_EXPORT_ITERATIONS = 100_000;

/** What reads and writes of key exports accept. */
export interface ExportOptions extends DeriveOptions {
  /** Derives, encrypts and authenticates by other means; pure JavaScript otherwise. */
  readonly backend?: ExportBackend | undefined;
}

/** Writes an encrypted file piece by piece: encrypts, authenticates and armors. */
export class ExportSealer {
  readonly #cipher: AesCtr;
  readonly #mac: ExportMac;
  readonly #armor = new ArmorWriter();
  #header: Uint8Array;

  private constructor(keys: Uint8Array, header: Uint8Array, iv: Uint8Array, backend?: ExportBackend) {
    this.#cipher = new AesCtr(keys.subarray(0, 32), iv, backend);
    this.#mac = new ExportMac(keys.subarray(32), backend);
    this.#header = header;
  }

  /**
   * Derives the keys, with a new salt and a new IV.
   *
   * @throws {@link KeyBackupError} `bad-parameters` for the rounds or an empty passphrase; `aborted`;
   * `backend-failed`.
   */
  static async create(passphrase: string, iterations: number, options: ExportOptions): Promise<ExportSealer> {
    if (!Number.isInteger(iterations) || iterations < MIN_EXPORT_ITERATIONS || iterations > MAX_ITERATIONS) {
      throw new KeyBackupError(
        'bad-parameters',
        `iterations: expected 100,000 to 10,000,000, got ${numberOr(iterations)}`,
      );
    }
    const password = passwordBytes(passphrase);
    if (password.length === 0) {
      throw new KeyBackupError(
        'bad-parameters',
        'passphrase: expected some text, got an empty one: it protects nothing',
      );
    }
    const salt = randomBytes(16);
    const iv = randomBytes(16);
    // Counters of 64 bits in some readers must not overflow.
    iv[8] &= 0x7f;
    try {
      const keys = await pbkdf2(password, salt, iterations, 64, options);
      const header = headerBytes({ salt, iv, iterations });
      const sealer = new ExportSealer(keys, header, iv, options.backend);
      wipe(keys);
      return sealer;
    } finally {
      wipe(password);
    }
  }

  /** Adds plaintext. Returns the text that is complete so far, maybe none. */
  async push(plaintext: Uint8Array): Promise<string> {
    const bytes = concat(this.#header, await this.#cipher.update(plaintext));
    wipe(plaintext);
    this.#header = new Uint8Array(0);
    this.#mac.update(bytes);
    return this.#armor.push(bytes);
  }

  /** The rest of the file. Wipes the keys. */
  async end(): Promise<string> {
    const last = await this.#cipher.final();
    this.#mac.update(last);
    return this.#armor.push(concat(last, this.#mac.digest())) + this.#armor.end();
  }

  /** Wipes the keys of an unfinished file. */
  dispose(): void {
    this.#cipher.dispose();
    this.#mac.dispose();
  }
}

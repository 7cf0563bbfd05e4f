import { expectOptions, expectText } from '../encoding/arguments.js';
import { hkdf } from '@noble/hashes/hkdf.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { randomBytes } from '@noble/hashes/utils.js';
import { aesCtr } from '../formats/aes-ctr.js';
import { base64EncodePadded } from '../encoding/base64.js';
import { copyBytes, equal, expectBytes, wipe, DISPOSE, SecretBytes } from '../encoding/bytes.js';
import { KeyBackupError } from '../errors.js';
import { ownValue } from '../encoding/json.js';
import {
  SECRETS,
  SECRET_STORAGE_ALGORITHM,
  anyDescription,
  defaultKeyId,
  descriptionMac,
  keyDescription,
  passphraseParameters,
  type AccountData,
  type KeyDescription,
} from './key-description.js';
import { encryptedSecret } from './sealed-secret.js';
import { MIN_ITERATIONS, checkIterations, deriveKey, type DeriveOptions } from '../scheme/passphrase.js';
import { inAnyForm, type OtherFormOptions } from '../scheme/passphrase-forms.js';
import { decodeRecoveryKey, encodeRecoveryKey } from '../scheme/recovery-key.js';
import { utf8Decode, utf8Encode } from '../encoding/utf8.js';

/**
 * Secret storage, `m.secret_storage.v1.aes-hmac-sha2`: where users keep the backup decryption key. What users call
 * "recovery key" or "security key" is usually the key of THIS storage; the key of the backup is in it.
 *
 * HKDF-SHA-256 of the storage key (salt 32 zero bytes, info the secret's name, 64 bytes) gives an AES key and a MAC
 * key. AES-256-CTR encrypts; HMAC-SHA-256 covers the ciphertext.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#msecret_storagev1aes-hmac-sha2-1
 */

const ZEROS = 32;
/** One secret under one storage key: three fields of padded base64; padding is optional on reading. */
export interface EncryptedSecret {
  /** 16 bytes; bit 63 is zero when written. */
  readonly iv: string;
  readonly ciphertext: string;
  /** 32 bytes: HMAC of the ciphertext. */
  readonly mac: string;
}

/** `unchecked` without an `iv` or a `mac` in the description; `wrong` also if one is malformed. */
export type KeyCheck = 'right' | 'wrong' | 'unchecked';

/** How to write with a storage key. */
export interface StorageWriteOptions {
  /**
   * Allows an unproven key ({@link SecretStorageKey.proven}), but never one derived from a passphrase: its output lets
   * the server test passphrases.
   */
  readonly allowUnproven?: boolean | undefined;
}

/**
 * A key of the secret storage: 32 bytes that decrypt every secret stored under it.
 *
 * @example
 * ```ts
 * import { BackupDecryptionKey, SecretStorageKey } from 'megolm-backup';
 *
 * // A user's account data: the storage key they hold, and a secret under it.
 * const storage = SecretStorageKey.generate('abc');
 * const accountData = {
 *   'm.secret_storage.default_key': { key: storage.id },
 *   'm.secret_storage.key.abc': storage.describe(),
 *   'm.megolm_backup.v1': storage.encryptSecret('m.megolm_backup.v1', BackupDecryptionKey.generate().toBase64()),
 * };
 *
 * const opened = SecretStorageKey.fromRecoveryKey(storage.toRecoveryKey(), accountData);
 * const secret = opened.decryptSecret('m.megolm_backup.v1', accountData['m.megolm_backup.v1']);
 * console.log(BackupDecryptionKey.fromSecret(secret).key.publicKey.toBase64().length); // 43
 * ```
 */
export class SecretStorageKey {
  /** The id in `m.secret_storage.key.<id>`. */
  readonly id: string;
  readonly #secret: SecretBytes;
  readonly #iterations: number | undefined;
  #proven = false;

  private constructor(id: string, bytes: Uint8Array, iterations?: number) {
    this.id = id;
    this.#secret = new SecretBytes(bytes, 'secret storage key');
    this.#iterations = iterations;
  }

  /** A new key from the platform's secure generator. Store {@link SecretStorageKey.describe} under its id. */
  static generate(id: string): SecretStorageKey {
    const key = new SecretStorageKey(expectText(id, 'key id'), randomBytes(32));
    key.#proven = true;
    return key;
  }

  /**
   * @param bytes - 32 bytes; they are copied. The key is not proven.
   * @param iterations - The rounds of PBKDF2, if the bytes were derived from a passphrase.
   * @throws {@link KeyBackupError} `bad-length`; `bad-parameters` for iterations other than 1 to 10,000,000.
   */
  static fromBytes(bytes: Uint8Array, id: string, iterations?: number): SecretStorageKey {
    expectText(id, 'key id');
    if (iterations !== undefined) checkIterations(iterations, 'iterations');
    return new SecretStorageKey(id, copyBytes(expectBytes(bytes, 32, 'secret storage key')), iterations);
  }

  /**
   * Reads the text form that the user holds and checks it with the description's MAC, or with a secret in the account
   * data: if that decrypts, the key is proven whatever the description says. Without a MAC an unproven key may read.
   *
   * @param accountData - The account data.
   * @param keyId - The key's id; the default key's otherwise.
   * @throws {@link KeyBackupError} `bad-recovery-key`; `wrong-key` when the description's MAC does not fit;
   * `bad-json`, `bad-base64`, `bad-length`, `bad-mac-length` when it is malformed; `missing-field`, `bad-json`,
   * `unsupported-algorithm` for the account data.
   */
  static fromRecoveryKey(text: string, accountData: AccountData, keyId?: string): SecretStorageKey {
    const id = keyId ?? defaultKeyId(accountData);
    const key = new SecretStorageKey(id, decodeRecoveryKey(text));
    return checked(key, accountData, 'wrong-key');
  }

  /**
   * Derives the key from the user's security phrase, without Unicode normalisation, and checks it as
   * {@link SecretStorageKey.fromRecoveryKey} does. Another form of the phrase is used only with `onOtherForm`.
   *
   * @throws {@link KeyBackupError} `wrong-passphrase` when the description's MAC does not fit; `bad-base64`,
   * `bad-length`, `bad-mac-length` when it is malformed; `missing-field` when the key has no passphrase;
   * `bad-parameters` for parameters out of bounds; `unsupported-algorithm`, `bad-json`, `aborted`, `backend-failed`.
   */
  static async fromPassphrase(
    passphrase: string,
    accountData: AccountData,
    options: DeriveOptions & OtherFormOptions & { readonly keyId?: string | undefined } = {},
  ): Promise<SecretStorageKey> {
    expectOptions(options);
    const id = options.keyId ?? defaultKeyId(accountData);
    const found = anyDescription(accountData, id);
    const description = ownValue(found, 'passphrase') === undefined ? keyDescription(accountData, id) : found;
    const { salt, iterations } = passphraseParameters(description);
    const open = async (text: string) => {
      const bytes = await deriveKey(text, salt, iterations, options);
      return checked(new SecretStorageKey(id, bytes, iterations), accountData, 'wrong-passphrase');
    };
    return inAnyForm(passphrase, open, options);
  }

  /**
   * Whether the key is known to be right: generated here, or verified by a description's MAC or a stored secret. An
   * unproven key may read but not write.
   */
  get proven(): boolean {
    return this.#proven;
  }

  /**
   * Checks this key with the MAC of a description, which proves it. Throws `bad-parameters` after
   * {@link SecretStorageKey.dispose}.
   */
  check(description: KeyDescription): KeyCheck {
    expectOptions(description, 'key description');
    let expected: ReturnType<typeof descriptionMac>;
    try {
      expected = descriptionMac(description, 'key description');
    } catch {
      return 'wrong';
    }
    if (!expected) return 'unchecked';
    const { mac } = this.#seal('', new Uint8Array(ZEROS), expected.iv);
    if (!equal(mac, expected.mac)) return 'wrong';
    this.#proven = true;
    return 'right';
  }

  /**
   * The description of the key: the content of `m.secret_storage.key.<id>`.
   *
   * @throws {@link KeyBackupError} as {@link SecretStorageKey.encryptSecret} does.
   */
  describe(options: StorageWriteOptions = {}): KeyDescription {
    this.#expectWritable(options);
    const iv = newIv();
    const { mac } = this.#seal('', new Uint8Array(ZEROS), iv);
    return { algorithm: SECRET_STORAGE_ALGORITHM, iv: base64EncodePadded(iv), mac: base64EncodePadded(mac) };
  }

  /**
   * Decrypts a secret, which proves the key.
   *
   * @param name - Its name, which is its account data type.
   * @param content - The content of that account data: `{encrypted: {<key id>: {iv, ciphertext, mac}}}`.
   * @throws {@link KeyBackupError} `missing-field` if it is not stored under this key; `mac-mismatch` if the key is
   * wrong or the secret was changed; `bad-json`, `bad-base64`, `bad-length`, `bad-mac-length`, `bad-utf8`,
   * `too-large`; `bad-parameters` when the key is disposed.
   */
  decryptSecret(name: string, content: unknown): string {
    const { iv, ciphertext, mac } = encryptedSecret(expectText(name, 'name'), content, this.id);
    const keys = this.#deriveKeys(name);
    try {
      if (!equal(hmac(sha256, keys.subarray(32), ciphertext), mac)) {
        throw new KeyBackupError(
          'mac-mismatch',
          `${name}: expected a secret encrypted with this key, got another or a changed one`,
        );
      }
      this.#proven = true;
      const plaintext = aesCtr(keys.subarray(0, 32), iv, ciphertext);
      try {
        return utf8Decode(plaintext, name);
      } finally {
        wipe(plaintext);
      }
    } finally {
      wipe(keys);
    }
  }

  /**
   * Encrypts a secret.
   *
   * @param name - Its name, which is its account data type.
   * @returns The content of the account data of that name. It replaces the secret under other keys too.
   * @throws {@link KeyBackupError} `unproven-key` when nothing has proven the key ({@link SecretStorageKey.proven});
   * `bad-parameters` when it was derived from a passphrase with fewer than 100,000 rounds, or is disposed.
   */
  encryptSecret(
    name: string,
    secret: string,
    options: StorageWriteOptions = {},
  ): { readonly encrypted: Readonly<Record<string, EncryptedSecret>> } {
    this.#expectWritable(options);
    expectText(name, 'name');
    const plaintext = utf8Encode(expectText(secret, 'secret'));
    try {
      const iv = newIv();
      const { ciphertext, mac } = this.#seal(name, plaintext, iv);
      const stored = {
        iv: base64EncodePadded(iv),
        ciphertext: base64EncodePadded(ciphertext),
        mac: base64EncodePadded(mac),
      };
      return { encrypted: Object.fromEntries([[this.id, stored]]) };
    } finally {
      wipe(plaintext);
    }
  }

  /**
   * The text form that the user keeps: 48 characters in groups of four. Throws `bad-parameters` after
   * {@link SecretStorageKey.dispose}.
   */
  toRecoveryKey(): string {
    return encodeRecoveryKey(this.#secret.value);
  }

  /** Overwrites the key. Copies that the runtime made, and strings, are out of its reach. */
  dispose(): void {
    this.#secret.dispose();
  }

  /** {@link SecretStorageKey.dispose}, for `using`. */
  [DISPOSE](): void {
    this.dispose();
  }

  /** Anything written under a key lets its readers test guesses of the key. */
  #expectWritable(options: StorageWriteOptions): void {
    expectOptions(options);
    const { allowUnproven = false } = options;
    const isDerived = this.#iterations !== undefined;
    if (isDerived && this.#iterations < MIN_ITERATIONS) {
      throw new KeyBackupError(
        'bad-parameters',
        `secret storage key: expected at least 100,000 rounds of its passphrase, got ${this.#iterations}`,
      );
    }
    if (!this.#proven && (isDerived || !allowUnproven)) {
      throw new KeyBackupError(
        'unproven-key',
        'secret storage key: expected a key proven by a MAC or a stored secret, got an unproven one',
      );
    }
  }

  #deriveKeys(name: string): Uint8Array {
    return hkdf(sha256, this.#secret.value, new Uint8Array(32), utf8Encode(name), 64);
  }

  #seal(name: string, plaintext: Uint8Array, iv: Uint8Array): { ciphertext: Uint8Array; mac: Uint8Array } {
    const keys = this.#deriveKeys(name);
    try {
      const ciphertext = aesCtr(keys.subarray(0, 32), iv, plaintext);
      return { ciphertext, mac: hmac(sha256, keys.subarray(32), ciphertext) };
    } finally {
      wipe(keys);
    }
  }
}

function checked(
  key: SecretStorageKey,
  accountData: AccountData,
  code: 'wrong-key' | 'wrong-passphrase',
): SecretStorageKey {
  try {
    if (provesRight(key, anyDescription(accountData, key.id), accountData)) return key;
    if (descriptionMac(keyDescription(accountData, key.id), `m.secret_storage.key.${key.id}`)) {
      const what = code === 'wrong-key' ? 'key' : 'passphrase';
      throw new KeyBackupError(code, `secret storage: expected the ${what} that fits its MAC, got another`);
    }
    return key;
  } catch (error) {
    key.dispose();
    throw error;
  }
}

/** Proves a key by the description's MAC, or else by a secret that it decrypts. */
export function provesRight(
  key: SecretStorageKey,
  description: KeyDescription,
  accountData: AccountData,
): boolean {
  const isKnown = description.algorithm === SECRET_STORAGE_ALGORITHM;
  return (isKnown && key.check(description) === 'right') || decryptsAny(key, accountData);
}

/** Whether a key decrypts a secret that is stored under it, which proves it. */
function decryptsAny(key: SecretStorageKey, accountData: AccountData): boolean {
  return SECRETS.some((name) => {
    try {
      key.decryptSecret(name, ownValue(accountData, name));
      return true;
    } catch (error) {
      if (error instanceof KeyBackupError) return false;
      throw error;
    }
  });
}

/** Bit 63 is zero: the 64-bit counters of some readers must not overflow. */
function newIv(): Uint8Array {
  const iv = randomBytes(16);
  iv[8] &= 0x7f;
  return iv;
}

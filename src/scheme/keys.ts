import { expectInstance, expectOptions } from '../encoding/arguments.js';
import { MIN_ITERATIONS, checkParameters, derivePassphraseKey, type DeriveOptions } from './passphrase.js';
import { base64Decode, base64DecodeOr, base64Encode } from '../encoding/base64.js';
import { copyBytes, equal, expectBytes, SecretBytes } from '../encoding/bytes.js';
import { KeyBackupError, describe } from '../errors.js';
import { isJsonObject, ownString, ownValue } from '../encoding/json.js';
import { isLowOrder } from '../curve25519/edwards.js';
import { inAnyForm, type OtherFormOptions } from './passphrase-forms.js';
import { decodeRecoveryKey, encodeRecoveryKey } from './recovery-key.js';
import { generatePrivateKeys, publicKeyOf } from '../curve25519/x25519.js';

/** Base64 of 32 bytes has 43 or 44 characters; far longer text is not decoded. */
const MAX_KEY_CHARACTERS = 256;

/** What Node asks an object for when it prints it. */
const INSPECT: unique symbol = /* @__PURE__ */ Symbol.for('nodejs.util.inspect.custom') as never;

/**
 * The public key of a backup: what room keys are encrypted to. It is `auth_data.public_key`.
 *
 * It is not a secret, but anyone who knows it can add keys to the backup.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#backup-algorithm-mmegolm_backupv1curve25519-aes-sha2
 *
 * @example
 * ```ts
 * import { BackupPublicKey, KeyBackupError } from 'megolm-backup';
 *
 * try {
 *   BackupPublicKey.fromAuthData({ public_key: 'A'.repeat(60) }); // as some accounts have it
 * } catch (error) {
 *   if (error instanceof KeyBackupError) console.log(error.code); // bad-auth-data
 * }
 * ```
 */
export class BackupPublicKey {
  readonly #bytes: Uint8Array;

  private constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /**
   * @param bytes - 32 bytes, little-endian u; they are copied. Bit 255 and non-canonical values are accepted.
   * @throws {@link KeyBackupError} `bad-length`, `low-order-key`.
   */
  static fromBytes(bytes: Uint8Array): BackupPublicKey {
    return BackupPublicKey.#checked(expectBytes(bytes, 32, 'public key'), 'public key');
  }

  /**
   * @param text - Base64 of 32 bytes, padded or not.
   * @throws {@link KeyBackupError} `bad-base64`, `bad-length`, `low-order-key`.
   */
  static fromBase64(text: string): BackupPublicKey {
    return BackupPublicKey.#checked(decodeKey(text, 'public key'), 'public key');
  }

  /**
   * Reads `public_key` of an `auth_data`, to encrypt to it. Some accounts have malformed ones (58 to 60 characters): such a
   * backup can be read but not written to.
   *
   * @param authData - The `auth_data` object as it came from the server.
   * @throws {@link KeyBackupError} `bad-auth-data`, `low-order-key`.
   */
  static fromAuthData(authData: unknown): BackupPublicKey {
    if (!isJsonObject(authData)) {
      throw new KeyBackupError('bad-auth-data', `auth_data: expected an object, got ${describe(authData)}`);
    }
    const text = ownValue(authData, 'public_key');
    const field = 'auth_data.public_key';
    if (typeof text !== 'string') {
      throw new KeyBackupError(
        'bad-auth-data',
        `${field}: expected base64 of 32 bytes, got ${describe(text)}`,
      );
    }
    let bytes: Uint8Array;
    try {
      bytes = decodeKey(text, field);
    } catch (cause) {
      throw new KeyBackupError(
        'bad-auth-data',
        `${(cause as KeyBackupError).message} (${text.length} characters); this backup can be read but not written to`,
        { cause },
      );
    }
    return BackupPublicKey.#checked(bytes, field);
  }

  static #checked(bytes: Uint8Array, field: string): BackupPublicKey {
    if (isLowOrder(bytes)) throw lowOrderKey(field);
    return new BackupPublicKey(copyBytes(bytes));
  }

  /** The 32 bytes; a copy. */
  toBytes(): Uint8Array {
    return this.#bytes.slice();
  }

  /** 43 characters of unpadded base64, as `auth_data.public_key` has it. */
  toBase64(): string {
    return base64Encode(this.#bytes);
  }

  /** {@link BackupPublicKey.toBase64}, so that text and JSON show it. */
  toString(): string {
    return this.toBase64();
  }

  /** The same, for `JSON.stringify`. */
  toJSON(): string {
    return this.toBase64();
  }

  /** What `console.log` shows on Node. */
  [INSPECT](): string {
    return `BackupPublicKey ${this.toBase64()}`;
  }

  /** Whether both are the same 32 bytes. Throws `bad-parameters` when the other is no public key. */
  equals(other: BackupPublicKey): boolean {
    return equal(this.#bytes, expectInstance(other, BackupPublicKey, 'public key').#bytes);
  }
}

/**
 * The decryption key of a backup: 32 bytes that decrypt every room key in it.
 *
 * Its text form is called "recovery key", and so is that of the secret storage key, which is another key.
 *
 * @example
 * ```ts
 * import { BackupDecryptionKey } from 'megolm-backup';
 *
 * const key = BackupDecryptionKey.generate();
 * const again = BackupDecryptionKey.fromRecoveryKey(key.toRecoveryKey());
 * console.log(again.publicKey.equals(key.publicKey)); // true
 * key.dispose();
 * ```
 */
export class BackupDecryptionKey {
  /** The public key X25519(key, 9). It stays readable after {@link BackupDecryptionKey.dispose}. */
  readonly publicKey: BackupPublicKey;
  readonly #secret: SecretBytes;

  private constructor(bytes: Uint8Array) {
    this.#secret = new SecretBytes(bytes, 'decryption key');
    this.publicKey = BackupPublicKey.fromBytes(publicKeyOf(bytes));
  }

  /** A new key from the platform's random number generator. */
  static generate(): BackupDecryptionKey {
    return new BackupDecryptionKey(generatePrivateKeys(1));
  }

  /**
   * @param bytes - 32 bytes; they are copied, and the caller wipes its own.
   * @throws {@link KeyBackupError} `bad-length`.
   */
  static fromBytes(bytes: Uint8Array): BackupDecryptionKey {
    return new BackupDecryptionKey(copyBytes(expectBytes(bytes, 32, 'decryption key')));
  }

  /**
   * @param text - Base64 of 32 bytes, padded or not, as the secret `m.megolm_backup.v1` holds it.
   * @throws {@link KeyBackupError} `bad-base64`, `bad-length`.
   */
  static fromBase64(text: string): BackupDecryptionKey {
    return new BackupDecryptionKey(decodeKey(text, 'decryption key'));
  }

  /**
   * Reads the text form ("recovery key"): 48 base58 characters, white space ignored.
   *
   * @see https://spec.matrix.org/v1.19/appendices/#cryptographic-key-representation
   * @throws {@link KeyBackupError} `bad-recovery-key` with `check`: `alphabet`, `length`, `prefix` or `parity`.
   */
  static fromRecoveryKey(text: string): BackupDecryptionKey {
    return new BackupDecryptionKey(decodeRecoveryKey(text));
  }

  /**
   * Reads the secret `m.megolm_backup.v1`: base64, padded or not, or the comma-separated byte values of an old client.
   *
   * @param text - Surrounding white space is ignored.
   * @returns The key, and the flag `comma-separated-bytes` for the old form.
   * @throws {@link KeyBackupError} `bad-base64`, `bad-length`.
   */
  static fromSecret(text: string): { key: BackupDecryptionKey; flags: readonly 'comma-separated-bytes'[] } {
    if (typeof text !== 'string' || !text.includes(',')) {
      return { key: new BackupDecryptionKey(decodeSecret(text, 'decryption key')), flags: [] };
    }
    const values = text.length > MAX_KEY_CHARACTERS ? [] : text.split(',').map((value) => value.trim());
    if (values.length !== 32 || !values.every((value) => /^\d{1,3}$/.test(value) && Number(value) < 256)) {
      throw new KeyBackupError(
        'bad-length',
        'secret: expected 32 comma-separated byte values, got something else',
      );
    }
    const bytes = Uint8Array.from(values, Number);
    return { key: new BackupDecryptionKey(bytes), flags: ['comma-separated-bytes'] };
  }

  /**
   * Derives the key of a legacy backup from its passphrase and the parameters in its `auth_data`:
   * PBKDF2-HMAC-SHA-512, the salt as UTF-8, 32 bytes.
   *
   * The `public_key` there proves the key. Without one, a server that chose few rounds would learn the passphrase from
   * the public key of a backup that is made with it: such a key is refused unless `allowUnproven` is set, and needs
   * 100,000 rounds even then.
   *
   * @param passphrase - As the user typed it; it is not normalised. Another form is used only with `onOtherForm`.
   * @param authData - With `private_key_salt`, `private_key_iterations` (1 to 10,000,000) and `public_key`.
   * @throws {@link KeyBackupError} `wrong-passphrase` if the key does not derive `public_key`; `unproven-key` without
   * a `public_key`; `missing-field`, `bad-parameters`, `bad-auth-data`, `low-order-key`, `aborted`, `backend-failed`.
   */
  static async fromPassphrase(
    passphrase: string,
    authData: unknown,
    options: DeriveOptions & OtherFormOptions & { readonly allowUnproven?: boolean | undefined } = {},
  ): Promise<BackupDecryptionKey> {
    expectOptions(options);
    const { iterations } = checkParameters(authData);
    const expected = hasPublicKey(authData)
      ? withoutHighBit(comparableKey(authData)?.publicKey ?? BackupPublicKey.fromAuthData(authData))
      : undefined;
    if (!expected) expectUnprovenAllowed(iterations, options.allowUnproven);
    const open = async (text: string) => {
      const key = new BackupDecryptionKey(await derivePassphraseKey(text, authData, options));
      if (!expected || key.publicKey.equals(expected)) return key;
      key.dispose();
      throw new KeyBackupError('wrong-passphrase', `passphrase: ${whyWrong(passphrase)}`);
    };
    return inAnyForm(passphrase, open, options);
  }

  /** The 32 bytes; a copy, which the caller wipes. Throws `bad-parameters` after {@link BackupDecryptionKey.dispose}. */
  toBytes(): Uint8Array {
    return this.#secret.value.slice();
  }

  /**
   * 43 characters of unpadded base64, as the secret `m.megolm_backup.v1` holds it. Throws `bad-parameters` after
   * {@link BackupDecryptionKey.dispose}.
   */
  toBase64(): string {
    return base64Encode(this.#secret.value);
  }

  /**
   * The text form: 48 characters in groups of four. Throws `bad-parameters` after
   * {@link BackupDecryptionKey.dispose}.
   */
  toRecoveryKey(): string {
    return encodeRecoveryKey(this.#secret.value);
  }

  /**
   * Whether this key derives the `public_key` of an `auth_data`, bit 255 aside.
   *
   * @param authData - The `auth_data` object as it came from the server.
   * @throws {@link KeyBackupError} `bad-auth-data`, `low-order-key` if the `auth_data` has no usable key.
   */
  matches(authData: unknown): boolean {
    return this.publicKey.equals(withoutHighBit(BackupPublicKey.fromAuthData(authData)));
  }

  /**
   * Fails early if this is the wrong key.
   *
   * @throws {@link KeyBackupError} `wrong-key` unless {@link BackupDecryptionKey.matches}, and what that throws.
   */
  expectMatch(authData: unknown): void {
    if (!this.matches(authData)) throw wrongKey();
  }

  /** Overwrites the key, but not strings, nor copies made by the runtime or `toBytes`. */
  dispose(): void {
    this.#secret.dispose();
  }
}

/** What is wrong with a `public_key` that can be compared with all the same; nheko encodes it in base64 twice. */
export type PublicKeyFlag = 'double-base64-public-key';

/**
 * The public key of an `auth_data` to compare a decryption key with, but not to encrypt to: also where it is encoded in
 * base64 twice. `undefined` if it is unusable: then only the records tell whether a key fits.
 */
export function comparableKey(
  authData: unknown,
): { readonly publicKey: BackupPublicKey; readonly flags: readonly PublicKeyFlag[] } | undefined {
  try {
    return { publicKey: BackupPublicKey.fromAuthData(authData), flags: [] };
  } catch {
    const text = ownString(authData, 'public_key');
    const inner = base64DecodeOr(text, 43) ?? base64DecodeOr(text, 44);
    const bytes = inner && base64DecodeOr(String.fromCharCode(...inner), 32);
    if (!bytes || isLowOrder(bytes)) return undefined;
    return { publicKey: BackupPublicKey.fromBytes(bytes), flags: ['double-base64-public-key'] };
  }
}

/** Whether a key derives the public key of an `auth_data`; `undefined` if that has none to compare with. */
export function compareKey(key: BackupDecryptionKey, authData: unknown): boolean | undefined {
  const comparable = comparableKey(authData);
  return comparable && key.matches({ public_key: comparable.publicKey.toBase64() });
}

/** For readers: throws `wrong-key` for the key of another backup; what cannot be compared is left to the records. */
export function expectNoMismatch(key: BackupDecryptionKey, authData: unknown): void {
  if (compareKey(key, authData) === false) throw wrongKey();
}

function wrongKey(): KeyBackupError {
  return new KeyBackupError(
    'wrong-key',
    'decryption key: expected the one that derives auth_data.public_key, got the key of another backup',
  );
}

/** X25519 ignores bit 255: with or without it, a public key is the same. */
export function withoutHighBit(publicKey: BackupPublicKey): BackupPublicKey {
  const bytes = publicKey.toBytes();
  bytes[31] &= 0x7f;
  return BackupPublicKey.fromBytes(bytes);
}

export function lowOrderKey(field: string): KeyBackupError {
  return new KeyBackupError(
    'low-order-key',
    `${field}: expected a point of large order, got one of small order`,
  );
}

/** Reads base64 of 32 bytes, padded or not. Throws `bad-base64`, `bad-length`. */
export function decodeKey(text: unknown, field: string): Uint8Array {
  if (typeof text === 'string' && text.length > MAX_KEY_CHARACTERS) {
    throw new KeyBackupError(
      'bad-length',
      `${field}: expected base64 of 32 bytes, got ${text.length} characters`,
    );
  }
  return expectBytes(base64Decode(text, field), 32, field);
}

/** Reads a secret of 32 bytes: {@link decodeKey} with surrounding white space ignored. */
export function decodeSecret(text: unknown, field: string): Uint8Array {
  return decodeKey(typeof text === 'string' ? text.trim() : text, field);
}

function hasPublicKey(authData: unknown): boolean {
  return isJsonObject(authData) && ownValue(authData, 'public_key') !== undefined;
}

function expectUnprovenAllowed(iterations: number, allowUnproven: unknown): void {
  if (allowUnproven !== true) {
    throw new KeyBackupError(
      'unproven-key',
      'auth_data.public_key: expected a public key that proves the passphrase, got nothing',
    );
  }
  if (iterations < MIN_ITERATIONS) {
    throw new KeyBackupError(
      'bad-parameters',
      `auth_data.private_key_iterations: expected at least 100,000 without a public key, got ${iterations}`,
    );
  }
}

function whyWrong(passphrase: string): string {
  const forms = ['NFC', 'NFKC'].filter((form) => passphrase.normalize(form) !== passphrase);
  const advice =
    forms.length === 0 ? '' : `; its ${forms.join(' and ')} form is another passphrase, try that`;
  return `expected the one that derives auth_data.public_key, got another${advice}`;
}

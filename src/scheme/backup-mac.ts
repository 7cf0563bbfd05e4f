import { expectInstance, expectMethod } from '../encoding/arguments.js';
import { hkdf } from '@noble/hashes/hkdf.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { base64Decode, base64Encode } from '../encoding/base64.js';
import { canonicalJson } from '../encoding/canonical-json.js';
import { SecretBytes, equal, expectBytes, wipe } from '../encoding/bytes.js';
import { KeyBackupError, describe } from '../errors.js';
import { expectObject, isJsonObject, ownValue, type JsonObject } from '../encoding/json.js';
import { BackupPublicKey, type BackupDecryptionKey, withoutHighBit } from './keys.js';
import { utf8Encode } from '../encoding/utf8.js';
import { publicKeyOf } from '../curve25519/x25519.js';

/**
 * Backups whose keys prove where they come from: the open proposal MSC4048.
 *
 * The scheme's own MAC covers nothing. This one is an HMAC-SHA-256 over the canonical JSON of `session_data`
 * without `signatures` and `unsigned`, under a key derived from the decryption key, which the server does not have.
 * It stands in `session_data.unsigned`, where every deployed reader ignores it.
 *
 * What it does NOT cover: the room id, the session id (which the session key proves), the metadata beside
 * `session_data`, and when the record was written: an old record with a right MAC stays right. And a right MAC
 * says only that a holder of the MAC key wrote the record, not that the room key came from whom it says: the
 * writer declares that (see {@link Authenticity}).
 *
 * @see https://github.com/matrix-org/matrix-spec-proposals/pull/4048
 */

/** The names to write: with the proposal's prefix while it is open, without it once it is accepted. */
export type MacNames = 'unstable' | 'stable';

/**
 * The secret under which the MAC key can be given to a device that may write but not read; `readMacKeySecret` reads
 * both names.
 */
export const BACKUP_MAC_SECRET: Readonly<Record<MacNames, string>> = Object.freeze({
  unstable: 'org.matrix.msc4048.mac',
  stable: 'm.megolm_backup.v1.mac',
});

/**
 * Whether a restored key proves its origin, and why:
 *
 * - `verified`: a holder of the MAC key wrote the record and vouches for the key. Only this one is authenticated.
 * - `declared-unauthenticated`: a holder of the MAC key wrote it, and says that it does not vouch for the key.
 * - `wrong-mac`: there is a MAC, and it does not fit: the record was changed, or written by somebody else.
 * - `no-mac`: anyone who knows the public key may have written it. A server can make this of every other one,
 *   by taking the MAC away.
 */
export type Authenticity = 'no-mac' | 'wrong-mac' | 'declared-unauthenticated' | 'verified';

const NAMES: Readonly<Record<MacNames, string>> = {
  unstable: 'org.matrix.msc4048.backup_mac',
  stable: 'backup_mac',
};

/** @throws {@link KeyBackupError} `bad-parameters` unless these are names of the proposal. */
export function expectNames(names: unknown): void {
  if (names !== 'unstable' && names !== 'stable') {
    throw new KeyBackupError(
      'bad-parameters',
      `names: expected "unstable" or "stable", got ${describe(names)}`,
    );
  }
}

const MAC_LENGTH = 32;

/** Base64 of 32 bytes has 43 or 44 characters; what is far longer is not decoded at all. */
const MAX_CHARACTERS = 256;

/**
 * The key of the `backup_mac`. Its holder can write keys that pass for authenticated, but read none.
 *
 * @example
 * ```ts
 * import { BackupDecryptionKey, BackupMacKey } from 'megolm-backup';
 *
 * const key = BackupDecryptionKey.generate();
 * const macKey = BackupMacKey.fromDecryptionKey(key);
 * // A device that may write but not read gets only this, and the public key.
 * const secret = macKey.toBase64();
 * console.log(BackupMacKey.fromBase64(secret).toBase64() === secret); // true
 * ```
 */
export class BackupMacKey {
  readonly #secret: SecretBytes;
  readonly #publicKey: BackupPublicKey | undefined;
  /** The public key that these bytes had if they were a decryption key. */
  #asPublicKey: Uint8Array | undefined;

  private constructor(bytes: Uint8Array, publicKey?: BackupPublicKey) {
    this.#secret = new SecretBytes(bytes, 'backup MAC key');
    this.#publicKey = publicKey;
  }

  /**
   * Derives it: HKDF-SHA-256 of the decryption key, no salt, info `MATRIX_BACKUP_MAC_KEY`, 32 bytes.
   *
   * @throws {@link KeyBackupError} `bad-parameters` when the key is disposed.
   */
  static fromDecryptionKey(key: BackupDecryptionKey): BackupMacKey {
    const privateKey = expectMethod(key, 'matches', 'decryption key').toBytes();
    try {
      return new BackupMacKey(derive(privateKey), key.publicKey);
    } finally {
      wipe(privateKey);
    }
  }

  /**
   * Reads the secret.
   *
   * @param text - Base64 of 32 bytes, padded or not, as the secret holds it; white space around it is ignored.
   * @throws {@link KeyBackupError} `bad-base64`, `bad-length`.
   */
  static fromBase64(text: string): BackupMacKey {
    const field = 'backup MAC key';
    if (typeof text === 'string' && text.length > MAX_CHARACTERS) {
      throw new KeyBackupError(
        'bad-length',
        `${field}: expected base64 of 32 bytes, got ${text.length} characters`,
      );
    }
    // What is no string is the decoder's to refuse.
    const base64: unknown = typeof text === 'string' ? text.trim() : text;
    return new BackupMacKey(expectBytes(base64Decode(base64, field), 32, field));
  }

  /** 43 characters of unpadded base64, for the secret. Throws `bad-parameters` after {@link BackupMacKey.dispose}. */
  toBase64(): string {
    return base64Encode(this.#secret.value);
  }

  /**
   * The whole HMAC of a `session_data`: 32 bytes.
   *
   * @throws {@link KeyBackupError} `bad-canonical-json` for what has no canonical form; `bad-parameters` when the
   * key is disposed.
   */
  mac(sessionData: object): Uint8Array {
    const covered = Object.entries(expectObject(sessionData, 'session_data')).filter(
      ([name]) => name !== 'signatures' && name !== 'unsigned',
    );
    // fromEntries defines own properties, so a field named __proto__ is covered too.
    return hmac(sha256, this.#secret.value, utf8Encode(canonicalJson(Object.fromEntries(covered))));
  }

  /** Whether both are the same 32 bytes. Throws `bad-parameters` when either is disposed. */
  equals(other: BackupMacKey): boolean {
    return equal(this.#secret.value, expectInstance(other, BackupMacKey, 'backup MAC key').#secret.value);
  }

  /**
   * Throws `wrong-key` when this is known to be the MAC key of another backup, or is the decryption key itself, which
   * looks alike. Nothing else is known about a key out of a secret; compare it with the decryption key where that is
   * at hand (`readMacKeySecret`).
   */
  expectMatch(publicKey: BackupPublicKey): void {
    const bytes = this.#secret.value;
    const expected = withoutHighBit(expectInstance(publicKey, BackupPublicKey, 'public key'));
    if (this.#publicKey?.equals(expected) === false) {
      throw new KeyBackupError(
        'wrong-key',
        'backup MAC key: expected the one of the backup that is written to, got another backup’s',
      );
    }
    if (this.#publicKey) return;
    this.#asPublicKey ??= publicKeyOf(bytes);
    if (equal(this.#asPublicKey, expected.toBytes())) {
      throw new KeyBackupError(
        'wrong-key',
        'backup MAC key: expected the key that is derived from the decryption key, got the decryption key',
      );
    }
  }

  /** Overwrites the key; see {@link BackupDecryptionKey.dispose} for what that cannot reach. */
  dispose(): void {
    this.#secret.dispose();
  }
}

function derive(privateKey: Uint8Array): Uint8Array {
  return hkdf(sha256, privateKey, undefined, utf8Encode('MATRIX_BACKUP_MAC_KEY'), 32);
}

/**
 * Adds the `backup_mac` to a `session_data`, keeping everything else in `unsigned`.
 *
 * @see https://github.com/matrix-org/matrix-spec-proposals/pull/4048
 * @returns A new object; the one given is not changed.
 * @throws {@link KeyBackupError} as {@link BackupMacKey.mac}.
 *
 * @example
 * ```ts
 * import { BackupDecryptionKey, BackupMacKey } from 'megolm-backup';
 * import { addBackupMac, checkBackupMac, encryptSessionData } from 'megolm-backup/engine';
 *
 * const key = BackupDecryptionKey.generate();
 * const macKey = BackupMacKey.fromDecryptionKey(key);
 * const sessionData = addBackupMac(encryptSessionData(Uint8Array.of(1), key.publicKey), macKey);
 * console.log(checkBackupMac(sessionData, macKey)); // right
 * console.log(checkBackupMac({ ...sessionData, ciphertext: 'AAAA' }, macKey)); // wrong-mac
 * ```
 */
export function addBackupMac<T extends object>(
  sessionData: T,
  macKey: BackupMacKey,
  names: MacNames = 'unstable',
): T & { readonly unsigned: JsonObject } {
  expectInstance(macKey, BackupMacKey, 'backup MAC key');
  expectNames(names);
  const value = ownValue(expectObject(sessionData, 'session_data'), 'unsigned');
  // Both spellings go, or a record written again would carry an old one beside the new.
  const { [NAMES.stable]: _stable, [NAMES.unstable]: _unstable, ...rest } = isJsonObject(value) ? value : {};
  const unsigned = { ...rest, [NAMES[names]]: base64Encode(macKey.mac(sessionData)) };
  return { ...sessionData, unsigned };
}

/** Whether a `session_data` carries something in the place of a `backup_mac`, under either name. */
export function hasBackupMac(sessionData: object): boolean {
  return macsOf(sessionData).length > 0;
}

function macsOf(sessionData: object): unknown[] {
  const unsigned = ownValue(sessionData as JsonObject, 'unsigned');
  if (!isJsonObject(unsigned)) return [];
  return [NAMES.stable, NAMES.unstable]
    .filter((name) => Object.hasOwn(unsigned, name))
    .map((name) => unsigned[name]);
}

/**
 * Checks the `backup_mac` of a `session_data`, under either name. A record that carries both has to be right in both.
 *
 * @returns `no-mac` only without any MAC: one of a wrong type or form is `wrong-mac`.
 * @throws {@link KeyBackupError} `bad-parameters` when the key is disposed; never for what the record holds.
 */
export function checkBackupMac(sessionData: object, macKey: BackupMacKey): 'no-mac' | 'wrong-mac' | 'right' {
  expectInstance(macKey, BackupMacKey, 'backup MAC key');
  const macs = macsOf(expectObject(sessionData, 'session_data'));
  if (macs.length === 0) return 'no-mac';
  const expected = unlessRefused('bad-canonical-json', () => macKey.mac(sessionData));
  if (!expected) return 'wrong-mac';
  return macs.every((value) => isMac(value, expected)) ? 'right' : 'wrong-mac';
}

function isMac(value: unknown, expected: Uint8Array): boolean {
  if (typeof value !== 'string' || value.length > MAX_CHARACTERS) return false;
  const mac = unlessRefused('bad-base64', () => base64Decode(value, 'backup_mac'));
  // The length is checked on its own: a MAC cut short must never pass for a right one.
  return mac?.length === MAC_LENGTH && equal(mac, expected);
}

/** Only what the record is to blame for makes a MAC wrong; every other error is somebody else's. */
function unlessRefused<T>(code: string, operation: () => T): T | undefined {
  try {
    return operation();
  } catch (error) {
    if (error instanceof KeyBackupError && error.code === code) return undefined;
    throw error;
  }
}

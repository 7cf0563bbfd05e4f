import { expectInstance, expectMethod } from '../encoding/arguments.js';
import { hkdf } from '@noble/hashes/hkdf.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { base64DecodeOr, base64Encode } from '../encoding/base64.js';
import { signedBytes } from '../encoding/canonical-json.js';
import { SecretBytes, equal, wipe } from '../encoding/bytes.js';
import { KeyBackupError, describe } from '../errors.js';
import { expectObject, isJsonObject, ownValue, type JsonObject } from '../encoding/json.js';
import { BackupPublicKey, decodeSecret, withoutHighBit, type BackupDecryptionKey } from './keys.js';
import { utf8Encode } from '../encoding/utf8.js';
import { publicKeyOf } from '../curve25519/x25519.js';

/**
 * Authenticated backups: the open proposal MSC4048.
 *
 * The MAC of the scheme covers nothing. This one is HMAC-SHA-256 of the canonical JSON of `session_data` without
 * `signatures` and `unsigned`, under a key derived from the decryption key, which the server does not have. It is in
 * `session_data.unsigned`, which deployed clients ignore.
 *
 * It does NOT cover the room id, the session id (which the session key proves), the metadata beside `session_data`, or
 * the time: an old record with a right MAC stays valid. A right MAC proves that a holder of the MAC key wrote the
 * record, not that the room key came from its alleged sender: the writer declares that (see {@link Authenticity}).
 *
 * @see https://github.com/matrix-org/matrix-spec-proposals/pull/4048
 */

/** The names to write: with the proposal's prefix while it is open, without it once it is accepted. */
export type MacNames = 'unstable' | 'stable';

/** The name of the secret that gives the MAC key to a device that may write but not read. Both names are read. */
export const BACKUP_MAC_SECRET: Readonly<Record<MacNames, string>> = Object.freeze({
  unstable: 'org.matrix.msc4048.mac',
  stable: 'm.megolm_backup.v1.mac',
});

/**
 * Whether a restored key is authenticated, and why:
 *
 * - `verified`: a holder of the MAC key wrote the record and vouches for the key. Only this one is authenticated.
 * - `declared-unauthenticated`: a holder of the MAC key wrote it and declares that it does not vouch for the key.
 * - `wrong-mac`: the MAC is wrong: the record was changed, or written by somebody else.
 * - `no-mac`: anyone who knows the public key may have written it. The server can remove the MAC of any record.
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

/**
 * The key of the `backup_mac`. Its holder can write authenticated keys but read none.
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
  /** The public key if these bytes were a decryption key. */
  #asPublicKey: Uint8Array | undefined;

  private constructor(bytes: Uint8Array, publicKey?: BackupPublicKey) {
    this.#secret = new SecretBytes(bytes, 'backup MAC key');
    this.#publicKey = publicKey;
  }

  /**
   * Derives the key: HKDF-SHA-256 of the decryption key, no salt, info `MATRIX_BACKUP_MAC_KEY`, 32 bytes.
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
   * @param text - Base64 of 32 bytes, padded or not; surrounding white space is ignored.
   * @throws {@link KeyBackupError} `bad-base64`, `bad-length`.
   */
  static fromBase64(text: string): BackupMacKey {
    return new BackupMacKey(decodeSecret(text, 'backup MAC key'));
  }

  /** 43 characters of unpadded base64, for the secret. Throws `bad-parameters` after {@link BackupMacKey.dispose}. */
  toBase64(): string {
    return base64Encode(this.#secret.value);
  }

  /**
   * The HMAC of a `session_data`: 32 bytes.
   *
   * @throws {@link KeyBackupError} `bad-canonical-json`; `bad-parameters` when the key is disposed.
   */
  mac(sessionData: object): Uint8Array {
    const covered = signedBytes(expectObject(sessionData, 'session_data'));
    return hmac(sha256, this.#secret.value, covered);
  }

  /** Whether both are the same 32 bytes. Throws `bad-parameters` when either is disposed. */
  equals(other: BackupMacKey): boolean {
    return equal(this.#secret.value, expectInstance(other, BackupMacKey, 'backup MAC key').#secret.value);
  }

  /**
   * Throws `wrong-key` if this is known to be the MAC key of another backup, or is the decryption key itself, which looks
   * the same. Nothing else can be checked of a key from a secret: compare it with the decryption key if you have that
   * (`readMacKeySecret`).
   */
  expectMatch(publicKey: BackupPublicKey): void {
    const bytes = this.#secret.value;
    const expected = withoutHighBit(expectInstance(publicKey, BackupPublicKey, 'public key'));
    if (this.#publicKey?.equals(expected) === false) {
      throw new KeyBackupError(
        'wrong-key',
        'backup MAC key: expected the one of this backup, got that of another',
      );
    }
    if (this.#publicKey) return;
    this.#asPublicKey ??= publicKeyOf(bytes);
    if (equal(this.#asPublicKey, expected.toBytes())) {
      throw new KeyBackupError(
        'wrong-key',
        'backup MAC key: expected the key derived from the decryption key, got the decryption key',
      );
    }
  }

  /** Overwrites the key; {@link BackupDecryptionKey.dispose} names what that cannot reach. */
  dispose(): void {
    this.#secret.dispose();
  }
}

function derive(privateKey: Uint8Array): Uint8Array {
  return hkdf(sha256, privateKey, undefined, utf8Encode('MATRIX_BACKUP_MAC_KEY'), 32);
}

/**
 * Adds the `backup_mac` to a `session_data`; the rest of `unsigned` stays.
 *
 * @see https://github.com/matrix-org/matrix-spec-proposals/pull/4048
 * @returns A new object.
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
  // Both names go: a rewritten record must not keep an old MAC beside the new one.
  const { [NAMES.stable]: _stable, [NAMES.unstable]: _unstable, ...rest } = isJsonObject(value) ? value : {};
  const unsigned = { ...rest, [NAMES[names]]: base64Encode(macKey.mac(sessionData)) };
  return { ...sessionData, unsigned };
}

/** Whether a `session_data` has a `backup_mac` under either name, of any type. */
export function hasBackupMac(sessionData: object): boolean {
  return macsOf(sessionData).length > 0;
}

function macsOf(sessionData: object): unknown[] {
  const unsigned = ownValue(sessionData as JsonObject, 'unsigned');
  return isJsonObject(unsigned) ? valuesOf(unsigned, NAMES) : [];
}

/** The values of a field that has either name. */
function valuesOf(object: JsonObject, names: Readonly<Record<MacNames, string>>): unknown[] {
  return [names.stable, names.unstable]
    .filter((name) => Object.hasOwn(object, name))
    .map((name) => object[name]);
}

/**
 * Checks the `backup_mac` of a `session_data`, under either name. If it has both, both must be right.
 *
 * @returns `no-mac` only without any MAC: one of a wrong type or form is `wrong-mac`.
 * @throws {@link KeyBackupError} `bad-parameters` when the key is disposed; never because of the record.
 */
export function checkBackupMac(sessionData: object, macKey: BackupMacKey): 'no-mac' | 'wrong-mac' | 'right' {
  expectInstance(macKey, BackupMacKey, 'backup MAC key');
  const macs = macsOf(expectObject(sessionData, 'session_data'));
  if (macs.length === 0) return 'no-mac';
  let expected: Uint8Array;
  try {
    expected = macKey.mac(sessionData);
  } catch (error) {
    // Only a fault of the record makes its MAC wrong.
    if (error instanceof KeyBackupError && error.code === 'bad-canonical-json') return 'wrong-mac';
    throw error;
  }
  // A truncated MAC must never pass.
  const isRight = (mac: Uint8Array | undefined) => mac !== undefined && equal(mac, expected);
  return macs.every((value) => isRight(base64DecodeOr(value, MAC_LENGTH))) ? 'right' : 'wrong-mac';
}

/*
 * Provenance. The plaintext of a room key may say that its writer does not vouch for it, and may hold a copy of the room
 * id. Both count only under a right `backup_mac`, because anyone who knows the public key can write any plaintext.
 */

/** The source of a key that its writer does not vouch for. Unknown values read as `m.undefined`. */
export type UnauthenticatedSource = 'm.undefined' | 'm.legacy-v1' | 'm.forwarded_room_key';

const SOURCES: readonly unknown[] = ['m.undefined', 'm.legacy-v1', 'm.forwarded_room_key'];

/** Checks what a caller's `unauthenticated` returned: a promise, for example, is `bad-parameters`. */
export function expectSource(value: unknown): UnauthenticatedSource | undefined {
  if (value === undefined || SOURCES.includes(value)) return value as UnauthenticatedSource | undefined;
  const expected = 'm.undefined, m.legacy-v1, m.forwarded_room_key or undefined';
  throw new KeyBackupError('bad-parameters', `unauthenticated: expected ${expected}, got ${describe(value)}`);
}

/** The field with the copy of the room id: an extension of this package, ignored by other clients. */
export const ROOM_ID_COPY = 'org.megolm-backup.room_id';

const UNAUTHENTICATED: Readonly<Record<MacNames, string>> = {
  unstable: 'org.matrix.msc4048.unauthenticated',
  stable: 'unauthenticated',
};

/** What to declare in a plaintext. */
export interface Declaration {
  /** The writer does not vouch for the key. Replaces the declaration in the session. */
  readonly source?: UnauthenticatedSource | undefined;
  /** Adds the copy of the room id. */
  readonly bindRoomId?: boolean | undefined;
  readonly names?: MacNames | undefined;
}

/**
 * A session with this provenance instead of its own: without a `source` its own declaration stays; its copy of the room
 * id always goes. The session itself if nothing changes; anything but an object is left for `prepareRoomKey` to reject.
 */
export function withProvenance<T>(session: T, { source, bindRoomId = false, names }: Declaration): T {
  if (!isJsonObject(session)) return session;
  if (source === undefined && !bindRoomId && !Object.hasOwn(session, ROOM_ID_COPY)) return session;
  const { [ROOM_ID_COPY]: _copy, ...rest } = session;
  const stripped = source === undefined ? rest : withoutDeclaration(rest);
  const declaration = source === undefined ? {} : { [UNAUTHENTICATED[names ?? 'unstable']]: source };
  const copy = bindRoomId ? { [ROOM_ID_COPY]: ownValue(session, 'room_id') } : {};
  return { ...stripped, ...declaration, ...copy } as T;
}

function withoutDeclaration(session: JsonObject): JsonObject {
  const { [UNAUTHENTICATED.stable]: _stable, [UNAUTHENTICATED.unstable]: _unstable, ...rest } = session;
  return rest;
}

/**
 * What the writer of a plaintext declared, under either name; `undefined` if it vouches for the key. Any value is a
 * declaration, `null` and `false` too.
 */
export function readUnauthenticated(plaintext: JsonObject): UnauthenticatedSource | undefined {
  const values = valuesOf(plaintext, UNAUTHENTICATED);
  if (values.length === 0) return undefined;
  const known = values.find((value) => value === 'm.legacy-v1' || value === 'm.forwarded_room_key');
  return known ?? 'm.undefined';
}

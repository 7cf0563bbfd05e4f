import { expectFunction, expectInstance, expectOptions, expectText } from '../encoding/arguments.js';
import type { NewVersion, OpaqueObject, VersionInfo } from '../wire/types.js';
import {
  BACKUP_ALGORITHM,
  createAuthData,
  signAuthData,
  verifyAuthData,
  type AuthDataVerdict,
  type Signer,
  type VerifyOptions,
} from '../scheme/auth-data.js';
import { KeyBackupError } from '../errors.js';
import { ownValue, type JsonObject } from '../encoding/json.js';
import { BackupPublicKey } from '../scheme/keys.js';
import { accountData, setAccountData } from './account.js';
import { RequestError } from './http-error.js';
import {
  badPublicKey,
  invalidSignature,
  unknownAlgorithm,
  untrusted,
  wrongKey,
  type Finding,
} from './findings.js';
import { RoomKeys, type CallOptions } from './api.js';
import { quote } from '../encoding/quote.js';

/** What goes into a new backup version. */
export interface NewBackup extends CallOptions {
  readonly publicKey: BackupPublicKey;
  /** Who signs it: the device, and the master key where it is at hand. */
  readonly signers?: readonly Signer[] | undefined;
  /** Further fields of the `auth_data`; they are signed. */
  readonly extra?: JsonObject | undefined;
}

/**
 * Makes a new backup version, which becomes the current one. The one before stays until it is deleted.
 *
 * @returns What the server holds now.
 * @throws {@link RequestError}; `network` or `timeout` when it is unclear whether the version was made. Then ask
 * for the current version before trying again.
 *
 * @example
 * ```ts
 * import { BackupDecryptionKey, ed25519Signer } from 'megolm-backup';
 * import { createBackup, type RoomKeys } from 'megolm-backup/client';
 *
 * async function begin(roomKeys: RoomKeys, deviceSeed: Uint8Array) {
 *   const key = BackupDecryptionKey.generate();
 *   const device = ed25519Signer('@a:example.org', deviceSeed, 'DEVICE');
 *   const info = await createBackup(roomKeys, { publicKey: key.publicKey, signers: [device] });
 *   console.log(info.version, key.toRecoveryKey());
 * }
 * ```
 */
export async function createBackup(roomKeys: RoomKeys, backup: NewBackup): Promise<VersionInfo> {
  expectInstance(roomKeys, RoomKeys, 'roomKeys');
  expectOptions(backup, 'backup');
  const { publicKey, signers = [], extra, signal } = backup;
  const auth_data = signAuthData(createAuthData(publicKey, extra), signers);
  const version = await roomKeys.createVersion({ algorithm: BACKUP_ALGORITHM, auth_data }, { signal });
  // Asked for and not assumed: the etag is the server's, and another client may have been quicker.
  const info = await roomKeys.version(version, { signal });
  if (!info) throw new RequestError('not-found', `version ${quote(version)}: just created, and already gone`);
  return info;
}

/** Makes a new version and deletes the given one, which has to be there until the new one is. */
export async function replaceBackup(
  roomKeys: RoomKeys,
  oldVersion: string,
  backup: NewBackup,
): Promise<VersionInfo> {
  expectText(oldVersion, 'oldVersion');
  const info = await createBackup(roomKeys, backup);
  await roomKeys.deleteVersion(oldVersion, { signal: backup.signal });
  return info;
}

/**
 * Changes the `auth_data` of a version; unknown fields stay unless `change` takes them away.
 *
 * @param change - Gets what the server holds and gives what it should hold.
 * @throws {@link RequestError} `not-found` when there is no such version.
 */
export async function updateAuthData(
  roomKeys: RoomKeys,
  version: string,
  change: (authData: OpaqueObject) => OpaqueObject,
  options: CallOptions = {},
): Promise<NewVersion> {
  expectInstance(roomKeys, RoomKeys, 'roomKeys');
  expectText(version, 'version');
  expectFunction(change, 'change');
  const info = await roomKeys.version(version, options);
  if (!info) throw new RequestError('not-found', `version ${quote(version)}: the server does not have it`);
  const update = { algorithm: info.algorithm, auth_data: change(info.auth_data) };
  await roomKeys.updateVersion(version, update, options);
  return update;
}

/** Adds signatures to a version's `auth_data`. It does not ask whether the backup deserves them. */
export function signBackup(
  roomKeys: RoomKeys,
  version: string,
  signers: readonly Signer[],
  options: CallOptions = {},
): Promise<NewVersion> {
  return updateAuthData(roomKeys, version, (authData) => signAuthData(authData, signers), options);
}

/** Whom to believe about a backup; or to encrypt to it although nobody vouches for it, said in so many words. */
export type Trust = VerifyOptions | 'encrypt-to-an-untrusted-backup';

/** A backup, and whether it is one to encrypt to. */
export interface BackupVerdict {
  readonly info: VersionInfo;
  /** Absent for another algorithm. */
  readonly authData: AuthDataVerdict | undefined;
  /** Whether keys may be encrypted to it; `undefined` when no key was given to judge by. */
  readonly usable: boolean | undefined;
  /** What is wrong with it; empty when nothing is. */
  readonly findings: readonly Finding[];
}

/**
 * Says whether a version is one to encrypt to, and what is wrong with it; {@link diagnose} looks at its keys as well.
 *
 * @param trust - Without a decryption key and trusted keys it is not judged whether the backup is trusted.
 */
export function checkBackupTrust(info: VersionInfo, trust: VerifyOptions): BackupVerdict {
  expectInfo(info);
  if (info.algorithm !== BACKUP_ALGORITHM) {
    return { info, authData: undefined, usable: false, findings: [unknownAlgorithm(info.algorithm)] };
  }
  const authData = verifyAuthData(info.auth_data, trust);
  const { publicKey, keyMatches, trusted, reason, signatures } = authData;
  const { decryptionKey, trustedKeys = [] } = trust;
  const asked = decryptionKey !== undefined || trustedKeys.length > 0;
  const findings: Finding[] = [];
  if (!publicKey) findings.push(badPublicKey(reason));
  else if (keyMatches === false) findings.push(wrongKey());
  if (publicKey && asked && !trusted) findings.push(untrusted(reason));
  for (const { keyId, state, reason: why } of signatures) {
    if (state === 'invalid') findings.push(invalidSignature(keyId, why));
  }
  return { info, authData, usable: publicKey && !asked ? undefined : trusted, findings };
}

/**
 * The public key to encrypt to.
 *
 * @throws {@link KeyBackupError} `untrusted-backup` with the reason; `unsupported-algorithm`; `bad-auth-data`,
 * `low-order-key` when there is no usable key, whatever the caller says.
 */
export function trustedPublicKey(info: VersionInfo, trust: Trust): BackupPublicKey {
  expectAlgorithm(info);
  const publicKey = BackupPublicKey.fromAuthData(info.auth_data);
  if (trust === 'encrypt-to-an-untrusted-backup') return publicKey;
  const { trusted, reason } = verifyAuthData(info.auth_data, trust);
  if (!trusted) {
    throw new KeyBackupError('untrusted-backup', `backup version ${quote(info.version)}: ${reason}`);
  }
  return publicKey;
}

/** @throws {@link KeyBackupError} `unsupported-algorithm` unless the version is of {@link BACKUP_ALGORITHM}. */
export function expectAlgorithm(info: Pick<VersionInfo, 'version' | 'algorithm'>): void {
  expectInfo(info);
  const { version, algorithm } = info;
  if (algorithm === BACKUP_ALGORITHM) return;
  throw new KeyBackupError(
    'unsupported-algorithm',
    `backup version ${quote(version)}: expected ${BACKUP_ALGORITHM}, got another algorithm`,
  );
}

function expectInfo(info: Pick<VersionInfo, 'version' | 'algorithm'>): void {
  expectOptions(info, 'info');
  expectText(info.version, 'info.version');
  expectText(info.algorithm, 'info.algorithm');
}

/** Whether a user wants a backup at all. */
export type BackupWish = boolean | undefined;

/**
 * Reads the user's wish: the account data `m.key_backup`, else the older
 * `m.org.matrix.custom.backup_disabled`.
 *
 * @returns `undefined` when the user has not said, or said something that is no boolean.
 */
export async function isBackupEnabled(
  roomKeys: RoomKeys,
  userId: string,
  options: CallOptions = {},
): Promise<BackupWish> {
  const enabled = await accountDataFlag(roomKeys, userId, 'm.key_backup', 'enabled', options);
  if (enabled !== undefined) return enabled;
  const old = 'm.org.matrix.custom.backup_disabled';
  const disabled = await accountDataFlag(roomKeys, userId, old, 'disabled', options);
  return disabled === undefined ? undefined : !disabled;
}

/** Writes the user's wish, under the specified name only. */
export async function setBackupEnabled(
  roomKeys: RoomKeys,
  userId: string,
  enabled: boolean,
  options: CallOptions = {},
): Promise<void> {
  await setAccountData(roomKeys, userId, 'm.key_backup', { enabled }, options);
}

async function accountDataFlag(
  roomKeys: RoomKeys,
  userId: string,
  type: string,
  field: string,
  options: CallOptions,
): Promise<boolean | undefined> {
  const content = await accountData(roomKeys, userId, type, options);
  const value = content && ownValue(content, field);
  return typeof value === 'boolean' ? value : undefined;
}

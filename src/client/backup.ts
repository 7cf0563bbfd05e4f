import { raceAbort, type AbortSignalLike } from '../async.js';
import {
  expectArray,
  expectFunction,
  expectInstance,
  expectMethod,
  expectOptions,
  expectText,
} from '../encoding/arguments.js';
import type { NewVersion, VersionInfo } from '../wire/types.js';
import {
  BACKUP_ALGORITHM,
  authDataBytes,
  createAuthData,
  signAuthData,
  verifyAuthData,
  type AsyncSigner,
  type AuthData,
  type Signer,
  type VerifyOptions,
} from '../scheme/auth-data.js';
import { KeyBackupError } from '../errors.js';
import { ownValue, type JsonObject } from '../encoding/json.js';
import { BackupPublicKey, expectNoMismatch, type BackupDecryptionKey } from '../scheme/keys.js';
import { accountData, setAccountData } from './account.js';
import { RequestError } from './http-error.js';
import { RoomKeys, type CallOptions } from './api.js';
import { quote } from '../encoding/quote.js';

/** What goes into a new backup version. */
export interface NewBackup extends CallOptions {
  readonly publicKey: BackupPublicKey;
  /** What signs it: the device, and the master key if it is available. */
  readonly signers?: readonly AsyncSigner[] | undefined;
  /** Further fields of the `auth_data`, signed with it. */
  readonly extra?: JsonObject | undefined;
}

/**
 * Makes a new backup version, which becomes the current one. The previous one stays until it is deleted.
 *
 * @returns The version as the server holds it.
 * @throws {@link RequestError}; after `network` or `timeout` it is unclear whether the version was made: ask for the
 * current version before trying again.
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
  const auth_data = await signAsync(createAuthData(publicKey, extra), signers, signal);
  const version = await roomKeys.createVersion({ algorithm: BACKUP_ALGORITHM, auth_data }, { signal });
  // Read back: the server chooses the etag, and another client may have added keys.
  const info = await roomKeys.version(version, { signal });
  if (!info) throw new RequestError('not-found', `version ${quote(version)}: just created, and already gone`);
  return info;
}

/** {@link signAuthData} by signers that may be asynchronous; each is awaited until the signal aborts. */
async function signAsync(
  authData: unknown,
  signers: readonly AsyncSigner[],
  signal: AbortSignalLike | undefined,
): Promise<AuthData> {
  const message = authDataBytes(authData);
  expectArray(signers, 'signers');
  const signed: Pick<Signer, 'userId' | 'keyId' | 'sign'>[] = [];
  for (const signer of signers) {
    expectOptions(signer, 'signer');
    expectFunction(signer.sign, 'sign');
    const signature = await raceAbort(Promise.resolve(signer.sign(message)), signal);
    signed.push({ userId: signer.userId, keyId: signer.keyId, sign: () => signature });
  }
  return signAuthData(authData, signed);
}

/** Creates a new version and then deletes the given one, so that there is always a backup. */
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
 * Adds signatures to a version's `auth_data`, without checking that the backup is trustworthy. Unknown fields stay.
 *
 * @returns What the server holds now.
 * @throws {@link RequestError} `not-found` when there is no such version.
 */
export async function signBackup(
  roomKeys: RoomKeys,
  version: string,
  signers: readonly AsyncSigner[],
  options: CallOptions = {},
): Promise<NewVersion> {
  expectInstance(roomKeys, RoomKeys, 'roomKeys');
  expectText(version, 'version');
  const info = await roomKeys.version(version, options);
  if (!info) throw new RequestError('not-found', `version ${quote(version)}: the server does not have it`);
  const auth_data = await signAsync(info.auth_data, signers, options.signal);
  const update = { algorithm: info.algorithm, auth_data };
  await roomKeys.updateVersion(version, update, options);
  return update;
}

/** What makes a backup trusted, or the explicit wish to encrypt to an untrusted one. */
export type Trust = VerifyOptions | 'encrypt-to-an-untrusted-backup';

/**
 * The public key to encrypt to.
 *
 * @throws {@link KeyBackupError} `untrusted-backup` with the reason; `unsupported-algorithm`; without a usable key
 * `bad-auth-data`, `low-order-key`, even for an untrusted backup.
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

/** @throws {@link KeyBackupError} `unsupported-algorithm` unless the algorithm is {@link BACKUP_ALGORITHM}. */
export function expectAlgorithm(info: Pick<VersionInfo, 'version' | 'algorithm'>): void {
  expectInfo(info);
  const { version, algorithm } = info;
  if (algorithm === BACKUP_ALGORITHM) return;
  throw new KeyBackupError(
    'unsupported-algorithm',
    `backup version ${quote(version)}: expected ${BACKUP_ALGORITHM}, got another algorithm`,
  );
}

/** Checks what every reader of a backup gets. Without a usable public key, the records tell whether the key fits. */
export function expectReadable(
  roomKeys: RoomKeys,
  info: VersionInfo,
  key: BackupDecryptionKey,
  options: object,
): void {
  expectInstance(roomKeys, RoomKeys, 'roomKeys');
  expectAlgorithm(info);
  expectOptions(options);
  expectNoMismatch(expectMethod(key, 'matches', 'key'), info.auth_data);
}

/** @throws {@link KeyBackupError} `bad-parameters` unless this has the fields of a version that are used everywhere. */
export function expectInfo(info: Pick<VersionInfo, 'version' | 'algorithm'>): void {
  expectOptions(info, 'info');
  expectText(info.version, 'info.version');
  expectText(info.algorithm, 'info.algorithm');
}

/** @throws {@link KeyBackupError} `bad-parameters` if the state to resume from is of another version. */
export function expectStateOf(
  { version }: VersionInfo,
  state: { readonly version: string } | undefined,
): void {
  if (!state || state.version === version) return;
  throw new KeyBackupError(
    'bad-parameters',
    `state.version: expected ${quote(version)}, got another: this state is of another backup`,
  );
}

/**
 * Whether the user wants a backup: the account data `m.key_backup`, else the older
 * `m.org.matrix.custom.backup_disabled`.
 *
 * @returns `undefined` if neither is set to a boolean.
 */
export async function isBackupEnabled(
  roomKeys: RoomKeys,
  userId: string,
  options: CallOptions = {},
): Promise<boolean | undefined> {
  const enabled = await accountDataFlag(roomKeys, userId, 'm.key_backup', 'enabled', options);
  if (enabled !== undefined) return enabled;
  const old = 'm.org.matrix.custom.backup_disabled';
  const disabled = await accountDataFlag(roomKeys, userId, old, 'disabled', options);
  return disabled === undefined ? undefined : !disabled;
}

/** Stores whether the user wants a backup, as the account data `m.key_backup`. */
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

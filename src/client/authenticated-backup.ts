import type { VersionInfo } from '../api/types.js';
import { signAuthData } from '../engine/auth-data.js';
import type { BackupMacKey, MacNames } from '../engine/backup-mac.js';
import type { BackupDecryptionKey } from '../engine/keys.js';
import {
  AUTHENTICATED_BACKUP_ALGORITHM,
  AUTHENTICATED_SCHEME,
  createAuthenticatedVersion,
  expectMacKey,
} from '../engine/msc4048.js';
import type { ExportedSessionData } from '../engine/room-key.js';
import type { BackupAlgorithm } from './algorithm.js';
import { createVersion, type NewBackup } from './backup.js';
import { Restore, type RestoreOptions } from './restore.js';
import type { RoomKeys } from './room-keys.js';
import { uploadSessions, type UploadOptions, type UploadOutcome } from './upload.js';

/**
 * EXPERIMENTAL: backups of the second algorithm of MSC4048 on a server. The calls are those for v1, and so is all
 * that is not said here.
 */

/** The second algorithm of MSC4048, under either name; the unstable one is written. */
export const MSC4048: BackupAlgorithm = {
  names: [AUTHENTICATED_BACKUP_ALGORITHM.unstable, AUTHENTICATED_BACKUP_ALGORITHM.stable],
  scheme: AUTHENTICATED_SCHEME,
};

/** What goes into a new version of this algorithm. */
export interface NewAuthenticatedBackup extends NewBackup {
  /** The name of the algorithm to write. Default `unstable`. */
  readonly names?: MacNames | undefined;
}

/**
 * Makes a version of this algorithm, which becomes the current one. Clients that do not know the algorithm, all
 * others at present, stop backing up then.
 *
 * @returns What the server holds now.
 * @throws {@link RequestError}, as `createBackup`.
 *
 * @example
 * ```ts
 * import { BackupDecryptionKey, BackupMacKey, type ExportedSessionData } from 'megolm-backup';
 * import type { RoomKeys } from 'megolm-backup/client';
 * import { createAuthenticatedBackup, restoreAuthenticated, uploadAuthenticated } from 'megolm-backup/experimental';
 *
 * async function roundTrip(roomKeys: RoomKeys, key: BackupDecryptionKey, sessions: ExportedSessionData[]) {
 *   const info = await createAuthenticatedBackup(roomKeys, { publicKey: key.publicKey });
 *   const trust = { userId: '@a:example.org', decryptionKey: key };
 *   const macKey = BackupMacKey.fromDecryptionKey(key);
 *   await uploadAuthenticated(roomKeys, info, sessions, { trust, macKey });
 *   for await (const result of restoreAuthenticated(roomKeys, info, key)) {
 *     console.log(result.ok ? result.authenticity : result.error.code);
 *   }
 * }
 * ```
 */
export function createAuthenticatedBackup(
  roomKeys: RoomKeys,
  backup: NewAuthenticatedBackup,
): Promise<VersionInfo> {
  const { publicKey, signers = [], extra, names, signal } = backup;
  const { algorithm, auth_data } = createAuthenticatedVersion(publicKey, {
    ...(extra && { extra }),
    ...(names && { names }),
  });
  return createVersion(roomKeys, { algorithm, auth_data: signAuthData(auth_data, signers) }, { signal });
}

/** How to upload to such a version: with a MAC key, which may be all that the uploading device has. */
export type AuthenticatedUploadOptions = UploadOptions & { readonly macKey: BackupMacKey };

/**
 * Encrypts sessions and uploads them to a version of this algorithm. With `skipStored` only what the backup has with a
 * right `backup_mac` is left out, because everything else counts as not there.
 *
 * @throws {@link KeyBackupError} as `uploadSessions`; `bad-parameters` without a MAC key.
 */
export async function uploadAuthenticated(
  roomKeys: RoomKeys,
  info: VersionInfo,
  sessions: Iterable<ExportedSessionData> | AsyncIterable<ExportedSessionData>,
  options: AuthenticatedUploadOptions,
): Promise<UploadOutcome> {
  expectMacKey(options.macKey);
  const skipStored = options.skipStored ? 'authenticated' : false;
  return uploadSessions(roomKeys, info, sessions, { ...options, skipStored }, MSC4048);
}

/** What to restore of such a version. There is nothing to salvage: no old client wrote any. */
export type AuthenticatedRestoreOptions = Omit<RestoreOptions, 'salvage'>;

/**
 * A restore of a version of this algorithm. What has no right `backup_mac` fails with `not-authenticated` before
 * anything in it is decrypted: count it as not there.
 *
 * @throws {@link KeyBackupError} as the constructor of `Restore`.
 */
export function restoreAuthenticated(
  roomKeys: RoomKeys,
  info: VersionInfo,
  key: BackupDecryptionKey,
  options: AuthenticatedRestoreOptions = {},
): Restore {
  return new Restore(roomKeys, info, key, { ...options, salvage: false }, MSC4048);
}

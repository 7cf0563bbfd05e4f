import { noAuthenticity, type AuthenticityCounts } from '../api/authenticity.js';
import { IdSet } from '../api/id-set.js';
import type { VersionInfo } from '../api/types.js';
import { createAuthData, signAuthData, type Signer } from '../engine/auth-data.js';
import type { Backend, Progress } from '../engine/backend.js';
import type { MacNames } from '../engine/backup-mac.js';
import type { BackupDecryptionKey } from '../engine/keys.js';
import {
  AUTHENTICATED_BACKUP_ALGORITHM,
  expectAuthenticatedVersion,
  moveToAuthenticated,
  type MovedSession,
} from '../engine/msc4048.js';
import { expectAlgorithm } from './algorithm.js';
import { RequestError } from './errors.js';
import { RewrittenKeys, keyIds, rewriteKeys, type Rewrite, type RewrittenKey } from './rewritten-keys.js';
import type { CallOptions, RoomKeys } from './room-keys.js';

/** What became of one record. */
export type MoveResult = RewrittenKey<MovedSession>;

/** How to move a backup on a server. */
export interface MoveBackupOptions extends CallOptions {
  /** The decryption key of the new backup; the old one's by default, and then its `auth_data` stays as it is. */
  readonly to?: BackupDecryptionKey | undefined;
  /** Who signs the `auth_data` of the new version, besides the signatures that stay. */
  readonly signers?: readonly Signer[] | undefined;
  /** The names of the proposal to write, the algorithm's among them. Default `unstable`. */
  readonly macNames?: MacNames | undefined;
  /** Writes a copy of the room id into what is encrypted anew. Default false. */
  readonly bindRoomId?: boolean | undefined;
  /** Where to go on: the id of a version that an earlier run has made for this. Default a new version. */
  readonly into?: string | undefined;
  /** Gets the id of a new version at once: with it as `into` another run goes on. */
  readonly onNewVersion?: ((version: string) => void | Promise<void>) | undefined;
  /** Gets what became of every record, before it is sent. */
  readonly onResult?: ((result: MoveResult) => void) | undefined;
  /** Is told how far it is, now and then and at the end. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly backend?: Backend | undefined;
}

/** How it ended. */
export interface MoveOutcome {
  /** The version of the second algorithm. */
  readonly version: string;
  /** What the records proved in the old backup. */
  readonly before: Readonly<AuthenticityCounts>;
  /** What they prove in the new one: whatever had no right MAC is `declared-unauthenticated` now. */
  readonly after: Readonly<AuthenticityCounts>;
  /** Records that were moved byte for byte. */
  readonly unchanged: number;
  /** Records that cannot be read; they are in the old version only. */
  readonly failed: number;
  /** Records that the server acknowledged. */
  readonly uploaded: number;
  /** Records in the new version already when this run began. */
  readonly skipped: number;
}

/**
 * EXPERIMENTAL. Moves a v1 backup on a server into a version of the second algorithm of MSC4048, which becomes the
 * current one. What had a right `backup_mac` stays as it was, everything else becomes `m.legacy-v1`: moving makes
 * nothing authentic. The old version stays until it is deleted, because no other client reads the new one.
 *
 * @param info - The v1 version, as the server gave it.
 * @param key - Its decryption key.
 * @throws {@link KeyBackupError} `wrong-key` before anything is downloaded; `unsupported-algorithm`; `aborted`;
 * {@link RequestError}, for records that the server refuses after all others were sent. Stopped in the middle it goes
 * on with `into`.
 */
export async function moveBackup(
  roomKeys: RoomKeys,
  info: VersionInfo,
  key: BackupDecryptionKey,
  options: MoveBackupOptions = {},
): Promise<MoveOutcome> {
  expectAlgorithm(info);
  key.expectMatch(info.auth_data);
  const { to = key, macNames, bindRoomId, into, backend, signal } = options;
  const version = await targetOf(roomKeys, info, key, options);
  const present = into === undefined ? new IdSet() : await keyIds(roomKeys, version, options);
  const skipped = present.size;
  const sent = new RewrittenKeys(roomKeys, version, options);
  const [before, after] = [noAuthenticity(), noAuthenticity()];
  let unchanged = 0;
  let failed = 0;
  const settings = { to, macNames, bindRoomId, backend, signal };
  const rewrite: Rewrite<MovedSession> = (records, onProgress) =>
    moveToAuthenticated(records, key, { ...settings, onProgress });
  for await (const result of rewriteKeys(roomKeys, info, present, rewrite, options)) {
    options.onResult?.(result);
    if (!result.ok) {
      failed++;
      continue;
    }
    before[result.was]++;
    after[result.authenticity]++;
    if (result.unchanged) unchanged++;
    await sent.add(result);
  }
  await sent.end();
  return { version, before, after, unchanged, failed, uploaded: sent.uploaded, skipped };
}

async function targetOf(
  roomKeys: RoomKeys,
  { auth_data }: VersionInfo,
  key: BackupDecryptionKey,
  { to = key, signers = [], macNames = 'unstable', into, onNewVersion, signal }: MoveBackupOptions,
): Promise<string> {
  if (into !== undefined) {
    const target = await roomKeys.version(into, { signal });
    if (!target) throw new RequestError('not-found', `version ${into}: the server does not have it`);
    expectAuthenticatedVersion(target);
    to.expectMatch(target.auth_data);
    return into;
  }
  // With the same key its signatures stay right, and every client goes on trusting it.
  const kept = to.publicKey.equals(key.publicKey) ? auth_data : createAuthData(to.publicKey);
  const created = await roomKeys.createVersion(
    {
      algorithm: AUTHENTICATED_BACKUP_ALGORITHM[macNames],
      auth_data: signers.length === 0 ? kept : signAuthData(kept, signers),
    },
    { signal },
  );
  await onNewVersion?.(created);
  return created;
}

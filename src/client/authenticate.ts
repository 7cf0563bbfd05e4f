import { IdSet } from '../api/id-set.js';
import type { VersionInfo } from '../api/types.js';
import {
  authenticateSessions,
  type AuthenticatedRecord,
  type Authentication,
} from '../engine/authenticate.js';
import type { Backend, Progress } from '../engine/backend.js';
import { BackupMacKey, type MacNames } from '../engine/backup-mac.js';
import type { BackupDecryptionKey } from '../engine/keys.js';
import type { ExportedSessionData } from '../engine/room-key.js';
import { expectAlgorithm } from './algorithm.js';
import { RequestError } from './errors.js';
import { RewrittenKeys, keyIds, rewriteKeys, type Rewrite, type RewrittenKey } from './rewritten-keys.js';
import type { CallOptions, RoomKeys } from './room-keys.js';
import { countWithoutRightMac } from './stored-keys.js';
import { quote } from '../engine/quote.js';

/** What became of one record. */
export type AuthenticateResult = RewrittenKey<AuthenticatedRecord>;

/** How to authenticate a backup on a server. */
export interface AuthenticateBackupOptions extends CallOptions {
  readonly macNames?: MacNames | undefined;
  /** Writes a copy of the room id into the new records. Default false. */
  readonly bindRoomId?: boolean | undefined;
  /** `is_verified` of the new records. Default false. A server takes a verified record for the better one. */
  readonly isVerified?: boolean | undefined;
  /** Also writes records of what has no trusted copy, declared `m.legacy-v1`. Default false. */
  readonly declareUnknown?: boolean | undefined;
  /**
   * Where the records go: `same`, into this version, whose server may keep the old ones; `new`, all that can be read
   * into a new version with the same key and `auth_data`; or the id of a version that an earlier run has made for
   * this. Default `same`.
   */
  readonly into?: 'same' | 'new' | { readonly version: string } | undefined;
  /** Gets the id of a new version at once: with it as `into` another run goes on. */
  readonly onNewVersion?: ((version: string) => void | Promise<void>) | undefined;
  /** Gets what became of every record, before it is sent. */
  readonly onResult?: ((result: AuthenticateResult) => void) | undefined;
  /** Is told how far it is, now and then and at the end. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly backend?: Backend | undefined;
}

/** How it ended. */
export interface AuthenticateOutcome {
  /** The version with the records. */
  readonly version: string;
  readonly counts: Readonly<Record<Authentication, number>>;
  /** Records that cannot be read; they are in the old version only. */
  readonly failed: number;
  /** Records that the server acknowledged. */
  readonly uploaded: number;
  /** Records in a new version already when this run began. */
  readonly skipped: number;
  /**
   * Records that the server acknowledged and, asked again, does not have: it kept the old ones, which are as good to
   * it. Then `into: 'new'` is the way.
   */
  readonly kept: number;
}

/**
 * Walks a backup on a server and gives the keys that the user has trusted copies of a `backup_mac`, as
 * `authenticateSessions` has it. Afterwards it walks the records again, because a server keeps the old one of two
 * records that are equally good, and says so to nobody.
 *
 * Stopped in the middle it goes on by itself: what has a right `backup_mac` is done.
 *
 * @param info - The version, as the server gave it.
 * @param trusted - The trusted copy of a session; `undefined` where there is none.
 * @throws {@link KeyBackupError} `wrong-key` before anything is downloaded; `unsupported-algorithm`;
 * {@link RequestError}: `wrong-version` when there is a newer version; `http` or `too-large` when the server refuses
 * records, after all others were sent.
 */
export async function authenticateBackup(
  roomKeys: RoomKeys,
  info: VersionInfo,
  key: BackupDecryptionKey,
  trusted: (roomId: string, sessionId: string) => ExportedSessionData | undefined,
  options: AuthenticateBackupOptions = {},
): Promise<AuthenticateOutcome> {
  expectAlgorithm(info);
  key.expectMatch(info.auth_data);
  const { into = 'same', signal } = options;
  const target = await targetOf(roomKeys, info, key, options);
  const present = into === 'same' ? new IdSet() : await keyIds(roomKeys, target, options);
  const skipped = present.size;
  const sent = new RewrittenKeys(roomKeys, target, options);
  const counts = { authenticated: 0, declared: 0, already: 0, unknown: 0, conflicting: 0 };
  let failed = 0;
  const { macNames, bindRoomId, isVerified, declareUnknown, backend } = options;
  const settings = { macNames, bindRoomId, isVerified, declareUnknown, backend, signal };
  const rewrite: Rewrite<AuthenticatedRecord> = (records, onProgress) =>
    authenticateSessions(records, key, trusted, { ...settings, onProgress });
  for await (const result of rewriteKeys(roomKeys, info, present, rewrite, options)) {
    options.onResult?.(result);
    if (!result.ok) {
      failed++;
      continue;
    }
    counts[result.authentication]++;
    if (result.changed || into !== 'same') await sent.add(result);
  }
  await sent.end();
  const { uploaded, ids } = sent;
  const kept = into === 'same' && uploaded > 0 ? await countKept(roomKeys, target, key, ids, options) : 0;
  return { version: target, counts, failed, uploaded, skipped, kept };
}

async function targetOf(
  roomKeys: RoomKeys,
  { version, algorithm, auth_data }: VersionInfo,
  key: BackupDecryptionKey,
  { into = 'same', onNewVersion, signal }: AuthenticateBackupOptions,
): Promise<string> {
  if (into === 'same') return version;
  if (into === 'new') {
    // The same auth_data: its signatures stay right, and every client goes on trusting it.
    const created = await roomKeys.createVersion({ algorithm, auth_data }, { signal });
    await onNewVersion?.(created);
    return created;
  }
  const target = await roomKeys.version(into.version, { signal });
  if (!target)
    throw new RequestError('not-found', `version ${quote(into.version)}: the server does not have it`);
  expectAlgorithm(target);
  key.expectMatch(target.auth_data);
  return into.version;
}

/** How many of the records that were sent the server does not have with a right MAC. */
async function countKept(
  roomKeys: RoomKeys,
  version: string,
  key: BackupDecryptionKey,
  sent: IdSet,
  { signal }: CallOptions,
): Promise<number> {
  const macKey = BackupMacKey.fromDecryptionKey(key);
  try {
    return await countWithoutRightMac(roomKeys, version, macKey, sent, { signal });
  } finally {
    macKey.dispose();
  }
}

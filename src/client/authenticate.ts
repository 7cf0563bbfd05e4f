import { expectFunction } from '../encoding/arguments.js';
import { SessionIdSet } from '../wire/session-id-set.js';
import type { VersionInfo } from '../wire/types.js';
import {
  authenticateSessions,
  type AuthenticateOptions,
  type AuthenticatedRecord,
  type Authentication,
  type TrustedCopyOf,
} from '../batch/reencrypt.js';
import { isJsonObject, ownValue } from '../encoding/json.js';
import { BackupMacKey, checkBackupMac } from '../scheme/backup-mac.js';
import type { KeyBackupError } from '../errors.js';
import type { BackupDecryptionKey } from '../scheme/keys.js';
import { expectAlgorithm, expectReadable } from './backup.js';
import { BatchSender, sealKey, type FailedUpload, type Sealable, type SealedItem } from './batch-sender.js';
import { downloadKeys, recordsOf, type DownloadedItem } from './download.js';
import { RequestError } from './http-error.js';
import type { CallOptions, RoomKeys } from './api.js';
import { quote } from '../encoding/quote.js';

/** The result for one record: a new or unchanged one, or the reason why it cannot be read. */
export type AuthenticateResult =
  | ({ readonly ok: true; readonly path: string } & AuthenticatedRecord)
  | {
      readonly ok: false;
      readonly path: string;
      readonly room_id: string | undefined;
      readonly session_id: string | undefined;
      readonly error: KeyBackupError;
    };

/** How to authenticate a backup on a server. */
export interface AuthenticateBackupOptions extends Omit<AuthenticateOptions, 'total'> {
  /**
   * Where the records go: `same`, this version, whose server may keep the old ones; `new`, everything readable into a
   * new version with the same key and `auth_data`; or a version that an earlier run made for this. Default `same`.
   */
  readonly into?: 'same' | 'new' | { readonly version: string } | undefined;
  /** Called at once with the id of a new version: with it as `into` another run resumes. */
  readonly onNewVersion?: ((version: string) => void | Promise<void>) | undefined;
  /** Called with the result for every record, before it is sent. */
  readonly onResult?: ((result: AuthenticateResult) => void | Promise<void>) | undefined;
}

/** How it ended. */
export interface AuthenticateOutcome {
  /** The version with the records. */
  readonly version: string;
  /** How many records had which result; those that the server did not take count in `kept` only. */
  readonly counts: Readonly<Record<Authentication, number>>;
  /** Records that cannot be read; they stay in the old version only. */
  readonly failed: number;
  /** Records that the server acknowledged. */
  readonly uploaded: number;
  /** Records that were in the new version when this run began. */
  readonly skipped: number;
  /**
   * Records that the server acknowledged but, downloaded again, lack a right `backup_mac`: it kept the old ones, which
   * it ranks no lower. Then use `into: 'new'`.
   */
  readonly kept: number;
}

/**
 * Adds a `backup_mac` to the keys in a backup that the user has trusted copies of, as `authenticateSessions` does.
 * Afterwards it reads back what it sent, because a server acknowledges a record even if it keeps the old one.
 *
 * After an interruption run it again: a record with a right `backup_mac` is done.
 *
 * @see https://github.com/matrix-org/matrix-spec-proposals/pull/4048
 * @param info - The version, as the server gave it.
 * @param trusted - Returns the trusted copy of a session, or a promise of it; `undefined` without one.
 * @throws {@link KeyBackupError} `wrong-key` before anything is downloaded; `unsupported-algorithm`;
 * {@link RequestError}: `wrong-version` when there is a newer version; `http` or `too-large` when the server rejects
 * records, after all others were sent; and whatever `trusted` throws.
 */
export async function authenticateBackup(
  roomKeys: RoomKeys,
  info: VersionInfo,
  key: BackupDecryptionKey,
  trusted: TrustedCopyOf,
  options: AuthenticateBackupOptions = {},
): Promise<AuthenticateOutcome> {
  expectReadable(roomKeys, info, key, options);
  key.expectMatch(info.auth_data);
  expectFunction(trusted, 'trusted');
  const { into = 'same', onResult } = options;
  const version = await targetOf(roomKeys, info, key, options);
  const present = into === 'same' ? new SessionIdSet() : await keyIds(roomKeys, version, options);
  const skipped = present.size;
  const { signal } = options;
  let uploaded = 0;
  const rejected: FailedUpload[] = [];
  const sender = new BatchSender(roomKeys, version, {
    signal,
    onSent: (_, keys) => {
      uploaded += keys.length;
    },
    onFailed: (failure) => {
      rejected.push(failure);
    },
  });
  const counts = { authenticated: 0, declared: 0, already: 0, unknown: 0, conflicting: 0 };
  /** The records sent with a `backup_mac`. */
  const sent = {
    authenticated: new SessionIdSet(),
    declared: new SessionIdSet(),
    already: new SessionIdSet(),
  };
  let failed = 0;
  async function* toSend(): AsyncGenerator<SealedItem, void, undefined> {
    for await (const result of authenticated(roomKeys, info, key, trusted, present, options)) {
      await onResult?.(result);
      if (!result.ok) {
        failed++;
        continue;
      }
      const { authentication, room_id, session_id } = result;
      counts[authentication]++;
      if (into === 'same' && !result.changed) continue;
      if (authentication in sent) sent[authentication as keyof typeof sent].add(room_id, session_id);
      // An unchanged record has been read, so it has this shape.
      yield { key: sealKey(result as Sealable) };
    }
  }
  for await (const { keys } of sender.batches(toSend())) await sender.send(keys);
  expectAccepted(rejected);
  let kept = 0;
  for (const [authentication, count] of await countKept(roomKeys, version, key, sent, options)) {
    counts[authentication] -= count;
    kept += count;
  }
  return { version, counts, failed, uploaded, skipped, kept };
}

async function targetOf(
  roomKeys: RoomKeys,
  { version, algorithm, auth_data }: VersionInfo,
  key: BackupDecryptionKey,
  { into = 'same', onNewVersion, signal }: AuthenticateBackupOptions,
): Promise<string> {
  if (into === 'same') return version;
  if (into === 'new') {
    // With the same auth_data the signatures stay valid, and every client goes on trusting it.
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

/** The keys that a version has. */
async function keyIds(roomKeys: RoomKeys, version: string, { signal }: CallOptions): Promise<SessionIdSet> {
  const ids = new SessionIdSet();
  // The download adds every key to `exclude`.
  const keys = downloadKeys(roomKeys, version, { exclude: ids, signal });
  while ((await keys.next()).done !== true);
  return ids;
}

/**
 * Downloads and authenticates every record of a version that is not in `present`.
 *
 * @returns One result per record, and one per place that gives none.
 */
async function* authenticated(
  roomKeys: RoomKeys,
  { version, count }: VersionInfo,
  key: BackupDecryptionKey,
  trusted: TrustedCopyOf,
  present: SessionIdSet,
  options: AuthenticateBackupOptions,
): AsyncGenerator<AuthenticateResult, void, undefined> {
  const { macNames, bindRoomId, isVerified, declareUnknown, backend, signal, onProgress } = options;
  const skipped = present.size;
  const waiting: DownloadedItem[] = [];
  const download = downloadKeys(roomKeys, version, { exclude: present, signal });
  const results = authenticateSessions(recordsOf(download, waiting), key, trusted, {
    ...{ macNames, bindRoomId, isVerified, declareUnknown, backend, signal },
    onProgress({ done, failed }) {
      onProgress?.({ done: skipped + done, total: count, failed });
    },
  });
  for await (const result of results) {
    const { path = '', room_id, session_id, error } = waiting.shift() ?? {};
    if (result.ok) yield { ...result, path };
    else yield { ok: false, path, room_id, session_id, error: error ?? result.error };
  }
}

/** @throws {@link RequestError} if the server rejected records; it has all others. */
function expectAccepted(rejected: readonly FailedUpload[]): void {
  if (rejected.length === 0) return;
  const [{ room_id, session_id, error }] = rejected;
  // Only the server rejects records here.
  if (!(error instanceof RequestError)) throw error;
  const { code, status, errcode } = error;
  const which = `room ${quote(String(room_id))}, session ${quote(String(session_id))}`;
  const message = `${rejected.length} records were rejected, the first of them ${which}: ${error.message}`;
  throw new RequestError(code, message, { status, errcode, cause: error });
}

/** Reads back what was sent, and counts by kind what the server lacks with a right MAC. */
async function countKept<Kind extends string>(
  roomKeys: RoomKeys,
  version: string,
  key: BackupDecryptionKey,
  sent: Readonly<Record<Kind, SessionIdSet>>,
  { signal }: CallOptions,
): Promise<Map<Kind, number>> {
  const kinds = (Object.keys(sent) as Kind[]).filter((kind) => sent[kind].size > 0);
  const kept = new Map(kinds.map((kind) => [kind, sent[kind].size]));
  if (kinds.length === 0) return kept;
  const macKey = BackupMacKey.fromDecryptionKey(key);
  try {
    for await (const batch of downloadKeys(roomKeys, version, { signal })) {
      for (const item of batch) {
        if (item.error || !hasRightMac(item.key_backup_data, macKey)) continue;
        const kind = kinds.find((one) => sent[one].has(item.room_id, item.session_id));
        if (kind) kept.set(kind, (kept.get(kind) ?? 0) - 1);
      }
    }
    return kept;
  } finally {
    macKey.dispose();
  }
}

function hasRightMac(record: unknown, macKey: BackupMacKey): boolean {
  const data = isJsonObject(record) ? ownValue(record, 'session_data') : undefined;
  return isJsonObject(data) && checkBackupMac(data, macKey) === 'right';
}

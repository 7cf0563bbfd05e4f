import { IdSet } from '../api/id-set.js';
import type { VersionInfo } from '../api/types.js';
import {
  authenticateSessions,
  type AuthenticatedRecord,
  type Authentication,
} from '../engine/authenticate.js';
import type { Backend, Progress } from '../engine/backend.js';
import { BackupMacKey, checkBackupMac, type MacNames } from '../engine/backup-mac.js';
import type { BackupRecord, EncryptedSession } from '../engine/batch.js';
import { KeyBackupError } from '../engine/errors.js';
import { isJsonObject, ownValue } from '../engine/json.js';
import type { BackupDecryptionKey } from '../engine/keys.js';
import type { ExportedSessionData } from '../engine/room-key.js';
import { expectAlgorithm } from './backup.js';
import { downloadKeys } from './download.js';
import { RequestError } from './errors.js';
import type { CallOptions, RoomKeys } from './room-keys.js';
import { UploadBatch, batchBody, sealKey, type SealedKey } from './upload-batch.js';

/** What became of one record. */
export type AuthenticateResult =
  | ({ readonly ok: true; readonly path: string } & AuthenticatedRecord)
  | {
      readonly ok: false;
      readonly path: string;
      readonly room_id: string | undefined;
      readonly session_id: string | undefined;
      readonly error: KeyBackupError<string>;
    };

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

const BATCH = { keys: 200, bytes: 800_000 };

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
 * {@link RequestError}: `wrong-version` when there is a newer version.
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
  const present = into === 'same' ? new IdSet() : await idsOf(roomKeys, target, options);
  const skipped = present.size;
  const sent = new IdSet();
  const counts = { authenticated: 0, declared: 0, already: 0, unknown: 0, conflicting: 0 };
  let failed = 0;
  let uploaded = 0;
  let batch = new UploadBatch();
  const send = async () => {
    await put(roomKeys, target, batch.keys, signal);
    for (const { room_id, session_id } of batch.keys) sent.add(room_id, session_id);
    uploaded += batch.size;
    batch = new UploadBatch();
  };
  for await (const result of walk(roomKeys, info, key, trusted, present, options)) {
    options.onResult?.(result);
    if (!result.ok) {
      failed++;
      continue;
    }
    counts[result.authentication]++;
    if (!result.changed && into === 'same') continue;
    // What stays as it is has been read, so it is a record.
    const record = sealKey(result as unknown as EncryptedSession);
    if (!batch.fits(record, BATCH)) await send();
    batch.add(record);
  }
  if (batch.size > 0) await send();
  const kept = into === 'same' && sent.size > 0 ? await countKept(roomKeys, target, key, sent, options) : 0;
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
  if (!target) throw new RequestError('not-found', `version ${into.version}: the server does not have it`);
  expectAlgorithm(target);
  key.expectMatch(target.auth_data);
  return into.version;
}

async function idsOf(roomKeys: RoomKeys, version: string, { signal }: CallOptions): Promise<IdSet> {
  const ids = new IdSet();
  // Every key that comes is added to what was taken.
  const keys = downloadKeys(roomKeys, version, { taken: ids, signal });
  while ((await keys.next()).done !== true);
  return ids;
}

/** What becomes of every record that is not in `taken`. */
async function* walk(
  roomKeys: RoomKeys,
  { version, count }: VersionInfo,
  key: BackupDecryptionKey,
  trusted: (roomId: string, sessionId: string) => ExportedSessionData | undefined,
  taken: IdSet,
  options: AuthenticateBackupOptions,
): AsyncGenerator<AuthenticateResult, void, undefined> {
  const { signal, onProgress, macNames, bindRoomId, isVerified, declareUnknown, backend } = options;
  const skipped = taken.size;
  const paths: string[] = [];
  const faults: AuthenticateResult[] = [];
  async function* records(): AsyncGenerator<BackupRecord, void, undefined> {
    for await (const item of downloadKeys(roomKeys, version, { taken, signal })) {
      const { room_id, session_id, path } = item;
      if (item.error) {
        faults.push({ ok: false, path, room_id, session_id, error: item.error });
      } else {
        paths.push(path);
        yield { room_id: item.room_id, session_id: item.session_id, key_backup_data: item.value };
      }
    }
  }
  const settings = { macNames, bindRoomId, isVerified, declareUnknown, backend, signal };
  const onStep = ({ done, failed }: Progress) => {
    onProgress?.({ done: skipped + done, total: count, failed });
  };
  const results = authenticateSessions(records(), key, trusted, { ...settings, onProgress: onStep });
  for await (const result of results) {
    const path = paths.shift() ?? '';
    if (result.ok) yield { ...result, path };
    else
      yield { ok: false, path, room_id: result.room_id, session_id: result.session_id, error: result.error };
    yield* faults.splice(0);
  }
  yield* faults;
}

/** Sends keys; what is too large for the server in one piece goes in halves. */
async function put(
  roomKeys: RoomKeys,
  version: string,
  keys: readonly SealedKey[],
  signal: CallOptions['signal'],
): Promise<void> {
  try {
    await roomKeys.putKeys(version, batchBody(keys), { signal });
  } catch (error) {
    if (!(error instanceof RequestError) || error.code !== 'too-large' || keys.length === 1) throw error;
    const middle = Math.ceil(keys.length / 2);
    await put(roomKeys, version, keys.slice(0, middle), signal);
    await put(roomKeys, version, keys.slice(middle), signal);
  }
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
  let taken = 0;
  try {
    for await (const item of downloadKeys(roomKeys, version, { signal })) {
      if (item.error || !sent.has(item.room_id, item.session_id)) continue;
      const data = isJsonObject(item.value) ? ownValue(item.value, 'session_data') : undefined;
      if (isJsonObject(data) && checkBackupMac(data, macKey) === 'right') taken++;
    }
  } finally {
    macKey.dispose();
  }
  return sent.size - taken;
}

import { type Progress, throwIfAborted } from '../async.js';
import { decryptSessions } from '../backends/auto.js';
import { noAuthenticity, type AuthenticityCounts } from '../report/report.js';
import { SessionIdSet } from '../wire/session-id-set.js';
import type { VersionInfo } from '../wire/types.js';
import type { BatchOptions } from '../batch/run.js';
import type { DecryptSettings, DecryptResult, DecryptedSession } from '../batch/decrypt.js';
import { KeyBackupError } from '../errors.js';
import type { BackupDecryptionKey } from '../scheme/keys.js';
import { randomBytes } from '@noble/hashes/utils.js';
import { expectReadable, expectStateOf } from './backup.js';
import { downloadKeys, recordsOf, type DownloadOptions, type DownloadedItem } from './download.js';
import type { RoomKeys } from './api.js';

/** A restored key, and whether it proves where it comes from. */
export interface RestoredKey extends DecryptedSession {
  readonly ok: true;
  /** The JSON path in the answer of `GET /room_keys/keys`. */
  readonly path: string;
}

/** A key that could not be restored, or a place without a key, and the reason. */
export interface UnrestoredKey {
  readonly ok: false;
  readonly room_id: string | undefined;
  readonly session_id: string | undefined;
  readonly path: string;
  /** Whether it could be parsed, so that its failure tells something about the decryption key. */
  readonly wellFormed: boolean;
  readonly error: KeyBackupError;
}

/** What {@link Restore} yields. */
export type RestoreResult = RestoredKey | UnrestoredKey;

/** What a restore needs to resume another one. */
export interface RestoreState {
  readonly version: string;
  readonly etag: string;
  /** A random key and a 128-bit digest of the ids of each delivered key. */
  readonly delivered: Uint8Array;
}

/** What to restore and how. */
export interface RestoreOptions
  extends Omit<BatchOptions, 'total'>, DecryptSettings, Pick<DownloadOptions, 'rooms' | 'pageKeys'> {
  /** Where to resume; the keys in it do not come again. */
  readonly state?: RestoreState | undefined;
  /** `total` is what the server counts; `undefined` without its count, and for single rooms. `done` includes what `state` holds. */
  readonly onProgress?: BatchOptions['onProgress'];
}

/** How a restore ended. */
export interface RestoreSummary {
  readonly version: string;
  /** Of the version when the restore began. */
  readonly etag: string;
  /** What the server counted then; `undefined` if it does not count. */
  readonly count: number | undefined;
  /** Delivered by this run, including flagged ones. */
  readonly ok: number;
  readonly failed: number;
  /** How many of `ok` were malformed. A wrong `backup_mac` is counted in `authenticity`. */
  readonly flagged: number;
  /** How many of `ok` prove where they come from. A `wrong-mac` was written or changed without the key. */
  readonly authenticity: Readonly<AuthenticityCounts>;
  /** Delivered by earlier runs. */
  readonly skipped: number;
  /** Which of the `rooms` asked for hold no key. */
  readonly emptyRooms: readonly string[];
  /** How many fewer keys came than the server counted; `undefined` without its count, and for single rooms. */
  readonly missing: number | undefined;
  /** Whether the keys have changed since the `state` was made. */
  readonly changed: boolean;
}

/**
 * A restore: an async iterable of one result per key, while the backup downloads.
 *
 * The key is compared with the backup's public key before the download; if that is malformed, the records tell. A bad key is one result with its reason and
 * does not end the restore. A broken connection is made again, and no key comes twice; a body that ends early is an
 * error.
 *
 * Every key has its `authenticity`. A key without a `backup_mac` proves nothing: anyone who knows the public key, the
 * server above all, can add keys, and only the server's word ties a key to a room.
 *
 * @example
 * ```ts
 * import type { BackupDecryptionKey } from 'megolm-backup';
 * import { Restore, type RoomKeys } from 'megolm-backup/client';
 *
 * async function restoreAll(roomKeys: RoomKeys, key: BackupDecryptionKey) {
 *   const info = await roomKeys.currentVersion();
 *   if (!info) return;
 *   const restore = new Restore(roomKeys, info, key, { onProgress: ({ done, total }) => console.log(done, total) });
 *   for await (const result of restore) {
 *     if (result.ok) console.log(result.session.session_id);
 *     else console.error(result.path, result.error.code);
 *   }
 *   console.log(restore.summary);
 * }
 * ```
 */
export class Restore implements AsyncIterable<RestoreResult> {
  readonly #roomKeys: RoomKeys;
  readonly #info: VersionInfo;
  readonly #key: BackupDecryptionKey;
  readonly #options: RestoreOptions;
  readonly #deliveredIds: SessionIdSet;
  readonly #skipped: number;
  /** Downloaded and not delivered yet, in the order of the results. */
  readonly #waiting: DownloadedItem[] = [];
  readonly #failedIds: (readonly [string, string])[] = [];
  readonly #emptyRooms: string[] = [];
  #ok = 0;
  #failed = 0;
  #flagged = 0;
  readonly #authenticity = noAuthenticity();
  #begun = false;
  #downloadError: { readonly error: unknown } | undefined;

  /**
   * @param info - The version, as the server gave it.
   * @throws {@link KeyBackupError} `wrong-key` for the key of another backup; `unsupported-algorithm`;
   * `bad-parameters` for the state of another version, `bad-length` for a damaged one.
   */
  constructor(roomKeys: RoomKeys, info: VersionInfo, key: BackupDecryptionKey, options: RestoreOptions = {}) {
    expectReadable(roomKeys, info, key, options);
    const { state } = options;
    expectStateOf(info, state);
    this.#roomKeys = roomKeys;
    this.#info = info;
    this.#key = key;
    this.#options = options;
    this.#deliveredIds = state ? SessionIdSet.fromBytes(state.delivered) : new SessionIdSet(randomBytes(16));
    this.#skipped = this.#deliveredIds.size;
  }

  /** The totals so far; after the last result, the final ones. */
  get summary(): RestoreSummary {
    const { version, etag, count } = this.#info;
    const came = this.#skipped + this.#ok + this.#failed;
    return {
      version,
      etag,
      count,
      missing: this.#options.rooms || count === undefined ? undefined : Math.max(0, count - came),
      ok: this.#ok,
      failed: this.#failed,
      flagged: this.#flagged,
      authenticity: { ...this.#authenticity },
      skipped: this.#skipped,
      emptyRooms: [...this.#emptyRooms],
      changed: this.#options.state !== undefined && this.#options.state.etag !== etag,
    };
  }

  /** What another restore needs to resume after the last result. It tries keys that failed again. */
  state(): RestoreState {
    const waiting = this.#waiting
      .filter(({ error }) => !error)
      .map(({ room_id = '', session_id = '' }) => [room_id, session_id] as const);
    const delivered = this.#deliveredIds.toBytes([...waiting, ...this.#failedIds]);
    return { version: this.#info.version, etag: this.#info.etag, delivered };
  }

  /** Starts. A restore runs once. */
  async *[Symbol.asyncIterator](): AsyncGenerator<RestoreResult, void, undefined> {
    if (this.#begun) {
      throw new KeyBackupError('bad-parameters', 'restore: expected to run once, got a second call');
    }
    this.#begun = true;
    const { rooms, salvage, requireAuthenticated, signal, backend } = this.#options;
    const total = rooms ? undefined : this.#info.count;
    const onProgress = ({ done, failed }: Progress): void =>
      this.#options.onProgress?.({ done: this.#skipped + done, total, failed });
    onProgress({ done: 0, total, failed: 0 });
    // The signal ends the download and this loop; racing it against every key would cost more than the key.
    const results = decryptSessions(recordsOf(this.#download(), this.#waiting), this.#key, {
      salvage,
      requireAuthenticated,
      backend,
      onProgress,
      // With a total the engine decides whether workers are worth starting.
      ...(total !== undefined && { total: total - this.#skipped }),
    });
    for await (const result of results) {
      throwIfAborted(signal);
      const item = this.#waiting.shift();
      if (!item) throw new KeyBackupError('bad-parameters', 'restore: more results than records');
      yield this.#conclude(item, result);
    }
    if (this.#downloadError) throw this.#downloadError.error;
  }

  async *#download(): AsyncGenerator<DownloadedItem[], void, undefined> {
    const { rooms, signal, pageKeys } = this.#options;
    const options = { rooms, exclude: this.#deliveredIds, emptyRooms: this.#emptyRooms, pageKeys, signal };
    try {
      yield* downloadKeys(this.#roomKeys, this.#info.version, options);
    } catch (error) {
      // The records that have come are decrypted and delivered first.
      this.#downloadError = { error };
    }
  }

  #conclude(item: DownloadedItem, result: DecryptResult): RestoreResult {
    const { room_id, session_id, path } = item;
    if (result.ok) {
      this.#ok++;
      if (result.flags.length > 0) this.#flagged++;
      this.#authenticity[result.authenticity]++;
      const { index: _, ...restored } = result;
      return { ...restored, path };
    }
    this.#failed++;
    if (!item.error) this.#failedIds.push([item.room_id, item.session_id]);
    const error = item.error ?? result.error;
    return { ok: false, room_id, session_id, path, wellFormed: result.wellFormed, error };
  }
}

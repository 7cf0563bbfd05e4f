import { type Progress, throwIfAborted } from '../async.js';
import { expectFunction, expectInstance, expectMethod, expectOptions } from '../encoding/arguments.js';
import { decryptSessions } from '../backends/auto.js';
import { noAuthenticity, type AuthenticityCounts } from '../report/report.js';
import { SessionIdSet } from '../wire/session-id-set.js';
import type { BackupEntry } from '../wire/backup-reader.js';
import type { VersionInfo } from '../wire/types.js';
import type { Backend } from '../batch/backend.js';
import {
  decryptSession,
  type BackupRecord,
  type DecryptResult,
  type DecryptedSession,
  type DecryptSettings,
  type Provenance,
} from '../batch/decrypt.js';
import { KeyBackupError } from '../errors.js';
import type { BackupDecryptionKey } from '../scheme/keys.js';
import type { ExportedSessionData, RoomKeyFlag } from '../formats/room-key.js';
import { randomBytes } from '@noble/hashes/utils.js';
import { expectAlgorithm } from './backup.js';
import { downloadBatches } from './download.js';
import { RoomKeys, type CallOptions } from './api.js';
import { quote } from '../encoding/quote.js';

/** One key that a restore gives, and whether it proves where it comes from. */
export interface RestoredKey extends Provenance {
  readonly ok: true;
  readonly room_id: string;
  readonly session_id: string;
  /** The JSON path in the answer of `GET /room_keys/keys`. */
  readonly path: string;
  readonly session: ExportedSessionData;
  /** What had to be overlooked; empty unless salvage was asked for and needed. */
  readonly flags: readonly RoomKeyFlag[];
}

/** One key, or place, that gives none, and the reason. */
export interface UnrestoredKey {
  readonly ok: false;
  readonly room_id: string | undefined;
  readonly session_id: string | undefined;
  readonly path: string;
  /** Whether it could be taken apart, so that its failure says something about the key. */
  readonly wellFormed: boolean;
  readonly error: KeyBackupError;
}

/** What {@link restoreKeys} yields. */
export type RestoreResult = RestoredKey | UnrestoredKey;

/** What a restore needs to go on where another one stopped. */
export interface RestoreState {
  readonly version: string;
  readonly etag: string;
  /** A random key and the 128-bit digests of the ids delivered: 16 bytes a key, and no ids. */
  readonly delivered: Uint8Array;
}

/** What to restore and how. */
export interface RestoreOptions extends CallOptions {
  /** Only these rooms; default everything. */
  readonly rooms?: readonly string[] | undefined;
  /** Accept what one deployed peer accepts although it is malformed, and flag it. */
  readonly salvage?: boolean | undefined;
  /** Refuse every key that is not authenticated, with `not-authenticated`. */
  readonly requireAuthenticated?: boolean | undefined;
  /** Where to go on; what is in it does not come again. */
  readonly state?: RestoreState | undefined;
  /** `total` is what the server counts; `undefined` for single rooms. `done` includes what `state` holds. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  /** Does the expensive operations by other means. */
  readonly backend?: Backend | undefined;
  /** Most keys of one answer, where the server can page. */
  readonly pageKeys?: number | undefined;
}

/** How a restore ended. */
export interface RestoreSummary {
  readonly version: string;
  /** Of the version when the restore began. */
  readonly etag: string;
  /** What the server counted then. */
  readonly count: number;
  /** Delivered by this run, flagged ones included. */
  readonly ok: number;
  readonly failed: number;
  /** Of those, with something that salvage had to overlook. A wrong `backup_mac` is counted in `authenticity`. */
  readonly flagged: number;
  /**
   * Of those delivered by this run, how many prove where they come from, and how many do not. `wrong-mac` is never a
   * kind of `no-mac`: somebody without the key wrote or changed those.
   */
  readonly authenticity: Readonly<AuthenticityCounts>;
  /** Delivered by earlier runs. */
  readonly skipped: number;
  /** How many fewer keys came than the server counted; `undefined` for single rooms. */
  readonly missing: number | undefined;
  /** Whether the keys are others than when the `state` was made. */
  readonly changed: boolean;
}

/**
 * A restore: an async iterable of one result per key, while the backup downloads.
 *
 * Before anything is downloaded the key is compared with the backup's public key. One bad key is one result with
 * its reason, never the end. A connection that breaks is made again and no key comes twice; a body that ends
 * early is an error and never a success.
 *
 * Every key says whether it is `authenticated`. Without a `backup_mac` none is: whoever knows the public key, the
 * server above all, can add keys; and the room of a key is the server's word.
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
  /** Taken from the stream and not delivered yet, or never to be: in the order of the results. */
  readonly #waiting: Origin[] = [];
  readonly #failedIds: (readonly [string, string])[] = [];
  #ok = 0;
  #failed = 0;
  #flagged = 0;
  readonly #authenticity = noAuthenticity();
  #begun = false;
  #downloadError: { readonly error: unknown } | undefined;

  /**
   * @param info - The version, as the server gave it.
   * @throws {@link KeyBackupError} `wrong-key` when the key is another backup's; `unsupported-algorithm`;
   * `bad-auth-data`, `low-order-key`; `bad-parameters` when the state is another version's; `bad-length` when it
   * is damaged.
   */
  constructor(roomKeys: RoomKeys, info: VersionInfo, key: BackupDecryptionKey, options: RestoreOptions = {}) {
    expectInstance(roomKeys, RoomKeys, 'roomKeys');
    expectAlgorithm(info);
    expectOptions(options);
    expectMethod(key, 'matches', 'key').expectMatch(info.auth_data);
    const { state } = options;
    if (state && state.version !== info.version) {
      throw new KeyBackupError(
        'bad-parameters',
        `state.version: expected ${quote(info.version)}, got another: this state is of another backup`,
      );
    }
    this.#roomKeys = roomKeys;
    this.#info = info;
    this.#key = key;
    this.#options = options;
    this.#deliveredIds = state ? SessionIdSet.fromBytes(state.delivered) : new SessionIdSet(randomBytes(16));
    this.#skipped = this.#deliveredIds.size;
  }

  /** What has happened so far, and after the last result how it ended. */
  get summary(): RestoreSummary {
    const { version, etag, count } = this.#info;
    const came = this.#skipped + this.#ok + this.#failed;
    return {
      version,
      etag,
      count,
      missing: this.#options.rooms ? undefined : Math.max(0, count - came),
      ok: this.#ok,
      failed: this.#failed,
      flagged: this.#flagged,
      authenticity: { ...this.#authenticity },
      skipped: this.#skipped,
      changed: this.#options.state !== undefined && this.#options.state.etag !== etag,
    };
  }

  /**
   * What another restore needs to go on after the result that came last. Keys that failed are not in it: they
   * are tried again.
   */
  state(): RestoreState {
    const waiting = this.#waiting
      .filter(({ fault }) => !fault)
      .map(({ room_id = '', session_id = '' }) => [room_id, session_id] as const);
    const delivered = this.#deliveredIds.toBytes([...waiting, ...this.#failedIds]);
    return { version: this.#info.version, etag: this.#info.etag, delivered };
  }

  /** Begins. A restore runs once. */
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
    // The signal ends the download, and this loop; to race it against every key would cost more than the key.
    const results = decryptSessions(this.#records(), this.#key, {
      salvage,
      requireAuthenticated,
      backend,
      onProgress,
      // Left out where nobody knows it: with it the engine decides whether workers are worth their start.
      ...(total !== undefined && { total: total - this.#skipped }),
    });
    for await (const result of results) {
      throwIfAborted(signal);
      const origin = this.#waiting.shift();
      if (!origin) throw new KeyBackupError('bad-parameters', 'restore: more results than records');
      yield this.#conclude(origin, result);
    }
    if (this.#downloadError) throw this.#downloadError.error;
  }

  /** What the engine decrypts: every record, in order, a place that gives none as a record that is none. */
  async *#records(): AsyncGenerator<BackupRecord, void, undefined> {
    const { rooms, signal, pageKeys } = this.#options;
    const { version } = this.#info;
    const batches = downloadBatches(this.#roomKeys, version, {
      rooms,
      exclude: this.#deliveredIds,
      pageKeys,
      signal,
    });
    try {
      for await (const batch of batches) {
        for (const { room_id, session_id, path, error } of batch) {
          this.#waiting.push({ room_id, session_id, path, fault: error });
        }
        for (const { room_id = '', session_id = '', value } of batch as BackupEntry[]) {
          // Where there is a fault there is no value, and the engine's complaint gives way to the fault.
          yield { room_id, session_id, key_backup_data: value };
        }
      }
    } catch (error) {
      // What has come is decrypted and delivered first.
      this.#downloadError = { error };
    }
  }

  #conclude({ room_id, session_id, path, fault }: Origin, result: DecryptResult): RestoreResult {
    if (result.ok) {
      this.#ok++;
      if (result.flags.length > 0) this.#flagged++;
      this.#authenticity[result.authenticity]++;
      const { index: _, ...restored } = result;
      return { ...restored, path };
    }
    this.#failed++;
    if (!fault && room_id !== undefined && session_id !== undefined) {
      this.#failedIds.push([room_id, session_id]);
    }
    return {
      ok: false,
      room_id,
      session_id,
      path,
      wellFormed: result.wellFormed,
      error: fault ?? result.error,
    };
  }
}

/** Calls `onResult` for every key of a backup; {@link Restore} for those who prefer a callback. */
export async function restoreKeys(
  roomKeys: RoomKeys,
  info: VersionInfo,
  key: BackupDecryptionKey,
  onResult: (result: RestoreResult) => void | Promise<void>,
  options: RestoreOptions = {},
): Promise<RestoreSummary> {
  expectFunction(onResult, 'onResult');
  const restore = new Restore(roomKeys, info, key, options);
  for await (const result of restore) await onResult(result);
  return restore.summary;
}

/**
 * Restores one key.
 *
 * @returns `undefined` when the backup does not have it.
 * @throws {@link KeyBackupError} why it cannot be read; `wrong-key` before anything is downloaded.
 */
export async function restoreKey(
  roomKeys: RoomKeys,
  info: VersionInfo,
  key: BackupDecryptionKey,
  id: { readonly room_id: string; readonly session_id: string },
  options: CallOptions & DecryptSettings = {},
): Promise<DecryptedSession | undefined> {
  expectInstance(roomKeys, RoomKeys, 'roomKeys');
  expectAlgorithm(info);
  expectOptions(id, 'id');
  expectMethod(key, 'matches', 'key').expectMatch(info.auth_data);
  const { room_id, session_id } = id;
  const key_backup_data = await roomKeys.key(info.version, room_id, session_id, options);
  return key_backup_data && decryptSession({ room_id, session_id, key_backup_data }, key, options);
}

interface Origin {
  readonly room_id: string | undefined;
  readonly session_id: string | undefined;
  readonly path: string;
  readonly fault: KeyBackupError | undefined;
}

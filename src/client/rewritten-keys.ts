import { IdSet } from '../api/id-set.js';
import type { VersionInfo } from '../api/types.js';
import type { Progress } from '../engine/backend.js';
import type { BackupRecord, EncryptedSession } from '../engine/batch.js';
import type { Outcome } from '../engine/chunks.js';
import type { KeyBackupError } from '../engine/errors.js';
import { downloadKeys } from './download.js';
import { RequestError } from './errors.js';
import type { CallOptions, RoomKeys } from './room-keys.js';
import { UploadBatch, batchBody, sealKey, type SealedKey } from './upload-batch.js';

/** The records of a backup on their way through something that makes others of them, and back to the server. */

/** A record that could not be read, and why. */
export interface UnrewrittenKey {
  readonly ok: false;
  readonly path: string;
  readonly room_id: string | undefined;
  readonly session_id: string | undefined;
  readonly error: KeyBackupError<string>;
}

/** What became of one record. */
export type RewrittenKey<Output> = ({ readonly ok: true; readonly path: string } & Output) | UnrewrittenKey;

/** Makes other records of those it is given: one result for each, in order. */
export type Rewrite<Output> = (
  records: AsyncIterable<BackupRecord>,
  onProgress: (progress: Progress) => void,
) => AsyncGenerator<Outcome<Output>, void, void>;

/** Whom to tell how far it is. */
export interface RewriteOptions extends CallOptions {
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/**
 * Rewrites every record of a version that is not in `taken`.
 *
 * @returns One result per record, and one per place that gives none.
 */
export async function* rewriteKeys<Output extends object>(
  roomKeys: RoomKeys,
  { version, count }: VersionInfo,
  taken: IdSet,
  rewrite: Rewrite<Output>,
  { signal, onProgress }: RewriteOptions,
): AsyncGenerator<RewrittenKey<Output>, void, undefined> {
  const skipped = taken.size;
  const paths: string[] = [];
  const faults: UnrewrittenKey[] = [];
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
  const onStep = ({ done, failed }: Progress) => {
    onProgress?.({ done: skipped + done, total: count, failed });
  };
  for await (const result of rewrite(records(), onStep)) {
    const path = paths.shift() ?? '';
    if (result.ok) yield { ...result, path };
    else
      yield { ok: false, path, room_id: result.room_id, session_id: result.session_id, error: result.error };
    yield* faults.splice(0);
  }
  yield* faults;
}

/** The keys that a version has. */
export async function keyIds(roomKeys: RoomKeys, version: string, { signal }: CallOptions): Promise<IdSet> {
  const ids = new IdSet();
  // Every key that comes is added to what was taken.
  const keys = downloadKeys(roomKeys, version, { taken: ids, signal });
  while ((await keys.next()).done !== true);
  return ids;
}

const BATCH = { keys: 200, bytes: 800_000 };

/** Sends rewritten records to a version, a request's worth at a time. */
export class RewrittenKeys {
  /** Records that the server acknowledged. */
  uploaded = 0;
  /** Which they are. */
  readonly ids = new IdSet();
  readonly #roomKeys: RoomKeys;
  readonly #version: string;
  readonly #signal: CallOptions['signal'];
  #batch = new UploadBatch();

  constructor(roomKeys: RoomKeys, version: string, { signal }: CallOptions) {
    this.#roomKeys = roomKeys;
    this.#version = version;
    this.#signal = signal;
  }

  /** @param record - A record, as far as anybody has looked: what stays as it is has been read. */
  async add(record: BackupRecord): Promise<void> {
    const key = sealKey(record as EncryptedSession);
    if (!this.#batch.fits(key, BATCH)) await this.flush();
    this.#batch.add(key);
  }

  /** Sends what still waits. */
  async flush(): Promise<void> {
    if (this.#batch.size === 0) return;
    await this.#put(this.#batch.keys);
    for (const { room_id, session_id } of this.#batch.keys) this.ids.add(room_id, session_id);
    this.uploaded += this.#batch.size;
    this.#batch = new UploadBatch();
  }

  /** What is too large for the server in one piece goes in halves. */
  async #put(keys: readonly SealedKey[]): Promise<void> {
    try {
      await this.#roomKeys.putKeys(this.#version, batchBody(keys), { signal: this.#signal });
    } catch (error) {
      if (!(error instanceof RequestError) || error.code !== 'too-large' || keys.length === 1) throw error;
      const middle = Math.ceil(keys.length / 2);
      await this.#put(keys.slice(0, middle));
      await this.#put(keys.slice(middle));
    }
  }
}

import { IdSet } from '../api/id-set.js';
import type { VersionInfo } from '../api/types.js';
import type { Progress } from '../engine/backend.js';
import type { BackupRecord, EncryptedSession } from '../engine/batch.js';
import type { Outcome } from '../engine/chunks.js';
import type { KeyBackupError } from '../engine/errors.js';
import { BatchSender, type FailedUpload } from './batch-sender.js';
import { downloadKeys } from './download.js';
import { RequestError } from './errors.js';
import type { CallOptions, RoomKeys } from './room-keys.js';
import { UploadBatch, sealKey } from './upload-batch.js';
import { quote } from '../engine/quote.js';

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
/** So many records in a row that a server refuses one by one are not the records' fault. */
const HOPELESS = 32;

/** Sends rewritten records to a version, a request's worth at a time. One that is refused never stops the others. */
export class RewrittenKeys {
  /** Records that the server acknowledged. */
  uploaded = 0;
  /** Which they are. */
  readonly ids = new IdSet();
  readonly #sender: BatchSender;
  readonly #refused: FailedUpload[] = [];
  #batch = new UploadBatch();

  constructor(roomKeys: RoomKeys, version: string, { signal }: CallOptions) {
    this.#sender = new BatchSender(roomKeys, version, {
      limits: BATCH,
      hopeless: HOPELESS,
      signal,
      onSent: (_, keys) => {
        this.uploaded += keys.length;
        for (const { room_id, session_id } of keys) this.ids.add(room_id, session_id);
      },
      onFailed: (failure) => {
        this.#refused.push(failure);
      },
    });
  }

  /** @param record - A record, as far as anybody has looked: what stays as it is has been read. */
  async add(record: BackupRecord): Promise<void> {
    const key = sealKey(record as EncryptedSession);
    if (!this.#batch.fits(key, this.#sender.limits)) await this.#flush();
    this.#batch.add(key);
  }

  /**
   * Sends what still waits.
   *
   * @throws {@link RequestError} when the server refused records: all others are there.
   */
  async end(): Promise<void> {
    await this.#flush();
    if (this.#refused.length === 0) return;
    const [{ room_id, session_id, error }] = this.#refused;
    // Nothing but a request refuses a record here.
    if (!(error instanceof RequestError)) throw error;
    const { code, status, errcode } = error;
    const which = `room ${quote(String(room_id))}, session ${quote(String(session_id))}`;
    const message = `${this.#refused.length} records were refused, the first of them ${which}: ${error.message}`;
    throw new RequestError(code, message, { status, errcode, cause: error });
  }

  async #flush(): Promise<void> {
    const { keys } = this.#batch;
    this.#batch = new UploadBatch();
    await this.#sender.send(keys);
  }
}

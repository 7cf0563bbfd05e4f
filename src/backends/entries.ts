import { processors } from '#platform';
import { raceAbort, throwIfAborted } from '../async.js';
import { decryptSessions, type BackupRecord, type DecryptSettings } from '../batch/decrypt.js';
import { entryOf, type EntryResult } from '../batch/entries.js';
import type { BatchOptions } from '../batch/run.js';
import { wipe } from '../encoding/bytes.js';
import { KeyBackupError } from '../errors.js';
import type { BackupDecryptionKey } from '../scheme/keys.js';
import { Pool, workerCount } from './pool.js';
import { entriesIn } from './worker-protocol.js';

/** Records in a message. */
const CHUNK = 250;

/** Records that this thread takes itself: fewer are done before workers have started. */
const LOCAL = 1000;

/**
 * Decrypts the records of a backup and writes them as entries of an export file. A large backup is shared by this thread
 * and workers, one for each other processor: this thread takes a chunk where all of them have enough. Where workers fail
 * or cannot start, it does their work, by `backend`.
 */
export async function* decryptToEntries(
  records: AsyncIterable<BackupRecord>,
  key: BackupDecryptionKey,
  { onProgress, ...options }: BatchOptions & DecryptSettings,
): AsyncGenerator<EntryResult, void, void> {
  const { signal } = options;
  const writer = new EntryWriter(key, options);
  const underWay: Promise<EntryResult[]>[] = [];
  let done = 0;
  let failed = 0;
  try {
    for await (const chunk of chunksOf(records)) {
      const ended = chunk.length === 0;
      if (!ended) underWay.push(writer.write(chunk));
      while (underWay.length > (ended ? 0 : writer.depth - 1)) {
        for (const result of await raceAbort(underWay[0], signal)) {
          done++;
          if (!result.ok) failed++;
          yield result;
          throwIfAborted(signal);
        }
        onProgress?.({ done, total: options.total, failed });
        void underWay.shift();
      }
    }
  } finally {
    writer.dispose();
  }
}

/** Writes chunks of records as entries, in this thread or in workers. */
class EntryWriter {
  /** How many chunks may be under way. */
  depth = 1;
  readonly #key: BackupDecryptionKey;
  readonly #privateKey: Uint8Array;
  readonly #options: BatchOptions & DecryptSettings;
  #taken = 0;
  #pool: Pool | undefined;
  #disposed = false;

  constructor(key: BackupDecryptionKey, options: BatchOptions & DecryptSettings) {
    this.#key = key;
    this.#privateKey = key.toBytes();
    this.#options = options;
  }

  write(records: readonly BackupRecord[]): Promise<EntryResult[]> {
    const before = this.#taken;
    this.#taken += records.length;
    if (before < LOCAL && this.#taken >= LOCAL && processors() > 1) {
      const count = Math.max(1, workerCount() - 1);
      this.#pool = new Pool(count, undefined);
      // Two for each worker, so that the next one waits there, and one here.
      this.depth = 2 * count + 1;
    }
    const writing = this.#pool?.hasTime ? this.#inWorkers(records, this.#pool) : this.#here(records);
    // A chunk that fails while an earlier one is waited for is no unhandled rejection.
    writing.catch(() => undefined);
    return writing;
  }

  async #here(records: readonly BackupRecord[]): Promise<EntryResult[]> {
    const results: EntryResult[] = [];
    for await (const result of decryptSessions(records, this.#key, this.#options))
      results.push(entryOf(result));
    return results;
  }

  async #inWorkers(records: readonly BackupRecord[], pool: Pool): Promise<EntryResult[]> {
    const { salvage, requireAuthenticated, signal } = this.#options;
    const job = {
      direction: 'entries',
      privateKey: this.#privateKey,
      records,
      salvage,
      requireAuthenticated,
    } as const;
    try {
      return entriesIn(await pool.run(job, signal));
    } catch (error) {
      if (this.#disposed || (error instanceof KeyBackupError && error.code === 'aborted')) throw error;
      // A policy may forbid workers, and one may have died for want of memory.
      if (this.#pool === pool) {
        this.#pool = undefined;
        this.depth = 1;
        pool.dispose();
      }
      return this.#here(records);
    }
  }

  dispose(): void {
    this.#disposed = true;
    this.#pool?.dispose();
    wipe(this.#privateKey);
  }
}

/** The last chunk is empty, and says that it was all. */
async function* chunksOf(records: AsyncIterable<BackupRecord>): AsyncGenerator<BackupRecord[], void, void> {
  let taken: BackupRecord[] = [];
  for await (const record of records) {
    taken.push(record);
    if (taken.length < CHUNK) continue;
    yield taken;
    taken = [];
  }
  if (taken.length > 0) yield taken;
  yield [];
}

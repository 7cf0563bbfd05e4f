/**
 * Backups in a file of SQLite.
 *
 * @packageDocumentation
 */

import { closeSync, existsSync, openSync } from 'node:fs';
import { KeyBackupError } from '../../errors.js';
import type {
  BackupStore,
  Changed,
  KeyPage,
  KeyPosition,
  KeyScope,
  KeyToWrite,
  Quota,
  Replacement,
  StoredVersion,
  UnknownVersion,
  VersionContent,
} from '../store.js';
import { checkQuota, isLimited, newVersionId, storeFailed } from '../store.js';
import { loadSqlite, type SqliteConnection } from './connection.js';
import { deleteKeys, readKey, readKeys, readReplacements, writeKeys, type Change } from './keys.js';
import { migrate } from './schema.js';
import { createWriteQueue, type WriteQueue } from './write-queue.js';

/** How the file is used. */
export interface SqliteOptions {
  /** Pages of 4 KiB in the write-ahead log, at most, before they are copied into the file. Default 16,000. */
  readonly checkpointPages?: number;
  /** Kibibytes of page cache of the writing connection. Default 2,048. */
  readonly cacheKibibytes?: number;
  /** Pages of 4 KiB the file may have; a write beyond fails as on a full disk. Default as SQLite has it. */
  readonly maxPages?: number;
}

/**
 * Opens a store in one SQLite file and creates the file if it does not exist.
 *
 * The journal is a write-ahead log with `synchronous=FULL`: an acknowledged write survives a killed process and a power
 * loss. One connection writes, one reads; a batch of up to 500 keys is one statement, larger ones are several in one
 * transaction, between which the event loop runs. One server process is meant to serve a file; another process that
 * opens it, to read the audit trail for example, waits for its turn.
 *
 * @param file - The path of a file in a directory that exists. Not `:memory:` and not a URI.
 * @throws KeyBackupError `bad-parameters` for another kind of name, `missing-dependency`, `unsupported-schema`,
 * `store-failed`.
 *
 * @example
 * ```ts
 * const store = await openSqliteStore('/var/lib/megolm-backup/backup.db');
 * ```
 */
export async function openSqliteStore(file: string, options: SqliteOptions = {}): Promise<BackupStore> {
  if (NO_PATH.test(file)) {
    throw new KeyBackupError(
      'bad-parameters',
      `expected the path of an SQLite file, got ${JSON.stringify(file)}`,
    );
  }
  const open = await loadSqlite();
  const connections: SqliteConnection[] = [];
  const connect = (): SqliteConnection => {
    const connection = open(file);
    connections.push(connection);
    connection.exec('PRAGMA busy_timeout = 5000');
    return connection;
  };
  try {
    createPrivately(file);
    const writer = connect();
    writer.exec('PRAGMA journal_mode = WAL');
    writer.exec('PRAGMA synchronous = FULL');
    writer.exec(`PRAGMA cache_size = -${options.cacheKibibytes ?? 2_048}`);
    if (options.maxPages !== undefined) writer.exec(`PRAGMA max_page_count = ${options.maxPages}`);
    migrate(writer);
    // From here on: the sort of a migration may be larger than memory.
    writer.exec('PRAGMA temp_store = MEMORY');
    const reader = connect();
    // Most pages are read once; the operating system caches the others.
    reader.exec('PRAGMA cache_size = -2048');
    const store = new SqliteStore(writer, reader, options.checkpointPages ?? 16_000);
    await store.purge();
    return store;
  } catch (error) {
    for (const connection of connections) connection.close();
    throw error instanceof KeyBackupError ? error : storeFailed(error);
  }
}

/** Names that SQLite and its bindings take for a database in memory, a temporary one, or a URI. */
const NO_PATH = /^(?:$|:memory:|(?:file|libsql|https?|wss?):)/i;

/**
 * Makes the file readable by its owner only, as are then the files beside it; a file that exists keeps its mode.
 *
 * A file that exists is never opened and closed here: closing any descriptor of it would drop all locks that this
 * process holds on it, and another process would then delete the log under open connections.
 */
function createPrivately(file: string): void {
  try {
    closeSync(openSync(file, 'wx', 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    // The name is that of a link to a file that does not exist yet.
    if (!existsSync(file)) closeSync(openSync(file, 'a', 0o600));
  }
}

const UNKNOWN_VERSION: UnknownVersion = { outcome: 'unknown-version' };
/** Pages of the log of a small database. */
const MIN_LOG_PAGES = 1_000;
/** Bytes of a page and its header in the log. */
const PAGE_IN_LOG = 4_120;
/** Rows deleted before the event loop runs again. */
const DELETE_ROWS = 5_000;

interface VersionRow {
  readonly id: number;
  readonly etag: number;
  readonly count: number;
  readonly largest: number;
  /** The user's current version. */
  readonly current: string;
}

class SqliteStore implements BackupStore {
  readonly #writer: SqliteConnection;
  readonly #reader: SqliteConnection;
  readonly #queue: WriteQueue;
  readonly #maxLogPages: number;
  #logPages = 0;
  #closed: Promise<void> | undefined;

  constructor(writer: SqliteConnection, reader: SqliteConnection, maxLogPages: number) {
    this.#writer = writer;
    this.#reader = reader;
    this.#maxLogPages = maxLogPages;
    this.#queue = createWriteQueue(writer);
    this.#sizeLog();
  }

  createVersion(
    userId: string,
    content: VersionContent,
    quota: Quota,
  ): ReturnType<BackupStore['createVersion']> {
    const version = newVersionId();
    return this.#write(function* (store) {
      store.#writer.run(
        `INSERT INTO versions (user_id, version, algorithm_json, auth_data, bytes)
         VALUES (?1, ?2, ?3, ?4, octet_length(?4))`,
        [userId, version, JSON.stringify(content.algorithm), content.auth_data],
      );
      store.#checkQuota(userId, quota);
      yield* [];
      return { outcome: 'created', version } as const;
    });
  }

  readVersion(userId: string, version?: string): Promise<StoredVersion | undefined> {
    return this.#reading(() => {
      const row = this.#reader.first(
        `SELECT version, algorithm_json, auth_data, etag, count FROM versions
         WHERE user_id = ? AND deleted = 0 ${version === undefined ? '' : 'AND version = ?'}
         ORDER BY id DESC LIMIT 1`,
        version === undefined ? [userId] : [userId, version],
      );
      if (!row) return undefined;
      return {
        version: row[0] as string,
        algorithm: JSON.parse(row[1] as string) as string,
        auth_data: row[2] as string,
        etag: String(row[3]),
        count: row[4] as number,
      };
    });
  }

  updateVersion(
    userId: string,
    version: string,
    content: VersionContent,
    quota: Quota,
  ): ReturnType<BackupStore['updateVersion']> {
    return this.#write(function* (store) {
      const row = store.#writer.first(
        `SELECT id, algorithm_json FROM versions WHERE user_id = ? AND version = ? AND deleted = 0`,
        [userId, version],
      );
      if (!row) return UNKNOWN_VERSION;
      if (row[1] !== JSON.stringify(content.algorithm)) return { outcome: 'other-algorithm' } as const;
      store.#writer.run(
        `UPDATE versions SET bytes = bytes - octet_length(auth_data) + octet_length(?2), auth_data = ?2
         WHERE id = ?1`,
        [row[0], content.auth_data],
      );
      store.#checkQuota(userId, { bytes: quota.bytes });
      yield* [];
      return { outcome: 'done' } as const;
    });
  }

  async deleteVersion(userId: string, version: string): ReturnType<BackupStore['deleteVersion']> {
    const result = await this.#write(function* (store) {
      const row = store.#writer.first(`SELECT id FROM versions WHERE user_id = ? AND version = ?`, [
        userId,
        version,
      ]);
      if (!row) return UNKNOWN_VERSION;
      // Invisible at once; its keys are deleted below, or when the file is next opened.
      store.#writer.run(
        `UPDATE versions SET deleted = 1, auth_data = '', count = 0, bytes = 0 WHERE id = ? AND deleted = 0`,
        [row[0]],
      );
      yield* [];
      return { outcome: 'done' } as const;
    });
    await this.purge();
    return result;
  }

  /** Deletes the keys of deleted versions. */
  purge(): Promise<void> {
    return this.#write(function* (store) {
      for (;;) {
        const row = store.#writer.first(
          `SELECT versions.id FROM versions JOIN rooms ON rooms.version = versions.id
           WHERE versions.deleted = 1 LIMIT 1`,
        );
        if (!row) return;
        yield* deleteKeys(store.#writer, row[0] as number, {});
      }
    });
  }

  writeKeys(
    userId: string,
    version: string,
    keys: readonly KeyToWrite[],
    quota: Quota,
    writer: string | undefined,
  ): ReturnType<BackupStore['writeKeys']> {
    return this.#write(function* (store) {
      const row = store.#version(userId, version);
      if (!row) return UNKNOWN_VERSION;
      if (row.current !== version) return { outcome: 'wrong-version', current_version: row.current } as const;
      const change = yield* writeKeys(store.#writer, row.id, keys, writer);
      store.#sizeLog();
      return store.#changed(userId, row, change, quota);
    });
  }

  deleteKeys(userId: string, version: string, scope: KeyScope): ReturnType<BackupStore['deleteKeys']> {
    return this.#write(function* (store) {
      const row = store.#version(userId, version);
      if (!row) return UNKNOWN_VERSION;
      return store.#changed(userId, row, yield* deleteKeys(store.#writer, row.id, scope), {});
    });
  }

  readKey(
    userId: string,
    version: string,
    roomId: string,
    sessionId: string,
  ): ReturnType<BackupStore['readKey']> {
    return this.#reading(() => readKey(this.#reader, userId, version, roomId, sessionId) ?? UNKNOWN_VERSION);
  }

  readKeys(
    userId: string,
    version: string,
    scope: KeyScope,
    after: KeyPosition | undefined,
    limit: number,
  ): Promise<KeyPage | UnknownVersion> {
    return this.#reading(
      () => readKeys(this.#reader, userId, version, scope, after, limit) ?? UNKNOWN_VERSION,
    );
  }

  readReplacements(userId: string, after: number, limit: number): Promise<readonly Replacement[]> {
    return this.#reading(() => readReplacements(this.#reader, userId, after, limit));
  }

  pruneReplacements(before: number): Promise<void> {
    return this.#write(function* (store) {
      while (
        store.#writer.all(
          `DELETE FROM replacements WHERE id IN (SELECT id FROM replacements WHERE time < ? LIMIT ?)
           RETURNING id`,
          [before, DELETE_ROWS],
        ).length === DELETE_ROWS
      ) {
        yield;
      }
    });
  }

  eraseUser(userId: string): Promise<boolean> {
    return this.#write(function* (store) {
      const versions = store.#writer.all(`SELECT id FROM versions WHERE user_id = ?`, [userId]);
      for (const [version] of versions) {
        yield* deleteKeys(store.#writer, version as number, {});
        store.#writer.run(`DELETE FROM replacements WHERE version = ?`, [version]);
        store.#writer.run(`DELETE FROM versions WHERE id = ?`, [version]);
      }
      return versions.length > 0;
    });
  }

  ping(): Promise<void> {
    return this.#reading(
      () => void this.#reader.all('SELECT count(*) FROM (SELECT id FROM versions LIMIT 1)'),
    );
  }

  close(): Promise<void> {
    return (this.#closed ??= this.#queue.close().then(() => {
      this.#reader.close();
      this.#emptyLog();
      this.#writer.close();
    }));
  }

  /** Lets the log become four times as long as the database: a longer one saves writes, a small backup keeps a small one. */
  #sizeLog(): void {
    if (this.#logPages === this.#maxLogPages) return;
    const [pages] = this.#writer.first('PRAGMA page_count') as [number];
    const wanted = Math.min(Math.max(4 * pages, MIN_LOG_PAGES), this.#maxLogPages);
    if (wanted < 2 * this.#logPages && wanted < this.#maxLogPages) return;
    this.#logPages = wanted;
    this.#writer.exec(`PRAGMA wal_autocheckpoint = ${wanted}`);
    // A large write makes the log longer; after a checkpoint it goes back to this.
    this.#writer.exec(`PRAGMA journal_size_limit = ${wanted * PAGE_IN_LOG}`);
  }

  /** A copy of the file after a stop is then complete. */
  #emptyLog(): void {
    try {
      // Not waiting for other processes that have the file open: the last one does it.
      this.#writer.exec('PRAGMA busy_timeout = 0');
      this.#writer.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    } catch {
      // Nothing is lost: the log stays and is read.
    }
  }

  #changed(userId: string, row: VersionRow, change: Change, quota: Quota): Changed {
    if (change.changed === 0) return { outcome: 'changed', etag: String(row.etag), count: row.count };
    const count = row.count + change.added;
    this.#writer.run(
      `UPDATE versions SET etag = etag + 1, count = ?2, bytes = bytes + ?3, largest = ?4 WHERE id = ?1`,
      [row.id, count, change.bytes, Math.max(row.largest, change.largest)],
    );
    this.#checkQuota(userId, { keys: quota.keys, bytes: quota.bytes });
    return { outcome: 'changed', etag: String(row.etag + 1), count };
  }

  /** Undoes the write when the user now holds too much. */
  #checkQuota(userId: string, quota: Quota): void {
    if (!isLimited(quota)) return;
    const [versions, keys, bytes] = this.#writer.first(
      `SELECT count(*), total(count), total(bytes) FROM versions WHERE user_id = ? AND deleted = 0`,
      [userId],
    ) as [number, number, number];
    checkQuota(quota, { versions, keys, bytes });
  }

  #version(userId: string, version: string): VersionRow | undefined {
    const row = this.#writer.first(
      `SELECT id, etag, count, largest, (
         SELECT version FROM versions WHERE user_id = ?1 AND deleted = 0 ORDER BY id DESC LIMIT 1
       ) FROM versions WHERE user_id = ?1 AND version = ?2 AND deleted = 0`,
      [userId, version],
    ) as [number, number, number, number, string] | undefined;
    return row && { id: row[0], etag: row[1], count: row[2], largest: row[3], current: row[4] };
  }

  #write<T>(write: (store: SqliteStore) => Generator<void, T>): Promise<T> {
    return this.#queue.add(() => write(this));
  }

  #reading<T>(read: () => T): Promise<T> {
    try {
      return Promise.resolve(read());
    } catch (error) {
      return Promise.reject(storeFailed(error));
    }
  }
}

/**
 * Backups in a file of SQLite.
 *
 * @packageDocumentation
 */

import { closeSync, existsSync, openSync } from 'node:fs';
import { KeyBackupError } from '../../errors.js';
import {
  checkQuota,
  isLimited,
  newVersionId,
  storeFailed,
  type BackupStore,
  type Changed,
  type Quota,
  type UnknownVersion,
} from '../store.js';
import { loadSqlite, type SqliteConnection } from './connection.js';
import { deleteKeys, readKey, readKeys, readReplacements, writeKeys, type Change } from './keys.js';
import { migrate } from './schema.js';
import { createWriteQueue } from './write-queue.js';

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
    // Changed pages stay in memory until the commit, up to 16 MiB: with less, several large writes in one transaction
    // write the pages of the index to the log again and again.
    writer.exec('PRAGMA cache_spill = 4096');
    if (options.maxPages !== undefined) writer.exec(`PRAGMA max_page_count = ${options.maxPages}`);
    migrate(writer);
    // From here on: the sort of a migration may be larger than memory.
    writer.exec('PRAGMA temp_store = MEMORY');
    const reader = connect();
    // Most pages are read once; the operating system caches the others.
    reader.exec('PRAGMA cache_size = -2048');
    const store = createStore(writer, reader, options.checkpointPages ?? 16_000);
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

function createStore(
  writer: SqliteConnection,
  reader: SqliteConnection,
  maxLogPages: number,
): BackupStore & { purge(): Promise<void> } {
  const queue = createWriteQueue(writer);
  let logPages = 0;
  let closed: Promise<void> | undefined;
  sizeLog();

  /** Lets the log become four times as long as the database: a longer one saves writes, a small backup keeps a small one. */
  function sizeLog(): void {
    if (logPages === maxLogPages) return;
    const [pages] = writer.first('PRAGMA page_count') as [number];
    const wanted = Math.min(Math.max(4 * pages, MIN_LOG_PAGES), maxLogPages);
    if (wanted < 2 * logPages && wanted < maxLogPages) return;
    logPages = wanted;
    writer.exec(`PRAGMA wal_autocheckpoint = ${wanted}`);
    // A large write makes the log longer; a checkpoint shortens it to this again.
    writer.exec(`PRAGMA journal_size_limit = ${wanted * PAGE_IN_LOG}`);
  }

  const read = <T>(run: () => T): Promise<T> => {
    try {
      return Promise.resolve(run());
    } catch (error) {
      return Promise.reject(storeFailed(error));
    }
  };

  /** Deletes the keys of deleted versions. */
  const purge = (): Promise<void> =>
    queue.add(function* () {
      for (;;) {
        const row = writer.first(
          `SELECT versions.id FROM versions JOIN rooms ON rooms.version = versions.id
           WHERE versions.deleted = 1 LIMIT 1`,
        );
        if (!row) return;
        yield* deleteKeys(writer, row[0] as number, {});
      }
    });

  return {
    purge,
    createVersion: (userId, content, quota) => {
      const version = newVersionId();
      return queue.add(function* () {
        writer.run(
          `INSERT INTO versions (user_id, version, algorithm_json, auth_data, bytes)
           VALUES (?1, ?2, ?3, ?4, octet_length(?4))`,
          [userId, version, JSON.stringify(content.algorithm), content.auth_data],
        );
        enforceQuota(writer, userId, quota);
        return { outcome: 'created', version } as const;
      });
    },
    readVersion: (userId, version) =>
      read(() => {
        const row = reader.first(
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
      }),
    updateVersion: (userId, version, content, quota) =>
      queue.add(function* () {
        const row = writer.first(
          `SELECT id, algorithm_json FROM versions WHERE user_id = ? AND version = ? AND deleted = 0`,
          [userId, version],
        );
        if (!row) return UNKNOWN_VERSION;
        if (row[1] !== JSON.stringify(content.algorithm)) return { outcome: 'other-algorithm' } as const;
        writer.run(
          `UPDATE versions SET bytes = bytes - octet_length(auth_data) + octet_length(?2), auth_data = ?2
           WHERE id = ?1`,
          [row[0], content.auth_data],
        );
        enforceQuota(writer, userId, { bytes: quota.bytes });
        return { outcome: 'done' } as const;
      }),
    deleteVersion: async (userId, version) => {
      const result = await queue.add(function* () {
        const row = writer.first(`SELECT id FROM versions WHERE user_id = ? AND version = ?`, [
          userId,
          version,
        ]);
        if (!row) return UNKNOWN_VERSION;
        // Invisible at once; its keys are deleted below, or when the file is next opened.
        writer.run(
          `UPDATE versions SET deleted = 1, auth_data = '', count = 0, bytes = 0 WHERE id = ? AND deleted = 0`,
          [row[0]],
        );
        return { outcome: 'done' } as const;
      });
      await purge();
      return result;
    },
    writeKeys: (userId, version, keys, quota, device) =>
      queue.add(function* () {
        const row = versionOf(writer, userId, version);
        if (!row) return UNKNOWN_VERSION;
        if (row.current !== version)
          return { outcome: 'wrong-version', current_version: row.current } as const;
        const change = yield* writeKeys(writer, row.id, keys, device);
        sizeLog();
        return countChange(writer, userId, row, change, quota);
      }),
    deleteKeys: (userId, version, scope) =>
      queue.add(function* () {
        const row = versionOf(writer, userId, version);
        if (!row) return UNKNOWN_VERSION;
        return countChange(writer, userId, row, yield* deleteKeys(writer, row.id, scope), {});
      }),
    readKey: (userId, version, roomId, sessionId) =>
      read(() => readKey(reader, userId, version, roomId, sessionId) ?? UNKNOWN_VERSION),
    readKeys: (userId, version, scope, after, limit) =>
      read(() => readKeys(reader, userId, version, scope, after, limit) ?? UNKNOWN_VERSION),
    readReplacements: (userId, after, limit) => read(() => readReplacements(reader, userId, after, limit)),
    pruneReplacements: (before) =>
      queue.add(function* () {
        for (;;) {
          const deleted = writer.all(
            `DELETE FROM replacements WHERE id IN (SELECT id FROM replacements WHERE time < ? LIMIT ?)
             RETURNING id`,
            [before, DELETE_ROWS],
          );
          if (deleted.length < DELETE_ROWS) return;
          yield;
        }
      }),
    eraseUser: (userId) =>
      queue.add(function* () {
        const versions = writer.all(`SELECT id FROM versions WHERE user_id = ?`, [userId]);
        for (const [version] of versions) {
          yield* deleteKeys(writer, version as number, {});
          writer.run(`DELETE FROM replacements WHERE version = ?`, [version]);
          writer.run(`DELETE FROM versions WHERE id = ?`, [version]);
        }
        return versions.length > 0;
      }),
    ping: () => read(() => void reader.all('SELECT count(*) FROM (SELECT id FROM versions LIMIT 1)')),
    close: () =>
      (closed ??= queue.close().then(() => {
        reader.close();
        emptyLog(writer);
        writer.close();
      })),
  };
}

/** A copy of the file after a stop is then complete. */
function emptyLog(writer: SqliteConnection): void {
  try {
    // Not waiting for other processes that have the file open: the last one does it.
    writer.exec('PRAGMA busy_timeout = 0');
    writer.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  } catch {
    // Nothing is lost: the log stays and is read.
  }
}

function countChange(
  writer: SqliteConnection,
  userId: string,
  row: VersionRow,
  change: Change,
  quota: Quota,
): Changed {
  if (change.changed === 0) return { outcome: 'changed', etag: String(row.etag), count: row.count };
  const count = row.count + change.added;
  writer.run(
    `UPDATE versions SET etag = etag + 1, count = ?2, bytes = bytes + ?3, largest = ?4 WHERE id = ?1`,
    [row.id, count, change.bytes, Math.max(row.largest, change.largest)],
  );
  enforceQuota(writer, userId, { keys: quota.keys, bytes: quota.bytes });
  return { outcome: 'changed', etag: String(row.etag + 1), count };
}

/** Undoes the write when the user now holds too much. */
function enforceQuota(writer: SqliteConnection, userId: string, quota: Quota): void {
  if (!isLimited(quota)) return;
  const [versions, keys, bytes] = writer.first(
    `SELECT count(*), total(count), total(bytes) FROM versions WHERE user_id = ? AND deleted = 0`,
    [userId],
  ) as [number, number, number];
  checkQuota(quota, { versions, keys, bytes });
}

function versionOf(writer: SqliteConnection, userId: string, version: string): VersionRow | undefined {
  const row = writer.first(
    `SELECT id, etag, count, largest, (
       SELECT version FROM versions WHERE user_id = ?1 AND deleted = 0 ORDER BY id DESC LIMIT 1
     ) FROM versions WHERE user_id = ?1 AND version = ?2 AND deleted = 0`,
    [userId, version],
  ) as [number, number, number, number, string] | undefined;
  return row && { id: row[0], etag: row[1], count: row[2], largest: row[3], current: row[4] };
}

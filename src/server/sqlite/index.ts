/**
 * Backups in a file of SQLite.
 *
 * @packageDocumentation
 */

import type { SignalOptions } from '../../async.js';
import { KeyBackupError } from '../../errors.js';
import { newVersionId, storeFailed, type BackupStore, type UnknownVersion } from '../store.js';
import { STEP_ROWS, createBackground } from './background.js';
import { Locked, loadSqlite, whenUnlocked, type SqliteConnection } from './connection.js';
import { createPrivately, expectLog, quickCheck, watch } from './file.js';
import {
  deleteKey,
  discardRoom,
  discardRooms,
  readKey,
  readKeys,
  readReplacements,
  writeKeys,
  type Change,
} from './keys.js';
import { migrate, writeSchema } from './schema.js';
import { countChange, deleteReplacements, deleteVersion, enforceQuota, versionOf } from './versions.js';
import { createWriteQueue } from './write-queue.js';

/** How the file is used. Aborting `signal` ends the wait for another process, and an erasure. */
export interface SqliteOptions extends SignalOptions {
  /** Checks the whole file before it is used, which takes as long as reading it. */
  readonly check?: boolean;
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
 * transaction, between which the event loop runs. Users take turns. What takes long, such as deleting the keys of a
 * deleted version, is done in the background and in short transactions. Several processes may use a file: one waits up
 * to 5 seconds for another, and its event loop runs meanwhile.
 *
 * Writes fail once the file or its log was removed or replaced.
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
    connection.exec('PRAGMA busy_timeout = 0');
    return connection;
  };
  try {
    createPrivately(file);
    if (options.check) expectLog(file);
    const writer = connect();
    await whenUnlocked(() => {
      prepare(writer, options);
    }, options.signal);
    const reader = connect();
    // Most pages are read once; the operating system caches the others.
    reader.exec('PRAGMA cache_size = -2048');
    if (options.check)
      await whenUnlocked(() => {
        quickCheck(reader);
      }, options.signal);
    return createStore(writer, reader, watch(file), options);
  } catch (error) {
    for (const connection of connections) connection.close();
    throw error instanceof KeyBackupError ? error : storeFailed(error);
  }
}

/** Names that SQLite and its bindings take for a database in memory, a temporary one, or a URI. */
const NO_PATH = /^(?:$|:memory:|(?:file|libsql|https?|wss?):)/i;

function prepare(writer: SqliteConnection, options: SqliteOptions): void {
  writer.exec('PRAGMA journal_mode = WAL');
  writer.exec('PRAGMA synchronous = FULL');
  writer.exec(`PRAGMA cache_size = -${options.cacheKibibytes ?? 2_048}`);
  // Changed pages stay in memory until the commit, up to 16 MiB: with less, several large writes in one transaction
  // write the pages of the index to the log again and again.
  writer.exec('PRAGMA cache_spill = 4096');
  // Overwrites what is deleted, apart from pages that become free.
  writer.exec('PRAGMA secure_delete = FAST');
  if (options.maxPages !== undefined) writer.exec(`PRAGMA max_page_count = ${options.maxPages}`);
  migrate(writer);
  // From here on: the sort of a migration may be larger than memory.
  writer.exec('PRAGMA temp_store = MEMORY');
}

/** What a deleted version is changed to. */
const DELETED = `deleted = 1, auth_data = '', count = 0, bytes = 0`;
const UNKNOWN_VERSION: UnknownVersion = { outcome: 'unknown-version' };
/** Pages of the log of a small database. */
const MIN_LOG_PAGES = 1_000;
/** Bytes of a page and its header in the log. */
const PAGE_IN_LOG = 4_120;
/** Pages of the log while much is deleted. A checkpoint stops the event loop, and a short one does so briefly. */
const PURGE_LOG_PAGES = 2_000;

function createStore(
  writer: SqliteConnection,
  reader: SqliteConnection,
  areFilesThere: () => boolean,
  { checkpointPages: maxLogPages = 16_000, signal }: SqliteOptions,
): BackupStore {
  const queue = createWriteQueue(writer, areFilesThere, signal);
  const background = createBackground(queue, writer, reader, () => {
    sizeLog(PURGE_LOG_PAGES);
  });
  let logPages = 0;
  let closed: Promise<void> | undefined;
  sizeLog(maxLogPages);
  background.startPurge([]);

  /** Lets the log become four times as long as the database: a longer one saves writes, a small backup keeps a small one. */
  function sizeLog(longest: number): void {
    const most = Math.min(longest, maxLogPages);
    if (logPages === most) return;
    const [pages] = writer.first('PRAGMA page_count') as [number];
    const wanted = Math.min(Math.max(4 * pages, MIN_LOG_PAGES), most);
    if (wanted >= logPages && wanted < 2 * logPages && wanted < most) return;
    logPages = wanted;
    writer.exec(`PRAGMA wal_autocheckpoint = ${wanted}`);
    // A large write makes the log longer; a checkpoint shortens it to this again.
    writer.exec(`PRAGMA journal_size_limit = ${wanted * PAGE_IN_LOG}`);
  }

  const read = async <T>(run: () => T): Promise<T> => {
    try {
      return await whenUnlocked(run, signal);
    } catch (error) {
      throw storeFailed(error);
    }
  };

  return {
    createVersion: (userId, content, quota) => {
      const version = newVersionId();
      return queue.add(userId, 1, function* () {
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
      queue.add(userId, 1, function* () {
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
      const deleted = await queue.add(userId, 1, function* () {
        return writer.all(`UPDATE versions SET ${DELETED} WHERE user_id = ? AND version = ? RETURNING id`, [
          userId,
          version,
        ]) as [number][];
      });
      if (deleted.length === 0) return UNKNOWN_VERSION;
      background.startPurge(deleted.flat());
      return { outcome: 'done' };
    },
    writeKeys: (userId, version, keys, quota, device) =>
      queue.add(userId, keys.length, function* () {
        const row = versionOf(writer, userId, version);
        if (!row) return UNKNOWN_VERSION;
        if (row.current !== version)
          return { outcome: 'wrong-version', current_version: row.current } as const;
        const change = yield* writeKeys(writer, row.id, keys, device);
        if (!background.isPurging()) sizeLog(maxLogPages);
        return countChange(writer, userId, row, change, quota);
      }),
    deleteKeys: async (userId, version, { room_id, session_id }) => {
      const result = await queue.add(userId, session_id === undefined ? STEP_ROWS : 1, function* () {
        const row = versionOf(writer, userId, version);
        if (!row) return UNKNOWN_VERSION;
        let change: Change;
        if (room_id === undefined) {
          yield* discardRooms(writer, row.id);
          change = { changed: row.count, added: -row.count, bytes: -row.bytes, largest: 0 };
        } else if (session_id === undefined) {
          change = yield* discardRoom(writer, row.id, room_id);
        } else {
          change = deleteKey(writer, row.id, room_id, session_id);
        }
        return countChange(writer, userId, row, change, {});
      });
      if (session_id === undefined) background.startPurge([]);
      return result;
    },
    readKey: (userId, version, roomId, sessionId) =>
      read(() => readKey(reader, userId, version, roomId, sessionId) ?? UNKNOWN_VERSION),
    readKeys: (userId, version, scope, after, limit) =>
      read(() => readKeys(reader, userId, version, scope, after, limit) ?? UNKNOWN_VERSION),
    readReplacements: (userId, after, limit) => read(() => readReplacements(reader, userId, after, limit)),
    pruneReplacements: (before) => background.run(() => deleteReplacements(writer, 'time < ?', before)),
    eraseUser: async (userId) => {
      const found = await queue.add(userId, 1, function* () {
        return writer.all(`UPDATE versions SET ${DELETED} WHERE user_id = ? RETURNING id`, [userId]) as [
          number,
        ][];
      });
      await background.purge(found.flat(), signal);
      if (found.length === 0) return false;
      for (const [version] of found) {
        await background.run(() => deleteReplacements(writer, 'version = ?', version), signal);
      }
      // Ids and data are left in free pages, and in the unused bytes of others.
      await read(() => {
        rewrite(reader);
      });
      // Last, so that an erasure that was interrupted is completed when it is called again.
      await background.run(() => deleteVersion(writer, userId), signal);
      await read(() => {
        emptyLog(reader);
      });
      return true;
    },
    ping: async () => {
      await read(() => reader.all('SELECT count(*) FROM (SELECT id FROM versions LIMIT 1)'));
      if (!queue.isFailing()) return;
      const writing = queue.add('', 1, function* () {
        writeSchema(writer);
      });
      await writing.catch(() => undefined);
    },
    fault: () => {
      if (!areFilesThere()) return 'the file of the database or its log was removed or replaced';
      return queue.isFailing() ? 'the database takes no writes; the log of this server says why' : undefined;
    },
    close: () =>
      (closed ??= (async () => {
        await background.stop();
        await queue.close();
        try {
          // A copy of the file after a stop is then complete.
          emptyLog(reader);
        } catch {
          // Nothing is lost: the log stays and is read.
        }
        reader.close();
        writer.close();
      })()),
  };
}

/** Writes the file anew, without what was deleted. By the connection that is never in a transaction. */
function rewrite(connection: SqliteConnection): void {
  connection.exec('PRAGMA temp_store = FILE');
  connection.exec('VACUUM');
}

/** Copies the log into the file and cuts it off. */
function emptyLog(connection: SqliteConnection): void {
  const [busy] = connection.first('PRAGMA wal_checkpoint(TRUNCATE)') as [number];
  if (busy !== 0) throw new Locked('another connection uses the log');
}

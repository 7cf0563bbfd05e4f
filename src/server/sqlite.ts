/**
 * Backups in a file of SQLite.
 *
 * @packageDocumentation
 */

import type {
  BackupStore,
  Changed,
  KeyPage,
  KeyPosition,
  KeyScope,
  KeyToWrite,
  OverQuota,
  Quota,
  Replacement,
  RoomPage,
  StoredVersion,
  UnknownVersion,
  VersionContent,
} from './store.js';
import { escapedName, newVersionId, pageLimit } from './store.js';
import {
  loadSqlite,
  type SqliteConnection,
  type SqliteStatement,
  type SqliteValue,
} from './sqlite-driver.js';
import { storeFailed } from './errors.js';
import { Undo, createWriteQueue } from './sqlite-queue.js';
import { migrate } from './sqlite-schema.js';

/** How the file is used. */
export interface SqliteOptions {
  /** Pages of 4 KiB in the write-ahead log before they are copied into the file. Default 16,000. */
  readonly checkpointPages?: number;
  /** Kibibytes of page cache of the writing connection. Default 4,096. */
  readonly cacheKibibytes?: number;
  /** Pages of 4 KiB the file may have; a write beyond fails as on a full disk. Default as SQLite has it. */
  readonly maxPages?: number;
}

/**
 * Opens a store in one SQLite file, made where there is none.
 *
 * The journal is a write-ahead log with `synchronous=FULL`: what was acknowledged survives a killed process and
 * a power loss. One connection writes, one reads; a batch of up to 500 keys is one statement, larger ones are
 * several in one transaction with the event loop running in between. One server process at a time is meant to
 * serve a file; a second that opens it (for the audit trail, say) waits for its turn.
 *
 * @param file - A path; the directory has to exist.
 * @throws KeyBackupError `missing-dependency`, `unsupported-schema`, `store-failed`.
 *
 * @example
 * ```ts
 * const store = await openSqliteStore('/var/lib/megolm-backup/backup.db');
 * ```
 */
export async function openSqliteStore(file: string, options: SqliteOptions = {}): Promise<BackupStore> {
  const open = await loadSqlite();
  let writer: SqliteConnection | undefined;
  try {
    writer = open(file);
    writer.exec('PRAGMA busy_timeout = 5000');
    writer.exec('PRAGMA journal_mode = WAL');
    writer.exec('PRAGMA synchronous = FULL');
    writer.exec(`PRAGMA wal_autocheckpoint = ${options.checkpointPages ?? 16_000}`);
    writer.exec(`PRAGMA cache_size = -${options.cacheKibibytes ?? 4_096}`);
    migrate(writer);
    if (options.maxPages !== undefined) writer.exec(`PRAGMA max_page_count = ${options.maxPages}`);
    const reader = open(file);
    reader.exec('PRAGMA busy_timeout = 5000');
    reader.exec('PRAGMA query_only = ON');
    // Most of it is read once and from end to end; what is read again the operating system has.
    reader.exec('PRAGMA cache_size = -2048');
    const store = new SqliteStore(writer, reader);
    await store.purge();
    return store;
  } catch (error) {
    writer?.close();
    throw error instanceof Error && error.name === 'KeyBackupError' ? error : storeFailed(error);
  }
}

/** Keys in one statement. */
const STATEMENT_KEYS = 500;
/** Rows deleted before the event loop runs again. */
const DELETE_ROWS = 5_000;
const UNKNOWN_VERSION: UnknownVersion = { outcome: 'unknown-version' };

interface VersionRow {
  readonly id: number;
  readonly version: string;
  readonly etag: number;
  readonly count: number;
  readonly bytes: number;
  readonly largest: number;
}

interface Change {
  readonly changed: number;
  readonly added: number;
  readonly bytes: number;
  readonly largest: number;
}

class SqliteStore implements BackupStore {
  readonly #writer: SqliteConnection;
  readonly #reader: SqliteConnection;
  readonly #queue: ReturnType<typeof createWriteQueue>;
  readonly #written = new Map<string, SqliteStatement>();
  readonly #read = new Map<string, SqliteStatement>();
  /** Rows of `rooms` by version and room id: a batch is of many rooms, and each look-up costs. */
  readonly #rooms = new Map<string, number>();
  #dataVersion = -1;

  constructor(writer: SqliteConnection, reader: SqliteConnection) {
    this.#writer = writer;
    this.#reader = reader;
    this.#queue = createWriteQueue(writer, () => {
      this.#rooms.clear();
    });
  }

  createVersion(
    userId: string,
    content: VersionContent,
    quota: Quota,
  ): ReturnType<BackupStore['createVersion']> {
    const version = newVersionId();
    return this.#write(function* (store) {
      store.#run(
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
      const row = this.#all(
        `SELECT version, algorithm_json, auth_data, etag, count FROM versions
         WHERE user_id = ? AND deleted = 0 ${version === undefined ? '' : 'AND version = ?'}
         ORDER BY id DESC LIMIT 1`,
        version === undefined ? [userId] : [userId, version],
      ).at(0);
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
      const row = store
        .#rows(`SELECT id, algorithm_json FROM versions WHERE user_id = ? AND version = ? AND deleted = 0`, [
          userId,
          version,
        ])
        .at(0);
      if (!row) return UNKNOWN_VERSION;
      if (row[1] !== JSON.stringify(content.algorithm)) return { outcome: 'other-algorithm' } as const;
      store.#run(
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
      const row = store
        .#rows(`SELECT id FROM versions WHERE user_id = ? AND version = ?`, [userId, version])
        .at(0);
      if (!row) return UNKNOWN_VERSION;
      // Gone for everybody at once; its rows follow below, or when the file is next opened.
      store.#run(
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
        const row = store
          .#rows(
            `SELECT rooms.id FROM versions JOIN rooms ON rooms.version = versions.id
             WHERE versions.deleted = 1 LIMIT 1`,
            [],
          )
          .at(0);
        if (!row) return;
        yield* store.#deleteRoom(row[0] as number);
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
      const current = store.#rows(
        `SELECT id, version FROM versions WHERE user_id = ? AND deleted = 0 ORDER BY id DESC LIMIT 1`,
        [userId],
      )[0];
      if (current[0] !== row.id) {
        return { outcome: 'wrong-version', current_version: current[1] as string } as const;
      }
      store.#forgetForeignRooms();
      const before = store.#ends();
      for (let start = 0; start < keys.length; start += STATEMENT_KEYS) {
        if (start > 0) yield;
        const batch = keys.slice(start, start + STATEMENT_KEYS);
        const parameters: SqliteValue[] = [];
        for (const key of batch) {
          parameters.push(
            store.#internRoom(row.id, key.room_id),
            key.session_id,
            escapedName(key.session_id),
            key.is_verified ? 1 : 0,
            key.first_message_index,
            key.forwarded_count,
            writer ?? null,
            key.data,
          );
        }
        store.#run(writeKeysSql(batch.length), parameters);
      }
      return store.#changed(userId, row, store.#changesSince(before, row.largest), quota);
    });
  }

  deleteKeys(userId: string, version: string, scope: KeyScope): ReturnType<BackupStore['deleteKeys']> {
    return this.#write(function* (store) {
      const row = store.#version(userId, version);
      if (!row) return UNKNOWN_VERSION;
      let [count, bytes] = [0, 0];
      for (const room of store.#roomsInScope(row.id, scope.room_id)) {
        const [deleted, size] = yield* store.#deleteRoom(room, scope.session_id);
        count += deleted;
        bytes += size;
      }
      const change = { changed: count, added: -count, bytes: -bytes, largest: row.largest };
      return store.#changed(userId, row, change, {});
    });
  }

  readKey(
    userId: string,
    version: string,
    roomId: string,
    sessionId: string,
  ): ReturnType<BackupStore['readKey']> {
    return this.#reading(() => {
      const row = this.#all(
        `SELECT versions.id, keys.data FROM versions
         LEFT JOIN rooms ON rooms.version = versions.id AND rooms.room_id = ?
         LEFT JOIN keys ON keys.room = rooms.id AND keys.session_id = ?
         WHERE versions.user_id = ? AND versions.version = ? AND versions.deleted = 0`,
        [roomId, sessionId, userId, version],
      ).at(0);
      if (!row) return UNKNOWN_VERSION;
      return row[1] === null
        ? ({ outcome: 'unknown-key' } as const)
        : ({ outcome: 'key', data: row[1] as string } as const);
    });
  }

  readKeys(
    userId: string,
    version: string,
    scope: KeyScope,
    after: KeyPosition | undefined,
    limit: number,
  ): Promise<KeyPage | UnknownVersion> {
    return this.#reading(() => {
      const row = this.#all(
        `SELECT id, largest FROM versions WHERE user_id = ? AND version = ? AND deleted = 0`,
        [userId, version],
      ).at(0);
      if (!row) return UNKNOWN_VERSION;
      const pages: RoomPage[] = [];
      let left = pageLimit(limit, row[1] as number);
      let first = after?.room_id ?? '';
      while (left > 0) {
        // A few rooms at a time: an account has thousands, most of them with few keys.
        const rooms = this.#all(
          `SELECT id, CAST(room_id AS BLOB) FROM rooms
           WHERE version = ? AND room_id >= ? ${scope.room_id === undefined ? '' : 'AND room_id = ?'}
           ORDER BY room_id LIMIT 20`,
          [row[0], first, ...(scope.room_id === undefined ? [] : [scope.room_id])],
        );
        for (const [room, name] of rooms) {
          const roomId = text(name);
          const behind = after?.room_id === roomId ? after.session_id : undefined;
          const page = left > 0 ? this.#readRoom(room as number, roomId, behind, left) : undefined;
          if (page) pages.push(page);
          left -= page?.count ?? 0;
        }
        if (rooms.length < 20) break;
        // The least string behind the last of these.
        first = `${text(rooms[19][1])}\0`;
      }
      return { outcome: 'page', rooms: pages };
    });
  }

  readReplacements(userId: string, after: number, limit: number): Promise<readonly Replacement[]> {
    return this.#reading(() =>
      this.#all(
        `SELECT replacements.id, time, versions.version, CAST(room_id AS BLOB), CAST(session_id AS BLOB),
           old_is_verified, old_first_message_index, old_forwarded_count, old_device_id,
           new_is_verified, new_first_message_index, new_forwarded_count, new_device_id
         FROM replacements JOIN versions ON versions.id = replacements.version
         WHERE replacements.version IN (SELECT id FROM versions WHERE user_id = ?) AND replacements.id > ?
         ORDER BY replacements.id LIMIT ?`,
        [userId, after, limit],
      ).map((row) => ({
        id: row[0] as number,
        time: row[1] as number,
        user_id: userId,
        version: row[2] as string,
        room_id: text(row[3]),
        session_id: text(row[4]),
        before: origin(row.slice(5, 9)),
        after: origin(row.slice(9, 13)),
      })),
    );
  }

  pruneReplacements(before: number): Promise<void> {
    return this.#write(function* (store) {
      while (
        store.#rows(
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
      const versions = store.#rows(`SELECT id FROM versions WHERE user_id = ?`, [userId]);
      for (const [version] of versions) {
        for (const room of store.#roomsInScope(version as number)) yield* store.#deleteRoom(room);
        store.#run(`DELETE FROM replacements WHERE version = ?`, [version]);
        store.#run(`DELETE FROM versions WHERE id = ?`, [version]);
      }
      return versions.length > 0;
    });
  }

  ping(): Promise<void> {
    return this.#reading(() => void this.#all('SELECT count(*) FROM (SELECT id FROM versions LIMIT 1)', []));
  }

  async close(): Promise<void> {
    await this.#queue.close();
    this.#reader.close();
    this.#writer.close();
  }

  #readRoom(room: number, roomId: string, behind: string | undefined, limit: number): RoomPage | undefined {
    const [count, last, members] = this.#all(
      `SELECT count(*), CAST(max(session_id) AS BLOB),
         CAST(group_concat('"' || coalesce(name, session_id) || '":' || data, ',') AS BLOB)
       FROM (
         SELECT session_id, name, data FROM keys
         WHERE room = ? ${behind === undefined ? '' : 'AND session_id > ?'}
         ORDER BY session_id LIMIT ?
       )`,
      behind === undefined ? [room, limit] : [room, behind, limit],
    )[0];
    if (count === 0) return undefined;
    return {
      room_id: roomId,
      members: members as Uint8Array,
      count: count as number,
      last_session_id: text(last),
    };
  }

  /** Deletes a room's keys, or one of them. Returns how many and their size. */
  *#deleteRoom(room: number, sessionId?: string): Generator<void, readonly [number, number]> {
    let [count, bytes] = [0, 0];
    for (;;) {
      const rows = this.#rows(
        `DELETE FROM keys WHERE id IN (
           SELECT id FROM keys WHERE room = ? ${sessionId === undefined ? '' : 'AND session_id = ?'} LIMIT ?
         ) RETURNING octet_length(data)`,
        sessionId === undefined ? [room, DELETE_ROWS] : [room, sessionId, DELETE_ROWS],
      );
      count += rows.length;
      for (const [size] of rows) bytes += size as number;
      if (rows.length < DELETE_ROWS) break;
      yield;
    }
    if (sessionId === undefined) {
      this.#run(`DELETE FROM rooms WHERE id = ?`, [room]);
      this.#rooms.clear();
    }
    return [count, bytes];
  }

  #changed(userId: string, row: VersionRow, change: Change, quota: Quota): Changed {
    if (change.changed === 0) return { outcome: 'changed', etag: String(row.etag), count: row.count };
    const count = row.count + change.added;
    this.#run(
      `UPDATE versions SET etag = etag + 1, count = ?2, bytes = bytes + ?3, largest = ?4 WHERE id = ?1`,
      [row.id, count, change.bytes, change.largest],
    );
    this.#checkQuota(userId, { keys: quota.keys, bytes: quota.bytes });
    return { outcome: 'changed', etag: String(row.etag + 1), count };
  }

  /** Undoes the write under way when the user now holds too much. */
  #checkQuota(userId: string, quota: Quota): void {
    if (Object.values(quota).every((limit) => limit === undefined)) return;
    const [versions, keys, bytes] = this.#rows(
      `SELECT count(*), total(count), total(bytes) FROM versions WHERE user_id = ? AND deleted = 0`,
      [userId],
    )[0] as [number, number, number];
    const over = (of: keyof Quota): never => {
      throw new Undo({ outcome: 'over-quota', of } satisfies OverQuota);
    };
    if (quota.versions !== undefined && versions > quota.versions) over('versions');
    if (quota.keys !== undefined && keys > quota.keys) over('keys');
    if (quota.bytes !== undefined && bytes > quota.bytes) over('bytes');
  }

  #version(userId: string, version: string): VersionRow | undefined {
    const row = this.#rows(
      `SELECT id, version, etag, count, bytes, largest FROM versions
       WHERE user_id = ? AND version = ? AND deleted = 0`,
      [userId, version],
    ).at(0) as [number, string, number, number, number, number] | undefined;
    if (!row) return undefined;
    return { id: row[0], version: row[1], etag: row[2], count: row[3], bytes: row[4], largest: row[5] };
  }

  /** The ids of the last row in `keys` and in `replacements`. */
  #ends(): readonly [key: number, replacement: number] {
    const [[key, replacement]] = this.#rows(
      `SELECT (SELECT coalesce(max(id), 0) FROM keys), (SELECT coalesce(max(id), 0) FROM replacements)`,
      [],
    );
    return [key as number, replacement as number];
  }

  /**
   * What the write under way did: rows it added stand behind the last one there was, and rows it replaced in the
   * audit trail. Far cheaper than having every row returned.
   */
  #changesSince(ends: readonly [number, number], largest: number): Change {
    const [added, addedBytes, addedLargest] = this.#rows(
      `SELECT count(*), total(octet_length(data)), max(octet_length(data)) FROM keys WHERE id > ?`,
      [ends[0]],
    )[0];
    const [replaced, grown, replacedLargest] = this.#rows(
      `SELECT count(*), total(new_size - old_size), max(new_size) FROM replacements WHERE id > ?`,
      [ends[1]],
    )[0];
    return {
      changed: (added as number) + (replaced as number),
      added: added as number,
      bytes: (addedBytes as number) + (grown as number),
      largest: Math.max(largest, addedLargest as number, replacedLargest as number),
    };
  }

  #internRoom(version: number, roomId: string): number {
    const name = `${version} ${roomId}`;
    const cached = this.#rooms.get(name);
    if (cached !== undefined) return cached;
    const known = this.#roomsInScope(version, roomId).at(0);
    const room =
      known ??
      (this.#rows(`INSERT INTO rooms (version, room_id) VALUES (?, ?) RETURNING id`, [
        version,
        roomId,
      ])[0][0] as number);
    if (this.#rooms.size >= CACHED_ROOMS) this.#rooms.clear();
    this.#rooms.set(name, room);
    return room;
  }

  /** Another process may have deleted rooms we remember. */
  #forgetForeignRooms(): void {
    const version = this.#rows('PRAGMA data_version', [])[0][0] as number;
    if (version !== this.#dataVersion) this.#rooms.clear();
    this.#dataVersion = version;
  }

  #roomsInScope(version: number, roomId?: string): number[] {
    return this.#rows(
      `SELECT id FROM rooms WHERE version = ? ${roomId === undefined ? '' : 'AND room_id = ?'}`,
      roomId === undefined ? [version] : [version, roomId],
    ).map((row) => row[0] as number);
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

  #all(sql: string, parameters: readonly SqliteValue[]): SqliteValue[][] {
    return this.#prepared(this.#reader, sql).all(parameters);
  }

  #rows(sql: string, parameters: readonly SqliteValue[]): SqliteValue[][] {
    return this.#prepared(this.#writer, sql).all(parameters);
  }

  #run(sql: string, parameters: readonly SqliteValue[]): void {
    this.#prepared(this.#writer, sql).run(parameters);
  }

  /** Statements by their text, the latest used last; there is one for each size of batch, so few are kept. */
  #prepared(connection: SqliteConnection, sql: string): SqliteStatement {
    const cache = connection === this.#writer ? this.#written : this.#read;
    const statement = cache.get(sql) ?? connection.prepare(sql);
    cache.delete(sql);
    cache.set(sql, statement);
    if (cache.size > STATEMENTS) cache.delete(cache.keys().next().value ?? '');
    return statement;
  }
}

const STATEMENTS = 48;
const CACHED_ROOMS = 10_000;

const writeKeysTexts = new Map<number, string>();

/** The replacement rule in SQL, for a number of keys: what wins is written, what does not stays untouched. */
function writeKeysSql(count: number): string {
  let sql = writeKeysTexts.get(count);
  if (sql === undefined) {
    sql = `INSERT INTO keys (
        room, session_id, name, is_verified, first_message_index, forwarded_count, device_id, data
      ) VALUES ${Array(count).fill('(?,?,?,?,?,?,?,?)').join()}
      ON CONFLICT (room, session_id) DO UPDATE SET
        is_verified = excluded.is_verified,
        first_message_index = excluded.first_message_index,
        forwarded_count = excluded.forwarded_count,
        device_id = excluded.device_id,
        data = excluded.data
      WHERE (NOT excluded.is_verified, excluded.first_message_index, excluded.forwarded_count)
          < (NOT keys.is_verified, keys.first_message_index, keys.forwarded_count)`;
    writeKeysTexts.set(count, sql);
  }
  return sql;
}

function text(value: SqliteValue | undefined): string {
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(value as Uint8Array);
}

function origin(row: readonly SqliteValue[]): Replacement['before'] {
  return {
    is_verified: row[0] === 1,
    first_message_index: row[1] as number,
    forwarded_count: row[2] as number,
    ...(row[3] === null ? {} : { device_id: row[3] as string }),
  };
}

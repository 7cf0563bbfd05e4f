/**
 * Backups in a database of PostgreSQL.
 *
 * @packageDocumentation
 */

import {
  LOCK_TIMEOUT,
  openPool,
  query,
  transaction,
  type Connections,
  type PgPool,
  type RunStatement,
} from './pool.js';
import { createPurge, purgeVersion, type Purge } from './purge.js';
import { migrate } from './schema.js';
import {
  MAX_DELETED,
  PRUNE_SLICE,
  bytes,
  deletion,
  insertion,
  page,
  replacement,
  type Statement,
} from './statements.js';
import { createTurns, type InTurn } from './turns.js';
import {
  checkQuota,
  isLimited,
  newVersionId,
  textOf,
  type BackupStore,
  type Changed,
  type Quota,
  type Replacement,
  type UnknownVersion,
} from '../store.js';

export type { NamedStatement, PgPool, PooledClient } from './pool.js';

/** How the database is used. */
export interface PostgresOptions {
  /** Connections at most, beside one for {@link BackupStore.ping}. Default 10; one user has a quarter of them at most. */
  readonly connections?: number;
}

/**
 * Opens a store in a PostgreSQL database, whose tables are made where there are none. Any number of servers may
 * use one database.
 *
 * A user's row is locked before anything of the user is written, so writers to one backup queue up in the database,
 * count and etag are always those of the keys, and a quota holds for all versions together. Every primary key begins
 * with the user, for databases that shard. Run against PostgreSQL 15 and 18; not against Citus, CockroachDB or
 * YugabyteDB, which differ at least in the advisory lock and the identity column that the tables are made with.
 *
 * @param url - `postgres://user@host:port/database`; the password better stands in PGPASSWORD.
 * @throws KeyBackupError `missing-dependency`, `unsupported-schema`, `store-failed`.
 *
 * @example
 * ```ts
 * const store = await openPostgresStore('postgres://backup@db.example.org/backup');
 * ```
 */
export async function openPostgresStore(url: string, options: PostgresOptions = {}): Promise<BackupStore> {
  const connections = options.connections ?? 10;
  const pool = await openPool(url, connections, 60_000);
  // Its own, so that users cannot keep it busy.
  const health = await openPool(url, 1, 5_000);
  return openOn({ pool, isPreparing: true }, health, connections);
}

/**
 * {@link openPostgresStore} on a pool of the caller, which the store then owns. Statements are not prepared, and no
 * connection is kept for {@link BackupStore.ping}. A pool of `pg` should have `pipeline: true`: a connection is given
 * several statements at once, which `pg` 9 takes in no other way.
 */
export async function openStoreOnPool(pool: PgPool): Promise<BackupStore> {
  return openOn({ pool, isPreparing: false }, pool, 10);
}

async function openOn(connections: Connections, health: PgPool, count: number): Promise<BackupStore> {
  const { pool } = connections;
  const end = async (): Promise<void> => {
    await pool.end();
    if (health !== pool) await health.end();
  };
  try {
    await transaction(connections, migrate);
  } catch (error) {
    await end().catch(() => undefined);
    throw error;
  }
  const inTurn = createTurns(Math.max(1, Math.floor(count / 4)), LOCK_TIMEOUT);
  const purge = createPurge(connections);
  purge.start();
  return {
    ...createStore(connections, inTurn, purge),
    ping: createPing(health),
    close: async () => {
      await purge.stop();
      await end();
    },
  };
}

/** Asked by anybody, as often as they like: one question at a time. */
function createPing(pool: PgPool): () => Promise<void> {
  let ping: Promise<unknown> | undefined;
  return async () => {
    ping ??= query({ pool, isPreparing: false }, 'SELECT 1 FROM versions LIMIT 1', []).finally(() => {
      ping = undefined;
    });
    await ping;
  };
}

/** Keys in one statement. */
const STATEMENT_KEYS = 2_000;
const UNKNOWN_VERSION: UnknownVersion = { outcome: 'unknown-version' };

function createStore(
  connections: Connections,
  inTurn: InTurn,
  purge: Purge,
): Omit<BackupStore, 'ping' | 'close'> {
  const read = (userId: string, statement: Statement): Promise<Record<string, unknown>[]> =>
    inTurn(userId, () => query(connections, ...statement));

  /** A transaction beside which nothing else of the user is written. */
  const write = <T>(userId: string, work: (run: RunStatement) => Promise<T>): Promise<T> =>
    inTurn(userId, () =>
      transaction(connections, async (run) => {
        // The first statement of the work goes out together with this one, and is done after it.
        const locked = run('SELECT FROM users WHERE user_id = $1 FOR UPDATE', [userId]);
        const [result] = await Promise.all([work(run), locked]);
        return result;
      }),
    );

  return {
    createVersion: (userId, content, quota) => {
      const version = newVersionId();
      return inTurn(userId, () =>
        transaction(connections, async (run) => {
          // Makes the user's row, or locks the one that is there.
          await run(
            `INSERT INTO users (user_id) VALUES ($1) ON CONFLICT (user_id) DO UPDATE SET user_id = excluded.user_id`,
            [userId],
          );
          await run(
            `INSERT INTO versions (user_id, number, version, algorithm_json, auth_data, bytes)
             SELECT $1, coalesce(max(number), 0) + 1, $2, $3, $4, octet_length($4) FROM versions WHERE user_id = $1`,
            [userId, version, JSON.stringify(content.algorithm), content.auth_data],
          );
          await enforceQuota(run, userId, quota);
          return { outcome: 'created', version } as const;
        }),
      );
    },

    readVersion: async (userId, version) => {
      if (version?.includes('\0') === true) return undefined;
      const rows = await read(userId, [
        `SELECT version, algorithm_json, auth_data, etag, count FROM versions
         WHERE user_id = $1 AND NOT deleted AND ($2::text IS NULL OR version = $2)
         ORDER BY number DESC LIMIT 1`,
        [userId, version ?? null],
      ]);
      const row = rows.at(0);
      if (!row) return undefined;
      return {
        version: row.version as string,
        algorithm: JSON.parse(row.algorithm_json as string) as string,
        auth_data: row.auth_data as string,
        etag: String(row.etag),
        count: Number(row.count),
      };
    },

    updateVersion: (userId, version, content, quota) =>
      write(userId, async (run) => {
        const row = await versionOf(run, userId, version);
        if (!row) return UNKNOWN_VERSION;
        const rows = await run(
          `UPDATE versions SET bytes = bytes - octet_length(auth_data) + octet_length($4), auth_data = $4
           WHERE user_id = $1 AND number = $2 AND algorithm_json = $3 RETURNING number`,
          [userId, row.number, JSON.stringify(content.algorithm), content.auth_data],
        );
        if (rows.length === 0) return { outcome: 'other-algorithm' } as const;
        await enforceQuota(run, userId, { bytes: quota.bytes });
        return { outcome: 'done' } as const;
      }),

    deleteVersion: async (userId, version) => {
      if (version.includes('\0')) return UNKNOWN_VERSION;
      const deleted = await write(userId, (run) => markDeleted(run, userId, version));
      if (deleted.length === 0) return UNKNOWN_VERSION;
      purge.start();
      return { outcome: 'done' };
    },

    writeKeys: async (userId, version, keys, quota, writer) => {
      if (version.includes('\0')) return UNKNOWN_VERSION;
      return write(userId, async (run) => {
        const isOne = keys.length > 0 && keys.length <= STATEMENT_KEYS;
        const first = async (statement: Statement) => (await run(...statement)).at(0);
        if (isOne) {
          // Mostly all keys are new. Then nothing has to be known before.
          const inserted = await first(insertion(userId, version, keys, quota, writer));
          if (inserted) return changedFrom(inserted);
        }
        const row = await versionOf(run, userId, version);
        if (!row) return UNKNOWN_VERSION;
        if (row.current !== version)
          return { outcome: 'wrong-version', current_version: row.current } as const;
        // One for the whole write, however many statements it takes.
        const etag = String(row.etag + 1);
        let changed: Changed = { outcome: 'changed', etag: String(row.etag), count: row.count };
        for (let start = 0; start < keys.length; start += STATEMENT_KEYS) {
          const some = keys.slice(start, start + STATEMENT_KEYS);
          const done =
            (isOne ? undefined : await first(insertion(userId, version, some, quota, writer, etag))) ??
            (await first(replacement(userId, row.number, some, writer, etag)));
          if (done) changed = changedFrom(done);
        }
        if (changed.etag === etag) {
          await enforceQuota(run, userId, { keys: quota.keys, bytes: quota.bytes });
        }
        return changed;
      });
    },

    deleteKeys: async (userId, version, scope) => {
      for (;;) {
        const [result, deleted] = await write(userId, async (run) => {
          const row = await versionOf(run, userId, version);
          if (!row) return [UNKNOWN_VERSION, 0] as const;
          const [gone = { ...row, deleted: 0 }] = await run(...deletion(userId, row.number, scope));
          return [changedFrom(gone), Number(gone.deleted)] as const;
        });
        if (deleted < MAX_DELETED) return result;
      }
    },

    readKey: async (userId, version, roomId, sessionId) => {
      if (version.includes('\0')) return UNKNOWN_VERSION;
      const rows = await read(userId, [
        `SELECT keys.data FROM versions
         LEFT JOIN keys ON keys.user_id = $1 AND keys.number = versions.number
           AND keys.room_id = $3 AND keys.session_id = $4
         WHERE versions.user_id = $1 AND versions.version = $2 AND NOT versions.deleted`,
        [userId, version, bytes(roomId), bytes(sessionId)],
      ]);
      const row = rows.at(0);
      if (!row) return UNKNOWN_VERSION;
      return row.data === null ? { outcome: 'unknown-key' } : { outcome: 'key', data: row.data as string };
    },

    readKeys: async (userId, version, scope, after, limit) => {
      if (version.includes('\0')) return UNKNOWN_VERSION;
      const rows = await read(userId, page(userId, version, scope, after, limit));
      if (rows.length === 0) return UNKNOWN_VERSION;
      return {
        outcome: 'page',
        rooms: rows
          .filter((room) => room.room_id !== null)
          .map((room) => ({
            room_id: textOf(room.room_id),
            members: room.members as string,
            count: Number(room.count),
            last_session_id: textOf(room.last),
          })),
      };
    },

    readReplacements: async (userId, after, limit) => {
      const rows = await read(userId, [
        `SELECT replacements.*, versions.version FROM replacements
         JOIN versions ON versions.user_id = replacements.user_id AND versions.number = replacements.number
         WHERE replacements.user_id = $1 AND id > $2 ORDER BY id LIMIT $3`,
        [userId, after, limit],
      ]);
      return rows.map((row) => ({
        id: Number(row.id),
        time: Number(row.time),
        user_id: userId,
        version: row.version as string,
        room_id: textOf(row.room_id),
        session_id: textOf(row.session_id),
        before: origin(row, 'old'),
        after: origin(row, 'new'),
      }));
    },

    pruneReplacements: async (before) => {
      for (;;) {
        const [{ found }] = await query(connections, PRUNE_SLICE, [before]);
        if (found === '0') return;
      }
    },

    eraseUser: async (userId) => {
      const versions = await write(userId, (run) => markDeleted(run, userId));
      if (versions.length === 0) return false;
      // The keys in short transactions; then the rest, and with it what was written meanwhile.
      for (const { version } of versions) await purgeVersion(connections, userId, version as string);
      await write(userId, async (run) => {
        for (const table of ['keys', 'replacements', 'versions', 'users']) {
          await run(`DELETE FROM ${table} WHERE user_id = $1`, [userId]);
        }
      });
      return true;
    },
  };
}

interface VersionRow {
  readonly number: string;
  readonly etag: number;
  readonly count: number;
  /** The user's current version. */
  readonly current: string;
}

async function versionOf(
  run: RunStatement,
  userId: string,
  version: string,
): Promise<VersionRow | undefined> {
  if (version.includes('\0')) return undefined;
  const rows = await run(
    `SELECT number, etag, count, (
       SELECT version FROM versions WHERE user_id = $1 AND NOT deleted ORDER BY number DESC LIMIT 1
     ) AS current FROM versions WHERE user_id = $1 AND version = $2 AND NOT deleted`,
    [userId, version],
  );
  const row = rows.at(0);
  return (
    row && {
      number: row.number as string,
      etag: Number(row.etag),
      count: Number(row.count),
      current: row.current as string,
    }
  );
}

/** Deletes a version, or all, as far as can be seen: the keys are purged later. Returns the ids. */
function markDeleted(
  run: RunStatement,
  userId: string,
  version?: string,
): Promise<Record<string, unknown>[]> {
  return run(
    `UPDATE versions SET deleted = true, auth_data = '', count = 0, bytes = 0
     WHERE user_id = $1 AND ($2::text IS NULL OR version = $2) RETURNING version`,
    [userId, version ?? null],
  );
}

/** Undoes the transaction when the user now holds too much. */
async function enforceQuota(run: RunStatement, userId: string, quota: Quota): Promise<void> {
  if (!isLimited(quota)) return;
  const rows = await run(
    `SELECT count(*) AS versions, coalesce(sum(count), 0) AS keys,
       coalesce(sum(bytes), 0) + (SELECT trail_bytes FROM users WHERE user_id = $1) AS bytes
     FROM versions WHERE user_id = $1 AND NOT deleted`,
    [userId],
  );
  const [{ versions, keys, bytes: size }] = rows;
  checkQuota(quota, { versions: Number(versions), keys: Number(keys), bytes: Number(size) });
}

function changedFrom(row: Record<string, unknown>): Changed {
  return { outcome: 'changed', etag: String(row.etag), count: Number(row.count) };
}

function origin(row: Record<string, unknown>, which: 'old' | 'new'): Replacement['before'] {
  const device = row[`${which}_device_id`] as string | null;
  return {
    is_verified: row[`${which}_is_verified`] as boolean,
    first_message_index: Number(row[`${which}_first_message_index`]),
    forwarded_count: Number(row[`${which}_forwarded_count`]),
    ...(device === null ? {} : { device_id: device }),
  };
}

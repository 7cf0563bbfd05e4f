/**
 * Backups in a database of PostgreSQL.
 *
 * @packageDocumentation
 */

import {
  openPool,
  query,
  transaction,
  transactionOf,
  type PgClient,
  type PgPool,
  type Preparing,
  type Statement,
} from './pool.js';
import { migrate } from './schema.js';
import { bytes, insertion, replacement } from './statements.js';
import {
  checkQuota,
  isLimited,
  newVersionId,
  pageLimit,
  storeFailed,
  textOf,
  type BackupStore,
  type Changed,
  type Quota,
  type Replacement,
  type UnknownVersion,
} from '../store.js';

export type { NamedStatement, PgClient, PgPool, PooledClient } from './pool.js';

/** How the database is used. */
export interface PostgresOptions {
  /** Connections at most. Default 10. */
  readonly connections?: number;
}

/**
 * Opens a store in a PostgreSQL database, whose tables are made where there are none. Any number of servers may
 * use one database.
 *
 * A version's row is locked before its keys are touched, so writers to one backup queue up in the database and
 * count and etag are always those of the keys. Every primary key begins with the user, for databases that shard.
 * Run against PostgreSQL 15 and 18; not against Citus, CockroachDB or YugabyteDB, which differ at least in the
 * advisory lock and the identity column that the tables are made with.
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
  return openOn(await openPool(url, options.connections ?? 10), { on: true });
}

/**
 * {@link openPostgresStore} on a pool of the caller, which the store then owns. Statements are not prepared. A pool of
 * `pg` should have `pipeline: true`: a connection is given several statements at once, which `pg` 9 takes in no other way.
 */
export async function openStoreOnPool(pool: PgPool): Promise<BackupStore> {
  return openOn(pool, { on: false });
}

async function openOn(pool: PgPool, preparing: Preparing): Promise<BackupStore> {
  try {
    await transaction(pool, migrate);
  } catch (error) {
    await pool.end().catch(() => undefined);
    throw error instanceof Error && error.name === 'KeyBackupError' ? error : storeFailed(error);
  }
  return createStore(pool, preparing);
}

/** Keys in one statement. */
const STATEMENT_KEYS = 2_000;
const UNKNOWN_VERSION: UnknownVersion = { outcome: 'unknown-version' };

interface VersionRow {
  readonly number: string;
  readonly etag: number;
  readonly count: number;
  readonly current: string;
  readonly currentVersion: string;
}

function createStore(pool: PgPool, preparing: Preparing): BackupStore {
  return {
    createVersion: (userId, content, quota) => {
      const version = newVersionId();
      return transaction(pool, async (client) => {
        // Locks the user: versions of one user are made one after another.
        await client.query(
          `WITH counted AS (
             INSERT INTO users (user_id, last_number) VALUES ($1, 1)
             ON CONFLICT (user_id) DO UPDATE SET last_number = users.last_number + 1
             RETURNING last_number
           )
           INSERT INTO versions (user_id, number, version, algorithm_json, auth_data, bytes)
           SELECT $1, last_number, $2, $3, $4, octet_length($4) FROM counted`,
          [userId, version, JSON.stringify(content.algorithm), content.auth_data],
        );
        await enforceQuota(client, userId, quota);
        return { outcome: 'created', version } as const;
      });
    },

    readVersion: async (userId, version) => {
      if (version?.includes('\0') === true) return undefined;
      const rows = await query(
        pool,
        `SELECT version, algorithm_json, auth_data, etag, count FROM versions
         WHERE user_id = $1 AND NOT deleted ${version === undefined ? '' : 'AND version = $2'}
         ORDER BY number DESC LIMIT 1`,
        version === undefined ? [userId] : [userId, version],
      );
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
      transaction(pool, async (client) => {
        const row = await lockVersion(client, userId, version);
        if (!row) return UNKNOWN_VERSION;
        const { rows } = await client.query(
          `UPDATE versions SET bytes = bytes - octet_length(auth_data) + octet_length($4), auth_data = $4
           WHERE user_id = $1 AND number = $2 AND algorithm_json = $3 RETURNING number`,
          [userId, row.number, JSON.stringify(content.algorithm), content.auth_data],
        );
        if (rows.length === 0) return { outcome: 'other-algorithm' } as const;
        await enforceQuota(client, userId, { bytes: quota.bytes });
        return { outcome: 'done' } as const;
      }),

    deleteVersion: (userId, version) => {
      if (version.includes('\0')) return Promise.resolve(UNKNOWN_VERSION);
      return transaction(pool, async (client) => {
        const { rows } = await client.query(
          `UPDATE versions SET deleted = true, auth_data = '', count = 0, bytes = 0
           WHERE user_id = $1 AND version = $2 RETURNING number`,
          [userId, version],
        );
        if (rows.length === 0) return UNKNOWN_VERSION;
        await client.query(`DELETE FROM keys WHERE user_id = $1 AND number = $2`, [userId, rows[0].number]);
        return { outcome: 'done' } as const;
      });
    },

    writeKeys: async (userId, version, keys, quota, writer) => {
      if (version.includes('\0')) return UNKNOWN_VERSION;
      const isOne = keys.length <= STATEMENT_KEYS;
      if (isOne && keys.length > 0) {
        // Mostly all keys are new. Then nothing has to be known before the next statement is sent.
        const answers = await transactionOf(
          pool,
          [lock(userId, version), insertion(userId, version, keys, quota, writer)],
          preparing,
        );
        const inserted = answers?.[1].at(0);
        if (inserted) return changedFrom(inserted);
      }
      return transaction(pool, async (client) => {
        const row = await lockVersion(client, userId, version);
        if (!row) return UNKNOWN_VERSION;
        if (row.current !== row.number) {
          return { outcome: 'wrong-version', current_version: row.currentVersion } as const;
        }
        // One for the whole write, however many statements it takes.
        const etag = String(row.etag + 1);
        const first = async (statement: Statement) => (await client.query(...statement)).rows.at(0);
        let changed: Changed = { outcome: 'changed', etag: String(row.etag), count: row.count };
        for (let start = 0; start < keys.length; start += STATEMENT_KEYS) {
          const some = keys.slice(start, start + STATEMENT_KEYS);
          const done =
            (isOne ? undefined : await first(insertion(userId, version, some, quota, writer, etag))) ??
            (await first(replacement(userId, row.number, some, writer, etag)));
          if (done) changed = changedFrom(done);
        }
        if (changed.etag !== String(row.etag)) {
          await enforceQuota(client, userId, { keys: quota.keys, bytes: quota.bytes });
        }
        return changed;
      });
    },

    deleteKeys: (userId, version, scope) =>
      transaction(pool, async (client) => {
        const row = await lockVersion(client, userId, version);
        if (!row) return UNKNOWN_VERSION;
        const { room_id, session_id } = scope;
        const { rows } = await client.query(
          `WITH gone AS (
             DELETE FROM keys WHERE user_id = $1 AND number = $2
               AND ($3::bytea IS NULL OR room_id = $3) AND ($4::bytea IS NULL OR session_id = $4)
             RETURNING octet_length(data) AS size
           ), total AS (
             SELECT count(*) AS count, coalesce(sum(size), 0) AS bytes FROM gone
           )
           UPDATE versions SET etag = etag + 1, count = versions.count - total.count, bytes = versions.bytes - total.bytes
           FROM total WHERE user_id = $1 AND number = $2 AND total.count > 0
           RETURNING versions.etag, versions.count`,
          [
            userId,
            row.number,
            room_id === undefined ? null : bytes(room_id),
            session_id === undefined ? null : bytes(session_id),
          ],
        );
        if (rows.length > 0) return changedFrom(rows[0]);
        return { outcome: 'changed', etag: String(row.etag), count: row.count } as const;
      }),

    readKey: async (userId, version, roomId, sessionId) => {
      if (version.includes('\0')) return UNKNOWN_VERSION;
      const rows = await query(
        pool,
        `SELECT keys.data FROM versions
         LEFT JOIN keys ON keys.user_id = $1 AND keys.number = versions.number
           AND keys.room_id = $3 AND keys.session_id = $4
         WHERE versions.user_id = $1 AND versions.version = $2 AND NOT versions.deleted`,
        [userId, version, bytes(roomId), bytes(sessionId)],
      );
      const row = rows.at(0);
      if (!row) return UNKNOWN_VERSION;
      return row.data === null ? { outcome: 'unknown-key' } : { outcome: 'key', data: row.data as string };
    },

    readKeys: async (userId, version, scope, after, limit) => {
      if (version.includes('\0')) return UNKNOWN_VERSION;
      const found = await query(
        pool,
        `SELECT number, largest FROM versions WHERE user_id = $1 AND version = $2 AND NOT deleted`,
        [userId, version],
      );
      const row = found.at(0);
      if (!row) return UNKNOWN_VERSION;
      const values: unknown[] = [userId, row.number, pageLimit(limit, Number(row.largest))];
      const conditions: string[] = [];
      if (scope.room_id !== undefined) conditions.push(`AND room_id = $${values.push(bytes(scope.room_id))}`);
      if (after) {
        const [room, session] = [values.push(bytes(after.room_id)), values.push(bytes(after.session_id))];
        conditions.push(`AND (room_id, session_id) > ($${room}, $${session})`);
      }
      const rows = await query(
        pool,
        `SELECT room_id, count(*) AS count, (array_agg(session_id ORDER BY session_id DESC))[1] AS last,
           string_agg('"' || coalesce(name, convert_from(session_id, 'UTF8')) || '":' || data, ',' ORDER BY session_id)
             AS members
         FROM (
           SELECT room_id, session_id, name, data FROM keys WHERE user_id = $1 AND number = $2 ${conditions.join(' ')}
           ORDER BY room_id, session_id LIMIT $3
         ) AS page
         GROUP BY room_id ORDER BY room_id`,
        values,
      );
      return {
        outcome: 'page',
        rooms: rows.map((room) => ({
          room_id: textOf(room.room_id),
          members: room.members as string,
          count: Number(room.count),
          last_session_id: textOf(room.last),
        })),
      };
    },

    readReplacements: async (userId, after, limit) => {
      const rows = await query(
        pool,
        `SELECT replacements.*, versions.version FROM replacements
         JOIN versions ON versions.user_id = replacements.user_id AND versions.number = replacements.number
         WHERE replacements.user_id = $1 AND id > $2 ORDER BY id LIMIT $3`,
        [userId, after, limit],
      );
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
      await query(pool, `DELETE FROM replacements WHERE time < $1`, [before]);
    },

    eraseUser: (userId) =>
      transaction(pool, async (client) => {
        // Versions first: that waits for who writes to them, and leaves nothing to write to.
        for (const table of ['versions', 'keys', 'replacements']) {
          await client.query(`DELETE FROM ${table} WHERE user_id = $1`, [userId]);
        }
        const { rows } = await client.query(`DELETE FROM users WHERE user_id = $1 RETURNING user_id`, [
          userId,
        ]);
        return rows.length > 0;
      }),

    ping: async () => {
      await query(pool, 'SELECT 1 FROM versions LIMIT 1', []);
    },

    close: () => {
      return pool.end();
    },
  };
}

/** Locks a version that is not deleted until the transaction ends. */
function lock(userId: string, version: string): Statement {
  return [
    `SELECT number, etag, count FROM versions WHERE user_id = $1 AND version = $2 AND NOT deleted FOR UPDATE`,
    [userId, version],
  ];
}

/** {@link lock}, and says which version is current. */
async function lockVersion(
  client: PgClient,
  userId: string,
  version: string,
): Promise<VersionRow | undefined> {
  if (version.includes('\0')) return undefined;
  const [{ rows }, current] = await Promise.all([
    client.query(...lock(userId, version)),
    // A statement of its own, done after that one: while it waits for the lock, another version may be made.
    client.query(
      `SELECT number, version FROM versions WHERE user_id = $1 AND NOT deleted ORDER BY number DESC LIMIT 1`,
      [userId],
    ),
  ]);
  const row = rows.at(0);
  if (!row) return undefined;
  return {
    number: row.number as string,
    etag: Number(row.etag),
    count: Number(row.count),
    current: current.rows[0].number as string,
    currentVersion: current.rows[0].version as string,
  };
}

/** Undoes the transaction when the user now holds too much. */
async function enforceQuota(client: PgClient, userId: string, quota: Quota): Promise<void> {
  if (!isLimited(quota)) return;
  const { rows } = await client.query(
    `SELECT count(*) AS versions, coalesce(sum(count), 0) AS keys, coalesce(sum(bytes), 0) AS bytes
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

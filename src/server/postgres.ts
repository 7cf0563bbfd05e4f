/**
 * Backups in a database of PostgreSQL.
 *
 * @packageDocumentation
 */

import { storeFailed } from './errors.js';
import { Rollback, openPool, query, transaction, type PgClient, type PgPool } from './postgres-client.js';
import { migrate } from './postgres-schema.js';
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
  StoredVersion,
  UnknownVersion,
  VersionContent,
} from './store.js';
import { escapedName, newVersionId, pageLimit, textOf } from './store.js';

export type { PgClient, PgPool } from './postgres-client.js';

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
  return openStoreOnPool(await openPool(url, options.connections ?? 10));
}

/** {@link openPostgresStore} on a pool of the caller, which the store then owns. */
export async function openStoreOnPool(pool: PgPool): Promise<BackupStore> {
  try {
    await transaction(pool, migrate);
  } catch (error) {
    await pool.end().catch(() => undefined);
    throw error instanceof Error && error.name === 'KeyBackupError' ? error : storeFailed(error);
  }
  return new PostgresStore(pool);
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

class PostgresStore implements BackupStore {
  readonly #pool: PgPool;

  constructor(pool: PgPool) {
    this.#pool = pool;
  }

  createVersion(
    userId: string,
    content: VersionContent,
    quota: Quota,
  ): ReturnType<BackupStore['createVersion']> {
    const version = newVersionId();
    return transaction(this.#pool, async (client) => {
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
      await checkQuota(client, userId, quota);
      return { outcome: 'created', version } as const;
    });
  }

  async readVersion(userId: string, version?: string): Promise<StoredVersion | undefined> {
    if (version?.includes('\0') === true) return undefined;
    const rows = await query(
      this.#pool,
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
  }

  updateVersion(
    userId: string,
    version: string,
    content: VersionContent,
    quota: Quota,
  ): ReturnType<BackupStore['updateVersion']> {
    return transaction(this.#pool, async (client) => {
      const row = await lockVersion(client, userId, version);
      if (!row) return UNKNOWN_VERSION;
      const { rows } = await client.query(
        `UPDATE versions SET bytes = bytes - octet_length(auth_data) + octet_length($4), auth_data = $4
         WHERE user_id = $1 AND number = $2 AND algorithm_json = $3 RETURNING number`,
        [userId, row.number, JSON.stringify(content.algorithm), content.auth_data],
      );
      if (rows.length === 0) return { outcome: 'other-algorithm' } as const;
      await checkQuota(client, userId, { bytes: quota.bytes });
      return { outcome: 'done' } as const;
    });
  }

  deleteVersion(userId: string, version: string): ReturnType<BackupStore['deleteVersion']> {
    if (version.includes('\0')) return Promise.resolve(UNKNOWN_VERSION);
    return transaction(this.#pool, async (client) => {
      const { rows } = await client.query(
        `UPDATE versions SET deleted = true, auth_data = '', count = 0, bytes = 0
         WHERE user_id = $1 AND version = $2 RETURNING number`,
        [userId, version],
      );
      if (rows.length === 0) return UNKNOWN_VERSION;
      await client.query(`DELETE FROM keys WHERE user_id = $1 AND number = $2`, [userId, rows[0].number]);
      return { outcome: 'done' } as const;
    });
  }

  writeKeys(
    userId: string,
    version: string,
    keys: readonly KeyToWrite[],
    quota: Quota,
    writer: string | undefined,
  ): ReturnType<BackupStore['writeKeys']> {
    return transaction(this.#pool, async (client) => {
      const row = await lockVersion(client, userId, version);
      if (!row) return UNKNOWN_VERSION;
      if (row.current !== row.number) {
        return { outcome: 'wrong-version', current_version: row.currentVersion } as const;
      }
      let changed: Changed = { outcome: 'changed', etag: String(row.etag), count: row.count };
      for (let start = 0; start < keys.length; start += STATEMENT_KEYS) {
        const batch = keys.slice(start, start + STATEMENT_KEYS);
        const values = [
          userId,
          row.number,
          batch.map((key) => bytes(key.room_id)),
          batch.map((key) => bytes(key.session_id)),
          batch.map((key) => escapedName(key.session_id)),
          batch.map((key) => key.is_verified),
          batch.map((key) => key.first_message_index),
          batch.map((key) => key.forwarded_count),
          // One text, as its bytes: in an array each would be quoted, letter by letter, and read again.
          Buffer.concat(batch.flatMap(({ data }, i) => (i === 0 ? [data] : [DATA_SEPARATOR, data]))),
          writer ?? null,
          // Once for the whole write, however many statements it takes.
          String(row.etag + 1),
        ];
        const inserted = (await client.query(INSERT_KEYS, values)).rows.at(0);
        if (inserted) changed = changedFrom(inserted);
        if (Number(inserted?.added ?? 0) === batch.length) continue;
        // What was just inserted ties with itself.
        const replaced = (await client.query(REPLACE_KEYS, values)).rows.at(0);
        if (replaced) changed = changedFrom(replaced);
      }
      if (changed.etag !== String(row.etag)) {
        await checkQuota(client, userId, { keys: quota.keys, bytes: quota.bytes });
      }
      return changed;
    });
  }

  deleteKeys(userId: string, version: string, scope: KeyScope): ReturnType<BackupStore['deleteKeys']> {
    return transaction(this.#pool, async (client) => {
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
    });
  }

  async readKey(
    userId: string,
    version: string,
    roomId: string,
    sessionId: string,
  ): ReturnType<BackupStore['readKey']> {
    if (version.includes('\0')) return UNKNOWN_VERSION;
    const rows = await query(
      this.#pool,
      `SELECT keys.data FROM versions
       LEFT JOIN keys ON keys.user_id = $1 AND keys.number = versions.number
         AND keys.room_id = $3 AND keys.session_id = $4
       WHERE versions.user_id = $1 AND versions.version = $2 AND NOT versions.deleted`,
      [userId, version, bytes(roomId), bytes(sessionId)],
    );
    const row = rows.at(0);
    if (!row) return UNKNOWN_VERSION;
    return row.data === null ? { outcome: 'unknown-key' } : { outcome: 'key', data: row.data as string };
  }

  async readKeys(
    userId: string,
    version: string,
    scope: KeyScope,
    after: KeyPosition | undefined,
    limit: number,
  ): Promise<KeyPage | UnknownVersion> {
    if (version.includes('\0')) return UNKNOWN_VERSION;
    const found = await query(
      this.#pool,
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
      this.#pool,
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
  }

  async readReplacements(userId: string, after: number, limit: number): Promise<readonly Replacement[]> {
    const rows = await query(
      this.#pool,
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
  }

  async pruneReplacements(before: number): Promise<void> {
    await query(this.#pool, `DELETE FROM replacements WHERE time < $1`, [before]);
  }

  eraseUser(userId: string): Promise<boolean> {
    return transaction(this.#pool, async (client) => {
      // Versions first: that waits for who writes to them, and leaves nothing to write to.
      for (const table of ['versions', 'keys', 'replacements']) {
        await client.query(`DELETE FROM ${table} WHERE user_id = $1`, [userId]);
      }
      const { rows } = await client.query(`DELETE FROM users WHERE user_id = $1 RETURNING user_id`, [userId]);
      return rows.length > 0;
    });
  }

  async ping(): Promise<void> {
    await query(this.#pool, 'SELECT 1 FROM versions LIMIT 1', []);
  }

  close(): Promise<void> {
    return this.#pool.end();
  }
}

/** U+001F stands in no JSON text: in a string it has to be escaped, and between tokens it may not be. */
const SEPARATOR = 0x1f;
const DATA_SEPARATOR = Uint8Array.of(SEPARATOR);

/** The keys of a statement as rows. */
const INCOMING = `
  WITH incoming AS (
    SELECT * FROM unnest(
      $3::bytea[], $4::bytea[], $5::text[], $6::boolean[], $7::bigint[], $8::bigint[],
      string_to_array($9::text, chr(${SEPARATOR}))
    ) AS keys (room_id, session_id, name, is_verified, first_message_index, forwarded_count, data)`;

const INSERT_INCOMING = `
    INSERT INTO keys (
      user_id, number, room_id, session_id, name, is_verified, first_message_index, forwarded_count, device_id, data
    )
    SELECT $1, $2, room_id, session_id, name, is_verified, first_message_index, forwarded_count, $10, data
    FROM incoming
    ON CONFLICT (user_id, number, room_id, session_id)`;

/** Stores the keys that are not there yet, mostly all, and counts them. Gives no row when there are none. */
const INSERT_KEYS = `${INCOMING}
  ), written AS (${INSERT_INCOMING} DO NOTHING
    RETURNING octet_length(data) AS size
  ), total AS (
    SELECT count(*) AS added, sum(size) AS bytes, max(size) AS largest FROM written
  )
  UPDATE versions SET
    etag = $11,
    count = versions.count + total.added,
    bytes = versions.bytes + total.bytes,
    largest = greatest(versions.largest, total.largest)
  FROM total
  WHERE user_id = $1 AND number = $2 AND total.added > 0
  RETURNING versions.etag, versions.count, total.added`;

/**
 * Replaces by the rule, keeps the audit trail and counts, all in one statement. `old` is what was there when the
 * statement began; nobody changes it meanwhile, because the version is locked. Gives no row when nothing changed.
 */
const REPLACE_KEYS = `${INCOMING}
  ), old AS (
    SELECT incoming.room_id, incoming.session_id, stored.*
    FROM incoming CROSS JOIN LATERAL (
      SELECT keys.is_verified, keys.first_message_index, keys.forwarded_count, keys.device_id,
        octet_length(keys.data) AS size
      FROM keys
      WHERE keys.user_id = $1 AND keys.number = $2
        AND keys.room_id = incoming.room_id AND keys.session_id = incoming.session_id
      -- Keeps the look-ups one by one: a join would read the whole backup while the planner knows nothing of it.
      OFFSET 0
    ) AS stored
  ), written AS (${INSERT_INCOMING} DO UPDATE SET
      is_verified = excluded.is_verified,
      first_message_index = excluded.first_message_index,
      forwarded_count = excluded.forwarded_count,
      device_id = excluded.device_id,
      data = excluded.data
    WHERE (NOT excluded.is_verified, excluded.first_message_index, excluded.forwarded_count)
        < (NOT keys.is_verified, keys.first_message_index, keys.forwarded_count)
    RETURNING room_id, session_id, is_verified, first_message_index, forwarded_count, device_id,
      octet_length(data) AS size
  ), replaced AS (
    INSERT INTO replacements (
      user_id, time, number, room_id, session_id,
      old_is_verified, old_first_message_index, old_forwarded_count, old_device_id,
      new_is_verified, new_first_message_index, new_forwarded_count, new_device_id
    )
    SELECT $1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint, $2, room_id, session_id,
      old.is_verified, old.first_message_index, old.forwarded_count, old.device_id,
      written.is_verified, written.first_message_index, written.forwarded_count, written.device_id
    FROM written JOIN old USING (room_id, session_id)
  ), total AS (
    SELECT count(*) AS changed, count(*) FILTER (WHERE old.room_id IS NULL) AS added,
      coalesce(sum(written.size), 0) - coalesce(sum(old.size), 0) AS bytes, max(written.size) AS largest
    FROM written LEFT JOIN old USING (room_id, session_id)
  )
  UPDATE versions SET
    etag = $11,
    count = versions.count + total.added,
    bytes = versions.bytes + total.bytes,
    largest = greatest(versions.largest, total.largest)
  FROM total
  WHERE user_id = $1 AND number = $2 AND total.changed > 0
  RETURNING versions.etag, versions.count`;

/** Locks a version that is not deleted until the transaction ends, and says which one is current. */
async function lockVersion(
  client: PgClient,
  userId: string,
  version: string,
): Promise<VersionRow | undefined> {
  if (version.includes('\0')) return undefined;
  const [{ rows }, current] = await Promise.all([
    client.query(
      `SELECT number, etag, count FROM versions WHERE user_id = $1 AND version = $2 AND NOT deleted FOR UPDATE`,
      [userId, version],
    ),
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
async function checkQuota(client: PgClient, userId: string, quota: Quota): Promise<void> {
  if (Object.values(quota).every((limit) => limit === undefined)) return;
  const { rows } = await client.query(
    `SELECT count(*) AS versions, coalesce(sum(count), 0) AS keys, coalesce(sum(bytes), 0) AS bytes
     FROM versions WHERE user_id = $1 AND NOT deleted`,
    [userId],
  );
  for (const of of ['versions', 'keys', 'bytes'] as const) {
    const limit = quota[of];
    if (limit !== undefined && Number(rows[0][of]) > limit) {
      throw new Rollback({ outcome: 'over-quota', of } satisfies OverQuota);
    }
  }
}

function changedFrom(row: Record<string, unknown>): Changed {
  return { outcome: 'changed', etag: String(row.etag), count: Number(row.count) };
}

function bytes(id: string): Buffer {
  return Buffer.from(id, 'utf8');
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

/** The statements that write, delete and read keys in PostgreSQL. */
import {
  KEY_BYTES,
  PAGE_BYTES,
  REPLACEMENT_BYTES,
  escapedName,
  keyBytes,
  type KeyPosition,
  type KeyScope,
  type KeyToWrite,
  type Quota,
} from '../store.js';

/** A statement with its values. */
export type Statement = readonly [text: string, values: readonly unknown[]];

/** An id as the tables have it. */
export function bytes(id: string): Buffer {
  return Buffer.from(id, 'utf8');
}

/** U+001F stands in no JSON text: in a string it has to be escaped, and between tokens it may not be. */
const SEPARATOR = 0x1f;
const DATA_SEPARATOR = Uint8Array.of(SEPARATOR);

/** The columns of keys, as `unnest` takes them. */
const COLUMNS = `
  $3::bytea[], $4::bytea[], $5::text[], $6::boolean[], $7::bigint[], $8::bigint[],
  string_to_array($9::text, chr(${SEPARATOR}))`;
const NAMES = 'room_id, session_id, name, is_verified, first_message_index, forwarded_count, data';

function columns(keys: readonly KeyToWrite[]): unknown[] {
  return [
    keys.map((key) => bytes(key.room_id)),
    keys.map((key) => bytes(key.session_id)),
    keys.map((key) => escapedName(key.session_id)),
    keys.map((key) => key.is_verified),
    keys.map((key) => key.first_message_index),
    keys.map((key) => key.forwarded_count),
    // One text, as its bytes: in an array each would be quoted, letter by letter, and read again.
    Buffer.concat(keys.flatMap(({ data }, i) => (i === 0 ? [data] : [DATA_SEPARATOR, data]))),
  ];
}

/**
 * Stores keys none of which is there yet, in the user's current version, as far as the quota goes. Otherwise does
 * nothing and gives no row. The version has to be locked.
 */
export function insertion(
  userId: string,
  version: string,
  keys: readonly KeyToWrite[],
  quota: Quota,
  writer: string | undefined,
  etag?: string,
): Statement {
  const size = keys.reduce((sum, key) => sum + keyBytes(key), 0);
  const values = [userId, version, ...columns(keys), writer ?? null, etag ?? null];
  values.push(keys.length, size, Math.max(0, ...keys.map(({ data }) => data.length)));
  if (quota.keys === undefined && quota.bytes === undefined) return [INSERT_KEYS, values];
  values.push(left(quota.keys, keys.length), left(quota.bytes, size));
  return [INSERT_KEYS_WITHIN_QUOTA, values];
}

/** What may have been stored before; null where there is no limit. */
function left(limit: number | undefined, added: number): number | null {
  return limit === undefined ? null : limit - added;
}

const INSERT_KEYS = insertionSql('');
const INSERT_KEYS_WITHIN_QUOTA = insertionSql(`
      AND (
        SELECT coalesce(sum(held.count) <= $15::bigint, true)
          AND coalesce(sum(held.bytes) + (SELECT trail_bytes FROM users WHERE user_id = $1) <= $16::bigint, true)
        FROM versions AS held WHERE held.user_id = $1 AND NOT held.deleted
      )`);

function insertionSql(condition: string): string {
  return `
  WITH changed AS (
    UPDATE versions SET
      etag = coalesce($11::bigint, etag + 1),
      count = count + $12::bigint,
      bytes = bytes + $13::bigint,
      largest = greatest(largest, $14::bigint)
    WHERE user_id = $1 AND version = $2
      AND number = (SELECT max(newest.number) FROM versions AS newest WHERE newest.user_id = $1 AND NOT newest.deleted)
      AND NOT EXISTS (
        SELECT FROM unnest($3::bytea[], $4::bytea[]) AS incoming (room_id, session_id)
        CROSS JOIN LATERAL (
          SELECT FROM keys
          WHERE keys.user_id = $1 AND keys.number = versions.number
            AND keys.room_id = incoming.room_id AND keys.session_id = incoming.session_id
          -- Keeps the look-ups one by one: a join would read the whole backup while the planner knows nothing of it.
          OFFSET 0
        ) AS stored
      )${condition}
    RETURNING number, etag, count
  ), written AS (
    INSERT INTO keys (user_id, number, device_id, ${NAMES})
    SELECT $1, changed.number, $10, incoming.*
    FROM changed CROSS JOIN unnest(${COLUMNS}) AS incoming (${NAMES})
  )
  SELECT etag, count FROM changed`;
}

/** Stores keys by the rule and says how the version stands; gives no row when nothing changed. */
export function replacement(
  userId: string,
  number: string,
  keys: readonly KeyToWrite[],
  writer: string | undefined,
  etag: string,
): Statement {
  return [REPLACE_KEYS, [userId, number, ...columns(keys), writer ?? null, etag]];
}

/**
 * Replaces by the rule, keeps the audit trail and counts, all in one statement. `old` is what was there when the
 * statement began; the version is locked, so nothing changes it meanwhile.
 */
const REPLACE_KEYS = `
  WITH incoming AS (
    SELECT * FROM unnest(${COLUMNS}) AS keys (${NAMES})
  ), old AS (
    SELECT incoming.room_id, incoming.session_id, stored.*
    FROM incoming CROSS JOIN LATERAL (
      SELECT keys.is_verified, keys.first_message_index, keys.forwarded_count, keys.device_id,
        ${KEY_BYTES} AS size
      FROM keys
      WHERE keys.user_id = $1 AND keys.number = $2
        AND keys.room_id = incoming.room_id AND keys.session_id = incoming.session_id
      -- As above.
      OFFSET 0
    ) AS stored
  ), written AS (
    INSERT INTO keys (user_id, number, device_id, ${NAMES})
    SELECT $1, $2, $10, incoming.* FROM incoming
    ON CONFLICT (user_id, number, room_id, session_id) DO UPDATE SET
      is_verified = excluded.is_verified,
      first_message_index = excluded.first_message_index,
      forwarded_count = excluded.forwarded_count,
      device_id = excluded.device_id,
      data = excluded.data
    WHERE (NOT excluded.is_verified, excluded.first_message_index, excluded.forwarded_count)
        < (NOT keys.is_verified, keys.first_message_index, keys.forwarded_count)
    RETURNING room_id, session_id, is_verified, first_message_index, forwarded_count, device_id,
      ${KEY_BYTES} AS size, octet_length(data) AS data_size
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
    RETURNING ${REPLACEMENT_BYTES} AS size
  ), trail AS (
    UPDATE users SET trail_bytes = trail_bytes + added.bytes
    FROM (SELECT sum(size) AS bytes FROM replaced) AS added
    WHERE user_id = $1 AND added.bytes > 0
  ), total AS (
    SELECT count(*) AS changed, count(*) FILTER (WHERE old.room_id IS NULL) AS added,
      coalesce(sum(written.size), 0) - coalesce(sum(old.size), 0) AS bytes, max(written.data_size) AS largest
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

/** Forgets some entries of the audit trail that were made before a time, and says how many there were. */
export const PRUNE_SLICE = `
  WITH gone AS (
    DELETE FROM replacements
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM replacements WHERE time < $1 LIMIT 2000))
    RETURNING user_id, ${REPLACEMENT_BYTES} AS size
  ), freed AS (
    SELECT user_id, sum(size) AS bytes FROM gone GROUP BY user_id
  ), trail AS (
    UPDATE users SET trail_bytes = trail_bytes - freed.bytes FROM freed WHERE users.user_id = freed.user_id
  )
  SELECT count(*) AS found FROM gone`;

/** Keys that a {@link deletion} deletes at most: of more, it might take longer than a statement may. */
export const MAX_DELETED = 50_000;

/**
 * Deletes keys in scope and says how many, and how the version stands; gives no row when there were none. The version has
 * to be locked.
 */
export function deletion(userId: string, number: string, scope: KeyScope): Statement {
  const values: unknown[] = [userId, number];
  const text = `
  WITH gone AS (
    DELETE FROM keys WHERE ctid = ANY (ARRAY(
      SELECT ctid FROM keys WHERE user_id = $1 AND number = $2 ${inScope(scope, values)} LIMIT ${MAX_DELETED}
    ))
    RETURNING ${KEY_BYTES} AS size
  ), total AS (
    SELECT count(*) AS count, coalesce(sum(size), 0) AS bytes FROM gone
  )
  UPDATE versions SET etag = etag + 1, count = versions.count - total.count, bytes = versions.bytes - total.bytes
  FROM total WHERE user_id = $1 AND number = $2 AND total.count > 0
  RETURNING versions.etag, versions.count, total.count AS deleted`;
  return [text, values];
}

/**
 * Reads the next keys, by room; a row without a room where there are no more, and no row where there is no such
 * version. All in one statement: what is purged between two would look like the end of the keys.
 */
export function page(
  userId: string,
  version: string,
  scope: KeyScope,
  after: KeyPosition | undefined,
  limit: number,
): Statement {
  const values: unknown[] = [userId, version, limit];
  let condition = inScope(scope, values);
  if (after) {
    const position = [after.room_id, after.session_id].map((id) => `$${values.push(bytes(id))}`);
    condition += ` AND (room_id, session_id) > (${position.join(', ')})`;
  }
  const text = `
  WITH version AS MATERIALIZED (
    SELECT number, greatest(1, least($3::bigint, ${PAGE_BYTES} / greatest(1, largest))) AS size
    FROM versions WHERE user_id = $1 AND version = $2 AND NOT deleted
  ), page AS (
    SELECT room_id, session_id, name, data FROM keys
    WHERE user_id = $1 AND number = (SELECT number FROM version) ${condition}
    ORDER BY room_id, session_id LIMIT (SELECT size FROM version)
  )
  SELECT rooms.* FROM version LEFT JOIN (
    SELECT room_id, count(*) AS count, (array_agg(session_id ORDER BY session_id DESC))[1] AS last,
      string_agg('"' || coalesce(name, convert_from(session_id, 'UTF8')) || '":' || data, ',' ORDER BY session_id) AS members
    FROM page GROUP BY room_id
  ) AS rooms ON true ORDER BY room_id`;
  return [text, values];
}

/** The condition of a scope, whose values it adds. */
function inScope(scope: KeyScope, values: unknown[]): string {
  let condition = '';
  if (scope.room_id !== undefined) condition += ` AND room_id = $${values.push(bytes(scope.room_id))}`;
  if (scope.session_id !== undefined)
    condition += ` AND session_id = $${values.push(bytes(scope.session_id))}`;
  return condition;
}

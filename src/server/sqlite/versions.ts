import { REPLACEMENT_BYTES, checkQuota, isLimited, type Changed, type Quota } from '../store.js';
import { STEP_ROWS } from './background.js';
import type { SqliteConnection, SqliteValue } from './connection.js';
import type { Change } from './keys.js';

/** A row of `versions`. */
export interface VersionRow {
  readonly id: number;
  readonly etag: number;
  readonly count: number;
  readonly bytes: number;
  readonly largest: number;
  /** The user's current version. */
  readonly current: string;
}

/** Adds up what a write did. */
export function countChange(
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
  if (change.trailBytes) {
    writer.run(
      `INSERT INTO users VALUES (?1, ?2) ON CONFLICT DO UPDATE SET trail_bytes = trail_bytes + excluded.trail_bytes`,
      [userId, change.trailBytes],
    );
  }
  enforceQuota(writer, userId, { keys: quota.keys, bytes: quota.bytes });
  return { outcome: 'changed', etag: String(row.etag + 1), count };
}

/** Undoes the write when the user now holds too much. */
export function enforceQuota(writer: SqliteConnection, userId: string, quota: Quota): void {
  if (!isLimited(quota)) return;
  const [versions, keys, bytes] = writer.first(
    `SELECT count(*), total(count),
       total(bytes) + coalesce((SELECT trail_bytes FROM users WHERE user_id = ?1), 0)
     FROM versions WHERE user_id = ?1 AND deleted = 0`,
    [userId],
  ) as [number, number, number];
  checkQuota(quota, { versions, keys, bytes });
}

/** A version that is not deleted. */
export function versionOf(writer: SqliteConnection, userId: string, version: string): VersionRow | undefined {
  const row = writer.first(
    `SELECT id, etag, count, bytes - octet_length(auth_data), largest, (
       SELECT version FROM versions WHERE user_id = ?1 AND deleted = 0 ORDER BY id DESC LIMIT 1
     ) FROM versions WHERE user_id = ?1 AND version = ?2 AND deleted = 0`,
    [userId, version],
  ) as [number, number, number, number, number, string] | undefined;
  return row && { id: row[0], etag: row[1], count: row[2], bytes: row[3], largest: row[4], current: row[5] };
}

/** Deletes the row of a deleted version of a user, and with the last one the user's. Returns whether there was one. */
export function deleteVersion(writer: SqliteConnection, userId: string): boolean {
  const deleted = writer.all(
    `DELETE FROM versions WHERE id = (SELECT id FROM versions WHERE user_id = ? AND deleted = 1 LIMIT 1) RETURNING id`,
    [userId],
  );
  if (deleted.length === 0) writer.run('DELETE FROM users WHERE user_id = ? AND trail_bytes = 0', [userId]);
  return deleted.length > 0;
}

/** Deletes some entries of the audit trail. Returns whether there may be more. */
export function deleteReplacements(writer: SqliteConnection, condition: string, value: SqliteValue): boolean {
  const deleted = writer.all(
    `DELETE FROM replacements WHERE id IN (SELECT id FROM replacements WHERE ${condition} LIMIT ?)
     RETURNING version, ${REPLACEMENT_BYTES}`,
    [value, STEP_ROWS],
  ) as [number, number][];
  const freed = new Map<number, number>();
  for (const [version, bytes] of deleted) freed.set(version, (freed.get(version) ?? 0) + bytes);
  for (const [version, bytes] of freed) {
    writer.run(
      `UPDATE users SET trail_bytes = trail_bytes - ?2 WHERE user_id = (SELECT user_id FROM versions WHERE id = ?1)`,
      [version, bytes],
    );
  }
  return deleted.length === STEP_ROWS;
}

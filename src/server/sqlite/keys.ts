import {
  KEY_BYTES,
  REPLACEMENT_BYTES,
  escapedName,
  idBytes,
  keyBytes,
  pageLimit,
  textOf,
  type FoundKey,
  type KeyPage,
  type KeyPosition,
  type KeyScope,
  type KeyToWrite,
  type Replacement,
  type RoomPage,
  type UnknownKey,
} from '../store.js';
import { forRows, type SqliteConnection, type SqliteValue } from './connection.js';

/** What a write did to the keys of a version. */
export interface Change {
  /** Keys added, replaced or deleted. */
  readonly changed: number;
  /** By how many keys the version grew. */
  readonly added: number;
  /** By how many bytes the keys grew. */
  readonly bytes: number;
  /** By how many bytes the audit trail grew. */
  readonly trailBytes?: number;
  /** Bytes of the largest data written. */
  readonly largest: number;
}

/** Keys in one statement. */
const STATEMENT_KEYS = 500;
/** Rows read or moved before the event loop runs again. */
const STEP = 1_000;

/**
 * Stores those keys that win by the replacement rule, and yields between statements.
 *
 * @param version - A row of `versions`.
 * @param writer - The device that writes.
 */
export function* writeKeys(
  connection: SqliteConnection,
  version: number,
  keys: readonly KeyToWrite[],
  writer: string | undefined,
): Generator<void, Change> {
  const total = { changed: 0, added: 0, bytes: 0, trailBytes: 0, largest: 0 };
  for (let start = 0; start < keys.length; start += STATEMENT_KEYS) {
    if (start > 0) yield;
    const change = writeBatch(connection, version, keys.slice(start, start + STATEMENT_KEYS), writer);
    total.changed += change.changed;
    total.added += change.added;
    total.bytes += change.bytes;
    total.trailBytes += change.trailBytes ?? 0;
    total.largest = Math.max(total.largest, change.largest);
  }
  return total;
}

/** Deletes one key, and its room with the last one. */
export function deleteKey(
  connection: SqliteConnection,
  version: number,
  roomId: string,
  sessionId: string,
): Change {
  const deleted = connection.all(
    `DELETE FROM keys
       WHERE room = (SELECT id FROM rooms WHERE version = ? AND room_id = ?) AND session_id = ?
       RETURNING octet_length(data)`,
    [version, roomId, sessionId],
  )[0] as SqliteValue[] | undefined;
  if (deleted === undefined) return UNCHANGED;
  connection.run(
    `DELETE FROM rooms
     WHERE version = ? AND room_id = ? AND NOT EXISTS (SELECT 1 FROM keys WHERE keys.room = rooms.id)`,
    [version, roomId],
  );
  return { changed: 1, added: -1, bytes: -(deleted[0] as number) - idBytes(roomId, sessionId), largest: 0 };
}

/** Discards a room, and yields between statements: its keys are deleted in the background. */
export function* discardRoom(
  connection: SqliteConnection,
  version: number,
  roomId: string,
): Generator<void, Change> {
  const room = connection.first(`SELECT id FROM rooms WHERE version = ? AND room_id = ?`, [
    version,
    roomId,
  ])?.[0];
  if (room === undefined) return UNCHANGED;
  let [count, bytes] = [0, 0];
  for (let last: string | undefined; ;) {
    const [found, size, highest] = connection.first(
      `SELECT count(*), total(size), CAST(max(session_id) AS BLOB) FROM (
         SELECT session_id, octet_length(session_id) + octet_length(data) AS size FROM keys
         WHERE room = ?1 ${last === undefined ? '' : 'AND session_id > ?3'} ORDER BY session_id LIMIT ?2
       )`,
      last === undefined ? [room, STEP] : [room, STEP, last],
    ) as [number, number, Uint8Array];
    count += found;
    bytes += size;
    if (found < STEP) break;
    last = textOf(highest);
    yield;
  }
  connection.run(`UPDATE rooms SET version = -id WHERE id = ?`, [room]);
  return { changed: count, added: -count, bytes: -bytes - count * idBytes(roomId), largest: 0 };
}

/** Discards all rooms of a version, and yields between statements: their keys are deleted in the background. */
export function* discardRooms(connection: SqliteConnection, version: number): Generator<void, void> {
  for (;;) {
    const moved = connection.all(
      `UPDATE rooms SET version = -id WHERE id IN (SELECT id FROM rooms WHERE version = ? LIMIT ?) RETURNING id`,
      [version, STEP],
    );
    if (moved.length < STEP) return;
    yield;
  }
}

const UNCHANGED: Change = { changed: 0, added: 0, bytes: 0, largest: 0 };

/** One key; undefined when the user has no such version. */
export function readKey(
  connection: SqliteConnection,
  userId: string,
  version: string,
  roomId: string,
  sessionId: string,
): FoundKey | UnknownKey | undefined {
  const row = connection.first(
    `SELECT versions.id, keys.data FROM versions
     LEFT JOIN rooms ON rooms.version = versions.id AND rooms.room_id = ?1
     LEFT JOIN keys ON keys.room = rooms.id AND keys.session_id = ?2
     WHERE versions.user_id = ?3 AND versions.version = ?4 AND versions.deleted = 0`,
    [roomId, sessionId, userId, version],
  );
  if (!row) return undefined;
  return row[1] === null ? { outcome: 'unknown-key' } : { outcome: 'key', data: row[1] as string };
}

/** Rooms read in one statement at first, and at most; the number doubles, because rooms may hold one key or thousands. */
const FIRST_ROOMS = 4;
const MAX_ROOMS = 32;

/** The next keys of a version, in the order of their bytes; undefined when the user has no such version. */
export function readKeys(
  connection: SqliteConnection,
  userId: string,
  version: string,
  scope: KeyScope,
  after: KeyPosition | undefined,
  limit: number,
): KeyPage | undefined {
  const row = connection.first(
    `SELECT id, largest FROM versions WHERE user_id = ? AND version = ? AND deleted = 0`,
    [userId, version],
  );
  if (!row) return undefined;
  const pages: RoomPage[] = [];
  let left = pageLimit(limit, row[1] as number);
  let first = after?.room_id ?? '';
  for (let count = FIRST_ROOMS; left > 0; count = Math.min(2 * count, MAX_ROOMS)) {
    const rooms = connection.all(
      `SELECT id, CAST(room_id AS BLOB) FROM rooms
       WHERE version = ? AND room_id >= ? ${scope.room_id === undefined ? '' : 'AND room_id = ?'}
       ORDER BY room_id LIMIT ?`,
      [row[0], first, ...(scope.room_id === undefined ? [] : [scope.room_id]), count],
    );
    for (const [room, name] of rooms) {
      const roomId = textOf(name);
      const previous = after?.room_id === roomId ? after.session_id : undefined;
      const page = left > 0 ? readRoom(connection, room as number, roomId, previous, left) : undefined;
      if (page) pages.push(page);
      left -= page?.count ?? 0;
    }
    if (rooms.length < count) break;
    // The smallest string after the last of these.
    first = `${textOf(rooms[count - 1][1])}\0`;
  }
  return { outcome: 'page', rooms: pages };
}

function readRoom(
  connection: SqliteConnection,
  room: number,
  roomId: string,
  previous: string | undefined,
  limit: number,
): RoomPage | undefined {
  const [count, last, members] = connection.first(
    `SELECT count(*), CAST(max(session_id) AS BLOB),
       CAST(group_concat('"' || coalesce(name, session_id) || '":' || data, ',') AS BLOB)
     FROM (
       SELECT session_id, name, data FROM keys
       WHERE room = ?1 ${previous === undefined ? '' : 'AND session_id > ?3'}
       ORDER BY session_id LIMIT ?2
     )`,
    previous === undefined ? [room, limit] : [room, limit, previous],
  ) as [number, Uint8Array, Uint8Array];
  if (count === 0) return undefined;
  return { room_id: roomId, members, count, last_session_id: textOf(last) };
}

/** The audit trail of a user after an entry's id. */
export function readReplacements(
  connection: SqliteConnection,
  userId: string,
  after: number,
  limit: number,
): Replacement[] {
  const rows = connection.all(
    `SELECT replacements.id, time, versions.version, CAST(room_id AS BLOB), CAST(session_id AS BLOB),
       old_is_verified, old_first_message_index, old_forwarded_count, old_device_id,
       new_is_verified, new_first_message_index, new_forwarded_count, new_device_id
     FROM replacements JOIN versions ON versions.id = replacements.version
     WHERE replacements.version IN (SELECT id FROM versions WHERE user_id = ?) AND replacements.id > ?
     ORDER BY replacements.id LIMIT ?`,
    [userId, after, limit],
  );
  return rows.map((row) => ({
    id: row[0] as number,
    time: row[1] as number,
    user_id: userId,
    version: row[2] as string,
    room_id: textOf(row[3]),
    session_id: textOf(row[4]),
    before: origin(row.slice(5, 9)),
    after: origin(row.slice(9, 13)),
  }));
}

function origin(row: readonly SqliteValue[]): Replacement['before'] {
  return {
    is_verified: row[0] === 1,
    first_message_index: row[1] as number,
    forwarded_count: row[2] as number,
    ...(row[3] === null ? {} : { device_id: row[3] as string }),
  };
}

function writeBatch(
  connection: SqliteConnection,
  version: number,
  batch: readonly KeyToWrite[],
  writer: string | undefined,
): Change {
  const [lastKey, lastReplacement] = connection.first(
    'SELECT coalesce((SELECT max(id) FROM keys), 0), coalesce((SELECT max(id) FROM replacements), 0)',
  ) as [number, number];
  const { data, starts } = join(batch);
  const parameters: SqliteValue[] = [version, writer ?? null, data];
  for (const [i, key] of batch.entries()) {
    parameters.push(starts[i], key.data.length, key.is_verified ? 1 : 0, key.first_message_index);
    parameters.push(key.forwarded_count, key.room_id, key.session_id, escapedName(key.session_id));
  }
  let changed = connection.run(upsertKeys(batch.length), parameters);
  if (changed < batch.length) {
    // Some keys are there already, or their rooms are not.
    const rooms = [...new Set(batch.map(({ room_id }) => room_id))];
    const made = connection.run(insertRooms(rooms.length), [version, ...rooms]);
    if (made > 0) changed += connection.run(upsertKeys(batch.length), parameters);
  }
  // Each replaced row left an entry in the audit trail.
  const [replaced, grown, trailBytes, replacedLargest] = connection.first(
    `SELECT count(*), total(new_size - old_size), total(${REPLACEMENT_BYTES}), coalesce(max(new_size), 0)
     FROM replacements WHERE id > ?`,
    [lastReplacement],
  ) as [number, number, number, number];
  const added = changed - replaced;
  const [addedBytes, addedLargest] = added === batch.length ? sizeOf(batch) : addedSize(connection, lastKey);
  return {
    changed,
    added,
    bytes: addedBytes + grown,
    trailBytes,
    largest: Math.max(addedLargest, replacedLargest),
  };
}

/** Bytes of all keys, and of the largest data. */
function sizeOf(batch: readonly KeyToWrite[]): [number, number] {
  return [
    batch.reduce((sum, key) => sum + keyBytes(key), 0),
    batch.reduce((largest, { data }) => Math.max(largest, data.length), 0),
  ];
}

/** The same of the rows after this one: new rows have higher ids than all before. */
function addedSize(connection: SqliteConnection, last: number): [number, number] {
  return connection.first(
    `SELECT total(${KEY_BYTES}), coalesce(max(octet_length(data)), 0)
     FROM keys CROSS JOIN rooms ON rooms.id = keys.room WHERE keys.id > ?`,
    [last],
  ) as [number, number];
}

/**
 * The data of a batch in one piece, and where each begins in it, counted from 1: one large parameter is several times
 * faster than many. Mostly all lie in the body of a request, one after the other, and are not copied.
 */
function join(batch: readonly KeyToWrite[]): { data: Uint8Array; starts: number[] } {
  const { buffer, byteOffset } = batch[0].data;
  const length = batch.reduce((sum, { data }) => sum + data.length, 0);
  const last = batch[batch.length - 1].data;
  const span = last.byteOffset + last.length - byteOffset;
  if (
    span < 2 * length &&
    batch.every(({ data }) => data.buffer === buffer && isWithin(data, byteOffset, span))
  ) {
    return {
      data: new Uint8Array(buffer, byteOffset, span),
      starts: batch.map(({ data }) => data.byteOffset - byteOffset + 1),
    };
  }
  const joined = Buffer.allocUnsafeSlow(length);
  let end = 0;
  const starts = batch.map(({ data }) => {
    joined.set(data, end);
    end += data.length;
    return end - data.length + 1;
  });
  return { data: joined, starts };
}

function isWithin(data: Uint8Array, start: number, length: number): boolean {
  return data.byteOffset >= start && data.byteOffset + data.length <= start + length;
}

const insertRooms = forRows(
  '(?1, ?)',
  (rows) => `INSERT INTO rooms (version, room_id) VALUES ${rows} ON CONFLICT DO NOTHING`,
);

/** The replacement rule of the specification: the best key by this order stays, the stored one when they are equal. */
const upsertKeys = forRows(
  '(?2, CAST(substr(?3, ?, ?) AS TEXT), ?, ?, ?, ?, ?, ?)',
  (rows) => `
    WITH batch (
      device_id, data, is_verified, first_message_index, forwarded_count, room_id, session_id, name
    ) AS (VALUES ${rows})
    INSERT INTO keys (
      room, session_id, name, is_verified, first_message_index, forwarded_count, device_id, data
    )
    SELECT rooms.id, batch.session_id, batch.name, batch.is_verified, batch.first_message_index,
      batch.forwarded_count, batch.device_id, batch.data
    FROM batch CROSS JOIN rooms ON rooms.version = ?1 AND rooms.room_id = batch.room_id
    ON CONFLICT (room, session_id) DO UPDATE SET
      is_verified = excluded.is_verified,
      first_message_index = excluded.first_message_index,
      forwarded_count = excluded.forwarded_count,
      device_id = excluded.device_id,
      data = excluded.data
    WHERE (NOT excluded.is_verified, excluded.first_message_index, excluded.forwarded_count)
      < (NOT keys.is_verified, keys.first_message_index, keys.forwarded_count)`,
);

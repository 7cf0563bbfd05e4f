import { Places, type Place } from './sqlite-places.js';
import { forRows, type SqliteSession } from './sqlite-session.js';
import type { SqliteValue } from './sqlite-driver.js';
import { escapedName, type KeyToWrite } from './store.js';

/** What a write did to the keys of a version. */
export interface Change {
  readonly changed: number;
  readonly added: number;
  /** By how many bytes the data grew. */
  readonly bytes: number;
  /** Bytes of the largest data written. */
  readonly largest: number;
}

/** Keys in one statement. */
const STATEMENT_KEYS = 500;
/** Rows deleted before the event loop runs again. */
const DELETE_ROWS = 5_000;
const CACHED_ROOMS = 10_000;
/** Larger batches get memory of their own. */
const KEPT_BYTES = 2 ** 20;

/** Writes and deletes keys on the one connection that writes, inside its transactions. */
export class KeyWriter {
  readonly #session: SqliteSession;
  readonly #places: Places;
  readonly #tail: number;
  /** Rows of `rooms` by version and room id: a batch is of many rooms, and each look-up costs. */
  readonly #rooms = new Map<string, number>();
  #deletions = -1;
  /** Where the data of a batch is joined: memory for it is dear, and most batches are of about the same size. */
  #joined = Buffer.alloc(0);

  /** @param tail - How many of the newest keys at least are not in the index yet. */
  constructor(session: SqliteSession, tail: number) {
    this.#session = session;
    this.#places = new Places(session);
    this.#tail = tail;
  }

  /** A transaction begins. */
  begun(): void {
    this.#places.begun();
  }

  /** Something that was written since then was undone. */
  undone(): void {
    this.#rooms.clear();
    this.#places.undone();
  }

  /**
   * Stores those keys that take their place, a statement's worth at a time.
   *
   * @param version - A row of `versions`.
   */
  *write(version: number, keys: readonly KeyToWrite[], writer: string | undefined): Generator<void, Change> {
    let last = this.#look();
    const total = { changed: 0, added: 0, bytes: 0, largest: 0 };
    for (let start = 0; start < keys.length; start += STATEMENT_KEYS) {
      if (start > 0) yield;
      const batch = keys.slice(start, start + STATEMENT_KEYS);
      const data = this.#dataOf(batch, writer);
      const rooms = batch.map((key) => this.#internRoom(version, key.room_id));
      const found = this.#places.find(batch.map((key, i) => [rooms[i], key.session_id]));
      const inserted = this.#insert(last, batch, rooms, found, data);
      last += inserted.added;
      for (const change of [inserted, this.#replace(batch, found, data)]) {
        total.changed += change.changed;
        total.added += change.added;
        total.bytes += change.bytes;
        total.largest = Math.max(total.largest, change.largest);
      }
    }
    this.#places.merge(total.added, this.#tail);
    return total;
  }

  /** Deletes a room's keys, or one of them. Returns how many and their size. */
  *deleteRoom(room: number, sessionId?: string): Generator<void, readonly [count: number, bytes: number]> {
    this.#look();
    let [count, bytes] = [0, 0];
    for (;;) {
      const sizes = this.#places.remove(room, sessionId, DELETE_ROWS);
      if (!sizes) break;
      count += sizes.length;
      for (const size of sizes) bytes += size;
      yield;
    }
    if (sessionId === undefined) {
      this.#session.run(`DELETE FROM rooms WHERE id = ?`, [room]);
      this.#rooms.clear();
    }
    return [count, bytes];
  }

  /** The rows of a version's rooms, or of one of them. */
  roomsInScope(version: number, roomId?: string): number[] {
    return this.#session
      .all(
        `SELECT id FROM rooms WHERE version = ? ${roomId === undefined ? '' : 'AND room_id = ?'}`,
        roomId === undefined ? [version] : [version, roomId],
      )
      .map(([id]) => id as number);
  }

  /** Joins the data of a batch: given to a statement piece by piece, it takes longer than being stored. */
  #dataOf(batch: readonly KeyToWrite[], writer: string | undefined): BatchData {
    const starts: number[] = [];
    let length = 0;
    for (const { data } of batch) {
      starts.push(length + 1);
      length += data.length;
    }
    const joined = length > this.#joined.length ? Buffer.allocUnsafeSlow(length) : this.#joined;
    if (length <= KEPT_BYTES) this.#joined = joined;
    for (const [i, { data }] of batch.entries()) joined.set(data, starts[i] - 1);
    return { parameters: [writer ?? null, joined.subarray(0, length)], starts };
  }

  /** Appends the keys that were not found. */
  #insert(
    last: number,
    batch: readonly KeyToWrite[],
    rooms: readonly number[],
    found: ReadonlyMap<number, number>,
    data: BatchData,
  ): Change {
    let [added, bytes, largest] = [0, 0, 0];
    const parameters: SqliteValue[] = [...data.parameters];
    const places: Place[] = [];
    for (const [i, key] of batch.entries()) {
      if (found.has(i)) continue;
      const id = last + ++added;
      places.push([rooms[i], key.session_id]);
      bytes += key.data.length;
      largest = Math.max(largest, key.data.length);
      pushStored(parameters, key, data.starts[i]);
      parameters.push(id, rooms[i], key.session_id, escapedName(key.session_id));
    }
    if (added > 0) {
      this.#session.run(insertSql(added), parameters);
      this.#places.add(places);
    }
    return { changed: added, added, bytes, largest };
  }

  /** The replacement rule: what wins is written, what does not stays untouched. */
  #replace(batch: readonly KeyToWrite[], found: ReadonlyMap<number, number>, data: BatchData): Change {
    if (found.size === 0) return { changed: 0, added: 0, bytes: 0, largest: 0 };
    const [before] = this.#session.first(`SELECT coalesce(max(id), 0) FROM replacements`) as [number];
    const parameters: SqliteValue[] = [...data.parameters];
    for (const [i, id] of found) {
      pushStored(parameters, batch[i], data.starts[i]);
      parameters.push(id);
    }
    this.#session.run(replaceSql(found.size), parameters);
    // Every row that was replaced left an entry in the audit trail.
    const [changed, bytes, largest] = this.#session.first(
      `SELECT count(*), total(new_size - old_size), coalesce(max(new_size), 0) FROM replacements WHERE id > ?`,
      [before],
    ) as [number, number, number];
    return { changed, added: 0, bytes, largest };
  }

  /**
   * Another process may have written since, or deleted rooms that are remembered here.
   *
   * @returns The last id that a row of `keys` has or had.
   */
  #look(): number {
    const { last, deletions } = this.#places.look();
    if (deletions !== this.#deletions) this.#rooms.clear();
    this.#deletions = deletions;
    return last;
  }

  #internRoom(version: number, roomId: string): number {
    const name = `${version} ${roomId}`;
    const cached = this.#rooms.get(name);
    if (cached !== undefined) return cached;
    const room = this.roomsInScope(version, roomId).at(0) ?? this.#makeRoom(version, roomId);
    if (this.#rooms.size >= CACHED_ROOMS) this.#rooms.clear();
    this.#rooms.set(name, room);
    return room;
  }

  #makeRoom(version: number, roomId: string): number {
    const [[room]] = this.#session.all(`INSERT INTO rooms (version, room_id) VALUES (?, ?) RETURNING id`, [
      version,
      roomId,
    ]) as [number][];
    this.#places.roomMade(room);
    return room;
  }
}

/** What the statements of a batch have in common. */
interface BatchData {
  /** The device that writes, and the data of all keys, one behind the other. */
  readonly parameters: readonly [writer: string | null, data: Uint8Array];
  /** Where the data of each key begins, counted from 1. */
  readonly starts: readonly number[];
}

/** The columns that a replacement writes too. */
const STORED = 'device_id, data, is_verified, first_message_index, forwarded_count';
/** Their values: `?` counts on from the parameters that the rows of a batch share. */
const STORED_ROW = '?1, CAST(substr(?2, ?, ?) AS TEXT), ?, ?, ?';

function pushStored(parameters: SqliteValue[], key: KeyToWrite, start: number): void {
  parameters.push(start, key.data.length, key.is_verified ? 1 : 0);
  parameters.push(key.first_message_index, key.forwarded_count);
}

const insertSql = forRows(
  `(${STORED_ROW}, ?, ?, ?, ?)`,
  (rows) => `INSERT INTO keys (${STORED}, id, room, session_id, name) VALUES ${rows}`,
);

const replaceSql = forRows(
  `(${STORED_ROW}, ?)`,
  (rows) =>
    `WITH copy (${STORED}, id) AS (VALUES ${rows})
     UPDATE keys SET
       is_verified = copy.is_verified,
       first_message_index = copy.first_message_index,
       forwarded_count = copy.forwarded_count,
       device_id = copy.device_id,
       data = copy.data
     FROM copy
     WHERE keys.id = copy.id
       AND (NOT copy.is_verified, copy.first_message_index, copy.forwarded_count)
         < (NOT keys.is_verified, keys.first_message_index, keys.forwarded_count)`,
);

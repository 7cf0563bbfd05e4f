import { PlaceFilter } from './sqlite-place-filter.js';
import { forRows, type SqliteSession } from './sqlite-session.js';
import { lookAt, type Look } from './sqlite-tail.js';
import type { SqliteValue } from './sqlite-driver.js';
import { textOf } from './store.js';

/** Where a key has its place: a row of `rooms`, and its session id. */
export type Place = readonly [room: number, sessionId: string];

/** Rows of `keys` by room and session id. */
type Rows = Map<number, Map<string, number>>;

/**
 * Where the keys of a file stand, for the one connection that writes: an index from room and session id to the row in
 * `keys`, merged late.
 *
 * Session ids are random, so an index kept up to date on disk writes a page of 4 KiB for nearly every new key of
 * 1.2 KB. Here the newest rows are found through a map in memory, and their entries go into the table `places` later
 * and together, in the order of that table, so that a page is written once for many of them.
 *
 * Nothing depends on that memory: it holds every row of `keys` behind `merged_through`, and can be read again from
 * there.
 */
export class Places {
  readonly #session: SqliteSession;
  readonly #filter = new PlaceFilter();
  /** What the memory holds; undefined when it has to be read again. */
  #seen: Look | undefined;
  /** Rows that nobody merges yet. */
  #young: Rows = new Map();
  #merge: Merge | undefined;
  /** What to go back to when what the transaction did is undone; undefined before it has looked. */
  #before: Before | undefined;

  constructor(session: SqliteSession) {
    this.#session = session;
  }

  /** A transaction begins: what was done before is safe. */
  begun(): void {
    this.#before = undefined;
  }

  /** All that was done since {@link Places.begun}, or a part of it, is undone. */
  undone(): void {
    const before = this.#before;
    if (!before) return;
    if (before.moved) {
      this.#seen = undefined;
    } else if (this.#seen) {
      for (const rows of [before.young, this.#young]) removeAll(rows, before.added);
      this.#young = before.young;
      this.#merge = before.merge && { ...before.merge };
      this.#seen = { ...this.#seen, last: before.last };
    }
    before.added.length = 0;
  }

  /** Takes in what was written since the last look, by whichever connection. Every write begins with it. */
  look(): Look {
    const found = lookAt(this.#session);
    const seen = this.#seen;
    if (seen?.through !== found.through || seen.deletions !== found.deletions) {
      this.#young = new Map();
      this.#merge = undefined;
      // What another process merged is not taken in here.
      this.#filter.forget();
      this.#take(found.through);
      if (this.#before) this.#before.moved = true;
    } else if (found.last > seen.last) {
      this.#take(seen.last);
    }
    this.#before ??= {
      last: found.last,
      young: this.#young,
      merge: this.#merge && { ...this.#merge },
      added: [],
      moved: false,
    };
    return (this.#seen = found);
  }

  /** A room was made just now. */
  roomMade(room: number): void {
    this.#filter.roomMade(room);
  }

  /**
   * Which of some keys there are.
   *
   * @param keys - At most some hundreds.
   * @returns The row in `keys` by the place in that list.
   */
  find(keys: readonly Place[]): Map<number, number> {
    const found = new Map<number, number>();
    const parameters: SqliteValue[] = [];
    for (const [i, [room, sessionId]] of keys.entries()) {
      // First, because the maps are large, and what they hold is mostly not at hand.
      if (this.#filter.isAbsent(room, sessionId)) continue;
      const row = this.#young.get(room)?.get(sessionId) ?? this.#merge?.rows.get(room)?.get(sessionId);
      if (row === undefined) parameters.push(i, room, sessionId);
      else found.set(i, row);
    }
    if (parameters.length > 0) {
      const rows = this.#session.all(findSql(parameters.length / 3), parameters) as [number, number][];
      for (const [i, row] of rows) found.set(i, row);
    }
    return found;
  }

  /** Takes in rows that were just added; the first of them is the one behind the last that was seen. */
  add(places: readonly Place[]): void {
    const seen = this.#seen ?? this.look();
    for (const [i, [room, sessionId]] of places.entries()) this.#put(room, sessionId, seen.last + 1 + i);
    this.#seen = { ...seen, last: seen.last + places.length };
  }

  /**
   * Merges some entries once there are many: in proportion to what was added, so that no write has to wait for many
   * of them.
   *
   * @param added - How many keys were just added.
   * @param least - How many keys there are at least before they count as many.
   */
  merge(added: number, least: number): void {
    const { through, last } = this.#seen ?? this.look();
    const many = Math.max(Math.min(last / 8, MOST), least);
    if (!this.#merge) {
      if (last - through < many) return;
      this.#merge = mergeOf(this.#young, last);
      this.#young = new Map();
    }
    const entries = nextEntries(this.#merge, MERGED_PER_KEY * added);
    for (let i = 0; i < entries.length; i += STATEMENT_ENTRIES) {
      const some = entries.slice(i, i + STATEMENT_ENTRIES);
      this.#session.run(mergeSql(some.length), some.flat());
    }
    if (this.#merge.room < this.#merge.order.length) return;
    const { upTo } = this.#merge;
    this.#session.run(`UPDATE late_index SET merged_through = max(merged_through, ?)`, [upTo]);
    this.#merge = undefined;
    this.#moved({ through: upTo });
  }

  /**
   * Takes keys out, some thousands at a time.
   *
   * @returns The sizes of their data; undefined when there are no more.
   */
  remove(room: number, sessionId: string | undefined, limit: number): number[] | undefined {
    const one = sessionId === undefined ? '' : 'AND session_id = ?3';
    const placed = this.#session.all(
      `DELETE FROM places WHERE room = ?1 AND session_id IN (
         SELECT session_id FROM places WHERE room = ?1 ${one} LIMIT ?2
       ) RETURNING key`,
      sessionId === undefined ? [room, limit] : [room, limit, sessionId],
    );
    const rows = placed.map(([row]) => row as number);
    for (const newer of [this.#young, this.#merge?.rows]) {
      const sessions = newer?.get(room);
      for (const [session, row] of sessions ?? []) {
        if (rows.length >= 2 * limit) break;
        if (sessionId !== undefined && session !== sessionId) continue;
        sessions?.delete(session);
        rows.push(row);
      }
    }
    if (rows.length === 0) return undefined;
    // Before the last row goes: its id must not come again.
    this.#session.run(
      `UPDATE late_index SET
         deletions = deletions + 1, last_key = max(last_key, coalesce((SELECT max(id) FROM keys), 0))`,
    );
    this.#moved({ deletions: (this.#seen?.deletions ?? 0) + 1 });
    return this.#session
      .all(`DELETE FROM keys WHERE id IN (SELECT value FROM json_each(?)) RETURNING octet_length(data)`, [
        JSON.stringify(rows),
      ])
      .map(([size]) => size as number);
  }

  /** Notes what was done that cannot be taken back in memory. */
  #moved(changes: Partial<Look>): void {
    if (this.#before) this.#before.moved = true;
    if (this.#seen) this.#seen = { ...this.#seen, ...changes };
  }

  #take(behind: number): void {
    let last: SqliteValue = behind;
    for (;;) {
      const rows = this.#session.all(
        // As text, bindings cut an id at U+0000; as bytes, 65,536 of them would be as many buffers.
        `SELECT room, iif(instr(session_id, char(0)) > 0, CAST(session_id AS BLOB), session_id), id
         FROM keys WHERE id > ? ORDER BY id LIMIT ${TAKEN_ROWS}`,
        [last],
      );
      for (const [room, name, id] of rows) {
        this.#put(room as number, typeof name === 'string' ? name : textOf(name), id as number);
      }
      if (rows.length < TAKEN_ROWS) return;
      last = rows[TAKEN_ROWS - 1][2];
    }
  }

  #put(room: number, sessionId: string, row: number): void {
    let sessions = this.#young.get(room);
    if (!sessions) this.#young.set(room, (sessions = new Map<string, number>()));
    sessions.set(sessionId, row);
    this.#filter.add(room, sessionId);
    this.#before?.added.push([room, sessionId]);
  }
}

/** A state to go back to. */
interface Before {
  readonly last: number;
  readonly young: Rows;
  readonly merge: Merge | undefined;
  /** What came since. */
  readonly added: Place[];
  /** Whether more came than that. */
  moved: boolean;
}

/** A merge under way: the rooms in their order, and how far it is. */
interface Merge {
  /** What counts as merged when it is done. */
  readonly upTo: number;
  readonly rows: Rows;
  readonly order: readonly number[];
  /** The index of the room that is next. */
  room: number;
  /** The sessions of that room, once they are in order, and the index of the next. */
  sessions: readonly string[] | undefined;
  session: number;
}

function mergeOf(rows: Rows, upTo: number): Merge {
  const order = [...rows.keys()].sort((a, b) => a - b);
  return { upTo, rows, order, room: 0, sessions: undefined, session: 0 };
}

/** The next entries of a merge, about so many, in the order of `places`, or nearly: it only saves pages. */
function nextEntries(merge: Merge, count: number): [room: number, sessionId: string, row: number][] {
  const entries: [number, string, number][] = [];
  for (; merge.room < merge.order.length; merge.room++) {
    const room = merge.order[merge.room];
    const rows = merge.rows.get(room);
    merge.sessions ??= [...(rows?.keys() ?? [])].sort();
    for (; merge.session < merge.sessions.length; merge.session++) {
      if (entries.length >= count) return entries;
      const sessionId = merge.sessions[merge.session];
      // Deleted meanwhile.
      const row = rows?.get(sessionId);
      if (row !== undefined) entries.push([room, sessionId, row]);
    }
    merge.sessions = undefined;
    merge.session = 0;
  }
  return entries;
}

function removeAll(rows: Rows, places: readonly Place[]): void {
  for (const [room, sessionId] of places) rows.get(room)?.delete(sessionId);
}

/**
 * An eighth of all are merged late, so that a page takes several entries at once; but more than these would take more
 * than twenty megabytes of memory, and a second to read after the file was opened.
 */
const MOST = 131_072;
/** A merge ends long before the next one would be due. */
const MERGED_PER_KEY = 3;
const STATEMENT_ENTRIES = 500;
/** Rows read together: as many as there may be would fill the memory for a moment. */
const TAKEN_ROWS = 1_000;

const findSql = forRows(
  '(?, ?, ?)',
  (rows) =>
    `WITH wanted (i, room, session_id) AS (VALUES ${rows})
     SELECT wanted.i, keys.id FROM wanted
     JOIN places ON places.room = wanted.room AND places.session_id = wanted.session_id
     JOIN keys ON keys.id = places.key`,
);

const mergeSql = forRows('(?, ?, ?)', (rows) => `INSERT OR REPLACE INTO places VALUES ${rows}`);

import type { SqliteValue } from './sqlite-driver.js';
import { forRows, type SqliteSession } from './sqlite-session.js';
import { textOf } from './store.js';

/**
 * Where the keys of a file stand: an index from room and session id to the row in `keys`, merged late.
 *
 * Session ids are random, so an index kept up to date on disk writes a page of 4 KiB for nearly every new key of
 * 1.2 KB. Here the newest rows are found through a table in memory, `temp.tail`, and their entries go into the
 * table `places` later and together, in the order of that table, so that a page is written once for many of them.
 *
 * Nothing depends on that memory: every row of `keys` behind `merged_through` belongs into the tail, and a
 * connection that has not seen it yet reads it from there. Each connection has a tail of its own. What it holds of
 * rows that are gone by now does no harm, because ids of rows are never used again.
 */
export class Places {
  readonly #session: SqliteSession;
  /** As they were at the last look; undefined when that may have been undone. */
  #seen: Look | undefined;
  #merging: Merge | undefined;

  constructor(session: SqliteSession) {
    this.#session = session;
    session.exec(
      `CREATE TEMP TABLE tail (
         room INTEGER NOT NULL, session_id TEXT NOT NULL, key INTEGER NOT NULL, PRIMARY KEY (room, session_id)
       ) STRICT, WITHOUT ROWID`,
    );
  }

  /** Takes in what was written since the last look, by whichever connection. */
  look(): Look {
    const [through, deletions, last] = this.#session.all(
      `SELECT merged_through, deletions, max(last_key, coalesce((SELECT max(id) FROM keys), 0)) FROM late_index`,
    )[0] as [number, number, number];
    const seen = this.#seen ?? this.#oldest();
    if (through !== seen.through) this.#session.run(`DELETE FROM temp.tail WHERE key <= ?`, [through]);
    const from = Math.max(seen.last, through);
    if (last > from) this.#take(from);
    return (this.#seen = { through, last, deletions });
  }

  /** Takes in the rows that were just added, up to an id: a look that does not ask what others did. */
  add(last: number): void {
    const seen = this.#seen ?? this.look();
    this.#take(seen.last);
    this.#seen = { ...seen, last };
  }

  /** Something that this connection did was undone. */
  forget(): void {
    this.#seen = undefined;
    this.#merging = undefined;
  }

  /**
   * Which of some keys there are.
   *
   * @param keys - Rows of `rooms` and session ids, at most some hundreds.
   * @returns The row in `keys` by the place in that list.
   */
  find(keys: readonly (readonly [room: number, sessionId: string])[]): Map<number, number> {
    const parameters = keys.flatMap(([room, sessionId], i) => [i, room, sessionId]);
    return new Map(this.#session.all(findSql(keys.length), parameters) as [number, number][]);
  }

  /**
   * Merges some entries of the tail once it has become long: in proportion to what was added, so that no write
   * has to wait for many of them.
   *
   * @param added - How many keys were just added.
   * @param least - How many keys a tail has at least before it counts as long.
   */
  merge(added: number, least: number): void {
    const { through, last } = this.#seen ?? this.look();
    const long = Math.max(Math.min(last / 8, LONGEST_TAIL), least);
    if (!this.#merging && last - through < long) return;
    const { upTo, behind } = (this.#merging ??= { upTo: last, behind: [-1, ''] });
    const end = this.#session.all(
      `SELECT room, CAST(session_id AS BLOB) FROM temp.tail WHERE key <= ? AND (room, session_id) > (?, ?)
       ORDER BY room, session_id LIMIT 1 OFFSET ?`,
      [upTo, ...behind, MERGED_PER_KEY * added],
    )[0] as readonly SqliteValue[] | undefined;
    const next = end && ([end[0] as number, textOf(end[1])] as const);
    this.#session.run(
      `INSERT OR REPLACE INTO places SELECT room, session_id, key FROM temp.tail
       WHERE key <= ? AND (room, session_id) > (?, ?) ${next ? 'AND (room, session_id) <= (?, ?)' : ''}
       ORDER BY room, session_id`,
      [upTo, ...behind, ...(next ?? [])],
    );
    if (next) {
      this.#merging = { upTo, behind: next };
    } else {
      this.#merging = undefined;
      this.#session.run(`UPDATE late_index SET merged_through = max(merged_through, ?)`, [upTo]);
    }
  }

  /**
   * Takes keys out, some thousands at a time.
   *
   * @returns The sizes of their data; undefined when there are no more.
   */
  remove(room: number, sessionId: string | undefined, limit: number): number[] | undefined {
    const one = sessionId === undefined ? '' : 'AND session_id = ?3';
    const rows = ['places', 'temp.tail'].flatMap((table) =>
      this.#session.all(
        `DELETE FROM ${table} WHERE room = ?1 AND session_id IN (
           SELECT session_id FROM ${table} WHERE room = ?1 ${one} LIMIT ?2
         ) RETURNING key`,
        sessionId === undefined ? [room, limit] : [room, limit, sessionId],
      ),
    );
    if (rows.length === 0) return undefined;
    // Before the last row goes: its id must not come again.
    this.#session.run(
      `UPDATE late_index SET
         deletions = deletions + 1, last_key = max(last_key, coalesce((SELECT max(id) FROM keys), 0))`,
    );
    return this.#session
      .all(`DELETE FROM keys WHERE id IN (SELECT value FROM json_each(?)) RETURNING octet_length(data)`, [
        JSON.stringify(rows.map(([key]) => key)),
      ])
      .map(([size]) => size as number);
  }

  #take(behind: number): void {
    this.#session.run(`INSERT OR REPLACE INTO temp.tail SELECT room, session_id, id FROM keys WHERE id > ?`, [
      behind,
    ]);
  }

  /** What the tail itself says was seen. */
  #oldest(): Pick<Look, 'through' | 'last'> {
    const [[last]] = this.#session.all(`SELECT coalesce(max(key), 0) FROM temp.tail`);
    return { through: -1, last: last as number };
  }
}

/** How a file stands. */
export interface Look {
  /** All rows up to this id are in `places`. */
  readonly through: number;
  /** No row has, or ever had, an id behind this one. */
  readonly last: number;
  /** Changes whenever keys were deleted. */
  readonly deletions: number;
}

/** A merge under way: of the entries up to a row, those up to a place in the order of `places` are done. */
interface Merge {
  readonly upTo: number;
  readonly behind: readonly [room: number, sessionId: string];
}

/**
 * The tail becomes as long as an eighth of all, so that a page takes several entries at once; but a longer one would
 * take more than some megabytes of memory, and longer to read when the file is opened.
 */
const LONGEST_TAIL = 65_536;
/** A merge of a tail ends long before the next one would be due. */
const MERGED_PER_KEY = 3;

const findSql = forRows(
  3,
  (rows) =>
    `WITH wanted (i, room, session_id) AS (VALUES ${rows})
     SELECT wanted.i, keys.id FROM wanted
     LEFT JOIN temp.tail ON tail.room = wanted.room AND tail.session_id = wanted.session_id
     LEFT JOIN places ON places.room = wanted.room AND places.session_id = wanted.session_id
     JOIN keys ON keys.id = coalesce(tail.key, places.key)`,
);

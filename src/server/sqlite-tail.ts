import type { SqliteSession } from './sqlite-session.js';

/** How a file stands. */
export interface Look {
  /** All rows of `keys` up to this id are in `places`. */
  readonly through: number;
  /** No row has, or ever had, an id behind this one. */
  readonly last: number;
  /** Changes whenever keys were deleted. */
  readonly deletions: number;
}

/** How the file stands for this connection, in its transaction. */
export function lookAt(session: SqliteSession): Look {
  const [through, deletions, last] = session.first(
    `SELECT merged_through, deletions, max(last_key, coalesce((SELECT max(id) FROM keys), 0)) FROM late_index`,
  ) as [number, number, number];
  return { through, last, deletions };
}

/**
 * The newest keys of a file for who reads it in order: a table in memory, `temp.tail`, of the rows that are not in
 * `places` yet (see {@link Places}). What it holds of rows that are gone by now does no harm, because ids of rows are
 * never used again, and every reading joins it with `keys`.
 */
export class Tail {
  readonly #session: SqliteSession;
  #seen = { through: -1, last: 0 };

  constructor(session: SqliteSession) {
    this.#session = session;
    session.exec(
      `CREATE TEMP TABLE tail (
         room INTEGER NOT NULL, session_id TEXT NOT NULL, key INTEGER NOT NULL, PRIMARY KEY (room, session_id)
       ) STRICT, WITHOUT ROWID`,
    );
  }

  /** Takes in what was committed since the last look, by whichever connection. */
  look(): void {
    const { through, last } = lookAt(this.#session);
    const seen = this.#seen;
    if (through !== seen.through) this.#session.run(`DELETE FROM temp.tail WHERE key <= ?`, [through]);
    const from = Math.max(seen.last, through);
    if (last > from) {
      this.#session.run(
        `INSERT OR REPLACE INTO temp.tail SELECT room, session_id, id FROM keys WHERE id > ?`,
        [from],
      );
    }
    this.#seen = { through, last };
  }
}

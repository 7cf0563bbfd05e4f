import type { SqliteSession } from './sqlite-session.js';
import { Tail } from './sqlite-tail.js';
import {
  pageLimit,
  textOf,
  type FoundKey,
  type KeyPage,
  type KeyPosition,
  type KeyScope,
  type RoomPage,
  type UnknownKey,
} from './store.js';

/** Rooms looked at together, twice as many each time: some fill a page, of others it takes hundreds. */
const FIRST_ROOMS = 4;
const MOST_ROOMS = 32;

/** Reads keys on a connection of its own, which sees what is committed. */
export class KeyReader {
  readonly #session: SqliteSession;
  readonly #tail: Tail;

  constructor(session: SqliteSession) {
    this.#session = session;
    this.#tail = new Tail(session);
  }

  /** One key; undefined when the user has no such version. */
  readKey(
    userId: string,
    version: string,
    roomId: string,
    sessionId: string,
  ): FoundKey | UnknownKey | undefined {
    this.#tail.look();
    const row = this.#session.first(
      `SELECT versions.id, keys.data FROM versions
       LEFT JOIN rooms ON rooms.version = versions.id AND rooms.room_id = ?1
       LEFT JOIN temp.tail ON tail.room = rooms.id AND tail.session_id = ?2
       LEFT JOIN places ON places.room = rooms.id AND places.session_id = ?2
       LEFT JOIN keys ON keys.id = coalesce(tail.key, places.key)
       WHERE versions.user_id = ?3 AND versions.version = ?4 AND versions.deleted = 0`,
      [roomId, sessionId, userId, version],
    );
    if (!row) return undefined;
    return row[1] === null ? { outcome: 'unknown-key' } : { outcome: 'key', data: row[1] as string };
  }

  /** The next keys of a version, in the order of their bytes; undefined when the user has no such version. */
  readKeys(
    userId: string,
    version: string,
    scope: KeyScope,
    after: KeyPosition | undefined,
    limit: number,
  ): KeyPage | undefined {
    this.#tail.look();
    const row = this.#session.first(
      `SELECT id, largest FROM versions WHERE user_id = ? AND version = ? AND deleted = 0`,
      [userId, version],
    );
    if (!row) return undefined;
    const pages: RoomPage[] = [];
    let left = pageLimit(limit, row[1] as number);
    let first = after?.room_id ?? '';
    for (let count = FIRST_ROOMS; left > 0; count = Math.min(2 * count, MOST_ROOMS)) {
      const rooms = this.#session.all(
        `SELECT id, CAST(room_id AS BLOB) FROM rooms
         WHERE version = ? AND room_id >= ? ${scope.room_id === undefined ? '' : 'AND room_id = ?'}
         ORDER BY room_id LIMIT ?`,
        [row[0], first, ...(scope.room_id === undefined ? [] : [scope.room_id]), count],
      );
      for (const [room, name] of rooms) {
        const roomId = textOf(name);
        const behind = after?.room_id === roomId ? after.session_id : undefined;
        const page = left > 0 ? this.#readRoom(room as number, roomId, behind, left) : undefined;
        if (page) pages.push(page);
        left -= page?.count ?? 0;
      }
      if (rooms.length < count) break;
      // The least string behind the last of these.
      first = `${textOf(rooms[count - 1][1])}\0`;
    }
    return { outcome: 'page', rooms: pages };
  }

  #readRoom(room: number, roomId: string, behind: string | undefined, limit: number): RoomPage | undefined {
    const after = behind === undefined ? '' : 'AND session_id > ?3';
    const [count, last, members] = this.#session.first(
      // Both tables in their order, an entry in both once; `LIMIT -1` keeps that order. The join leaves out what was
      // deleted since it was seen, and looks a row up for each place, so the rows come in the same order.
      `SELECT count(*), CAST(max(session_id) AS BLOB),
         CAST(group_concat('"' || coalesce(name, session_id) || '":' || data, ',') AS BLOB)
       FROM (
         SELECT placed.session_id, keys.name, keys.data FROM (
           SELECT session_id, key FROM places WHERE room = ?1 ${after}
           UNION
           SELECT session_id, key FROM temp.tail WHERE room = ?1 ${after}
           ORDER BY session_id, key LIMIT -1
         ) AS placed CROSS JOIN keys ON keys.id = placed.key
         LIMIT ?2
       )`,
      behind === undefined ? [room, limit] : [room, limit, behind],
    ) as [number, Uint8Array, Uint8Array];
    if (count === 0) return undefined;
    return { room_id: roomId, members, count, last_session_id: textOf(last) };
  }
}

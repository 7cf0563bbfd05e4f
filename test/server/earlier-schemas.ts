import { loadSqlite } from '../../src/server/sqlite/connection.js';
import { escapedName } from '../../src/server/store.js';

/** Databases as schema 2 and 3 had them. Schema 2 had an index in tables of its own, in which the newest keys are missing. */

const TABLES = `
  CREATE TABLE versions (
    id INTEGER PRIMARY KEY,
    user_id TEXT NOT NULL,
    version TEXT NOT NULL UNIQUE,
    algorithm_json TEXT NOT NULL,
    auth_data TEXT NOT NULL,
    etag INTEGER NOT NULL DEFAULT 0,
    count INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    largest INTEGER NOT NULL DEFAULT 0,
    deleted INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  CREATE INDEX versions_of_user ON versions (user_id, deleted, id);
  CREATE TABLE rooms (
    id INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    room_id TEXT NOT NULL,
    UNIQUE (version, room_id)
  ) STRICT;
  CREATE TABLE keys (
    id INTEGER PRIMARY KEY,
    room INTEGER NOT NULL,
    session_id TEXT NOT NULL,
    name TEXT,
    is_verified INTEGER NOT NULL,
    first_message_index INTEGER NOT NULL,
    forwarded_count INTEGER NOT NULL,
    device_id TEXT,
    data TEXT NOT NULL
  ) STRICT;
  CREATE UNIQUE INDEX keys_of_room ON keys (room, session_id);
  CREATE TABLE replacements (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time INTEGER NOT NULL,
    version INTEGER NOT NULL,
    room_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    old_is_verified INTEGER NOT NULL,
    old_first_message_index INTEGER NOT NULL,
    old_forwarded_count INTEGER NOT NULL,
    old_device_id TEXT,
    new_is_verified INTEGER NOT NULL,
    new_first_message_index INTEGER NOT NULL,
    new_forwarded_count INTEGER NOT NULL,
    new_device_id TEXT,
    old_size INTEGER NOT NULL,
    new_size INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX replacements_of_version ON replacements (version, id);
  CREATE INDEX replacements_by_time ON replacements (time);
  CREATE TRIGGER keys_replaced AFTER UPDATE ON keys BEGIN
    INSERT INTO replacements (
      time, version, room_id, session_id,
      old_is_verified, old_first_message_index, old_forwarded_count, old_device_id,
      new_is_verified, new_first_message_index, new_forwarded_count, new_device_id,
      old_size, new_size
    )
    SELECT
      CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER), rooms.version, rooms.room_id, OLD.session_id,
      OLD.is_verified, OLD.first_message_index, OLD.forwarded_count, OLD.device_id,
      NEW.is_verified, NEW.first_message_index, NEW.forwarded_count, NEW.device_id,
      octet_length(OLD.data), octet_length(NEW.data)
    FROM rooms WHERE rooms.id = OLD.room;
  END;
`;

const SCHEMA_2 = `
  CREATE TABLE places (
    room INTEGER NOT NULL,
    session_id TEXT NOT NULL,
    key INTEGER NOT NULL,
    PRIMARY KEY (room, session_id)
  ) STRICT, WITHOUT ROWID;
  INSERT INTO places SELECT room, session_id, id FROM keys ORDER BY room, session_id;
  DROP INDEX keys_of_room;
  CREATE TABLE late_index (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    merged_through INTEGER NOT NULL,
    last_key INTEGER NOT NULL,
    deletions INTEGER NOT NULL
  ) STRICT;
  INSERT INTO late_index SELECT 1, coalesce(max(id), 0), coalesce(max(id), 0), 0 FROM keys;
  PRAGMA user_version = 2;
`;

/** The user and the version that have all keys. */
export const USER = '@a:x';
export const VERSION = 'current';
const ROOMS = 50;

/** The key of a number: ids in no order, some with U+0000, and text that differs from key to key. */
export function keyAt(i: number): { room_id: string; session_id: string; data: string } {
  const random = ((i * 2_654_435_761) % 2 ** 32).toString(36);
  return {
    room_id: `!${i % ROOMS}${i % ROOMS === 7 ? '\0' : ''}:x`,
    session_id: `${i % 11 === 3 ? '\0' : ''}${random.repeat(7).slice(0, 37)}${i % 13 === 5 ? '"' : ''}/${i}`,
    data: JSON.stringify({
      first_message_index: i % 5,
      forwarded_count: 0,
      is_verified: i % 3 === 0,
      session_data: { i, é: random.repeat(120) },
    }),
  };
}

/**
 * Makes such a database with keys 0 to `count` - 1, of which the last quarter is not in the index of schema 2, an empty
 * room there, a replaced key, and a deleted version whose keys are still there.
 */
export async function makeDatabase(schema: 2 | 3, file: string, count: number): Promise<void> {
  const database = (await loadSqlite())(file);
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF');
  database.exec(TABLES);
  database.exec(schema === 2 ? SCHEMA_2 : 'PRAGMA user_version = 3');
  database.exec('BEGIN');
  const version = `INSERT INTO versions (id, user_id, version, algorithm_json, auth_data, etag, deleted)
    VALUES (?, ?, ?, '"m.megolm_backup.v1.curve25519-aes-sha2"', ?, ?, ?)`;
  database.run(version, [1, USER, 'deleted', '', 3, 1]);
  database.run(version, [2, USER, VERSION, '{"a":1}', 41, 0]);
  const room = 'INSERT INTO rooms (id, version, room_id) VALUES (?, ?, ?)';
  for (let i = 0; i < ROOMS; i++) database.run(room, [i + 1, 2, keyAt(i).room_id]);
  if (schema === 2) database.run(room, [ROOMS + 1, 2, '!empty:x']);
  database.run(room, [ROOMS + 2, 1, keyAt(0).room_id]);
  const key = `INSERT INTO keys (
      room, session_id, name, is_verified, first_message_index, forwarded_count, device_id, data
    ) VALUES (?, ?, ?, ?, ?, 0, 'D', ?)`;
  for (let i = 0; i < 10; i++) database.run(key, [ROOMS + 2, `s${i}`, null, 0, 0, '{}']);
  for (let i = 0; i < count; i++) {
    const { session_id, data } = keyAt(i);
    const verified = i % 3 === 0 ? 1 : 0;
    database.run(key, [(i % ROOMS) + 1, session_id, escapedName(session_id), verified, i % 5, data]);
  }
  database.exec(`
    UPDATE keys SET device_id = 'E' WHERE id = 11;
    ${schema === 2 ? fillIndex(count) : ''}
    UPDATE versions SET (count, bytes, largest) = (
      SELECT count(*), octet_length(auth_data) + total(octet_length(data)), max(octet_length(data))
      FROM keys WHERE id > 10
    ) WHERE id = 2;
    COMMIT;
    PRAGMA wal_checkpoint(TRUNCATE);
  `);
  database.close();
}

function fillIndex(count: number): string {
  const merged = Math.floor(count * 0.75);
  return `
    UPDATE late_index SET merged_through = ${merged}, last_key = ${count + 12}, deletions = 1;
    INSERT INTO places SELECT room, session_id, id FROM keys WHERE id <= ${merged} ORDER BY 1, 2;`;
}

import { KeyBackupError } from '../engine/errors.js';
import type { SqliteConnection } from './sqlite-driver.js';

/**
 * The tables in SQLite, as a list of migrations: `PRAGMA user_version` counts those that ran.
 *
 * `keys` is a rowid table with its rooms interned, to which rows of 1.2 KB are appended: that writes several times
 * faster than a table ordered by its primary key, whose pages split all the time. What finds them is `places`,
 * see `sqlite-places.ts`.
 * Ids are TEXT and read as BLOB, because bindings cut text at U+0000; `name` is the session id as a JSON string
 * writes it, where the two differ. The audit trail is kept by a trigger, so that it costs nothing where nothing is
 * replaced; with the sizes in it, it also tells the writer what a batch did.
 */
const MIGRATIONS: readonly string[] = [
  `
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
  `,
  // An index on `keys` became a table that new rows are merged into late. Of `late_index`, which has one row,
  // `merged_through` says up to which id that was done, `last_key` up to which ids were given to rows that may be
  // deleted by now, and `deletions` tells other connections that rows were deleted.
  `
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
  `,
];

/**
 * Brings a database to this release's tables.
 *
 * @throws KeyBackupError `unsupported-schema` when a newer release was here before.
 */
export function migrate(connection: SqliteConnection): void {
  connection.exec('BEGIN IMMEDIATE');
  try {
    const done = connection.prepare('PRAGMA user_version').all([])[0][0] as number;
    if (done > MIGRATIONS.length) {
      throw new KeyBackupError(
        'unsupported-schema',
        `the database has schema ${done}, this release knows up to ${MIGRATIONS.length}`,
      );
    }
    for (const migration of MIGRATIONS.slice(done)) connection.exec(migration);
    connection.exec(`PRAGMA user_version = ${MIGRATIONS.length}`);
    connection.exec('COMMIT');
  } catch (error) {
    connection.exec('ROLLBACK');
    throw error;
  }
}

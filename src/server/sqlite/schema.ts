import { KeyBackupError } from '../../errors.js';
import { REPLACEMENT_BYTES } from '../store.js';
import { rollback, type SqliteConnection } from './connection.js';

/**
 * The number of {@link TABLES} in `PRAGMA user_version`; a change of them needs a new number and a step in
 * {@link UPGRADES}.
 */
const SCHEMA = 4;

const USERS = `
  CREATE TABLE users (
    user_id TEXT PRIMARY KEY,
    trail_bytes INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;`;

/**
 * A room has a row as long as it has keys. In a discarded one `version` is negative until its keys are deleted.
 * `keys` has a rowid, so that rows of 1.2 KB are appended; only the index is written in random places. A batch of 200 new
 * keys writes 72 pages of rows and, with about 4,000, 13,000 or 53,000 keys stored, 66, 144 or 226 of the index.
 * Ids are TEXT and are read as BLOB, because bindings cut text at U+0000. `name` is the session id as JSON writes it,
 * without quotes, where the two differ. A user has a row in `users` from the first entry in the audit trail on. A
 * trigger keeps the audit trail, which costs nothing where nothing is replaced.
 */
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

  ${USERS}

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

const REMOVE_EMPTY_ROOMS = `
  DELETE FROM rooms WHERE NOT EXISTS (SELECT 1 FROM keys WHERE keys.room = rooms.id);
`;

/** Before, `bytes` had no ids, and the audit trail counted nowhere. */
const COUNT_IDS = `
  UPDATE versions SET bytes = bytes + coalesce((
    SELECT sum(octet_length(session_id) + octet_length(room_id))
    FROM rooms JOIN keys ON keys.room = rooms.id WHERE rooms.version = versions.id
  ), 0) WHERE deleted = 0;
  ${USERS}
  INSERT INTO users SELECT user_id, sum(${REPLACEMENT_BYTES})
    FROM replacements JOIN versions ON versions.id = replacements.version GROUP BY user_id;
`;

/** What turns the tables of earlier schemas into {@link TABLES}. Schema 2 kept its index in tables of its own. */
const UPGRADES: Readonly<Record<number, string>> = {
  0: TABLES,
  1: REMOVE_EMPTY_ROOMS + COUNT_IDS,
  2: `
    CREATE UNIQUE INDEX keys_of_room ON keys (room, session_id);
    DROP TABLE places;
    DROP TABLE late_index;
    ${REMOVE_EMPTY_ROOMS}
    ${COUNT_IDS}
  `,
  3: COUNT_IDS,
};

/**
 * Brings a database to this release's tables, in one transaction: interrupted, it leaves the database as it was.
 *
 * @throws KeyBackupError `unsupported-schema` when a newer release has changed the tables.
 */
export function migrate(connection: SqliteConnection): void {
  // Without a lock: a long write of another process is no reason to wait.
  if (schemaOf(connection) === SCHEMA) return;
  connection.exec('BEGIN IMMEDIATE');
  try {
    const found = schemaOf(connection);
    if (found > SCHEMA) {
      throw new KeyBackupError(
        'unsupported-schema',
        `the database has schema ${found}, this release knows up to ${SCHEMA}`,
      );
    }
    if (found < SCHEMA) connection.exec(`${UPGRADES[found]} PRAGMA user_version = ${SCHEMA}`);
    connection.exec('COMMIT');
  } catch (error) {
    rollback(connection);
    throw error;
  }
}

function schemaOf(connection: SqliteConnection): number {
  const [version] = connection.first('PRAGMA user_version') as [number];
  return version;
}

/** Writes a page, to find out whether writing works. */
export function writeSchema(connection: SqliteConnection): void {
  connection.exec(`PRAGMA user_version = ${SCHEMA}`);
}

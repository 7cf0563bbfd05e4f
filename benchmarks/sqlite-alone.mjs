// What the database itself takes for rows of the size of a key: the measure for what the server adds.
import { randomBytes } from 'node:crypto';
import { loadSqlite } from '../dist/server/sqlite-driver.js';

const KEYS = 200;
const COLUMNS = 8;

/** Rows as the server stores them, in a table with an ordinary unique index. */
export async function startSqliteAlone(file) {
  const database = (await loadSqlite())(file);
  database.exec('PRAGMA journal_mode = WAL');
  database.exec('PRAGMA synchronous = FULL');
  database.exec('PRAGMA wal_autocheckpoint = 16000');
  database.exec('PRAGMA cache_size = -4096');
  database.exec(`
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
  `);
  const row = `(${Array(COLUMNS).fill('?').join()})`;
  const insert = database.prepare(
    `INSERT INTO keys (
       room, session_id, name, is_verified, first_message_index, forwarded_count, device_id, data
     ) VALUES ${Array(KEYS).fill(row).join()}`,
  );
  return {
    /** @returns Keys a second. */
    insert(batches) {
      let seconds = 0;
      for (let i = 0; i < batches; i++) {
        const parameters = Array.from({ length: KEYS }, newRow).flat();
        const begun = performance.now();
        database.exec('BEGIN IMMEDIATE');
        insert.run(parameters);
        database.exec('COMMIT');
        seconds += (performance.now() - begun) / 1000;
      }
      return (batches * KEYS) / seconds;
    },
    close: () => database.close(),
  };
}

function newRow() {
  const session = randomBytes(32).toString('base64').slice(0, 43);
  const data = randomBytes(870).toString('base64');
  return [Math.floor(Math.random() * 200), session, null, 0, 0, 0, 'BENCHMARK', data];
}

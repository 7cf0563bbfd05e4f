import { KeyBackupError } from '../../errors.js';
import { REPLACEMENT_BYTES } from '../store.js';
import type { RunStatement } from './pool.js';

/**
 * The tables in PostgreSQL, as a list of migrations. Every table begins its primary key with the user, so that a
 * database that shards can keep a user's rows together.
 *
 * Ids are bytea, because text cannot hold U+0000; so they are also ordered by their bytes whatever the locale.
 * `name` is the session id as a JSON string writes it, where the two differ.
 */
const MIGRATIONS: readonly (string | ((run: RunStatement) => Promise<void>))[] = [
  `
  CREATE TABLE users (
    user_id text COLLATE "C" PRIMARY KEY,
    last_number bigint NOT NULL
  );
  CREATE TABLE versions (
    user_id text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    version text COLLATE "C" NOT NULL,
    algorithm_json text NOT NULL,
    auth_data text NOT NULL,
    etag bigint NOT NULL DEFAULT 0,
    count bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0,
    largest bigint NOT NULL DEFAULT 0,
    deleted boolean NOT NULL DEFAULT false,
    PRIMARY KEY (user_id, number),
    UNIQUE (user_id, version)
  );
  CREATE TABLE keys (
    user_id text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    room_id bytea NOT NULL,
    session_id bytea NOT NULL,
    name text,
    is_verified boolean NOT NULL,
    first_message_index bigint NOT NULL,
    forwarded_count bigint NOT NULL,
    device_id text,
    data text NOT NULL,
    PRIMARY KEY (user_id, number, room_id, session_id)
  );
  CREATE TABLE replacements (
    user_id text COLLATE "C" NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    time bigint NOT NULL,
    number bigint NOT NULL,
    room_id bytea NOT NULL,
    session_id bytea NOT NULL,
    old_is_verified boolean NOT NULL,
    old_first_message_index bigint NOT NULL,
    old_forwarded_count bigint NOT NULL,
    old_device_id text,
    new_is_verified boolean NOT NULL,
    new_first_message_index bigint NOT NULL,
    new_forwarded_count bigint NOT NULL,
    new_device_id text,
    PRIMARY KEY (user_id, id)
  );
  CREATE INDEX replacements_by_time ON replacements (time);
  `,
  // Whether the keys of a deleted version are gone. A user's row is there to be locked, also where only versions are.
  `
  ALTER TABLE versions ADD COLUMN purged boolean NOT NULL DEFAULT false;
  CREATE INDEX versions_to_purge ON versions (user_id, number) WHERE deleted AND NOT purged;
  ALTER TABLE users DROP COLUMN last_number;
  INSERT INTO users SELECT DISTINCT user_id FROM versions ON CONFLICT DO NOTHING;
  `,
  countIds,
];

/** Before, `bytes` had no ids, and the audit trail counted nowhere. */
async function countIds(run: RunStatement): Promise<void> {
  await run('ALTER TABLE users ADD COLUMN trail_bytes bigint NOT NULL DEFAULT 0');
  for (let last = ''; ;) {
    const users = await run('SELECT user_id FROM users WHERE user_id > $1 ORDER BY user_id LIMIT 1000', [
      last,
    ]);
    if (users.length === 0) return;
    // A statement for each user, because one for all would take longer than a statement may.
    await Promise.all(
      users.flatMap(({ user_id }) => [run(COUNT_KEYS, [user_id]), run(COUNT_TRAIL, [user_id])]),
    );
    last = users[users.length - 1].user_id as string;
  }
}

const COUNT_KEYS = `
  UPDATE versions SET bytes = bytes + (
    SELECT coalesce(sum(octet_length(room_id) + octet_length(session_id)), 0) FROM keys
    WHERE keys.user_id = $1 AND keys.number = versions.number
  ) WHERE user_id = $1 AND NOT deleted`;
const COUNT_TRAIL = `
  UPDATE users SET trail_bytes = (
    SELECT coalesce(sum(${REPLACEMENT_BYTES}), 0) FROM replacements WHERE replacements.user_id = $1
  ) WHERE user_id = $1`;

/** Any number, the same in every release: only one server at a time migrates. */
const MIGRATION_LOCK = 7_305_204_113;

/**
 * Brings a database to this release's tables, inside a transaction of the caller.
 *
 * @throws KeyBackupError `unsupported-schema` when a newer release was here before.
 */
export async function migrate(run: RunStatement): Promise<void> {
  await run('SELECT pg_advisory_xact_lock($1)', [MIGRATION_LOCK]);
  await run('CREATE TABLE IF NOT EXISTS megolm_backup_schema (version bigint NOT NULL)');
  const [{ version }] = await run('SELECT coalesce(max(version), 0) AS version FROM megolm_backup_schema');
  const done = Number(version);
  if (done > MIGRATIONS.length) {
    throw new KeyBackupError(
      'unsupported-schema',
      `the database has schema ${done}, this release knows up to ${MIGRATIONS.length}`,
    );
  }
  for (const [i, migration] of MIGRATIONS.entries()) {
    if (i < done) continue;
    if (typeof migration === 'string') {
      for (const statement of migration.split(';')) if (statement.trim() !== '') await run(statement);
    } else {
      await migration(run);
    }
    await run('INSERT INTO megolm_backup_schema (version) VALUES ($1)', [i + 1]);
  }
}

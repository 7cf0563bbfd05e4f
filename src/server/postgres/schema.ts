import { KeyBackupError } from '../../errors.js';
import type { RunStatement } from './pool.js';

/**
 * The tables in PostgreSQL, as a list of migrations. Every table begins its primary key with the user, so that a
 * database that shards can keep a user's rows together.
 *
 * Ids are bytea, because text cannot hold U+0000; so they are also ordered by their bytes whatever the locale.
 * `name` is the session id as a JSON string writes it, where the two differ.
 */
const MIGRATIONS: readonly string[] = [
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
];

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
    for (const statement of migration.split(';')) if (statement.trim() !== '') await run(statement);
    await run('INSERT INTO megolm_backup_schema (version) VALUES ($1)', [i + 1]);
  }
}

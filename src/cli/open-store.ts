import type { BackupStore } from '../server/store.js';
import { UsageError } from './command.js';
import type { Terminal } from './terminal.js';

/** The options that name a database. */
export const STORE_OPTIONS = {
  db: { type: 'string' },
  postgres: { type: 'string' },
} as const;

/**
 * Opens the database that `--db` or `--postgres` names.
 *
 * @throws {@link UsageError} unless exactly one of them is given.
 */
export async function openStore(
  options: { readonly db?: string | undefined; readonly postgres?: string | undefined },
  terminal: Terminal,
): Promise<BackupStore> {
  const { db, postgres } = options;
  if (db !== undefined && postgres === undefined) {
    const { openSqliteStore } = await import('../server/sqlite.js');
    return openSqliteStore(db);
  }
  if (postgres !== undefined && db === undefined) {
    if (URL.canParse(postgres) && new URL(postgres).password !== '') {
      terminal.stderr(
        'warning: others on this machine can read the password in --postgres; use PGPASSWORD\n',
      );
    }
    const { openPostgresStore } = await import('../server/postgres.js');
    return openPostgresStore(postgres);
  }
  throw new UsageError('give either --db FILE or --postgres URL');
}

import { InputError, UsageError } from './errors.js';
import { existsSync } from 'node:fs';
import { KeyBackupError } from '../errors.js';
import type { BackupStore } from '../server/store.js';
import type { Terminal } from './terminal.js';

/** The options that name a database. */
export const STORE_OPTIONS = {
  db: { type: 'string' },
  postgres: { type: 'string' },
} as const;

/**
 * Opens the database that `--db` or `--postgres` names.
 *
 * @param mustExist - Whether a file that is not there is an error rather than made.
 * @throws {@link UsageError} unless exactly one of them is given; {@link InputError} when it cannot be used.
 */
export async function openStore(
  options: { readonly db?: string | undefined; readonly postgres?: string | undefined },
  terminal: Terminal,
  { mustExist = false }: { readonly mustExist?: boolean } = {},
): Promise<BackupStore> {
  const { db, postgres } = options;
  if (db !== undefined && postgres === undefined) {
    if (mustExist && !existsSync(db))
      throw new InputError(`--db: there is no ${db}; name the file that "serve --db" made`);
    const { openSqliteStore } = await import('../server/sqlite/index.js');
    return orUnusable(`--db: ${db}`, openSqliteStore(db));
  }
  if (postgres !== undefined && db === undefined) {
    if (URL.canParse(postgres) && new URL(postgres).password !== '') {
      terminal.stderr(
        'warning: others on this machine can read the password in --postgres; use PGPASSWORD\n',
      );
    }
    if (!URL.canParse(postgres) && !postgres.startsWith('/')) {
      throw new UsageError('--postgres: expected a URL, postgres://USER@HOST/DATABASE, got something else');
    }
    const { openPostgresStore } = await import('../server/postgres/index.js');
    return orUnusable('--postgres', openPostgresStore(postgres));
  }
  throw new UsageError('give either --db FILE or --postgres URL');
}

async function orUnusable(what: string, opening: Promise<BackupStore>): Promise<BackupStore> {
  try {
    return await opening;
  } catch (cause) {
    if (!(cause instanceof KeyBackupError)) throw cause;
    throw new InputError(`${what}: ${cause.code}: ${cause.message}`, { cause });
  }
}

import { existsSync } from 'node:fs';
import { createRequire, isBuiltin } from 'node:module';
import { KeyBackupError } from '../errors.js';
import type { SqliteOptions } from '../server/sqlite/index.js';
import type { BackupStore } from '../server/store.js';
import { variableOf } from './command.js';
import { InputError, UsageError } from './errors.js';
import type { Terminal } from './terminal.js';

/** The options that name a database. */
export interface StoreOptions {
  readonly db?: string | undefined;
  readonly postgres?: string | undefined;
}

/** Optional packages, and the versions that work. */
const PACKAGES = {
  hono: 'hono@4',
  '@hono/node-server': '@hono/node-server@2',
  'prom-client': 'prom-client@15',
  libsql: 'libsql@0.5',
  pg: 'pg@8',
} as const;

/** Opens the database that `--db` or `--postgres` names. Everything that is not installed is named at once. */
export async function openStore(
  { db, postgres }: StoreOptions,
  terminal: Terminal,
  {
    mustExist = false,
    sqlite = {},
    packages = [],
  }: {
    readonly mustExist?: boolean;
    readonly sqlite?: SqliteOptions;
    readonly packages?: readonly (keyof typeof PACKAGES)[];
  } = {},
): Promise<BackupStore> {
  if (db !== undefined && postgres === undefined) {
    if (mustExist && !existsSync(db)) {
      throw new InputError(`--db: there is no ${db}; name the file that "serve --db" made`);
    }
    expectPackages(isBuiltin('node:sqlite') ? packages : [...packages, 'libsql']);
    const { openSqliteStore } = await import('../server/sqlite/index.js');
    return orUnusable(`--db: ${db}`, openSqliteStore(db, sqlite));
  }
  if (postgres !== undefined && db === undefined) {
    const isArgument = postgres !== terminal.env[variableOf('postgres')];
    if (isArgument && URL.canParse(postgres) && new URL(postgres).password !== '') {
      terminal.stderr(
        'warning: others on this machine can read the password in --postgres; use PGPASSWORD\n',
      );
    }
    if (!URL.canParse(postgres) && !postgres.startsWith('/')) {
      throw new UsageError('--postgres: expected a URL, postgres://USER@HOST/DATABASE, got something else');
    }
    expectPackages([...packages, 'pg']);
    const { openPostgresStore } = await import('../server/postgres/index.js');
    return orUnusable('--postgres', openPostgresStore(postgres));
  }
  throw new UsageError('give either --db FILE or --postgres URL');
}

/** @throws {@link InputError} that names every package that is not installed, and how to install them. */
function expectPackages(names: readonly (keyof typeof PACKAGES)[]): void {
  const missing = names.filter((name) => !isInstalled(name));
  if (missing.length === 0) return;
  const installs = missing.map((name) => PACKAGES[name]).join(' ');
  throw new InputError(
    `missing packages: ${missing.join(', ')}; npm install ${installs} (with --global if megolm-backup was)`,
  );
}

function isInstalled(name: string): boolean {
  try {
    createRequire(import.meta.url).resolve(name);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND';
  }
}

async function orUnusable(what: string, opening: Promise<BackupStore>): Promise<BackupStore> {
  try {
    return await opening;
  } catch (cause) {
    if (!(cause instanceof KeyBackupError)) throw cause;
    throw new InputError(`${what}: ${cause.code}: ${cause.message}`, { cause });
  }
}

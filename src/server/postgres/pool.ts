import { createHash } from 'node:crypto';
import { KeyBackupError, importPeer } from '../../errors.js';
import { Rollback, storeFailed } from '../store.js';

/** The few calls this package needs of a PostgreSQL client; `pg` has them. */
export interface PgPool {
  /** A connection for one caller at a time. */
  connect(): Promise<PooledClient>;
  /** Closes all connections. */
  end(): Promise<void>;
}

/** A connection. */
export interface PgClient {
  /** Runs a statement; one with a name is prepared when it first comes over this connection. */
  query(
    statement: string | NamedStatement,
    values?: readonly unknown[],
  ): Promise<{ readonly rows: Record<string, unknown>[] }>;
}

/** A connection lent by a pool. */
export interface PooledClient extends PgClient {
  /** Gives it back, or closes it. */
  release(destroy?: boolean): void;
  /** `pg` reports a lost connection by an event, which ends a process that does not listen. */
  on?(event: 'error', listener: () => void): unknown;
  /** Takes the listener away, when the client is given back. */
  off?(event: 'error', listener: () => void): unknown;
}

/** A statement under a name, as `pg` takes it. A pool of the caller gets none. */
export interface NamedStatement {
  readonly name: string;
  readonly text: string;
  readonly values: readonly unknown[];
}

/**
 * A pool of connections by `pg`.
 *
 * @throws KeyBackupError `missing-dependency` when pg is not installed.
 */
export async function openPool(url: string, connections: number): Promise<PgPool> {
  const { default: pg } = await importPeer(() => import('pg'), 'pg@8');
  const pool = new pg.Pool({
    connectionString: url,
    max: connections,
    connectionTimeoutMillis: 5_000,
    // A database that silently went away must not hold a request for ever.
    query_timeout: 60_000,
    keepAlive: true,
    // Statements that do not wait for each other's answers go out together.
    pipeline: true,
    // Every statement here goes by a primary key. A planner without statistics would rather sort the backup.
    options: '-c enable_seqscan=off -c enable_bitmapscan=off',
  });
  // The pool drops an idle connection that breaks: nothing else is to be done.
  pool.on('error', () => undefined);
  return pool;
}

/**
 * Borrows a connection. Its loss fails its statements and must not end the process: the pool of `pg` listens only to
 * errors of idle connections.
 */
async function borrow(pool: PgPool): Promise<PooledClient> {
  const client = await pool.connect().catch((cause: unknown) => {
    throw storeFailed(cause);
  });
  const ignore = (): void => undefined;
  client.on?.('error', ignore);
  return {
    query: (statement, values) => client.query(statement, values),
    release: (destroy) => {
      client.off?.('error', ignore);
      client.release(destroy);
    },
  };
}

/** How often a transaction that lost to another one is tried again. */
const RETRIES = 10;

const BEGIN: Statement = ['BEGIN ISOLATION LEVEL READ COMMITTED'];
const COMMIT: Statement = ['COMMIT'];

/**
 * Whether a transaction lost to another one: 40001 (serialization failure), 40P01 (deadlock), and 23505 (two servers
 * made the same row at once; the second time it is there).
 */
function isLost(error: unknown): boolean {
  return ['40001', '40P01', '23505'].includes(codeOf(error));
}

function codeOf(error: unknown): string {
  return String((error as { code?: unknown }).code);
}

/**
 * Runs a transaction, again when it lost to another one.
 *
 * @throws KeyBackupError `store-failed`; then nothing was stored, unless the connection broke at the commit.
 */
export async function transaction<T>(pool: PgPool, run: (client: PgClient) => Promise<T>): Promise<T> {
  for (let retry = 0; ; retry++) {
    const client = await borrow(pool);
    let broken = false;
    try {
      const begun = client.query(...BEGIN);
      const [result] = await Promise.all([run(client), begun]);
      await client.query(...COMMIT);
      return result;
    } catch (error) {
      await client.query('ROLLBACK').catch(() => {
        broken = true;
      });
      if (error instanceof Rollback) return error.result as T;
      if (error instanceof KeyBackupError) throw error;
      if (retry < RETRIES && isLost(error)) continue;
      throw storeFailed(error);
    } finally {
      client.release(broken);
    }
  }
}

/** Whether statements are prepared, which saves planning them each time. Not all poolers keep them for a connection. */
export interface Preparing {
  on: boolean;
}

/** Not there, or there already: they came to another connection than the last time. */
const NOT_KEPT = ['26000', '42P05'];

const names = new Map<string, string>();

/** The same in every process with the same statement, and in no other: a pooler may share connections out. */
function nameOf(text: string): string {
  let name = names.get(text);
  if (name === undefined) {
    name = `megolm_backup_${createHash('sha256').update(text).digest('hex').slice(0, 32)}`;
    names.set(text, name);
  }
  return name;
}

/** A statement with its values. */
export type Statement = readonly [text: string, values?: readonly unknown[]];

/**
 * Runs statements as one transaction, all sent before the first answer comes.
 *
 * @param preparing - Turned off where that does not work.
 * @returns The rows of each; undefined where it is to be done by {@link transaction}.
 * @throws KeyBackupError `store-failed`; then nothing was stored, unless the connection broke at the commit.
 */
export async function transactionOf(
  pool: PgPool,
  statements: readonly Statement[],
  preparing: Preparing,
): Promise<Record<string, unknown>[][] | undefined> {
  const client = await borrow(pool);
  // After one that failed the others fail too, and the commit rolls back.
  const answers = await Promise.allSettled(
    [BEGIN, ...statements, COMMIT].map(([text, values]) =>
      preparing.on && values
        ? client.query({ name: nameOf(text), text, values })
        : client.query(text, values),
    ),
  );
  const failed = answers.find((answer) => answer.status === 'rejected');
  client.release(failed !== undefined);
  if (failed) {
    if (NOT_KEPT.includes(codeOf(failed.reason))) preparing.on = false;
    else if (!isLost(failed.reason)) throw storeFailed(failed.reason);
    return undefined;
  }
  return answers.slice(1, -1).map((answer) => (answer.status === 'fulfilled' ? answer.value.rows : []));
}

/** Runs one statement on its own. */
export async function query(
  pool: PgPool,
  text: string,
  values: readonly unknown[],
): Promise<Record<string, unknown>[]> {
  const client = await borrow(pool);
  let broken = true;
  try {
    const { rows } = await client.query(text, values);
    broken = false;
    return rows;
  } catch (cause) {
    throw storeFailed(cause);
  } finally {
    client.release(broken);
  }
}

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

/** A connection lent by a pool. */
export interface PooledClient {
  /** Runs a statement; one with a name is prepared when it first comes over this connection. */
  query(
    statement: string | NamedStatement,
    values?: readonly unknown[],
  ): Promise<{ readonly rows: Record<string, unknown>[] }>;
  /** Gives it back, or closes it. */
  release(destroy?: boolean): void;
  /** `pg` reports a lost connection by an event, which ends a process that does not listen. */
  on?(event: 'error', listener: () => void): unknown;
}

/** A statement under a name, as `pg` takes it. A pool of the caller gets none. */
export interface NamedStatement {
  readonly name: string;
  readonly text: string;
  readonly values: readonly unknown[];
}

/** A pool as this store uses it. */
export interface Connections {
  readonly pool: PgPool;
  /** Whether statements are prepared, which saves planning them each time. Turned off where that does not work. */
  isPreparing: boolean;
}

/** Runs a statement and returns its rows. */
export type RunStatement = (text: string, values?: readonly unknown[]) => Promise<Record<string, unknown>[]>;

/** How long a request waits for a lock, and for its turn, in milliseconds. */
export const LOCK_TIMEOUT = 10_000;

/** Of each connection. */
const SETTINGS = {
  // Every statement here goes by a primary key. A planner without statistics would rather sort the backup.
  enable_seqscan: 'off',
  enable_bitmapscan: 'off',
  lock_timeout: LOCK_TIMEOUT,
  statement_timeout: 60_000,
  // A server that went away in the middle of a transaction must not hold its locks for hours.
  idle_in_transaction_session_timeout: 60_000,
};

/**
 * A pool of connections by `pg`.
 *
 * @param timeout - How long an answer may take, in milliseconds, should the database have silently gone away.
 * @throws KeyBackupError `missing-dependency` when pg is not installed.
 */
export async function openPool(url: string, connections: number, timeout: number): Promise<PgPool> {
  const { default: pg } = await importPeer(() => import('pg'), 'pg@8');
  const pool = new pg.Pool({
    connectionString: url,
    max: connections,
    connectionTimeoutMillis: 5_000,
    query_timeout: timeout,
    keepAlive: true,
    // Statements that do not wait for each other's answers go out together.
    pipeline: true,
    options: Object.entries(SETTINGS)
      .map(([name, value]) => `-c ${name}=${value}`)
      .join(' '),
  });
  // The pool drops an idle connection that breaks: nothing else is to be done.
  pool.on('error', () => undefined);
  return pool;
}

const ignore = (): void => undefined;
const listenedTo = new WeakSet<PooledClient>();

/**
 * Borrows a connection. Its loss fails its statements and must not end the process: the pool of `pg` listens only to
 * errors of idle connections.
 */
async function borrow(pool: PgPool): Promise<PooledClient> {
  const client = await pool.connect().catch((cause: unknown) => {
    throw storeFailed(cause);
  });
  if (!listenedTo.has(client)) client.on?.('error', ignore);
  listenedTo.add(client);
  return client;
}

/** How often what lost to another transaction is tried again. */
const RETRIES = 10;

/** Serialization failure and deadlock. */
const LOST = ['40001', '40P01'];
/** A prepared statement is not there, or there already: a pooler shared the connection out. */
const NOT_KEPT = ['26000', '42P05'];

/** Runs statements on one connection, again where they lost to another transaction. */
async function onConnection<T>(
  connections: Connections,
  run: (statement: RunStatement) => Promise<T>,
): Promise<T> {
  for (let retry = 0; ; retry++) {
    const client = await borrow(connections.pool);
    let isSound = false;
    try {
      const result = await run(async (text, values) => {
        const isPrepared = connections.isPreparing && values !== undefined;
        const statement = isPrepared ? { name: nameOf(text), text, values } : text;
        return (await client.query(statement, isPrepared ? undefined : values)).rows;
      });
      isSound = true;
      return result;
    } catch (error) {
      if (error instanceof KeyBackupError) throw error;
      const code = String((error as { code?: unknown }).code);
      if (NOT_KEPT.includes(code)) connections.isPreparing = false;
      else if (!LOST.includes(code)) throw storeFailed(error);
      if (retry >= RETRIES) throw storeFailed(error);
    } finally {
      // After a failure it may answer nothing any more; closing it ends its transaction too.
      client.release(!isSound);
    }
  }
}

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

/**
 * Runs a transaction, again when it lost to another one.
 *
 * @throws KeyBackupError `store-failed`; then nothing was stored, unless the connection broke at the commit.
 */
export function transaction<T>(
  connections: Connections,
  run: (statement: RunStatement) => Promise<T>,
): Promise<T> {
  return onConnection(connections, async (statement) => {
    try {
      // Not waited for: the first statements go out together.
      const begun = statement('BEGIN ISOLATION LEVEL READ COMMITTED');
      const [result] = await Promise.all([run(statement), begun]);
      await statement('COMMIT');
      return result;
    } catch (error) {
      if (!(error instanceof Rollback)) throw error;
      await statement('ROLLBACK');
      return error.result as T;
    }
  });
}

/** Runs one statement on its own. */
export function query(
  connections: Connections,
  text: string,
  values: readonly unknown[],
): Promise<Record<string, unknown>[]> {
  return onConnection(connections, (statement) => statement(text, values));
}

import { KeyBackupError } from '../engine/errors.js';
import { importPeer, storeFailed } from './errors.js';

/** The few calls this package needs of a PostgreSQL client; `pg` has them. */
export interface PgPool {
  /** A connection for one caller at a time. */
  connect(): Promise<
    PgClient & {
      /** Gives it back, or closes it. */
      release(destroy?: boolean): void;
    }
  >;
  /** Closes all connections. */
  end(): Promise<void>;
}

/** A connection. */
export interface PgClient {
  /** Runs a statement. */
  query(text: string, values?: readonly unknown[]): Promise<{ readonly rows: Record<string, unknown>[] }>;
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
    // A database that went away without a word must not hold a request for ever.
    query_timeout: 60_000,
    keepAlive: true,
    // Statements that do not wait for each other's answers go out together.
    pipeline: true,
    // Every statement here goes by a primary key. A planner without statistics would rather sort the backup.
    options: '-c enable_seqscan=off -c enable_bitmapscan=off',
  });
  // A connection that breaks while nobody uses it is dropped from the pool; that is all there is to do.
  pool.on('error', () => undefined);
  return pool;
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
  const { code } = error as { code?: unknown };
  return code === '40001' || code === '40P01' || code === '23505';
}

/**
 * Runs a transaction, again when it lost to another one.
 *
 * @throws KeyBackupError `store-failed`; then nothing was stored, unless the connection broke at the commit.
 */
export async function transaction<T>(pool: PgPool, run: (client: PgClient) => Promise<T>): Promise<T> {
  for (let retry = 0; ; retry++) {
    const client = await pool.connect().catch((cause: unknown) => {
      throw storeFailed(cause);
    });
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

/** A statement with its values. */
export type Statement = readonly [text: string, values?: readonly unknown[]];

/**
 * Runs statements as one transaction, all sent before the first answer comes.
 *
 * @returns The rows of each; undefined where {@link transaction} would try again.
 * @throws KeyBackupError `store-failed`; then nothing was stored, unless the connection broke at the commit.
 */
export async function transactionOf(
  pool: PgPool,
  statements: readonly Statement[],
): Promise<Record<string, unknown>[][] | undefined> {
  const client = await pool.connect().catch((cause: unknown) => {
    throw storeFailed(cause);
  });
  // After one that failed the others fail too, and the commit rolls back.
  const answers = await Promise.allSettled(
    [BEGIN, ...statements, COMMIT].map(([text, values]) => client.query(text, values)),
  );
  const failed = answers.find((answer) => answer.status === 'rejected');
  client.release(failed !== undefined);
  if (failed) {
    if (isLost(failed.reason)) return undefined;
    throw storeFailed(failed.reason);
  }
  return answers.slice(1, -1).map((answer) => (answer.status === 'fulfilled' ? answer.value.rows : []));
}

/** Runs one statement on its own. */
export async function query(
  pool: PgPool,
  text: string,
  values: readonly unknown[],
): Promise<Record<string, unknown>[]> {
  try {
    const client = await pool.connect();
    let broken = true;
    try {
      const { rows } = await client.query(text, values);
      broken = false;
      return rows;
    } finally {
      client.release(broken);
    }
  } catch (cause) {
    throw storeFailed(cause);
  }
}

/** A transaction throws this to undo what it did, and the value becomes its result. */
export class Rollback extends Error {
  readonly result: unknown;

  constructor(result: unknown) {
    super('rolled back');
    this.result = result;
  }
}

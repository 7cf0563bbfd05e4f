import { setTimeout } from 'node:timers/promises';
import { raceAbort, type AbortSignalLike } from '../../async.js';
import { importPeer } from '../../errors.js';

/**
 * A connection to a database, by `node:sqlite` where Node has it (22.13 and later), else by the package `libsql`.
 *
 * Statements are prepared once and kept. Text that holds U+0000 is cut at it on the way out, but not on the way in: cast
 * such columns to BLOB in the SQL.
 */
export interface SqliteConnection {
  /** Runs one or more statements without parameters or rows. */
  exec(sql: string): void;
  /** Runs a statement for its effect. Returns how many rows it wrote, without those that triggers wrote. */
  run(sql: string, parameters?: readonly SqliteValue[]): number;
  /** The rows of a statement, as arrays in the order of its columns. */
  all(sql: string, parameters?: readonly SqliteValue[]): SqliteValue[][];
  /** The first row, faster than {@link SqliteConnection.all}. */
  first(sql: string, parameters?: readonly SqliteValue[]): SqliteValue[] | undefined;
  close(): void;
}

export type SqliteValue = string | number | null | Uint8Array;

/**
 * Returns a function that opens connections.
 *
 * @throws KeyBackupError `missing-dependency` when neither binding is there.
 */
export async function loadSqlite(): Promise<(file: string) => SqliteConnection> {
  const node = process.getBuiltinModule('node:sqlite') as unknown as NodeSqlite | undefined;
  if (node) return (file) => connect(openNode(node, file));
  const { default: Libsql } = await importPeer(() => import('libsql'), 'libsql@0.5');
  return (file) => connect(openLibsql(new Libsql(file) as unknown as Libsql));
}

/** Milliseconds between attempts, and after which another process is no longer waited for. */
const RETRY = 1;
const MAX_WAIT = 5_000;

/**
 * Runs what needs a lock until it gets it. SQLite itself would wait inside the call and stop the event loop.
 *
 * @throws What `attempt` throws: `SQLITE_BUSY` when another connection has kept the lock for 5 s. KeyBackupError
 * `aborted`.
 */
export async function whenUnlocked<T>(attempt: () => T, signal: AbortSignalLike | undefined): Promise<T> {
  const end = performance.now() + MAX_WAIT;
  for (;;) {
    try {
      return attempt();
    } catch (error) {
      if (!isBusy(error) || performance.now() > end) throw error;
    }
    await raceAbort(setTimeout(RETRY), signal);
  }
}

/** The primary code is in the lowest byte; `libsql` and `node:sqlite` have it under different names. */
function isBusy(error: unknown): boolean {
  const { rawCode, errcode } = error as { rawCode?: number; errcode?: number };
  return error instanceof Locked || ((rawCode ?? errcode ?? 0) & 0xff) === SQLITE_BUSY;
}

const SQLITE_BUSY = 5;

/** Thrown where SQLite returns that another connection has a lock, and does not throw. */
export class Locked extends Error {}

/** Ends a transaction that failed. */
export function rollback(connection: SqliteConnection): void {
  try {
    connection.exec('ROLLBACK');
  } catch {
    // A full disk has ended the transaction already.
  }
}

/**
 * The text of a statement that depends on its number of rows, made once for each number.
 *
 * @param row - One row of parameters: `(?, ?)`.
 * @param text - Takes the list of rows.
 */
export function forRows(row: string, text: (rows: string) => string): (count: number) => string {
  const texts = new Map<number, string>();
  return (count) => {
    let sql = texts.get(count);
    if (sql === undefined) texts.set(count, (sql = text(Array(count).fill(row).join())));
    return sql;
  };
}

/** Prepared statements kept for each connection: batches have a statement for each number of rows. */
const MAX_STATEMENTS = 48;

function connect(binding: Binding): SqliteConnection {
  /** The one used last is last. */
  const statements = new Map<string, Statement>();
  const prepared = (sql: string): Statement => {
    const statement = statements.get(sql) ?? binding.prepare(sql);
    statements.delete(sql);
    statements.set(sql, statement);
    if (statements.size > MAX_STATEMENTS) statements.delete(statements.keys().next().value ?? '');
    return statement;
  };
  return {
    exec: (sql) => {
      binding.exec(sql);
    },
    run: (sql, parameters = []) => prepared(sql).run(parameters),
    all: (sql, parameters = []) => prepared(sql).all(parameters),
    first: (sql, parameters = []) => prepared(sql).first(parameters),
    close: () => {
      statements.clear();
      binding.close();
    },
  };
}

interface Binding {
  exec(sql: string): void;
  prepare(sql: string): Statement;
  close(): void;
}

interface Statement {
  run(parameters: readonly SqliteValue[]): number;
  all(parameters: readonly SqliteValue[]): SqliteValue[][];
  first(parameters: readonly SqliteValue[]): SqliteValue[] | undefined;
}

interface NodeSqlite {
  DatabaseSync: new (file: string) => {
    exec(sql: string): void;
    prepare(sql: string): {
      run(...parameters: readonly SqliteValue[]): { changes: number | bigint };
      all(...parameters: readonly SqliteValue[]): Record<string, SqliteValue>[];
      get(...parameters: readonly SqliteValue[]): Record<string, SqliteValue> | undefined;
    };
    close(): void;
  };
}

interface Libsql {
  prepare(sql: string): {
    run(parameters: readonly SqliteValue[]): { changes: number };
    raw(): LibsqlRows;
  };
  exec(sql: string): void;
  close(): void;
}

interface LibsqlRows {
  all(parameters: readonly SqliteValue[]): SqliteValue[][];
  get(parameters: readonly SqliteValue[]): SqliteValue[] | undefined;
}

function openNode(sqlite: NodeSqlite, file: string): Binding {
  const database = new sqlite.DatabaseSync(file);
  return {
    exec: (sql) => {
      database.exec(sql);
    },
    prepare: (sql) => {
      const statement = database.prepare(sql);
      return {
        run: (parameters) => Number(statement.run(...parameters).changes),
        // The columns of every statement here have distinct names, so the values are the row.
        all: (parameters) => statement.all(...parameters).map((row) => Object.values(row)),
        first: (parameters) => {
          const row = statement.get(...parameters);
          return row && Object.values(row);
        },
      };
    },
    close: () => {
      database.close();
    },
  };
}

function openLibsql(database: Libsql): Binding {
  return {
    exec: (sql) => {
      database.exec(sql);
    },
    prepare: (sql) => {
      // `raw` changes how a statement runs, so reading and writing have one each, made when first used.
      let writing: ReturnType<Libsql['prepare']> | undefined;
      let rows: LibsqlRows | undefined;
      const reading = (): LibsqlRows => (rows ??= database.prepare(sql).raw());
      return {
        run: (parameters) => (writing ??= database.prepare(sql)).run(parameters).changes,
        all: (parameters) => reading().all(parameters),
        first: (parameters) => reading().get(parameters),
      };
    },
    close: () => {
      database.close();
    },
  };
}

import { importPeer } from './errors.js';

/**
 * The few calls this package needs of an SQLite binding: `node:sqlite` where Node has it (22.13 and later),
 * else the package `libsql`.
 */
export interface SqliteConnection {
  exec(sql: string): void;
  prepare(sql: string): SqliteStatement;
  close(): void;
}

/** A prepared statement. Text comes back wrong when it holds U+0000: cast it to BLOB in the SQL. */
export interface SqliteStatement {
  run(parameters: readonly SqliteValue[]): void;
  /** Rows as arrays in the order of the columns. */
  all(parameters: readonly SqliteValue[]): SqliteValue[][];
  /** The first row, for less than it takes to ask for all. */
  first(parameters: readonly SqliteValue[]): SqliteValue[] | undefined;
}

export type SqliteValue = string | number | null | Uint8Array;

interface NodeSqlite {
  DatabaseSync: new (file: string) => {
    exec(sql: string): void;
    prepare(sql: string): {
      run(...parameters: readonly SqliteValue[]): unknown;
      all(...parameters: readonly SqliteValue[]): Record<string, SqliteValue>[];
      get(...parameters: readonly SqliteValue[]): Record<string, SqliteValue> | undefined;
    };
    close(): void;
  };
}

interface Libsql {
  prepare(sql: string): {
    run(parameters: readonly SqliteValue[]): unknown;
    raw(): LibsqlRows;
  };
  exec(sql: string): void;
  close(): void;
}

interface LibsqlRows {
  all(parameters: readonly SqliteValue[]): SqliteValue[][];
  get(parameters: readonly SqliteValue[]): SqliteValue[] | undefined;
}

/**
 * Returns a function that opens connections.
 *
 * @throws KeyBackupError `missing-dependency` when neither binding is there.
 */
export async function loadSqlite(): Promise<(file: string) => SqliteConnection> {
  const node = process.getBuiltinModule('node:sqlite') as unknown as NodeSqlite | undefined;
  if (node) return (file) => openNode(node, file);
  const { default: Libsql } = await importPeer(() => import('libsql'), 'libsql@0.5');
  return (file) => openLibsql(new Libsql(file) as unknown as Libsql);
}

function openNode(sqlite: NodeSqlite, file: string): SqliteConnection {
  const database = new sqlite.DatabaseSync(file);
  return {
    exec: (sql) => {
      database.exec(sql);
    },
    prepare: (sql) => {
      const statement = database.prepare(sql);
      return {
        run: (parameters) => void statement.run(...parameters),
        // Columns have distinct names in every statement here, so the values are the row.
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

function openLibsql(database: Libsql): SqliteConnection {
  return {
    exec: (sql) => {
      database.exec(sql);
    },
    prepare: (sql) => {
      // `raw` changes how a statement runs, so reading and writing have one each, made when first used.
      let writing: { run(parameters: readonly SqliteValue[]): unknown } | undefined;
      let rows: LibsqlRows | undefined;
      const reading = (): LibsqlRows => (rows ??= database.prepare(sql).raw());
      return {
        run: (parameters) => void (writing ??= database.prepare(sql)).run(parameters),
        all: (parameters) => reading().all(parameters),
        first: (parameters) => reading().get(parameters),
      };
    },
    close: () => {
      database.close();
    },
  };
}

import type { SqliteConnection, SqliteStatement, SqliteValue } from './sqlite-driver.js';

/** Statements kept prepared: there is one for each size of batch, so there could be many. */
const STATEMENTS = 48;

/** A connection with its statements prepared once, and its own temporary tables, which are in memory. */
export class SqliteSession {
  readonly #connection: SqliteConnection;
  readonly #statements = new Map<string, SqliteStatement>();

  constructor(connection: SqliteConnection) {
    this.#connection = connection;
    connection.exec('PRAGMA temp_store = MEMORY');
  }

  /** The rows a statement gives, each as an array. */
  all(sql: string, parameters: readonly SqliteValue[] = []): SqliteValue[][] {
    return this.#prepared(sql).all(parameters);
  }

  /** The first row that a statement gives. */
  first(sql: string, parameters: readonly SqliteValue[] = []): SqliteValue[] | undefined {
    return this.#prepared(sql).first(parameters);
  }

  run(sql: string, parameters: readonly SqliteValue[] = []): void {
    this.#prepared(sql).run(parameters);
  }

  exec(sql: string): void {
    this.#connection.exec(sql);
  }

  close(): void {
    this.#statements.clear();
    this.#connection.close();
  }

  #prepared(sql: string): SqliteStatement {
    const statement = this.#statements.get(sql) ?? this.#connection.prepare(sql);
    // The latest used stands last.
    this.#statements.delete(sql);
    this.#statements.set(sql, statement);
    if (this.#statements.size > STATEMENTS) {
      this.#statements.delete(this.#statements.keys().next().value ?? '');
    }
    return statement;
  }
}

/**
 * The text of a statement that depends on how many rows it takes, made once for each number.
 *
 * @param row - A row with its parameters: `(?, ?)`.
 * @param text - Takes a list of so many of these.
 */
export function forRows(row: string, text: (rows: string) => string): (count: number) => string {
  const texts = new Map<number, string>();
  return (count) => {
    let sql = texts.get(count);
    if (sql === undefined) texts.set(count, (sql = text(Array(count).fill(row).join())));
    return sql;
  };
}

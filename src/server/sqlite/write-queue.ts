import { Rollback, storeFailed } from '../store.js';
import { rollback, type SqliteConnection } from './connection.js';

/**
 * The order of writes on the one connection that writes.
 *
 * Writes that wait together run in one transaction, each in a savepoint of its own, and share one sync to disk, which
 * takes most of the time with many clients. A write is a generator: the event loop runs wherever it yields, so that a
 * large write does not hold up reads and other requests.
 */
export interface WriteQueue {
  /**
   * Runs a write.
   *
   * @returns What the generator returns or throws as a {@link Rollback}, once it is safe on disk.
   * @throws KeyBackupError `store-failed` when anything fails; then nothing of it was stored.
   */
  add<T>(write: () => Generator<void, T>): Promise<T>;
  /** Waits for all writes and accepts no more. */
  close(): Promise<void>;
}

interface Waiting {
  readonly write: () => Generator<void, unknown>;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** Writes in one transaction. */
const MAX_GROUP = 32;

/** Makes the queue of a connection, which must not write in any other way. */
export function createWriteQueue(connection: SqliteConnection): WriteQueue {
  const waiting: Waiting[] = [];
  let running: Promise<void> | undefined;
  let closed = false;

  async function drain(): Promise<void> {
    // Requests that arrived together then share a transaction.
    await nextTurn();
    while (waiting.length > 0) {
      const group = waiting.splice(0, MAX_GROUP);
      const results: unknown[] = [];
      try {
        if (group.length === 1) {
          // Without a savepoint, SQLite keeps no copies of the pages that it changes.
          results.push(await run(connection, group[0].write, TRANSACTION));
        } else {
          connection.exec('BEGIN IMMEDIATE');
          for (const { write } of group) results.push(await run(connection, write, SAVEPOINT));
          connection.exec('COMMIT');
        }
      } catch (cause) {
        rollback(connection);
        for (const { reject } of group) reject(storeFailed(cause));
        continue;
      }
      group.forEach(({ resolve }, i) => {
        resolve(results[i]);
      });
      await nextTurn();
    }
    running = undefined;
  }

  return {
    add: <T>(write: () => Generator<void, T>) =>
      new Promise<T>((resolve, reject) => {
        if (closed) {
          reject(storeFailed(new Error('the store is closed')));
          return;
        }
        waiting.push({ write, resolve: resolve as (value: unknown) => void, reject });
        running ??= drain();
      }),
    close: async () => {
      closed = true;
      await running;
    },
  };
}

/** What begins, ends and undoes a write: a transaction of its own, or a part of one that several writes share. */
type Bounds = readonly [begin: string, end: string, undo: string];
const TRANSACTION: Bounds = ['BEGIN IMMEDIATE', 'COMMIT', 'ROLLBACK'];
const SAVEPOINT: Bounds = ['SAVEPOINT one', 'RELEASE one', 'ROLLBACK TO one; RELEASE one'];

async function run(
  connection: SqliteConnection,
  write: () => Generator<void, unknown>,
  [begin, end, undo]: Bounds,
): Promise<unknown> {
  connection.exec(begin);
  try {
    const result = await toEnd(write);
    connection.exec(end);
    return result;
  } catch (error) {
    if (!(error instanceof Rollback)) throw error;
    connection.exec(undo);
    return error.result;
  }
}

async function toEnd(write: () => Generator<void, unknown>): Promise<unknown> {
  const steps = write();
  for (let step = steps.next(); ; step = steps.next()) {
    if (step.done) return step.value;
    await nextTurn();
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

import { storeFailed } from './errors.js';
import type { SqliteConnection } from './sqlite-driver.js';

/**
 * Writes wait here for their turn on the one writing connection.
 *
 * Those that wait together run in one transaction, each in a savepoint of its own where there are several, and share
 * one sync to disk: with many clients that is where the time goes. A write is a generator; wherever it yields, the event loop
 * runs before it goes on, so a large one does not hold up reads and other requests for long.
 */
export interface WriteQueue {
  /**
   * Runs a write.
   *
   * @returns What the generator returns, once it is safe on disk.
   * @throws KeyBackupError `store-failed` when anything fails; then nothing of it was stored.
   */
  add<T>(write: () => Generator<void, T>): Promise<T>;
  /** Waits for all writes and takes no more. */
  close(): Promise<void>;
}

interface Waiting {
  readonly write: () => Generator<void, unknown>;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** A write throws this to undo what it did, and the value becomes its result. */
export class Undo extends Error {
  readonly result: unknown;

  constructor(result: unknown) {
    super('undone');
    this.result = result;
  }
}

/** Who keeps in memory what a transaction does. */
export interface Memory {
  /** A transaction begins. */
  begun(): void;
  /** Something that it did was undone; also a part of it, as when one write of several was. */
  undone(): void;
}

/** How many writes at most share a transaction. */
const GROUP = 32;

/**
 * Makes the queue of a connection, which has to do nothing else that writes.
 *
 * @param memory - Told before the first write of a transaction, and after it was undone.
 */
export function createWriteQueue(connection: SqliteConnection, memory: Memory): WriteQueue {
  const waiting: Waiting[] = [];
  let running: Promise<void> | undefined;
  let closed = false;

  async function drain(): Promise<void> {
    // One turn of the event loop, so that requests that arrived together go together.
    await nextTurn();
    while (waiting.length > 0) {
      const group = waiting.splice(0, GROUP);
      const results: unknown[] = [];
      try {
        memory.begun();
        connection.exec('BEGIN IMMEDIATE');
        if (group.length === 1) {
          results.push(await runAlone(connection, group[0].write, memory));
        } else {
          for (const { write } of group) results.push(await runOne(connection, write, memory));
          connection.exec('COMMIT');
        }
      } catch (cause) {
        rollback(connection);
        memory.undone();
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

/** A write that is a transaction by itself. */
async function runAlone(
  connection: SqliteConnection,
  write: () => Generator<void, unknown>,
  memory: Memory,
): Promise<unknown> {
  try {
    const result = await toEnd(write);
    connection.exec('COMMIT');
    return result;
  } catch (error) {
    if (!(error instanceof Undo)) throw error;
    connection.exec('ROLLBACK');
    memory.undone();
    return error.result;
  }
}

/** A write among others in one transaction. */
async function runOne(
  connection: SqliteConnection,
  write: () => Generator<void, unknown>,
  memory: Memory,
): Promise<unknown> {
  connection.exec('SAVEPOINT one');
  try {
    const result = await toEnd(write);
    connection.exec('RELEASE one');
    return result;
  } catch (error) {
    if (!(error instanceof Undo)) throw error;
    connection.exec('ROLLBACK TO one');
    connection.exec('RELEASE one');
    memory.undone();
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

function rollback(connection: SqliteConnection): void {
  try {
    connection.exec('ROLLBACK');
  } catch {
    // A full disk ends the transaction by itself; then there is nothing to roll back.
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

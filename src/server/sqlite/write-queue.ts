import { setTimeout } from 'node:timers/promises';
import { yieldToEventLoop, type AbortSignalLike } from '../../async.js';
import { Rollback, storeFailed } from '../store.js';
import { rollback, whenUnlocked, type SqliteConnection } from './connection.js';

/**
 * The order of writes on the one connection that writes. Users take turns, a write each.
 *
 * Writes that wait together run in one transaction, each in a savepoint of its own, and share one sync to disk, which
 * takes most of the time with many clients. A write is a generator: the event loop runs wherever it yields, so that a
 * large write does not hold up reads and other requests.
 */
export interface WriteQueue {
  /**
   * Runs a write.
   *
   * @param user - Whose turn it takes. Work of the store itself has the empty string.
   * @param rows - How many rows it writes, about: small writes share a transaction.
   * @returns What the generator returns or throws as a {@link Rollback}, once it is safe on disk.
   * @throws KeyBackupError `store-failed` when anything fails; then nothing of it was stored.
   */
  add<T>(user: string, rows: number, write: () => Generator<void, T>): Promise<T>;
  /** Whether the last transaction failed. */
  isFailing(): boolean;
  /** Waits for all writes and accepts no more. */
  close(): Promise<void>;
}

interface Waiting {
  readonly rows: number;
  readonly write: () => Generator<void, unknown>;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** Writes, and about how many rows, in one transaction. */
const MAX_GROUP = 32;
const MAX_ROWS = 2_000;
/** Milliseconds after which other processes get a chance to write, and how long it is. They try every millisecond. */
const MAX_BUSY = 100;
const PAUSE = 3;

/**
 * Makes the queue of a connection, which must not write in any other way.
 *
 * @param areFilesThere - Asked in every transaction, which fails if they are not.
 */
export function createWriteQueue(
  connection: SqliteConnection,
  areFilesThere: () => boolean,
  signal: AbortSignalLike | undefined,
): WriteQueue {
  /** By user; the one whose turn is next comes first. */
  const waiting = new Map<string, Waiting[]>();
  let running: Promise<void> | undefined;
  let failing = false;
  let closed = false;

  function nextGroup(): Waiting[] {
    const group: Waiting[] = [];
    let rows = 0;
    for (const [user, writes] of waiting) {
      rows += writes[0].rows;
      if (group.length === MAX_GROUP || (group.length > 0 && rows > MAX_ROWS)) break;
      group.push(...writes.splice(0, 1));
      waiting.delete(user);
      // At the end, where this loop comes to it again.
      if (writes.length > 0) waiting.set(user, writes);
    }
    return group;
  }

  async function run(group: readonly Waiting[]): Promise<unknown[]> {
    const results: unknown[] = [];
    await whenUnlocked(() => {
      connection.exec('BEGIN IMMEDIATE');
    }, signal);
    if (!areFilesThere()) throw new Error('the file or its log was removed or replaced while it was in use');
    // Without a savepoint, SQLite keeps no copies of the pages that it changes.
    const [begin, end, undo] =
      group.length > 1 ? ['SAVEPOINT one', 'RELEASE one', 'ROLLBACK TO one'] : ['', '', 'ROLLBACK; BEGIN'];
    for (const { write } of group) {
      connection.exec(begin);
      try {
        results.push(await toEnd(write));
      } catch (error) {
        if (!(error instanceof Rollback)) throw error;
        connection.exec(undo);
        results.push(error.result);
      }
      connection.exec(end);
    }
    connection.exec('COMMIT');
    return results;
  }

  async function drain(): Promise<void> {
    // Requests that arrived together then share a transaction.
    await yieldToEventLoop();
    let begun = performance.now();
    for (let group = nextGroup(); group.length > 0; group = nextGroup()) {
      try {
        const results = await run(group);
        failing = false;
        group.forEach(({ resolve }, i) => {
          resolve(results[i]);
        });
      } catch (cause) {
        rollback(connection);
        failing = true;
        for (const { reject } of group) reject(storeFailed(cause));
      }
      await yieldToEventLoop();
      if (performance.now() - begun < MAX_BUSY) continue;
      await setTimeout(PAUSE);
      begun = performance.now();
    }
    running = undefined;
  }

  return {
    add: <T>(user: string, rows: number, write: () => Generator<void, T>) =>
      new Promise<T>((resolve, reject) => {
        if (closed) {
          reject(storeFailed(new Error('the store is closed')));
          return;
        }
        const added = { rows, write, resolve: resolve as (value: unknown) => void, reject };
        const writes = waiting.get(user);
        if (writes) writes.push(added);
        else waiting.set(user, [added]);
        running ??= drain();
      }),
    isFailing: () => failing,
    close: async () => {
      closed = true;
      await running;
    },
  };
}

async function toEnd(write: () => Generator<void, unknown>): Promise<unknown> {
  const steps = write();
  for (let step = steps.next(); ; step = steps.next()) {
    if (step.done) return step.value;
    await yieldToEventLoop();
  }
}

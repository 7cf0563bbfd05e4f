import { setTimeout } from 'node:timers/promises';
import { throwIfAborted, type AbortSignalLike } from '../../async.js';
import { whenUnlocked, type SqliteConnection } from './connection.js';
import type { WriteQueue } from './write-queue.js';

/** Work that takes long, in short transactions between which users and other processes write. */
export interface Background {
  /**
   * Runs a step, each time in a transaction of its own, until it returns false.
   *
   * @throws KeyBackupError `aborted`, also when the store is closed.
   */
  run(step: () => boolean, signal?: AbortSignalLike): Promise<void>;
  /** Deletes all keys of discarded rooms and of these deleted versions, now. */
  purge(versions: readonly number[], signal?: AbortSignalLike): Promise<void>;
  /** Starts that, and tries again later when it fails. */
  startPurge(versions: readonly number[]): void;
  isPurging(): boolean;
  /** Ends after the transaction under way. */
  stop(): Promise<void>;
}

/** Rows that a step may write. */
export const STEP_ROWS = 500;
/** Milliseconds between steps, in which other processes get a chance to write. */
const PAUSE = 3;
/** Milliseconds after which a purge that failed, on a full disk for example, is tried again. */
const PURGE_AGAIN = 60_000;

/** @param beforePurge - Called in every step of a purge. */
export function createBackground(
  queue: WriteQueue,
  writer: SqliteConnection,
  reader: SqliteConnection,
  beforePurge: () => void,
): Background {
  const stopping = new AbortController();
  const { signal } = stopping;
  const versions = new Set<number>();
  let isSearched = false;
  let isWanted = false;
  let purging: Promise<void> | undefined;

  const run: Background['run'] = async (step, by) => {
    while (
      await queue.add('', STEP_ROWS, function* () {
        return step();
      })
    ) {
      await setTimeout(PAUSE);
      throwIfAborted(by);
      throwIfAborted(signal);
    }
  };

  function purgeStep(): boolean {
    beforePurge();
    const version = versions.values().next().value;
    if (deleteSomeKeys(writer, version)) return true;
    // Only now: the transaction before may have failed.
    if (version !== undefined) versions.delete(version);
    return version !== undefined;
  }

  async function purgeAll(): Promise<void> {
    while (isWanted && !signal.aborted) {
      isWanted = false;
      try {
        if (!isSearched) await findUnpurged();
        isSearched = true;
        if (await isPurgeNeeded()) await run(purgeStep);
      } catch {
        isWanted = true;
        await setTimeout(PURGE_AGAIN, undefined, { signal, ref: false }).catch(() => undefined);
      }
    }
    purging = undefined;
  }

  /** Without the lock of a write, for which an opening or closing store would wait. */
  async function isPurgeNeeded(): Promise<boolean> {
    if (versions.size > 0) return true;
    return whenUnlocked(
      () => reader.all('SELECT id FROM rooms WHERE version < 0 LIMIT 1').length > 0,
      signal,
    );
  }

  /** Finds what a process that was killed left. */
  async function findUnpurged(): Promise<void> {
    for (let last = 0; ;) {
      const rows = await whenUnlocked(
        () =>
          reader.all(
            `SELECT id, deleted AND EXISTS (SELECT 1 FROM rooms WHERE version = versions.id) FROM versions
             WHERE id > ? ORDER BY id LIMIT ?`,
            [last, STEP_ROWS],
          ) as [number, number][],
        signal,
      );
      for (const [id, isUnpurged] of rows) if (isUnpurged) versions.add(id);
      if (rows.length < STEP_ROWS) return;
      last = rows[rows.length - 1][0];
      await setTimeout(PAUSE);
      throwIfAborted(signal);
    }
  }

  return {
    run,
    purge: (deleted, by) => {
      for (const version of deleted) versions.add(version);
      return run(purgeStep, by);
    },
    startPurge: (deleted) => {
      for (const version of deleted) versions.add(version);
      isWanted = true;
      purging ??= purgeAll();
    },
    isPurging: () => purging !== undefined,
    stop: async () => {
      stopping.abort();
      await purging;
    },
  };
}

/** Deletes some keys of a version, or of discarded rooms. Returns whether there were any. */
function deleteSomeKeys(writer: SqliteConnection, version: number | undefined): boolean {
  const [condition, parameters] = version === undefined ? ['< 0', []] : ['= ?', [version]];
  let left = STEP_ROWS;
  while (left > 0) {
    const room = writer.first(`SELECT id FROM rooms WHERE version ${condition} LIMIT 1`, parameters)?.[0];
    if (room === undefined) break;
    const deleted = writer.all(
      'DELETE FROM keys WHERE id IN (SELECT id FROM keys WHERE room = ? LIMIT ?) RETURNING id',
      [room, left],
    );
    if (deleted.length < left) writer.run('DELETE FROM rooms WHERE id = ?', [room]);
    left -= deleted.length + 1;
  }
  return left < STEP_ROWS;
}

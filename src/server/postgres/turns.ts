import { storeFailed } from '../store.js';

/** Runs work of a user, now or when it is the user's turn. */
export type InTurn = <T>(userId: string, work: () => Promise<T>) => Promise<T>;

/** Work of one user that may wait. Its bodies are in memory. */
const MAX_WAITING = 100;

/**
 * Gives each user some of the connections at a time, so that one cannot take them all: what is more waits, in order.
 *
 * @param atOnce - Work of one user that runs at a time.
 * @param milliseconds - How long work waits at most; then it fails with `store-failed`.
 */
export function createTurns(atOnce: number, milliseconds: number): InTurn {
  /** Of each user with work: how much runs, and what starts the rest. */
  const users = new Map<string, { running: number; readonly waiting: Set<() => void> }>();

  return async (userId, work) => {
    const user = users.get(userId) ?? { running: 0, waiting: new Set() };
    users.set(userId, user);
    if (user.running < atOnce) user.running++;
    else await turn(user.waiting, milliseconds);
    try {
      return await work();
    } finally {
      // Passes its place on.
      const next = [...user.waiting].at(0);
      if (next) next();
      else if (--user.running === 0) users.delete(userId);
    }
  };
}

function turn(waiting: Set<() => void>, milliseconds: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (): void => {
      waiting.delete(start);
      reject(storeFailed(new Error('too much work for one user')));
    };
    const start = (): void => {
      clearTimeout(timer);
      waiting.delete(start);
      resolve();
    };
    if (waiting.size >= MAX_WAITING) {
      fail();
      return;
    }
    const timer = setTimeout(fail, milliseconds);
    waiting.add(start);
  });
}

import { KeyBackupError } from './errors.js';
import type { AbortSignalLike } from './batch/backend.js';

/**
 * Sharing the thread: a long computation gives the event loop a turn at least this often, so that a page keeps
 * drawing and a server keeps answering.
 */
export const TURN_MILLISECONDS = 20;

interface Clock {
  performance?: { now(): number };
  setImmediate?: (callback: () => void) => unknown;
  setTimeout: (callback: () => void, milliseconds: number) => unknown;
}

/** Milliseconds on a clock that only goes forward where there is one. */
export function now(): number {
  const { performance } = globalThis as unknown as Clock;
  return performance ? performance.now() : Date.now();
}

/** Resolves when the event loop has gone round once: timers, input and output have had their turn. */
export function turn(): Promise<void> {
  const { setImmediate, setTimeout } = globalThis as unknown as Clock;
  return new Promise((resolve) => {
    if (setImmediate) setImmediate(resolve);
    else setTimeout(resolve, 0);
  });
}

/** @throws {@link KeyBackupError} `aborted` when the signal says so. */
export function throwIfAborted(signal: AbortSignalLike | undefined): void {
  if (signal?.aborted) throw abortedBy(signal);
}

/**
 * Waits for a promise, but no longer than until the signal aborts.
 *
 * @throws {@link KeyBackupError} `aborted`; whatever the promise does later is ignored.
 */
export async function orAborted<T>(promise: Promise<T>, signal: AbortSignalLike | undefined): Promise<T> {
  if (!signal) return promise;
  let onAbort = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => {
      reject(abortedBy(signal));
    };
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort);
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/**
 * An input whose next item is waited for no longer than until the signal aborts. To be gone through by `for await`,
 * which tells it to end when the loop is left early.
 */
export function untilAborted<Item>(
  input: Iterable<Item> | AsyncIterable<Item>,
  signal: AbortSignalLike | undefined,
): Iterable<Item> | AsyncIterable<Item> {
  if (!signal || !(Symbol.asyncIterator in input)) return input;
  const iterator = input[Symbol.asyncIterator]();
  const next = async () => {
    try {
      return await orAborted(iterator.next(), signal);
    } catch (error) {
      // What still waits would keep us waiting for its end, so it is told and left alone.
      if (signal.aborted) abandon(iterator);
      throw error;
    }
  };
  const end = async () => (await iterator.return?.()) ?? { done: true as const, value: undefined };
  return { [Symbol.asyncIterator]: () => ({ next, return: end }) };
}

/** Tells an iterator to end, and takes no notice of how it does. */
function abandon(iterator: AsyncIterator<unknown>): void {
  // As an asynchronous function, so that what it throws at once is ignored like what it rejects with.
  const close = async () => iterator.return?.();
  close().catch(() => undefined);
}

function abortedBy(signal: AbortSignalLike): KeyBackupError {
  return new KeyBackupError('aborted', 'the operation was aborted by its signal', { cause: signal.reason });
}

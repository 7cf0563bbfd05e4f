import { KeyBackupError } from './errors.js';

/** How far a long operation is. `total` is absent where nobody knows it. */
export interface Progress {
  readonly done: number;
  readonly total: number | undefined;
  readonly failed: number;
}

/** What an operation of a {@link Backend} accepts. Callbacks stay with the engine. */
export interface SignalOptions {
  /** Aborting it makes the operation fail with `aborted`. */
  readonly signal?: AbortSignalLike | undefined;
}

/** What everything that waits accepts. */
export interface WaitOptions extends SignalOptions {
  /**
   * Told how far the operation is, from time to time and at the end. What it throws ends the operation and reaches the
   * caller unchanged.
   */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** The part of the web's AbortSignal that the engine uses. */
export interface AbortSignalLike {
  readonly aborted: boolean;
  readonly reason?: unknown;
  /** As the web's. */
  addEventListener(type: 'abort', listener: () => void): void;
  /** As the web's. */
  removeEventListener(type: 'abort', listener: () => void): void;
}

/**
 * Sharing the thread: a long computation gives the event loop a turn at least this often, so that a page keeps
 * drawing and a server keeps answering.
 */
export const YIELD_INTERVAL_MS = 20;

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
export function yieldToEventLoop(): Promise<void> {
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
export async function raceAbort<T>(promise: Promise<T>, signal: AbortSignalLike | undefined): Promise<T> {
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
export function abortable<Item>(
  input: Iterable<Item> | AsyncIterable<Item>,
  signal: AbortSignalLike | undefined,
): Iterable<Item> | AsyncIterable<Item> {
  if (!signal || !(Symbol.asyncIterator in input)) return input;
  const iterator = input[Symbol.asyncIterator]();
  const next = async () => {
    try {
      return await raceAbort(iterator.next(), signal);
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

/**
 * Callbacks of the caller are called from here, and never handed to a backend. What one throws reaches the caller once
 * and unchanged, even if it is a {@link KeyBackupError}: it is never retried, and never taken for the error of one key.
 */

let thrown: WeakSet<object> | undefined;

/** Calls a callback and marks what it throws, or what its promise rejects with. */
export function callback<Result>(call: () => Result): Result {
  try {
    const result = call();
    if (result instanceof Promise) result.catch(mark);
    return result;
  } catch (error) {
    mark(error);
    throw error;
  }
}

function mark(error: unknown): void {
  if (typeof error === 'object' && error !== null) (thrown ??= new WeakSet()).add(error);
}

/** Whether a callback threw the error. Everything that this package throws on purpose is a {@link KeyBackupError}. */
export function isFromCallback(error: unknown): boolean {
  return !(error instanceof KeyBackupError) || (thrown?.has(error) ?? false);
}

/** Far more keys at a time gain nothing, and cost memory. */
const MAX_CHUNK = 512;

/** On a machine where an agreement takes 10 ms even the first chunk must not hold the thread. */
const FIRST_CHUNK = 4;

/** Keeps a long computation from holding the thread, and finds how many keys fit between two turns. */
export class ChunkSizer {
  /** How many keys the next chunk should have. */
  chunk: number;
  readonly #fixed: boolean;
  /** Milliseconds a key, as far as is known. */
  #perKey = Infinity;
  readonly #signal: AbortSignalLike | undefined;
  #pause = now() + YIELD_INTERVAL_MS;

  /** @param chunk - The size of all chunks, where it is known; otherwise it is found. */
  constructor(signal: AbortSignalLike | undefined, chunk?: number) {
    this.#signal = signal;
    this.#fixed = chunk !== undefined;
    this.chunk = chunk ?? FIRST_CHUNK;
  }

  /** Whether the event loop should have its turn. */
  get shouldYield(): boolean {
    return now() >= this.#pause;
  }

  /** Gives the event loop its turn. Throws `aborted` when the signal says so. */
  async yieldNow(): Promise<void> {
    await yieldToEventLoop();
    throwIfAborted(this.#signal);
    this.#pause = now() + YIELD_INTERVAL_MS;
  }

  /** Takes in how long a chunk of `keys` took, in milliseconds. */
  record(keys: number, milliseconds: number): void {
    if (this.#fixed || keys === 0) return;
    // A chunk during which the machine did something else must not make the next one tiny; if it stays slow, the
    // next ones will tell.
    this.#perKey = Math.min(Math.max(milliseconds, 0.001) / keys, 1.25 * this.#perKey);
    const fitting = Math.floor(YIELD_INTERVAL_MS / this.#perKey);
    // At most four times the last: one lucky measurement must not make the next chunk hold the thread for long.
    this.chunk = Math.max(1, Math.min(MAX_CHUNK, 4 * this.chunk, fitting));
  }
}

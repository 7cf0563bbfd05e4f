import { KeyBackupError } from './errors.js';

/** How far a long operation is. `total` is `undefined` where it is unknown. */
export interface Progress {
  readonly done: number;
  readonly total: number | undefined;
  readonly failed: number;
}

/** Options of an operation that can be cancelled. */
export interface SignalOptions {
  /** Aborting it makes the operation fail with `aborted`. */
  readonly signal?: AbortSignalLike | undefined;
}

/** Options of everything that waits. */
export interface WaitOptions extends SignalOptions {
  /**
   * Called with the progress from time to time and at the end. What it throws ends the operation and reaches the caller
   * unchanged.
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

/** A long computation yields to the event loop at least this often: a page keeps drawing, a server keeps answering. */
export const YIELD_INTERVAL_MS = 20;

interface Port {
  onmessage: (() => void) | null;
  postMessage(message: unknown): void;
  close(): void;
}

interface Clock {
  MessageChannel?: new () => { readonly port1: Port; readonly port2: Port };
  performance?: { now(): number };
  setImmediate?: (callback: () => void) => unknown;
  setTimeout: (callback: () => void, milliseconds: number) => unknown;
}

/** Milliseconds on a monotonic clock, where there is one. */
export function now(): number {
  const { performance } = globalThis as unknown as Clock;
  return performance ? performance.now() : Date.now();
}

/**
 * Resolves when the event loop has gone round once, timers, input and output included.
 *
 * In browsers by a message: nested timers sleep 4 ms there, and `scheduler.yield` lets no timer and few frames through.
 */
export function yieldToEventLoop(): Promise<void> {
  const { MessageChannel, setImmediate, setTimeout } = globalThis as unknown as Clock;
  return new Promise((resolve) => {
    if (setImmediate) {
      setImmediate(resolve);
    } else if (MessageChannel) {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => {
        port1.close();
        resolve();
      };
      port2.postMessage(undefined);
    } else {
      setTimeout(resolve, 0);
    }
  });
}

/** @throws {@link KeyBackupError} `aborted` if the signal has aborted. */
export function throwIfAborted(signal: AbortSignalLike | undefined): void {
  if (signal?.aborted) throw abortedBy(signal);
}

/**
 * Waits for a promise until the signal aborts.
 *
 * @throws {@link KeyBackupError} `aborted`; what the promise does later is ignored.
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

/** An input whose next item is awaited until the signal aborts. Use it with `for await`, which ends it on an early exit. */
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
      // Its end could hang like its next item, so it is not awaited.
      if (signal.aborted) abandon(iterator);
      throw error;
    }
  };
  const end = async () => (await iterator.return?.()) ?? { done: true as const, value: undefined };
  return { [Symbol.asyncIterator]: () => ({ next, return: end }) };
}

/** Tells an iterator to end, and ignores how it does. */
function abandon(iterator: AsyncIterator<unknown>): void {
  // Asynchronous, so that what `return` throws is ignored like a rejection.
  const close = async () => iterator.return?.();
  close().catch(() => undefined);
}

function abortedBy(signal: AbortSignalLike): KeyBackupError {
  return new KeyBackupError('aborted', 'the operation was aborted by its signal', { cause: signal.reason });
}

/**
 * The caller's callbacks are called from here and never handed to a backend. What one throws reaches the caller once and
 * unchanged, even a {@link KeyBackupError}: it is never retried, and never taken for the error of one key.
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

/** The part of the web's AbortController that is used here. */
interface Controller {
  readonly signal: AbortSignalLike;
  abort(reason?: unknown): void;
}

/**
 * Lets a source run ahead of its consumer by up to `count` values.
 *
 * @param start - Starts the source; its signal aborts when `signal` does, or when the consumer leaves early.
 */
export async function* prefetch<T>(
  start: (signal: AbortSignalLike) => AsyncGenerator<T, void, undefined>,
  count: number,
  signal: AbortSignalLike | undefined,
): AsyncGenerator<T, void, undefined> {
  const { AbortController } = globalThis as unknown as { AbortController: new () => Controller };
  const controller = new AbortController();
  const onAbort = (): void => {
    controller.abort(signal?.reason);
  };
  if (signal?.aborted) onAbort();
  signal?.addEventListener('abort', onAbort);
  const source = start(controller.signal);
  const pending: Promise<IteratorResult<T, void>>[] = [];
  const pull = (): void => {
    const next = source.next();
    // A consumer that has left must not cause an unhandled rejection.
    next.catch(() => undefined);
    pending.push(next);
  };
  try {
    for (let i = 0; i < count; i++) pull();
    for (let next = pending.shift(); next; next = pending.shift()) {
      const result = await next;
      if (result.done) return;
      pull();
      yield result.value;
    }
  } finally {
    signal?.removeEventListener('abort', onAbort);
    controller.abort();
    await source.return().catch(() => undefined);
  }
}

/** Larger chunks are no faster, and cost memory. */
const MAX_CHUNK = 512;

/** Even the first chunk must not hold the thread where an agreement takes 10 ms. */
const FIRST_CHUNK = 4;

/** Keeps a long computation from holding the thread, and finds how many keys fit between two yields. */
export class ChunkSizer {
  /** How many keys the next chunk should have. */
  chunk: number;
  readonly #fixed: boolean;
  /** Milliseconds a key, by what was recorded. */
  #perKey = Infinity;
  readonly #signal: AbortSignalLike | undefined;
  #pause = now() + YIELD_INTERVAL_MS;

  /** @param chunk - A fixed size for all chunks; otherwise it is found. */
  constructor(signal: AbortSignalLike | undefined, chunk?: number) {
    this.#signal = signal;
    this.#fixed = chunk !== undefined;
    this.chunk = chunk ?? FIRST_CHUNK;
  }

  /** Whether it is time to yield to the event loop. */
  get shouldYield(): boolean {
    return now() >= this.#pause;
  }

  /** Yields to the event loop. Throws `aborted` if the signal has aborted. */
  async yieldNow(): Promise<void> {
    await yieldToEventLoop();
    throwIfAborted(this.#signal);
    this.#pause = now() + YIELD_INTERVAL_MS;
  }

  /** Records how long a chunk of `keys` took, in milliseconds. */
  record(keys: number, milliseconds: number): void {
    if (this.#fixed || keys === 0) return;
    // One chunk slowed by something else must not make the next one tiny; if it stays slow, later chunks show it.
    this.#perKey = Math.min(Math.max(milliseconds, 0.001) / keys, 1.25 * this.#perKey);
    const fitting = Math.floor(YIELD_INTERVAL_MS / this.#perKey);
    // At most four times the last: one lucky measurement must not make the next chunk hold the thread for long.
    this.chunk = Math.max(1, Math.min(MAX_CHUNK, 4 * this.chunk, fitting));
  }
}

import { type AbortSignalLike, callback } from '../async.js';
import { isRequestError, RequestError } from './errors.js';

/** How failed requests are repeated. */
export interface RetryOptions {
  /** How often a request is repeated at most; default 6. */
  readonly retries?: number | undefined;
  /** The wait before the first repetition is random up to this; it doubles each time. Default 500 ms. */
  readonly retryDelay?: number | undefined;
  /** No wait is longer, whatever the server asks for; default 60 s. */
  readonly maxRetryDelay?: number | undefined;
  /** Is told about every wait. */
  readonly onRetry?: ((notice: RetryNotice) => void) | undefined;
  /** Waits; for tests. It has to reject when the signal aborts. */
  readonly sleep?: ((milliseconds: number, signal: AbortSignalLike | undefined) => Promise<void>) | undefined;
  /** A number from 0 to below 1; for tests. */
  readonly random?: (() => number) | undefined;
}

/** A wait before a repetition. */
export interface RetryNotice {
  /** 1 for the first repetition. */
  readonly attempt: number;
  /** Milliseconds. */
  readonly delay: number;
  /** What the server asked for; `delay` is less when that was more than `maxRetryDelay`. */
  readonly asked: number | undefined;
  readonly error: RequestError;
}

/** Repeats what fails in passing: exponential backoff with full jitter, or what the server asks for. */
export class Retry {
  readonly #retries: number;
  readonly #delay: number;
  readonly #maxDelay: number;
  readonly #onRetry: ((notice: RetryNotice) => void) | undefined;
  readonly #sleep: (milliseconds: number, signal: AbortSignalLike | undefined) => Promise<void>;
  readonly #random: () => number;

  constructor(options: RetryOptions) {
    this.#retries = options.retries ?? 6;
    this.#delay = options.retryDelay ?? 500;
    this.#maxDelay = options.maxRetryDelay ?? 60_000;
    this.#onRetry = options.onRetry;
    this.#sleep = options.sleep ?? sleep;
    this.#random = options.random ?? Math.random;
  }

  /**
   * Waits before the next attempt.
   *
   * @param attempt - 1 for the first repetition.
   * @throws The error itself when it will not pass, or when it came too often; `aborted` by the signal.
   */
  async wait(
    attempt: number,
    error: unknown,
    idempotent: boolean,
    signal: AbortSignalLike | undefined,
  ): Promise<void> {
    if (!isRequestError(error) || attempt > this.#retries || !mayPass(error, idempotent)) {
      throw error;
    }
    const asked = error.retry_after_ms;
    const jitter = this.#random() * Math.min(this.#maxDelay, this.#delay * 2 ** (attempt - 1));
    const delay = asked === undefined ? jitter : Math.min(this.#maxDelay, asked);
    callback(() => this.#onRetry?.({ attempt, delay, asked, error }));
    await this.#sleep(delay, signal);
  }
}

/** Whether the same request may succeed later, and may be sent again without doing its work twice. */
function mayPass({ code, status = 0 }: RequestError, idempotent: boolean): boolean {
  // A request that was turned away has not been done, whatever it was.
  if (code === 'rate-limited') return true;
  if (!idempotent) return false;
  if (code === 'http') return status >= 500;
  return code === 'network' || code === 'timeout' || code === 'bad-response';
}

/** Resolves after a while; rejects with `aborted` as soon as the signal says so. */
export function sleep(milliseconds: number, signal: AbortSignalLike | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      reject(new RequestError('aborted', 'the wait was aborted by its signal', { cause: signal?.reason }));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, milliseconds);
    if (signal?.aborted) onAbort();
    else signal?.addEventListener('abort', onAbort);
  });
}

/**
 * How long a 429 or 503 asks to wait: the `Retry-After` header, in seconds or as a date, before the deprecated
 * `retry_after_ms` of the body.
 *
 * @returns Milliseconds, 0 or more; `undefined` when the server does not say.
 */
export function retryAfter(
  header: string | null,
  bodyMilliseconds: number | undefined,
  now: number,
): number | undefined {
  if (header !== null) {
    const text = header.trim();
    if (/^\d+$/.test(text)) return Number(text) * 1000;
    const date = Date.parse(text);
    if (!Number.isNaN(date)) return Math.max(0, date - now);
  }
  return bodyMilliseconds;
}

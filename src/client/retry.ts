import { type AbortSignalLike, callback, raceAbort } from '../async.js';
import { KeyBackupError } from '../errors.js';
import { isRequestError, RequestError } from './http-error.js';

/** How failed requests are repeated. */
export interface RetryOptions {
  /** How often a request is repeated at most; default 6. */
  readonly retries?: number | undefined;
  /** The wait before the first repetition is random up to this; it doubles each time. Default 500 ms. */
  readonly retryDelay?: number | undefined;
  /** The longest wait, whatever the server asks for; default 60 s. */
  readonly maxRetryDelay?: number | undefined;
  /** Called before every wait. */
  readonly onRetry?: ((notice: RetryNotice) => void) | undefined;
}

/** A wait before a repetition. */
export interface RetryNotice {
  /** 1 for the first repetition. */
  readonly attempt: number;
  /** Milliseconds. */
  readonly delay: number;
  /** What the server asked for; `delay` is less if that is more than `maxRetryDelay`. */
  readonly asked: number | undefined;
  readonly error: RequestError;
}

/** Repeats what fails in passing: exponential backoff with full jitter, or the delay that the server asks for. */
export class Retry {
  /** Whether the server has answered: then its host name exists, whatever the resolver says for the moment. */
  hasAnswered = false;
  readonly #options: RetryOptions;

  constructor(options: RetryOptions) {
    this.#options = options;
  }

  /**
   * Waits before the next attempt.
   *
   * @param attempt - 1 for the first repetition.
   * @throws The error itself if a repetition cannot help or none is left; `aborted` by the signal.
   */
  async wait(
    attempt: number,
    error: unknown,
    idempotent: boolean,
    signal: AbortSignalLike | undefined,
  ): Promise<void> {
    const { retries = 6, retryDelay = 500, maxRetryDelay = 60_000, onRetry } = this.#options;
    if (!isRequestError(error) || attempt > retries || !isRepeatable(error, idempotent)) throw error;
    if (!this.hasAnswered && isUnknownHost(error)) throw error;
    const asked = error.retry_after_ms;
    const jitter = Math.random() * Math.min(maxRetryDelay, retryDelay * 2 ** (attempt - 1));
    const delay = asked === undefined ? jitter : Math.min(maxRetryDelay, asked);
    callback(() => onRetry?.({ attempt, delay, asked, error }));
    await sleep(delay, signal);
  }
}

/** Whether the same request may succeed later, and may be sent again without doing its work twice. */
function isRepeatable({ code, status = 0, cause }: RequestError, idempotent: boolean): boolean {
  // A request that was turned away has not been done.
  if (code === 'rate-limited') return true;
  if (!idempotent) return false;
  if (code === 'http') return status >= 500;
  // A malformed answer comes again; one that ended early need not.
  if (code === 'bad-response') return cause instanceof KeyBackupError && cause.code === 'truncated';
  return code === 'network' || code === 'timeout';
}

/** Whether the name of the server does not resolve. Only Node and Bun tell; `fetch` hides it one level down. */
function isUnknownHost({ cause }: RequestError): boolean {
  const reasons = [cause, (cause as { cause?: unknown } | undefined)?.cause];
  return reasons.some((reason) => (reason as { code?: unknown } | undefined)?.code === 'ENOTFOUND');
}

/** Resolves after some milliseconds; rejects with `aborted` as soon as the signal aborts. */
export async function sleep(milliseconds: number, signal: AbortSignalLike | undefined): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const elapsed = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, milliseconds);
  });
  try {
    await raceAbort(elapsed, signal);
  } catch {
    throw new RequestError('aborted', 'the wait was aborted by its signal', { cause: signal?.reason });
  } finally {
    clearTimeout(timer);
  }
}

import { type AbortSignalLike, raceAbort, throwIfAborted } from '../async.js';
import { concatAll } from '../encoding/bytes.js';
import { excerpt } from '../encoding/quote.js';
import { messageOf } from '../errors.js';
import { RequestError } from './http-error.js';

/** The part of an answer of `fetch` that is used; the platform's own fits. */
export interface FetchResponse {
  readonly status: number;
  readonly type?: string;
  readonly url?: string;
  readonly headers: {
    /** The value of a header. */
    get(name: string): string | null;
  };
  /** Absent in React Native, which has the body only as a whole. */
  readonly body?: {
    /** Reads the body piece by piece. */
    getReader(): BodyReader;
  } | null;
  /** The body as a whole. */
  arrayBuffer(): Promise<ArrayBuffer>;
}

/** The part of the web's `ReadableStreamDefaultReader` that is used. */
export interface BodyReader {
  /** The next piece. */
  read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>;
  /** Closes the stream. */
  cancel(reason?: unknown): Promise<void>;
}

/** `fetch` as it is used here; the platform's own fits. */
export type Fetch = (
  url: string,
  init: {
    method: string;
    headers: Record<string, string>;
    body?: string | undefined;
    redirect: 'manual' | 'follow';
    signal: AbortSignal;
  },
) => Promise<FetchResponse>;

/** What makes the requests, and how long each may take. */
export interface FetchOptions {
  /** Default: the platform's. */
  readonly fetch?: Fetch | undefined;
  /** Milliseconds until the answer begins; default 60 s. */
  readonly responseTimeout?: number | undefined;
  /** Milliseconds between two pieces of an answer; default 60 s. The whole may take any time. */
  readonly idleTimeout?: number | undefined;
}

/** One request in progress, with its timeouts: until the answer begins, then between two pieces of it. */
export class FetchAttempt {
  readonly #controller = new AbortController();
  readonly #options: FetchOptions;
  readonly #signal: AbortSignalLike | undefined;
  readonly #requestName: string;
  readonly #onAbort = (): void => {
    this.#stop('aborted');
  };
  #stopped: 'aborted' | 'timeout' | undefined;
  #reader: BodyReader | undefined;
  #finished = false;

  constructor(options: FetchOptions, requestName: string, signal: AbortSignalLike | undefined) {
    this.#options = options;
    this.#requestName = requestName;
    this.#signal = signal;
    signal?.addEventListener('abort', this.#onAbort);
    if (signal?.aborted) this.#onAbort();
  }

  async send(url: string, init: Omit<Parameters<Fetch>[1], 'signal'>): Promise<FetchResponse> {
    const fetch: Fetch = this.#options.fetch ?? globalThis.fetch;
    const { signal } = this.#controller;
    return this.#timed(this.#options.responseTimeout ?? 60_000, () => fetch(url, { ...init, signal }));
  }

  /** The next piece of the body; `undefined` at its end. */
  async next(response: FetchResponse): Promise<Uint8Array | undefined> {
    if (this.#finished) return undefined;
    if (!response.body) {
      this.#finished = true;
      // Null is an empty body; a platform without streams has no such property and gives the whole.
      if (response.body === null) return undefined;
      return new Uint8Array(await this.#timed(undefined, () => response.arrayBuffer()));
    }
    const reader = (this.#reader ??= response.body.getReader());
    const { done, value } = await this.#timed(this.#options.idleTimeout ?? 60_000, () => reader.read());
    if (!done) return value ?? new Uint8Array(0);
    this.#finished = true;
    return undefined;
  }

  /** The whole body; `undefined` if it is longer than the limit. */
  async readAll(response: FetchResponse, limit: number): Promise<Uint8Array | undefined> {
    const chunks: Uint8Array[] = [];
    let length = 0;
    for (let chunk = await this.next(response); chunk; chunk = await this.next(response)) {
      length += chunk.length;
      if (length > limit) return undefined;
      chunks.push(chunk);
    }
    return concatAll(chunks);
  }

  /** Closes the connection unless the body was read to its end. */
  close(): void {
    this.#signal?.removeEventListener('abort', this.#onAbort);
    if (this.#finished) return;
    this.#reader?.cancel().catch(() => undefined);
    this.#controller.abort();
  }

  /** Waits for one step, even if `fetch` ignores its signal. */
  async #timed<T>(limit: number | undefined, step: () => Promise<T>): Promise<T> {
    const timer =
      limit === undefined
        ? undefined
        : setTimeout(() => {
            this.#stop('timeout');
          }, limit);
    try {
      throwIfAborted(this.#controller.signal);
      return await raceAbort(step(), this.#controller.signal);
    } catch (cause) {
      if (!this.#stopped) {
        const message = `${this.#requestName}: the connection failed: ${reasonOf(cause)}`;
        throw new RequestError('network', message, { cause });
      }
      if (this.#stopped === 'timeout') {
        throw new RequestError('timeout', `${this.#requestName}: the server took too long`);
      }
      throw new RequestError('aborted', `${this.#requestName}: aborted by its signal`, {
        cause: this.#signal?.reason,
      });
    } finally {
      clearTimeout(timer);
    }
  }

  #stop(why: 'aborted' | 'timeout'): void {
    this.#stopped ??= why;
    this.#controller.abort();
  }
}

/** `fetch` hides the reason one level down. */
function reasonOf(error: unknown): string {
  const { cause } = (error ?? {}) as { cause?: unknown };
  return excerpt(messageOf(cause) ?? messageOf(error) ?? 'no reason given');
}

import type { AbortSignalLike } from '../engine/backend.js';
import { KeyBackupError } from '../engine/errors.js';
import { utf8Decode } from '../engine/utf8.js';
import { checkErrorBody } from '../api/check.js';
import type { ErrorBody } from '../api/types.js';
import { RequestError, type RequestCode } from './errors.js';
import { Retry, retryAfter, type RetryOptions } from './retry.js';

/** The part of an answer of `fetch` that is used; the platform's own fits. */
export interface FetchResponse {
  readonly status: number;
  readonly type?: string;
  readonly url?: string;
  readonly headers: { get(name: string): string | null };
  /** Absent in React Native, which has the body only as a whole. */
  readonly body?: { getReader(): BodyReader } | null;
  arrayBuffer(): Promise<ArrayBuffer>;
}

/** The part of the web's `ReadableStreamDefaultReader` that is used. */
export interface BodyReader {
  read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>;
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

/** How to reach a homeserver. */
export interface HomeserverOptions extends RetryOptions {
  /** `https://matrix.example.org`, with or without a path; {@link discoverHomeserver} finds it. */
  readonly baseUrl: string;
  /** Goes into the `Authorization` header and nowhere else. A function is asked before every request. */
  readonly accessToken?: string | (() => string | Promise<string>) | undefined;
  /** Default: the platform's. */
  readonly fetch?: Fetch | undefined;
  /** Milliseconds until the answer begins; default 60 s. */
  readonly answerTimeout?: number | undefined;
  /** Milliseconds between two pieces of an answer; default 60 s. The whole may take any time. */
  readonly idleTimeout?: number | undefined;
}

/** One request. */
export interface HttpRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Below the base URL; ids in it are encoded already, see {@link path}. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string | undefined>> | undefined;
  /** Sent as JSON; a string is JSON already. */
  readonly body?: unknown;
  /** Whether sending it twice does the same as once; default: every method but POST. */
  readonly idempotent?: boolean | undefined;
  /** Goes wherever the server sends it, and without the access token. Default false. */
  readonly followRedirects?: boolean | undefined;
  readonly signal?: AbortSignalLike | undefined;
}

/** An answer of more bytes than this is no answer to anything but a download. */
const MAX_ANSWER_BYTES = 4 << 20;
/** Of a refusal only so much is read. */
const MAX_ERROR_BYTES = 64 << 10;

/**
 * A homeserver and the right to talk to it: requests that are timed, repeated and refused in one way.
 *
 * The access token goes to this server only: redirects are not followed.
 *
 * @example
 * ```ts
 * import { Homeserver, RoomKeys } from 'megolm-backup/client';
 *
 * const homeserver = new Homeserver({
 *   baseUrl: 'https://matrix.example.org',
 *   accessToken: 'secret',
 *   onRetry: ({ error, delay }) => console.warn(error.message, delay),
 * });
 * const roomKeys = new RoomKeys(homeserver);
 * ```
 */
export class Homeserver {
  readonly #options: HomeserverOptions;
  readonly #baseUrl: string;
  readonly #retry: Retry;

  /** @throws {@link RequestError} `bad-parameters` for a base URL that is none, or is neither http nor https. */
  constructor(options: HomeserverOptions) {
    this.#options = options;
    this.#baseUrl = normalize(options.baseUrl);
    this.#retry = new Retry(options);
  }

  /** How this server's requests are repeated: for work that is more than one request. */
  get retry(): Retry {
    return this.#retry;
  }

  /**
   * Sends a request and reads its JSON answer, repeating it as long as that is safe and may help.
   *
   * @param check - Says whether a 2xx answer is one, by throwing `bad-json` or `missing-field`.
   * @throws {@link RequestError} with any of its codes.
   */
  async request<Answer>(request: HttpRequest, check: (value: unknown) => Answer): Promise<Answer> {
    const idempotent = request.idempotent ?? request.method !== 'POST';
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#once(request, check);
      } catch (error) {
        await this.#retry.wait(attempt, error, idempotent, request.signal);
      }
    }
  }

  /**
   * Sends a request once and gives the body of its answer as it arrives. What repeats it is the caller's loop,
   * since only the caller knows what it has read already.
   *
   * @returns Chunks; leaving the loop early closes the connection.
   * @throws {@link RequestError} with any of its codes.
   */
  async *download(request: HttpRequest): AsyncGenerator<Uint8Array, void, undefined> {
    const exchange = new Exchange(this.#options, request.signal);
    try {
      const response = await this.#send(exchange, request);
      for (;;) {
        const chunk = await exchange.next(response);
        if (!chunk) return;
        yield chunk;
      }
    } finally {
      exchange.close();
    }
  }

  async #once<Answer>(request: HttpRequest, check: (value: unknown) => Answer): Promise<Answer> {
    const exchange = new Exchange(this.#options, request.signal);
    try {
      const response = await this.#send(exchange, request);
      const bytes = await readAll(exchange, response, MAX_ANSWER_BYTES);
      if (!bytes) {
        const message = `${name(request)}: expected at most ${MAX_ANSWER_BYTES} bytes, got more`;
        throw new RequestError('bad-response', message, { status: response.status });
      }
      return readAnswer(request, response.status, bytes, check);
    } finally {
      exchange.close();
    }
  }

  /** The answer, when it is a 2xx. */
  async #send(exchange: Exchange, request: HttpRequest): Promise<FetchResponse> {
    const url = this.#baseUrl + request.path + queryString(request.query);
    const response = await exchange.send(url, await this.#init(request), name(request));
    if (response.status >= 200 && response.status < 300) {
      // A platform that follows redirects although it was told not to.
      if (request.followRedirects || !response.url || isSameOrigin(response.url, url)) return response;
      throw new RequestError('http', `${name(request)}: the answer came from another server`);
    }
    throw await refusal(request, exchange, response);
  }

  async #init(request: HttpRequest) {
    const { accessToken } = this.#options;
    const { method, body, followRedirects = false } = request;
    const redirect = followRedirects ? ('follow' as const) : ('manual' as const);
    const headers: Record<string, string> = { accept: 'application/json' };
    if (!followRedirects && accessToken !== undefined) {
      const token = typeof accessToken === 'function' ? await accessToken() : accessToken;
      headers.authorization = `Bearer ${token}`;
    }
    if (body === undefined) return { method, headers, redirect };
    headers['content-type'] = 'application/json';
    return { method, headers, redirect, body: typeof body === 'string' ? body : JSON.stringify(body) };
  }
}

/** Path segments, each percent-encoded once: ids may hold `/`, `%` and anything else. */
export function path(strings: TemplateStringsArray, ...ids: readonly string[]): string {
  return strings.reduce((joined, part, i) => joined + encodeId(ids[i - 1]) + part);
}

function encodeId(id: string): string {
  // However it is encoded, every URL parser takes such a segment for a directory.
  if (id === '.' || id === '..') {
    throw new RequestError('bad-parameters', 'id: expected one that a URL can name, got only dots');
  }
  try {
    return encodeURIComponent(id);
  } catch (cause) {
    throw new RequestError('bad-parameters', 'id: expected Unicode text, got a lone surrogate', { cause });
  }
}

/** One request on its way, with its clock: until the answer begins, then between two pieces of it. */
class Exchange {
  readonly #controller = new AbortController();
  readonly #options: HomeserverOptions;
  readonly #signal: AbortSignalLike | undefined;
  readonly #onAbort = (): void => {
    this.#stop('aborted');
  };
  #timer: ReturnType<typeof setTimeout> | undefined;
  #stopped: 'aborted' | 'timeout' | undefined;
  #rejectStopped: ((error: Error) => void) | undefined;
  #name = '';
  #reader: BodyReader | undefined;
  #finished = false;

  constructor(options: HomeserverOptions, signal: AbortSignalLike | undefined) {
    this.#options = options;
    this.#signal = signal;
    signal?.addEventListener('abort', this.#onAbort);
    if (signal?.aborted) this.#onAbort();
  }

  async send(
    url: string,
    init: Omit<Parameters<Fetch>[1], 'signal'>,
    requestName: string,
  ): Promise<FetchResponse> {
    this.#name = requestName;
    const fetch: Fetch = this.#options.fetch ?? globalThis.fetch;
    const { signal } = this.#controller;
    return this.#timed(this.#options.answerTimeout ?? 60_000, () => fetch(url, { ...init, signal }));
  }

  /** The next piece of the body; `undefined` at its end. */
  async next(response: FetchResponse): Promise<Uint8Array | undefined> {
    const idle = this.#options.idleTimeout ?? 60_000;
    if (this.#finished) return undefined;
    if (!response.body) {
      this.#finished = true;
      // Null is a body of nothing; a platform without streams has none at all and gives the whole.
      if (response.body === null) return undefined;
      return new Uint8Array(await this.#timed(undefined, () => response.arrayBuffer()));
    }
    const reader = (this.#reader ??= response.body.getReader());
    const { done, value } = await this.#timed(idle, () => reader.read());
    if (!done) return value ?? new Uint8Array(0);
    this.#finished = true;
    return undefined;
  }

  /** Ends the exchange wherever it is. */
  close(): void {
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener('abort', this.#onAbort);
    if (this.#finished) return;
    this.#reader?.cancel().catch(() => undefined);
    this.#controller.abort();
  }

  /** Waits for one step, not longer than the limit, and says in one way what went wrong. */
  async #timed<T>(limit: number | undefined, step: () => Promise<T>): Promise<T> {
    const stopped = new Promise<never>((_, reject) => {
      this.#rejectStopped = reject;
    });
    try {
      if (this.#stopped) throw this.#stoppedError();
      if (limit !== undefined) {
        this.#timer = setTimeout(() => {
          this.#stop('timeout');
        }, limit);
      }
      // A fetch that ignores its signal must not keep us waiting.
      return await Promise.race([step(), stopped]);
    } catch (cause) {
      if (this.#stopped) throw this.#stoppedError();
      throw new RequestError('network', `${this.#name}: the connection failed: ${reasonOf(cause)}`, {
        cause,
      });
    } finally {
      clearTimeout(this.#timer);
      this.#rejectStopped = undefined;
    }
  }

  #stop(why: 'aborted' | 'timeout'): void {
    this.#stopped ??= why;
    this.#rejectStopped?.(this.#stoppedError());
    this.#controller.abort();
  }

  #stoppedError(): RequestError {
    return this.#stopped === 'timeout'
      ? new RequestError('timeout', `${this.#name}: the server took too long`)
      : new RequestError('aborted', `${this.#name}: aborted by its signal`, { cause: this.#signal?.reason });
  }
}

/** The whole body; `undefined` when it is longer than the limit. */
async function readAll(
  exchange: Exchange,
  response: FetchResponse,
  limit: number,
): Promise<Uint8Array | undefined> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for (let chunk = await exchange.next(response); chunk; chunk = await exchange.next(response)) {
    length += chunk.length;
    if (length > limit) return undefined;
    chunks.push(chunk);
  }
  const bytes = new Uint8Array(length);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}

function readAnswer<Answer>(
  request: HttpRequest,
  status: number,
  bytes: Uint8Array,
  check: (value: unknown) => Answer,
): Answer {
  try {
    return check(parse(bytes));
  } catch (cause) {
    if (cause instanceof RequestError) throw cause;
    if (!(cause instanceof KeyBackupError)) throw cause;
    throw new RequestError('bad-response', `${name(request)}: the answer: ${cause.message}`, {
      status,
      cause,
    });
  }
}

function parse(bytes: Uint8Array): unknown {
  const text = utf8Decode(bytes, 'the body');
  try {
    return JSON.parse(text) as unknown;
  } catch {
    // The platform's error quotes the text.
    throw new KeyBackupError('bad-json', 'expected JSON, got something else');
  }
}

/** What a status other than 2xx means. */
async function refusal(
  request: HttpRequest,
  exchange: Exchange,
  response: FetchResponse,
): Promise<RequestError> {
  const { status } = response;
  if (response.type === 'opaqueredirect' || (status >= 300 && status < 400)) {
    return new RequestError(
      'http',
      `${name(request)}: the server redirects elsewhere, which is not followed`,
      {
        status: status === 0 ? undefined : status,
      },
    );
  }
  const body = await errorBody(exchange, response);
  const { errcode, current_version } = body;
  const said = [errcode, body.error?.slice(0, 300)].filter(Boolean).join(' ');
  return new RequestError(
    codeOf(status, errcode),
    `${name(request)}: status ${status}${said === '' ? '' : `: ${said}`}`,
    {
      status,
      errcode,
      current_version,
      ...((status === 429 || status === 503) && {
        retry_after_ms: retryAfter(response.headers.get('retry-after'), body.retry_after_ms, Date.now()),
      }),
    },
  );
}

/** An error page of a proxy says nothing, and neither does one that breaks off. */
async function errorBody(exchange: Exchange, response: FetchResponse): Promise<Partial<ErrorBody>> {
  try {
    const bytes = await readAll(exchange, response, MAX_ERROR_BYTES);
    return bytes ? checkErrorBody(parse(bytes)) : {};
  } catch (error) {
    if (error instanceof RequestError && error.code === 'aborted') throw error;
    return {};
  }
}

function codeOf(status: number, errcode: string | undefined): RequestCode {
  if (status === 429) return 'rate-limited';
  if (status === 413) return 'too-large';
  if (status === 401) return 'unauthorized';
  if (status === 403 && errcode === 'M_WRONG_ROOM_KEYS_VERSION') return 'wrong-version';
  if (status === 404 && errcode === 'M_NOT_FOUND') return 'not-found';
  return 'http';
}

function name({ method, path: requestPath }: HttpRequest): string {
  return `${method} ${requestPath}`;
}

function queryString(query: Readonly<Record<string, string | undefined>> = {}): string {
  const parts = Object.entries(query).flatMap(([key, value]) =>
    value === undefined ? [] : [`${encodeURIComponent(key)}=${encodeURIComponent(value)}`],
  );
  return parts.length === 0 ? '' : `?${parts.join('&')}`;
}

/** By a pattern, since React Native's URL has no parts. */
function normalize(baseUrl: string): string {
  if (!/^https?:\/\/[^/?#@\s\\]+(\/[^?#\s\\]*)?$/i.test(baseUrl)) {
    throw new RequestError(
      'bad-parameters',
      'baseUrl: expected an http or https URL without credentials or query',
    );
  }
  return baseUrl.replace(/\/+$/, '');
}

/** Whether an answer came from where the request went; true where the platform cannot tell. */
function isSameOrigin(a: string, b: string): boolean {
  try {
    return new URL(a).origin === new URL(b).origin;
  } catch {
    return true;
  }
}

/** `fetch` hides the reason one level down. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return 'no reason given';
  return error.cause instanceof Error ? error.cause.message : error.message;
}

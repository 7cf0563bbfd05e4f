import { type AbortSignalLike, callback, isFromCallback, raceAbort } from '../async.js';
import { KeyBackupError } from '../errors.js';
import { RequestError } from './errors.js';
import { Exchange, readAll, type ExchangeOptions, type FetchResponse } from './fetch-attempt.js';
import { parseAnswer, refusal } from './http-error.js';
import { Retry, type RetryOptions } from './retry.js';
import { excerpt } from '../encoding/quote.js';

/** How to reach a homeserver. */
export interface HomeserverOptions extends RetryOptions, ExchangeOptions {
  /** `https://matrix.example.org`, with or without a path; {@link discoverHomeserver} finds it. */
  readonly baseUrl: string;
  /** Goes into the `Authorization` header and nowhere else. A function is asked before every request. */
  readonly accessToken?: string | (() => string | Promise<string>) | undefined;
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
    const accessToken = await this.#accessToken(request);
    const response = await exchange.send(url, init(request, accessToken), name(request));
    if (response.status >= 200 && response.status < 300) {
      // A platform that follows redirects although it was told not to.
      if (request.followRedirects || !response.url || isSameOrigin(response.url, url)) return response;
      throw new RequestError('http', `${name(request)}: the answer came from another server`);
    }
    throw await refusal(name(request), request.query?.version, accessToken, exchange, response);
  }

  async #accessToken(request: HttpRequest): Promise<string | undefined> {
    const { accessToken } = this.#options;
    if (request.followRedirects || accessToken === undefined) return undefined;
    return expectHeaderText(
      typeof accessToken === 'function' ? await given(accessToken, request) : accessToken,
    );
  }
}

function init({ method, body, followRedirects = false }: HttpRequest, accessToken: string | undefined) {
  const redirect = followRedirects ? ('follow' as const) : ('manual' as const);
  const headers: Record<string, string> = { accept: 'application/json' };
  if (accessToken !== undefined) headers.authorization = `Bearer ${accessToken}`;
  if (body === undefined) return { method, headers, redirect };
  headers['content-type'] = 'application/json';
  return { method, headers, redirect, body: typeof body === 'string' ? body : JSON.stringify(body) };
}

/** A token that is made for this request, waited for no longer than until its signal aborts. */
async function given(accessToken: () => string | Promise<string>, request: HttpRequest): Promise<string> {
  const { signal } = request;
  try {
    return await raceAbort(
      callback(async () => accessToken()),
      signal,
    );
  } catch (error) {
    if (!signal?.aborted || isFromCallback(error)) throw error;
    throw new RequestError('aborted', `${name(request)}: aborted by its signal`, { cause: signal.reason });
  }
}

/** The token without white space around it. `fetch` itself would quote it in its complaint. */
function expectHeaderText(token: string): string {
  if (typeof token === 'string') {
    const text = token.replace(/^[\t\n\r ]+|[\t\n\r ]+$/g, '');
    if (/^[\t\x20-\x7e\x80-\xff]*$/.test(text)) return text;
  }
  throw new RequestError(
    'bad-parameters',
    'accessToken: expected text that a header can hold, got a line break or another character that it cannot',
  );
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

function readAnswer<Answer>(
  request: HttpRequest,
  status: number,
  bytes: Uint8Array,
  check: (value: unknown) => Answer,
): Answer {
  try {
    return check(parseAnswer(bytes));
  } catch (cause) {
    if (cause instanceof RequestError) throw cause;
    if (!(cause instanceof KeyBackupError)) throw cause;
    throw new RequestError('bad-response', `${name(request)}: the answer: ${cause.message}`, {
      status,
      cause,
    });
  }
}

function name({ method, path: requestPath }: HttpRequest): string {
  return `${method} ${excerpt(requestPath)}`;
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

import { type AbortSignalLike, callback, isFromCallback, raceAbort } from '../async.js';
import { expectFunction, expectOptions, expectText } from '../encoding/arguments.js';
import { expectObject, plainJson, type JsonObject } from '../encoding/json.js';
import { excerpt } from '../encoding/quote.js';
import { utf8Decode } from '../encoding/utf8.js';
import { KeyBackupError, describe } from '../errors.js';
import type { ErrorBody } from '../wire/types.js';
import { checkErrorBody } from '../wire/validate.js';
import { FetchAttempt, type FetchOptions, type FetchResponse } from './fetch-attempt.js';
import { RequestError, httpError } from './http-error.js';
import { Retry, type RetryOptions } from './retry.js';

/** How to reach a homeserver. */
export interface HomeserverOptions extends RetryOptions, FetchOptions {
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
  /** Follows redirects, and sends no access token. Default false. */
  readonly followRedirects?: boolean | undefined;
  readonly signal?: AbortSignalLike | undefined;
}

/** The longest answer that is read whole. */
const MAX_ANSWER_BYTES = 4 << 20;
/** The longest error that is read. */
const MAX_ERROR_BYTES = 64 << 10;

/**
 * A homeserver and an access token: sends requests with timeouts and retries.
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
  /** Repeats work that is more than one request, by the options of this server. */
  readonly retry: Retry;

  /** @throws {@link RequestError} `bad-parameters` unless the base URL is an http or https URL. */
  constructor(options: HomeserverOptions) {
    expectOptions(options);
    this.#options = options;
    this.#baseUrl = normalize(options.baseUrl);
    this.retry = new Retry(options);
  }

  /**
   * Sends a request and reads its JSON answer, repeating it as long as that is safe and may help.
   *
   * @param check - Validates a 2xx answer; throws `bad-json` or `missing-field`.
   * @throws {@link RequestError} with any of its codes.
   */
  async request<Answer>(request: HttpRequest, check: (value: unknown) => Answer): Promise<Answer> {
    expectRequest(request);
    expectFunction(check, 'check');
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#once(request, check);
      } catch (error) {
        await this.retry.wait(attempt, error, request.method !== 'POST', request.signal);
      }
    }
  }

  /**
   * Sends a request once and gives the body of its answer as it arrives. It is not repeated here, since only the
   * caller knows what it has read already.
   *
   * @returns Chunks; leaving the loop early closes the connection.
   * @throws {@link RequestError} with any of its codes.
   */
  async *download(request: HttpRequest): AsyncGenerator<Uint8Array, void, undefined> {
    expectRequest(request);
    const attempt = new FetchAttempt(this.#options, name(request), request.signal);
    try {
      const response = await this.#send(attempt, request);
      for (let chunk = await attempt.next(response); chunk; chunk = await attempt.next(response)) yield chunk;
    } finally {
      attempt.close();
    }
  }

  async #once<Answer>(request: HttpRequest, check: (value: unknown) => Answer): Promise<Answer> {
    const attempt = new FetchAttempt(this.#options, name(request), request.signal);
    try {
      const response = await this.#send(attempt, request);
      const bytes = await attempt.readAll(response, MAX_ANSWER_BYTES);
      if (!bytes) {
        const message = `${name(request)}: expected at most ${MAX_ANSWER_BYTES} bytes, got more`;
        throw new RequestError('bad-response', message, { status: response.status });
      }
      return readAnswer(request, response.status, bytes, check);
    } finally {
      attempt.close();
    }
  }

  /** The answer, when it is a 2xx. */
  async #send(attempt: FetchAttempt, request: HttpRequest): Promise<FetchResponse> {
    const url = this.#baseUrl + request.path + queryString(request.query);
    const accessToken = await this.#accessToken(request);
    const response = await attempt.send(url, init(request, accessToken));
    this.retry.hasAnswered = true;
    if (response.status >= 200 && response.status < 300) {
      // A platform that follows redirects although it was told not to.
      if (request.followRedirects || !response.url || isSameOrigin(response.url, url)) return response;
      throw new RequestError('http', `${name(request)}: the answer came from another server`);
    }
    throw await failedAnswer(attempt, request, response, accessToken);
  }

  async #accessToken(request: HttpRequest): Promise<string | undefined> {
    const { accessToken } = this.#options;
    if (request.followRedirects || accessToken === undefined) return undefined;
    return expectHeaderText(
      typeof accessToken === 'function' ? await given(accessToken, request) : accessToken,
    );
  }
}

/** The error for an answer with a status other than 2xx. */
async function failedAnswer(
  attempt: FetchAttempt,
  request: HttpRequest,
  response: FetchResponse,
  accessToken: string | undefined,
): Promise<RequestError> {
  const { status } = response;
  const requestName = name(request);
  if (response.type === 'opaqueredirect' || (status >= 300 && status < 400)) {
    return new RequestError('http', `${requestName}: the server redirects elsewhere, which is not followed`, {
      status: status === 0 ? undefined : status,
    });
  }
  return httpError({
    requestName,
    askedVersion: request.query?.version,
    accessToken,
    status,
    body: await errorBody(attempt, response),
    retryAfter: response.headers.get('retry-after'),
  });
}

/** The Matrix error in an answer; empty for the error page of a proxy, and for an answer that breaks off. */
async function errorBody(attempt: FetchAttempt, response: FetchResponse): Promise<Partial<ErrorBody>> {
  try {
    const bytes = await attempt.readAll(response, MAX_ERROR_BYTES);
    return bytes ? checkErrorBody(parseAnswer(bytes)) : {};
  } catch (error) {
    if (error instanceof RequestError && error.code === 'aborted') throw error;
    return {};
  }
}

function init({ method, body, followRedirects = false }: HttpRequest, accessToken: string | undefined) {
  const redirect = followRedirects ? ('follow' as const) : ('manual' as const);
  const headers: Record<string, string> = { accept: 'application/json' };
  if (accessToken !== undefined) headers.authorization = `Bearer ${accessToken}`;
  if (body === undefined) return { method, headers, redirect };
  headers['content-type'] = 'application/json';
  return { method, headers, redirect, body: jsonOf(body) };
}

function jsonOf(body: unknown): string {
  if (typeof body === 'string') return body;
  try {
    const json = JSON.stringify(plainJson(body, 'body')) as string | undefined;
    if (json !== undefined) return json;
  } catch (cause) {
    throw new RequestError('bad-parameters', 'body: expected JSON, got what cannot be written as it', {
      cause,
    });
  }
  throw new RequestError('bad-parameters', `body: expected JSON, got ${describe(body)}`);
}

function expectRequest(request: HttpRequest): void {
  expectOptions(request, 'request');
  expectText(request.method, 'request.method');
  expectText(request.path, 'request.path');
}

/** A token made for this request; the wait ends when its signal aborts. */
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

/** The token, trimmed and checked here, because `fetch` would quote a bad one in its error. */
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

/** @throws {@link KeyBackupError} `bad-json` unless the body of an answer is an object. */
export function expectBody(value: unknown): JsonObject {
  return expectObject(value, 'the body');
}

/** Path segments, each percent-encoded once: ids may hold `/`, `%` and anything else. */
export function path(strings: TemplateStringsArray, ...ids: readonly string[]): string {
  return strings.reduce((joined, part, i) => joined + encodeId(ids[i - 1]) + part);
}

function encodeId(id: string): string {
  expectText(id, 'id');
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
    if (cause instanceof RequestError || !(cause instanceof KeyBackupError)) throw cause;
    throw new RequestError('bad-response', `${name(request)}: the answer: ${cause.message}`, {
      status,
      cause,
    });
  }
}

function parseAnswer(bytes: Uint8Array): unknown {
  const text = utf8Decode(bytes, 'the body');
  try {
    return JSON.parse(text) as unknown;
  } catch {
    // The platform's error quotes the text.
    if (text.startsWith('{') && !text.trimEnd().endsWith('}')) {
      throw new KeyBackupError('truncated', 'the body ended before its last brace');
    }
    throw new KeyBackupError('bad-json', 'expected JSON, got something else');
  }
}

function name({ method, path: requestPath }: HttpRequest): string {
  return `${method} ${excerpt(requestPath)}`;
}

function queryString(query: Readonly<Record<string, string | undefined>> = {}): string {
  const parts = Object.entries(query).flatMap(([key, value]) =>
    value === undefined ? [] : [`${encodeURIComponent(key)}=${encodeURIComponent(expectText(value, key))}`],
  );
  return parts.length === 0 ? '' : `?${parts.join('&')}`;
}

/** By a pattern, since React Native's URL has no parts. */
function normalize(baseUrl: string): string {
  expectText(baseUrl, 'baseUrl');
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

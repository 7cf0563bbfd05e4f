import { isFromCallback } from '../async.js';
import { excerpt, quote } from '../encoding/quote.js';
import { KeyBackupError, type ErrorCode } from '../errors.js';
import type { ErrorBody } from '../wire/types.js';

/** The codes of {@link RequestError}. */
export type RequestCode = Extract<
  ErrorCode,
  | 'http'
  | 'network'
  | 'timeout'
  /** `M_LIMIT_EXCEEDED`, or status 429. */
  | 'rate-limited'
  | 'unauthorized'
  | 'not-found'
  | 'wrong-version'
  | 'bad-response'
  /** `M_TOO_LARGE`, or status 413. */
  | 'too-large'
  | 'bad-parameters'
  | 'aborted'
>;

/** What an answer said besides its code. */
export interface AnswerFacts {
  /** The HTTP status; absent when no answer came. */
  readonly status?: number | undefined;
  /** The Matrix error code, `M_...`. */
  readonly errcode?: string | undefined;
  /**
   * With `wrong-version`: the current version, if the server names one. Absent if it names the one it has just
   * rejected, as Synapse does; then ask `RoomKeys.currentVersion`.
   */
  readonly current_version?: string | undefined;
  /** With `rate-limited` and status 503: how many milliseconds the server asks to wait, without an upper limit. */
  readonly retry_after_ms?: number | undefined;
}

/**
 * A failed request: a {@link KeyBackupError} with what the server said.
 *
 * @example
 * ```ts
 * import { RequestError, type RoomKeys } from 'megolm-backup/client';
 *
 * async function isCurrent(roomKeys: RoomKeys, version: string) {
 *   try {
 *     await roomKeys.putKeys(version, { rooms: {} });
 *     return true;
 *   } catch (error) {
 *     if (error instanceof RequestError && error.code === 'wrong-version') return false;
 *     throw error;
 *   }
 * }
 * ```
 */
export class RequestError extends KeyBackupError implements AnswerFacts {
  declare readonly code: RequestCode;
  readonly status: number | undefined;
  readonly errcode: string | undefined;
  readonly current_version: string | undefined;
  readonly retry_after_ms: number | undefined;

  constructor(code: RequestCode, message: string, facts: AnswerFacts & { readonly cause?: unknown } = {}) {
    super(code, message, { cause: facts.cause });
    this.status = facts.status;
    this.errcode = facts.errcode;
    this.current_version = facts.current_version;
    this.retry_after_ms = facts.retry_after_ms;
  }
}

/** Whether the error comes from a request of this package, and not from one that a callback made. */
export function isRequestError(error: unknown): error is RequestError {
  return error instanceof RequestError && !isFromCallback(error);
}

/** The answer; `undefined` if the server does not have what was asked for. */
export async function unlessMissing<Answer>(answer: Promise<Answer>): Promise<Answer | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (isRequestError(error) && error.code === 'not-found') return undefined;
    throw error;
  }
}

/** An answer with a status other than 2xx, and what it answers. */
export interface FailedAnswer {
  readonly requestName: string;
  /** The backup version that the request was about. */
  readonly askedVersion: string | undefined;
  /** The token that was sent: a server may repeat it in its text. */
  readonly accessToken: string | undefined;
  readonly status: number;
  /** The `Retry-After` header. */
  readonly retryAfter: string | null;
  readonly body: Partial<ErrorBody>;
}

/** What an answer with a status other than 2xx means. */
export function httpError(answer: FailedAnswer): RequestError {
  const { requestName, askedVersion, accessToken, status, body } = answer;
  const errcode = body.errcode && redact(body.errcode, accessToken);
  const said = [errcode && excerpt(errcode), body.error && quote(redact(body.error, accessToken))]
    .filter(Boolean)
    .join(' ');
  const code = codeOf(status, errcode);
  return new RequestError(code, `${requestName}: status ${status}${said === '' ? '' : `: ${said}`}`, {
    status,
    errcode,
    // Synapse repeats the version that it has just rejected.
    current_version: body.current_version === askedVersion ? undefined : body.current_version,
    ...((code === 'rate-limited' || status === 503) && {
      retry_after_ms: retryAfterOf(answer.retryAfter) ?? body.retry_after_ms,
    }),
  });
}

/** Removes the access token from a text. A token of less than 8 characters could be any word, and is no secret. */
function redact(text: string, accessToken = ''): string {
  return accessToken.length < 8 ? text : text.replaceAll(accessToken, '***');
}

/** The errcode decides, since servers and proxies disagree about the status. */
function codeOf(status: number, errcode: string | undefined): RequestCode {
  switch (errcode) {
    case 'M_WRONG_ROOM_KEYS_VERSION':
      return 'wrong-version';
    case 'M_NOT_FOUND':
      return 'not-found';
    case 'M_MISSING_TOKEN':
    case 'M_UNKNOWN_TOKEN':
      return 'unauthorized';
    case 'M_LIMIT_EXCEEDED':
      return 'rate-limited';
    case 'M_TOO_LARGE':
      return 'too-large';
  }
  switch (status) {
    case 401:
      return 'unauthorized';
    case 413:
      return 'too-large';
    case 429:
      return 'rate-limited';
    default:
      return 'http';
  }
}

/** The milliseconds of a `Retry-After` header, which holds seconds or a date; `undefined` if it holds neither. */
function retryAfterOf(header: string | null): number | undefined {
  const text = header?.trim() ?? '';
  if (/^\d+$/.test(text)) return Number(text) * 1000;
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}

/**
 * Whether a rejected `PUT` of keys is about the keys in it, so that some of them may pass. A 400 with another errcode,
 * or from a proxy, is not: servers of the Conduit family answer `M_INVALID_PARAM` for an old version.
 */
export function isAboutKeys({ code, errcode }: RequestError): boolean {
  return code === 'too-large' || errcode === 'M_BAD_JSON';
}

/** Whether the same request may succeed later. */
export function mayPassLater(error: RequestError): boolean {
  switch (error.code) {
    case 'network':
    case 'timeout':
    case 'bad-response':
    case 'rate-limited':
      return true;
    case 'http':
      return error.status !== 400 && !isAboutKeys(error);
    default:
      return false;
  }
}

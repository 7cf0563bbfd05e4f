import { checkErrorBody } from '../wire/validate.js';
import type { ErrorBody } from '../wire/types.js';
import { KeyBackupError } from '../errors.js';
import { utf8Decode } from '../encoding/utf8.js';
import { RequestError, type RequestCode } from './errors.js';
import { readAll, type FetchAttempt, type FetchResponse } from './fetch-attempt.js';
import { retryAfter } from './retry.js';
import { excerpt, quote } from '../encoding/quote.js';

/** Of a refusal only so much is read. */
const MAX_ERROR_BYTES = 64 << 10;

/**
 * What a status other than 2xx means.
 *
 * @param askedVersion - The backup version that the request was about.
 * @param accessToken - What was sent, lest the server's text repeat it.
 */
export async function httpError(
  requestName: string,
  askedVersion: string | undefined,
  accessToken: string | undefined,
  attempt: FetchAttempt,
  response: FetchResponse,
): Promise<RequestError> {
  const { status } = response;
  if (response.type === 'opaqueredirect' || (status >= 300 && status < 400)) {
    return new RequestError('http', `${requestName}: the server redirects elsewhere, which is not followed`, {
      status: status === 0 ? undefined : status,
    });
  }
  const body = await errorBody(attempt, response);
  const { current_version } = body;
  const errcode = body.errcode && redacted(body.errcode, accessToken);
  const said = [errcode && excerpt(errcode), body.error && quote(redacted(body.error, accessToken))]
    .filter(Boolean)
    .join(' ');
  const code = codeOf(status, errcode);
  return new RequestError(code, `${requestName}: status ${status}${said === '' ? '' : `: ${said}`}`, {
    status,
    errcode,
    // Synapse repeats the version that it has just refused.
    current_version: current_version === askedVersion ? undefined : current_version,
    ...((code === 'rate-limited' || status === 503) && {
      retry_after_ms: retryAfter(response.headers.get('retry-after'), body.retry_after_ms, Date.now()),
    }),
  });
}

/** A text of the server without the access token. A token this short could be any word, and is no secret. */
function redacted(text: string, accessToken = ''): string {
  return accessToken.length < 8 ? text : text.replaceAll(accessToken, '***');
}

/** An error page of a proxy says nothing, and neither does one that breaks off. */
async function errorBody(attempt: FetchAttempt, response: FetchResponse): Promise<Partial<ErrorBody>> {
  try {
    const bytes = await readAll(attempt, response, MAX_ERROR_BYTES);
    return bytes ? checkErrorBody(parseAnswer(bytes)) : {};
  } catch (error) {
    if (error instanceof RequestError && error.code === 'aborted') throw error;
    return {};
  }
}

/** The errcode decides, whatever the status: servers and proxies disagree about that one. */
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

/**
 * Whether a refusal of a `PUT` of keys is about the keys in it, so that a part of them may pass. A 400 with another
 * errcode, or from a proxy, is not: `M_INVALID_PARAM` is what servers of the Conduit family say of an old version.
 */
export function isAboutKeys({ code, errcode }: RequestError): boolean {
  return code === 'too-large' || errcode === 'M_BAD_JSON';
}

/** Whether a request that is refused now may succeed later, with nothing changed. */
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

/** The JSON of an answer. */
export function parseAnswer(bytes: Uint8Array): unknown {
  const text = utf8Decode(bytes, 'the body');
  try {
    return JSON.parse(text) as unknown;
  } catch {
    // The platform's error quotes the text.
    throw new KeyBackupError('bad-json', 'expected JSON, got something else');
  }
}

import { checkErrorBody } from '../api/check.js';
import type { ErrorBody } from '../api/types.js';
import { KeyBackupError } from '../engine/errors.js';
import { utf8Decode } from '../engine/utf8.js';
import { RequestError, type RequestCode } from './errors.js';
import { readAll, type Exchange, type FetchResponse } from './exchange.js';
import { retryAfter } from './retry.js';

/** Of a refusal only so much is read. */
const MAX_ERROR_BYTES = 64 << 10;

/** What a status other than 2xx means. */
export async function refusal(
  requestName: string,
  exchange: Exchange,
  response: FetchResponse,
): Promise<RequestError> {
  const { status } = response;
  if (response.type === 'opaqueredirect' || (status >= 300 && status < 400)) {
    return new RequestError('http', `${requestName}: the server redirects elsewhere, which is not followed`, {
      status: status === 0 ? undefined : status,
    });
  }
  const body = await errorBody(exchange, response);
  const { errcode, current_version } = body;
  const said = [errcode, body.error?.slice(0, 300)].filter(Boolean).join(' ');
  return new RequestError(
    codeOf(status, errcode),
    `${requestName}: status ${status}${said === '' ? '' : `: ${said}`}`,
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
    return bytes ? checkErrorBody(parseAnswer(bytes)) : {};
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

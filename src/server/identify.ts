import { expectArray, expectOptions, expectText } from '../encoding/arguments.js';
import { createHash } from 'node:crypto';
import { parseJsonBytes } from '../encoding/json.js';
import { describe } from '../errors.js';
import { MatrixError } from './http.js';

/** The user, and the device if known, that makes a request. */
export interface Caller {
  readonly user_id: string;
  readonly device_id?: string | undefined;
}

/**
 * Finds the caller of a request by its headers and, for an appservice, `?user_id=`.
 *
 * Called before the body is read. Rejects with {@link MatrixError} where there is no valid caller.
 */
export type IdentifyCaller = (request: Request) => Promise<Caller>;

/** An entry of a tokens file. */
export interface StaticToken extends Caller {
  /** SHA-256 of the token in lower-case hexadecimal. */
  readonly sha256: string;
}

/**
 * Identifies callers by a fixed list of hashed tokens.
 *
 * A token is hashed before it is looked up, so the time of the look-up says nothing about the tokens.
 */
export function identifyByTokens(tokens: readonly StaticToken[]): IdentifyCaller {
  expectArray(tokens, 'tokens');
  const callers = new Map(
    tokens.map((token) => {
      expectOptions(token, 'token');
      const { sha256: hash, ...caller } = token;
      return [expectText(hash, 'sha256').toLowerCase(), caller];
    }),
  );
  return (request) => {
    const caller = callers.get(sha256(bearerToken(request)));
    return caller
      ? Promise.resolve(caller)
      : Promise.reject(new MatrixError(401, 'M_UNKNOWN_TOKEN', 'Unrecognised access token'));
  };
}

/** How to ask the homeserver. */
export interface HomeserverOptions {
  /** Default: the platform's. */
  readonly fetch?: typeof globalThis.fetch;
  /** Milliseconds since 1970; for tests. */
  readonly now?: () => number;
  /** How long an answer is valid, in milliseconds, and so a revoked token. At most, and default, 60,000. */
  readonly cacheMilliseconds?: number;
  /** Default 10,000. */
  readonly timeoutMilliseconds?: number;
}

/** Answers in the cache at most. */
const CACHED = 10_000;
const MAX_CACHE_MILLISECONDS = 60_000;

/**
 * Identifies callers by asking the homeserver, `GET /_matrix/client/v3/account/whoami` with the caller's own
 * token. Only its answer counts.
 *
 * An appservice's `?user_id=` is passed on. Only successes are remembered, by a hash of token and user id, for
 * a minute at most: that is how long a revoked token may still work.
 *
 * @param url - The homeserver's base URL.
 * @returns A function that rejects with {@link MatrixError} 401 as the homeserver did, 403
 * `M_GUEST_ACCESS_FORBIDDEN` for guests, 503 when the homeserver gives no proper answer.
 */
export function identifyByHomeserver(url: string, options: HomeserverOptions = {}): IdentifyCaller {
  expectText(url, 'url');
  expectOptions(options);
  const { fetch = globalThis.fetch, now = Date.now, timeoutMilliseconds = 10_000 } = options;
  const keep = Math.min(options.cacheMilliseconds ?? MAX_CACHE_MILLISECONDS, MAX_CACHE_MILLISECONDS);
  const cache = new Map<string, { readonly caller: Caller; readonly until: number }>();

  return async (request) => {
    const token = bearerToken(request);
    const asUser = new URL(request.url).searchParams.get('user_id');
    const key = sha256(JSON.stringify([token, asUser]));
    const time = now();
    const known = cache.get(key);
    if (known && time < known.until) return known.caller;
    cache.delete(key);

    const whoami = new URL('/_matrix/client/v3/account/whoami', url);
    if (asUser !== null) whoami.searchParams.set('user_id', asUser);
    let status: number;
    let answer: unknown;
    try {
      const response = await fetch(whoami, {
        headers: { authorization: `Bearer ${token}`, accept: 'application/json' },
        redirect: 'error',
        signal: AbortSignal.timeout(timeoutMilliseconds),
      });
      status = response.status;
      answer = parseJsonBytes(new Uint8Array(await response.arrayBuffer()));
    } catch {
      throw unreachable();
    }
    const caller = readWhoami(status, answer);
    if (cache.size >= CACHED) {
      for (const [other, { until }] of cache) if (until <= time) cache.delete(other);
      if (cache.size >= CACHED) cache.clear();
    }
    cache.set(key, { caller, until: time + keep });
    return caller;
  };
}

function readWhoami(status: number, answer: unknown): Caller {
  const body = (typeof answer === 'object' && answer !== null ? answer : {}) as Record<string, unknown>;
  if (status === 401 || status === 403) {
    const errcode =
      typeof body.errcode === 'string' && /^M_[A-Z_]+$/.test(body.errcode) ? body.errcode : null;
    throw new MatrixError(
      status,
      errcode ?? (status === 401 ? 'M_UNKNOWN_TOKEN' : 'M_FORBIDDEN'),
      'The homeserver does not accept this access token.',
      // Tells a client that it may refresh its token.
      body.soft_logout === true ? { fields: { soft_logout: true } as object } : {},
    );
  }
  if (status !== 200 || typeof body.user_id !== 'string' || !isUserId(body.user_id)) throw unreachable();
  if (body.is_guest === true) {
    throw new MatrixError(403, 'M_GUEST_ACCESS_FORBIDDEN', 'Guests have no key backup.');
  }
  return typeof body.device_id === 'string' && !body.device_id.includes('\0')
    ? { user_id: body.user_id, device_id: body.device_id }
    : { user_id: body.user_id };
}

function unreachable(): MatrixError {
  return new MatrixError(503, 'M_UNKNOWN', 'The homeserver did not answer whose access token this is.', {
    headers: { 'retry-after': '5' },
  });
}

/** The token in the header. One in the query would land in logs, so it does not count. */
function bearerToken(request: Request): string {
  const token = /^Bearer +(\S+)$/i.exec(request.headers.get('authorization') ?? '')?.[1];
  if (token === undefined) {
    throw new MatrixError(401, 'M_MISSING_TOKEN', 'Expected an access token in the Authorization header.');
  }
  return token;
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/**
 * Reads a tokens file: `[{"sha256": HEX, "user_id": ID, "device_id": ID}, …]`.
 *
 * @throws Error naming the entry that is wrong.
 */
export function parseTokensFile(bytes: Uint8Array): readonly StaticToken[] {
  let entries: unknown;
  try {
    entries = parseJsonBytes(bytes);
  } catch (cause) {
    throw new Error('the tokens file: expected JSON, got something else', { cause });
  }
  if (!Array.isArray(entries))
    throw new Error(`the tokens file: expected an array, got ${describe(entries)}`);
  if (entries.length === 0) throw new Error('the tokens file: expected a token, got none');
  return entries.map((entry: unknown, i): StaticToken => {
    const { sha256: hash, user_id, device_id } = (entry ?? {}) as Record<string, unknown>;
    if (typeof hash !== 'string' || !/^[0-9a-fA-F]{64}$/.test(hash)) {
      throw new Error(
        `the tokens file, [${i}].sha256: expected 64 hexadecimal digits, got ${describe(hash)}`,
      );
    }
    if (typeof user_id !== 'string' || !isUserId(user_id)) {
      throw new Error(
        `the tokens file, [${i}].user_id: expected a user id like @name:server, got ${describe(user_id)}`,
      );
    }
    if (device_id !== undefined && (typeof device_id !== 'string' || device_id.includes('\0'))) {
      throw new Error(`the tokens file, [${i}].device_id: expected a string, got ${describe(device_id)}`);
    }
    return { sha256: hash, user_id, device_id };
  });
}

/** Lenient: any id of a homeserver is accepted unless a database could not hold it. */
function isUserId(text: string): boolean {
  return text.startsWith('@') && text.length <= 1024 && !text.includes('\0');
}

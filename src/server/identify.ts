import { createHash } from 'node:crypto';
import { now } from '../async.js';
import { expectArray, expectOptions, expectText } from '../encoding/arguments.js';
import { concatAll } from '../encoding/bytes.js';
import { parseJsonBytes } from '../encoding/json.js';
import { describe } from '../errors.js';
import { MatrixError, limitExceeded } from './matrix-error.js';
import { createRateLimit, forgetOldest, type RateLimit } from './rate-limit.js';
import { MAX_ID, isLonger } from './store.js';

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
  /** Milliseconds that never go back; for tests. */
  readonly now?: () => number;
  /** How long an answer is valid, in milliseconds, and so a revoked token. At most, and default, 60,000. */
  readonly cacheMilliseconds?: number;
  /** For the whole answer. Default 10,000. */
  readonly timeoutMilliseconds?: number;
}

/** Answers in a cache at most. */
const CACHED = 10_000;
const MAX_CACHE_MILLISECONDS = 60_000;
/** How long a rejection is remembered: long enough for a burst of requests, short enough for a new token. */
const REJECTED_MILLISECONDS = 5_000;
/** Rejections of a token whatever user it is used for; others may be about the user. */
const ABOUT_TOKEN = ['M_UNKNOWN_TOKEN', 'M_GUEST_ACCESS_FORBIDDEN'];
/** How long the homeserver is left alone with a token that it gave no proper answer for. */
const UNREACHABLE_MILLISECONDS = 1_000;
/** Questions at once. */
const MAX_QUESTIONS = 100;
/** Requests that wait for the question of one token. */
const MAX_WAITING = 100;
/** How often one token may be asked about: an appservice has many users, others one. */
const QUESTIONS: RateLimit = { perSecond: 20, burst: 200 };
/** Bytes of an answer. */
const MAX_ANSWER = 65_536;

/**
 * Identifies callers by asking the homeserver, `GET /_matrix/client/v3/account/whoami` with the caller's own
 * token. Only its answer counts.
 *
 * An appservice's `?user_id=` is passed on. A success is remembered, by a hash of token and user id, for a minute at
 * most: that is how long a revoked token may still work. A rejection is remembered for 5 seconds.
 *
 * There is one question about a token at a time. A rejected token is rejected with any `?user_id=`, and where the
 * homeserver ignores `?user_id=`, which is for appservices only, its answer counts for any.
 *
 * @param url - The homeserver's base URL.
 * @returns A function that rejects with {@link MatrixError} 401 as the homeserver did, 403
 * `M_GUEST_ACCESS_FORBIDDEN` for guests, 503 when the homeserver gives no proper answer, 429 or 503
 * `M_LIMIT_EXCEEDED` when there are too many questions.
 */
export function identifyByHomeserver(url: string, options: HomeserverOptions = {}): IdentifyCaller {
  expectText(url, 'url');
  expectOptions(options);
  const { fetch = globalThis.fetch, now: clock = now, timeoutMilliseconds = 10_000 } = options;
  const keep = Math.min(options.cacheMilliseconds ?? MAX_CACHE_MILLISECONDS, MAX_CACHE_MILLISECONDS);
  // Two, so that no number of rejected tokens removes an accepted one.
  const accepted = createCache<Caller>(clock);
  const rejected = createCache<MatrixError>(clock);
  const mayAsk = createRateLimit(QUESTIONS, clock);
  const asking = new Map<string, { readonly done: Promise<void>; waiting: number }>();

  return async (request) => {
    const token = bearerToken(request);
    const asUser = new URL(request.url).searchParams.get('user_id');
    const ofToken = sha256(token);
    const ofBoth = sha256(JSON.stringify([token, asUser]));
    for (;;) {
      const error = rejected.get(ofToken) ?? rejected.get(ofBoth);
      if (error) throw error;
      const caller = accepted.get(ofToken) ?? accepted.get(ofBoth);
      if (caller) return caller;
      const question = asking.get(ofToken);
      if (!question) break;
      if (question.waiting >= MAX_WAITING) throw limitExceeded(429, 1_000);
      question.waiting++;
      await question.done;
    }
    if (asking.size >= MAX_QUESTIONS) throw limitExceeded(503, 1_000);
    mayAsk(ofToken);
    let finish = (): void => undefined;
    const done = new Promise<void>((resolve) => (finish = resolve));
    asking.set(ofToken, { done, waiting: 0 });
    try {
      const caller = await ask(token, asUser);
      // Another spelling of a user is not another user.
      const isIgnored = asUser !== null && caller.user_id.toLowerCase() !== asUser.toLowerCase();
      accepted.set(isIgnored ? ofToken : ofBoth, caller, keep);
      return caller;
    } catch (error) {
      if (error instanceof MatrixError) {
        const isOfToken = error.status === 503 || ABOUT_TOKEN.includes(error.body.errcode);
        const forget = error.status === 503 ? UNREACHABLE_MILLISECONDS : REJECTED_MILLISECONDS;
        rejected.set(isOfToken ? ofToken : ofBoth, error, forget);
      }
      throw error;
    } finally {
      asking.delete(ofToken);
      finish();
    }
  };

  async function ask(token: string, asUser: string | null): Promise<Caller> {
    const whoami = new URL('/_matrix/client/v3/account/whoami', url);
    if (asUser !== null) whoami.searchParams.set('user_id', asUser);
    const abort = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    // A race: the signal of a fetch may never end a body that is being read.
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(new Error('the homeserver took too long'));
      }, timeoutMilliseconds);
    });
    const headers = { authorization: `Bearer ${token}`, accept: 'application/json' };
    const asked = async (): Promise<Caller> => {
      const response = await fetch(whoami, { headers, redirect: 'error', signal: abort.signal });
      return readWhoami(response.status, parseJsonBytes(await readAnswer(response)));
    };
    try {
      return await Promise.race([asked(), late]);
    } catch (error) {
      throw error instanceof MatrixError ? error : unreachable();
    } finally {
      clearTimeout(timer);
      // Ends what still runs, a body that goes on among it.
      abort.abort();
    }
  }
}

/** @throws Error when the body is too large; then the rest is not read. */
async function readAnswer(response: Response): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    length += chunk.length;
    if (length > MAX_ANSWER) throw new Error('the answer of the homeserver is too large');
    chunks.push(chunk);
  }
  return concatAll(chunks);
}

interface Cache<Value> {
  get(key: string): Value | undefined;
  set(key: string, value: Value, milliseconds: number): void;
}

/** A cache that forgets what is too old, and what has been there longest when there is too much. */
function createCache<Value>(clock: () => number): Cache<Value> {
  const entries = new Map<string, { readonly value: Value; readonly until: number }>();
  return {
    get: (key) => {
      const entry = entries.get(key);
      return entry && clock() < entry.until ? entry.value : undefined;
    },
    set: (key, value, milliseconds) => {
      entries.delete(key);
      entries.set(key, { value, until: clock() + milliseconds });
      if (entries.size > CACHED) forgetOldest(entries);
    },
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
  return typeof body.device_id === 'string' &&
    !body.device_id.includes('\0') &&
    !isLonger(body.device_id, MAX_ID)
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
  return text.startsWith('@') && !isLonger(text, MAX_ID) && !text.includes('\0');
}

/** The server that is looked at, as two of its users. */
export interface ServerUnderTest {
  readonly alice: User;
  readonly bob: User;
  /** A request exactly as given, without a token unless in the headers. `path` begins behind the base URL. */
  readonly raw: (method: string, path: string, init?: RawInit) => Promise<Answer>;
  /** The largest body the server takes, where known. */
  readonly maxBody: number | undefined;
}

/** What a raw request carries. */
export interface RawInit {
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array<ArrayBuffer> | undefined;
}

/** One user of it. `path` begins behind `/_matrix/client/v3/room_keys`. */
export interface User {
  readonly call: (method: string, path: string, body?: unknown) => Promise<Answer>;
  /** The headers that authenticate this user. */
  readonly headers: Readonly<Record<string, string>>;
}

/** What the server said. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The body as JSON; undefined where it is not JSON. */
  readonly json: unknown;
}

/** One statement about servers, and how to test it. */
export type Check = {
  readonly name: string;
  /** Throws {@link NotConforming}. Where several answers are right, returns which one the server gives. */
  readonly run: (server: ServerUnderTest) => Promise<string | undefined>;
} & (
  | {
      readonly kind: 'specification';
      /** The section of the client-server specification that demands it. */
      readonly section: string;
    }
  | {
      readonly kind: 'recommendation';
      /** Why this project recommends it. The specification does not demand it. */
      readonly why: string;
    }
);

/** Gives a note, or anything else where there is nothing to add. */
type Run = (server: ServerUnderTest) => Promise<unknown>;

/** A check of what a section of the specification demands. */
export function specification(section: string, name: string, run: Run): Check {
  return { kind: 'specification', section, name, run: noted(run) };
}

/** A check of what this project recommends. */
export function recommendation(why: string, name: string, run: Run): Check {
  return { kind: 'recommendation', why, name, run: noted(run) };
}

function noted(run: Run): Check['run'] {
  return async (server) => {
    const note = await run(server);
    return typeof note === 'string' ? note : undefined;
  };
}

/** What a check throws when the server does otherwise. */
export class NotConforming extends Error {
  override readonly name = 'NotConforming';
}

/** How a server is reached. */
export interface ServerAddress {
  /** Base URL, before `/_matrix`. */
  readonly url: string;
  readonly tokenA: string;
  readonly tokenB: string;
  readonly maxBody?: number | undefined;
  readonly fetch?: typeof globalThis.fetch | undefined;
  readonly signal?: AbortSignal | undefined;
}

const API = '/_matrix/client/v3/room_keys';
/** How often a request is repeated that came too soon. */
const REPEATS = 20;

/** Makes the two users of a server. */
export function serverUnderTest(address: ServerAddress): ServerUnderTest {
  const { fetch = globalThis.fetch } = address;
  const base = address.url.replace(/\/+$/, '');
  const raw = async (method: string, path: string, init: RawInit = {}): Promise<Answer> => {
    for (let repeat = 0; ; repeat++) {
      const response = await fetch(base + path, {
        method,
        headers: init.headers ?? {},
        ...(init.body === undefined ? {} : { body: init.body }),
        ...(address.signal ? { signal: address.signal } : {}),
      });
      const text = await response.text();
      if (response.status === 429 && repeat < REPEATS) {
        const seconds = Number(response.headers.get('retry-after') ?? '1');
        await new Promise((resolve) => setTimeout(resolve, Math.min(seconds || 1, 30) * 1000));
        continue;
      }
      return { status: response.status, headers: response.headers, text, json: parsed(text) };
    }
  };
  const user = (token: string): User => {
    const headers = { authorization: `Bearer ${token}` };
    return {
      headers,
      call: (method, path, body) =>
        raw(method, API + path, {
          headers: { ...headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
          body: typeof body === 'string' || body === undefined ? body : JSON.stringify(body),
        }),
    };
  };
  return { alice: user(address.tokenA), bob: user(address.tokenB), raw, maxBody: address.maxBody };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** Expects JSON values to be equal, whatever the order of their names. */
export function expectEqual(actual: unknown, expected: unknown, what: string): void {
  const [a, b] = [canonical(actual), canonical(expected)];
  if (a !== b) throw new NotConforming(`${what}: expected ${shown(b)}, got ${shown(a)}`);
}

/** Expects anything. */
export function expectThat(holds: boolean, what: string): void {
  if (!holds) throw new NotConforming(what);
}

/** Expects a success, and returns its body. */
export function expectOk(answer: Answer, what: string): unknown {
  expectThat(answer.status === 200, `${what}: expected 200, got ${answer.status} ${shown(answer.text)}`);
  expectThat(answer.json !== undefined, `${what}: expected JSON, got ${shown(answer.text)}`);
  return answer.json;
}

/** Expects an error with exactly this status, and returns its body. */
export function expectError(
  answer: Answer,
  status: number,
  errcode: string,
  what: string,
): Readonly<Record<string, unknown>> {
  const body = (answer.json ?? {}) as Readonly<Record<string, unknown>>;
  const got = `${answer.status} ${shown(answer.text)}`;
  expectThat(
    answer.status === status && body.errcode === errcode,
    `${what}: expected ${status} ${errcode}, got ${got}`,
  );
  expectThat(typeof body.error === 'string', `${what}: expected a text in \`error\`, got ${got}`);
  return body;
}

/**
 * Expects a refusal that is the client's fault, where the specification names no status: 4xx with one of the errcodes, or
 * with any.
 */
export function expectRefused(answer: Answer, what: string, errcodes?: readonly string[]): void {
  const { errcode } = (answer.json ?? {}) as { errcode?: unknown };
  const isKnown = typeof errcode === 'string' && (errcodes?.includes(errcode) ?? true);
  expectThat(
    answer.status >= 400 && answer.status < 500 && isKnown,
    `${what}: expected 4xx ${errcodes?.join(' or ') ?? 'with an errcode'}, got ${answer.status} ${shown(answer.text)}`,
  );
}

function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (typeof value !== 'object' || value === null)
    return value === undefined ? 'nothing' : JSON.stringify(value);
  const entries = Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}:${canonical(item)}`);
  return `{${entries.sort().join()}}`;
}

function shown(text: string): string {
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
}

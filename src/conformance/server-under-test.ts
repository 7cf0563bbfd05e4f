import type { KeysChanged, VersionInfo } from '../wire/types.js';
import { ALGORITHM, authData, keysPath, versionPath } from './backup.js';

/** The server that is looked at, as two of its users. */
export interface ServerUnderTest {
  readonly alice: User;
  readonly bob: User;
  /** A request without a token, unless in the headers. `path` begins after `/_matrix/client/v3/room_keys`. */
  readonly raw: (method: string, path: string, init?: RawInit) => Promise<Answer>;
  /** The largest body the server takes, where known. */
  readonly maxBody: number | undefined;
}

/** What a raw request carries. */
export interface RawInit {
  /** In place of `v3`. */
  readonly api?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array<ArrayBuffer> | undefined;
}

/** A user of the server, and what a user does with backups; whatever fails is `NotConforming`. */
export class User {
  /** The headers that authenticate this user. */
  readonly headers: { readonly authorization: string };
  readonly #raw: ServerUnderTest['raw'];

  constructor(token: string, raw: ServerUnderTest['raw']) {
    this.headers = { authorization: `Bearer ${token}` };
    this.#raw = raw;
  }

  /** Makes a request with the user's token; a body that is neither text nor bytes is sent as JSON. */
  async call(method: string, path: string, body?: unknown): Promise<Answer> {
    if (body === undefined) return this.#raw(method, path, { headers: this.headers });
    const isRaw = typeof body === 'string' || body instanceof Uint8Array;
    return this.#raw(method, path, {
      headers: { ...this.headers, 'content-type': 'application/json' },
      body: isRaw ? (body as RawInit['body']) : JSON.stringify(body),
    });
  }

  /** Makes a version and returns its id. */
  async newVersion(auth_data: unknown = authData(), algorithm = ALGORITHM): Promise<string> {
    const body = await expectOk(this.call('POST', '/version', { algorithm, auth_data }));
    return (body as { version: string }).version;
  }

  /** The current version, or another one. */
  async readVersion(version?: string): Promise<VersionInfo> {
    const path = version === undefined ? '/version' : versionPath(version);
    return (await expectOk(this.call('GET', path))) as VersionInfo;
  }

  deleteVersion(version: string): Promise<unknown> {
    return expectOk(this.call('DELETE', versionPath(version)));
  }

  /** Deletes every version, the current one first. */
  async deleteVersions(): Promise<void> {
    for (;;) {
      const answer = await this.call('GET', '/version');
      if (answer.status === 404) return;
      const { version } = (await expectOk(answer)) as VersionInfo;
      await this.deleteVersion(version);
    }
  }

  async putKey(version: string, room: string, session: string, data: unknown): Promise<KeysChanged> {
    return (await expectOk(this.call('PUT', keysPath(version, room, session), data))) as KeysChanged;
  }

  /** Stores keys of several rooms. */
  async putKeys(version: string, rooms: unknown): Promise<KeysChanged> {
    return (await expectOk(this.call('PUT', keysPath(version), { rooms }))) as KeysChanged;
  }

  /** Reads everything, a room, or one key. */
  getKeys(version: string, ...ids: readonly string[]): Promise<unknown> {
    return expectOk(this.call('GET', keysPath(version, ...ids)));
  }

  /** Deletes everything, a room, or one key. */
  async deleteKeys(version: string, ...ids: readonly string[]): Promise<KeysChanged> {
    return (await expectOk(this.call('DELETE', keysPath(version, ...ids)))) as KeysChanged;
  }
}

/** What the server said. */
export interface Answer {
  /** The request that it answers: `PUT /keys`. */
  readonly request: string;
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The body as JSON; undefined where it is not JSON. */
  readonly json: unknown;
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

/** How often a request is repeated that came too soon. */
const REPEATS = 20;

/** Makes the two users of a server. */
export function serverUnderTest(address: ServerAddress): ServerUnderTest {
  const { fetch = globalThis.fetch } = address;
  const base = address.url.replace(/\/+$/, '');
  const raw = async (method: string, path: string, init: RawInit = {}): Promise<Answer> => {
    for (let repeat = 0; ; repeat++) {
      const response = await fetch(`${base}/_matrix/client/${init.api ?? 'v3'}/room_keys${path}`, {
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
      const { status, headers } = response;
      return { request: `${method} ${path}`, status, headers, text, json: parsed(text) };
    }
  };
  const [alice, bob] = [new User(address.tokenA, raw), new User(address.tokenB, raw)];
  return { alice, bob, raw, maxBody: address.maxBody };
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
export async function expectOk(answering: Answer | Promise<Answer>): Promise<unknown> {
  const answer = await answering;
  const { request, status, text, json } = answer;
  expectThat(status === 200, `${request}: expected 200, got ${got(answer)}`);
  expectThat(json !== undefined, `${request}: expected JSON, got ${shown(text)}`);
  return json;
}

/**
 * Expects an error with exactly this status, and returns its body.
 *
 * @param detail - What the request does not show, such as what is wrong with its body.
 */
export async function expectError(
  answering: Answer | Promise<Answer>,
  status: number,
  errcode: string,
  detail = '',
): Promise<Readonly<Record<string, unknown>>> {
  const answer = await answering;
  const body = (answer.json ?? {}) as Readonly<Record<string, unknown>>;
  const what = `${answer.request} ${detail}`.trim();
  expectThat(
    answer.status === status && body.errcode === errcode,
    `${what}: expected ${status} ${errcode}, got ${got(answer)}`,
  );
  expectThat(typeof body.error === 'string', `${what}: expected a text in \`error\`, got ${got(answer)}`);
  return body;
}

/** Expects an error of the client where the specification names no status: 4xx with one of the errcodes, or with any. */
export async function expectRejected(
  answering: Answer | Promise<Answer>,
  errcodes?: readonly string[],
  detail = '',
): Promise<void> {
  const answer = await answering;
  const { errcode } = (answer.json ?? {}) as { errcode?: unknown };
  const isKnown = typeof errcode === 'string' && (errcodes?.includes(errcode) ?? true);
  expectThat(
    answer.status >= 400 && answer.status < 500 && isKnown,
    `${`${answer.request} ${detail}`.trim()}: expected 4xx ${errcodes?.join(' or ') ?? 'with an errcode'}, got ${got(answer)}`,
  );
}

function got({ status, text }: Answer): string {
  return `${status} ${shown(text)}`;
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

import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { replaces } from '../../src/formats/replacement.js';
import type { KeyBackupData } from '../../src/wire/types.js';

/** What happens to one request instead of, or after, what should happen. */
export type Fault =
  /** The connection breaks before the request is done. */
  | { readonly kind: 'drop-before' }
  /** The request is done, and the connection breaks before the answer. */
  | { readonly kind: 'drop-after' }
  /** The connection breaks after this many bytes of the answer. */
  | { readonly kind: 'cut'; readonly bytes: number }
  /** The answer ends well-formed as HTTP, but after this many bytes. */
  | { readonly kind: 'truncate'; readonly bytes: number }
  /** Another answer; the request is not done. */
  | {
      readonly kind: 'answer';
      readonly status: number;
      readonly body: string;
      readonly headers?: Record<string, string>;
    }
  /** The request is done, and another answer comes. */
  | { readonly kind: 'misreport'; readonly body: string }
  /** Nothing comes, or nothing more after this many bytes. */
  | { readonly kind: 'stall'; readonly bytes?: number }
  /** The answer comes in pieces of one byte. */
  | { readonly kind: 'drip' }
  /** Something else happens first; then the request is done. */
  | { readonly kind: 'then'; readonly effect: () => void };

/** A request as it came. */
export interface Seen {
  readonly method: string;
  readonly url: string;
  readonly authorization: string | undefined;
  readonly body: string;
}

interface Version {
  readonly version: string;
  readonly algorithm: string;
  auth_data: Record<string, unknown>;
  etag: number;
  readonly keys: Map<string, Map<string, KeyBackupData>>;
}

interface Answer {
  readonly status: number;
  readonly body: string | Iterable<string>;
  readonly headers?: Record<string, string>;
}

/** A key backup server in memory that does what the specification says, except where a test asks it not to. */
export class KeyBackupServer {
  /** Taken from the front, one for each request that `faulty` lets through. */
  faults: Fault[] = [];
  /** Which requests take a fault. */
  faulty: (method: string, path: string) => boolean = () => true;
  readonly seen: Seen[] = [];
  readonly versions: Version[] = [];
  readonly accountData = new Map<string, unknown>();
  /** Keys per answer where the client asks for pages; 0 is a server without paging. */
  pages = 0;
  /** Bodies longer than this are 413. */
  maxBody = Infinity;
  /** A raw body for GET /room_keys/keys instead of what is stored. */
  rawKeys: string | (() => Iterable<string>) | undefined;
  /** Looks at every record of a PUT; a text is a refusal of the batch with 400. */
  refuse: (roomId: string, sessionId: string) => string | undefined = () => undefined;
  #nextVersion = 1;
  readonly #server: Server;
  readonly #open = new Set<ServerResponse>();

  constructor() {
    this.#server = createServer((request, response) => {
      this.#open.add(response);
      response.on('close', () => this.#open.delete(response));
      this.#handle(request, response).catch((error: unknown) => {
        response.destroy(error as Error);
      });
    });
  }

  async start(): Promise<this> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return this;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  /** Breaks every connection. */
  dropAll(): void {
    this.#server.closeAllConnections();
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Answers that have begun and not ended. */
  get openAnswers(): number {
    return this.#open.size;
  }

  get current(): Version | undefined {
    return this.versions.at(-1);
  }

  createVersion(algorithm: string, auth_data: Record<string, unknown>): Version {
    const version = { version: `v${this.#nextVersion++}`, algorithm, auth_data, etag: 0, keys: new Map() };
    this.versions.push(version);
    return version;
  }

  /** All keys of a version, flat. */
  keysOf(version: Version): [roomId: string, sessionId: string, data: KeyBackupData][] {
    return [...version.keys].flatMap(([room, sessions]) =>
      [...sessions].map(([session, data]): [string, string, KeyBackupData] => [room, session, data]),
    );
  }

  store(version: Version, roomId: string, sessionId: string, data: KeyBackupData): void {
    const sessions = version.keys.get(roomId) ?? new Map<string, KeyBackupData>();
    version.keys.set(roomId, sessions);
    const stored = sessions.get(sessionId);
    if (stored && !replaces(data, stored)) return;
    sessions.set(sessionId, data);
    version.etag++;
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '', url = '', headers } = request;
    const path = url.split('?')[0];
    const fault = this.faulty(method, path) ? this.faults.shift() : undefined;
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString('utf8');
    this.seen.push({ method, url, authorization: headers.authorization, body });
    if (fault?.kind === 'drop-before') {
      response.destroy();
      return;
    }
    if (fault?.kind === 'stall' && fault.bytes === undefined) return;
    if (fault?.kind === 'then') fault.effect();
    const answer: Answer = fault?.kind === 'answer' ? fault : this.#answer(method, url, body);
    if (fault?.kind === 'drop-after') {
      response.destroy();
      return;
    }
    response.writeHead(answer.status, {
      'content-type': 'application/json',
      'access-control-allow-origin': '*',
      ...answer.headers,
    });
    await this.#write(response, fault?.kind === 'misreport' ? fault.body : answer.body, fault);
  }

  async #write(response: ServerResponse, body: Answer['body'], fault: Fault | undefined): Promise<void> {
    let sent = 0;
    for (const text of typeof body === 'string' ? [body] : body) {
      const bytes = Buffer.from(text);
      if (fault?.kind === 'drip') {
        for (const byte of bytes) {
          response.write(Uint8Array.of(byte));
          await new Promise((resolve) => setImmediate(resolve));
        }
        continue;
      }
      const limit = fault && 'bytes' in fault ? (fault.bytes ?? 0) - sent : Infinity;
      if (bytes.length >= limit) {
        await new Promise((resolve) => response.write(bytes.subarray(0, limit), resolve));
        if (fault?.kind === 'stall') return;
        if (fault?.kind === 'truncate') response.end();
        else response.destroy();
        return;
      }
      sent += bytes.length;
      if (!response.write(bytes)) await Promise.race([once(response, 'drain'), once(response, 'close')]);
      if (response.destroyed) return;
    }
    response.end();
  }

  #answer(method: string, url: string, body: string): Answer {
    if (method === 'OPTIONS') {
      const headers = {
        'access-control-allow-methods': 'GET, POST, PUT, DELETE, OPTIONS',
        'access-control-allow-headers': 'authorization, content-type',
      };
      return { status: 200, body: '{}', headers };
    }
    const [path, search = ''] = url.split('?');
    const query = new URLSearchParams(search);
    const segments = path.split('/').slice(1).map(decodeURIComponent);
    if (path === '/_matrix/client/versions') return ok({ versions: ['v1.11'] });
    if (path.endsWith('/account/whoami')) return ok({ user_id: '@alice:example.org' });
    if (segments[3] === 'user') return this.#accountData(method, segments.slice(4).join('/'), body);
    if (segments[3] !== 'room_keys') return error(404, 'M_UNRECOGNIZED', 'no such endpoint');
    const ids = segments.slice(5);
    if (segments[4] === 'version') return this.#version(method, ids.at(0), body);
    return this.#keys(method, ids, query, body);
  }

  #accountData(method: string, name: string, body: string): Answer {
    if (method === 'PUT') {
      this.accountData.set(name, JSON.parse(body));
      return ok({});
    }
    const content = this.accountData.get(name);
    return content === undefined ? error(404, 'M_NOT_FOUND', 'no such data') : ok(content);
  }

  #version(method: string, id: string | undefined, body: string): Answer {
    if (method === 'POST') {
      const { algorithm, auth_data } = JSON.parse(body) as Version;
      return ok({ version: this.createVersion(algorithm, auth_data).version });
    }
    const version = id === undefined ? this.current : this.versions.find(({ version }) => version === id);
    if (!version) return error(404, 'M_NOT_FOUND', 'no such version');
    if (method === 'DELETE') {
      this.versions.splice(this.versions.indexOf(version), 1);
      return ok({});
    }
    if (method === 'PUT') {
      version.auth_data = (JSON.parse(body) as Version).auth_data;
      return ok({});
    }
    const { algorithm, auth_data } = version;
    return ok({ version: version.version, algorithm, auth_data, ...changed(version) });
  }

  #keys(method: string, ids: string[], query: URLSearchParams, body: string): Answer {
    const version = this.versions.find((one) => one.version === query.get('version'));
    if (!version) return error(404, 'M_NOT_FOUND', 'no such version');
    if (method === 'PUT') {
      if (version !== this.current) {
        return error(403, 'M_WRONG_ROOM_KEYS_VERSION', 'not current', {
          current_version: this.current?.version,
        });
      }
      return this.#put(version, ids, body);
    }
    if (method === 'DELETE') {
      for (const [room, session] of this.keysOf(version)) {
        if (ids.every((id, i) => id === [room, session][i]) && version.keys.get(room)?.delete(session)) {
          version.etag++;
        }
      }
      return ok(changed(version));
    }
    const sessions = version.keys.get(ids[0]);
    if (ids.length === 2) {
      const data = sessions?.get(ids[1]);
      return data ? ok(data) : error(404, 'M_NOT_FOUND', 'no such key');
    }
    if (ids.length === 1) return ok({ sessions: Object.fromEntries(sessions ?? []) });
    if (this.rawKeys !== undefined) {
      return { status: 200, body: typeof this.rawKeys === 'string' ? this.rawKeys : this.rawKeys() };
    }
    return this.#page(version, query);
  }

  #put(version: Version, ids: string[], body: string): Answer {
    if (body.length > this.maxBody) return { status: 413, body: '<html>too large</html>' };
    const parsed = JSON.parse(body) as never;
    const records: [string, string, KeyBackupData][] =
      ids.length === 2
        ? [[ids[0], ids[1], parsed]]
        : flatten(ids.length === 1 ? { [ids[0]]: parsed } : (parsed as { rooms: never }).rooms);
    for (const [room, session] of records) {
      const why = this.refuse(room, session);
      if (why !== undefined) return error(400, 'M_BAD_JSON', why);
    }
    for (const [room, session, data] of records) this.store(version, room, session, data);
    return ok(changed(version));
  }

  #page(version: Version, query: URLSearchParams): Answer {
    const asked = Number(query.get('org.megolm-backup.limit') ?? Infinity);
    const limit = this.pages > 0 ? Math.min(asked, this.pages) : Infinity;
    const from = this.pages > 0 ? Number(query.get('org.megolm-backup.from') ?? 0) : 0;
    const keys = this.keysOf(version);
    const rooms = new Map<string, string[]>();
    for (const [room, session, data] of keys.slice(from, from + limit)) {
      const members = rooms.get(room) ?? [];
      rooms.set(room, members);
      members.push(`${JSON.stringify(session)}:${JSON.stringify(data)}`);
    }
    const text = [...rooms].map(
      ([room, members]) => `${JSON.stringify(room)}:{"sessions":{${members.join()}}}`,
    );
    const next = from + limit < keys.length ? `,"org.megolm-backup.next_batch":"${from + limit}"` : '';
    return { status: 200, body: `{"rooms":{${text.join()}}${next}}` };
  }
}

function flatten(
  rooms: Record<string, { sessions: Record<string, KeyBackupData> }>,
): [string, string, KeyBackupData][] {
  return Object.entries(rooms).flatMap(([room, { sessions }]) =>
    Object.entries(sessions).map(([session, data]): [string, string, KeyBackupData] => [room, session, data]),
  );
}

function changed(version: Version): { etag: string; count: number } {
  const count = [...version.keys.values()].reduce((sum, sessions) => sum + sessions.size, 0);
  return { etag: `e${version.etag}`, count };
}

function ok(body: unknown): Answer {
  return { status: 200, body: JSON.stringify(body) };
}

function error(status: number, errcode: string, text: string, more: Record<string, unknown> = {}): Answer {
  return { status, body: JSON.stringify({ errcode, error: text, ...more }) };
}

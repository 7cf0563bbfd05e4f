import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import type { AddressInfo } from 'node:net';

type Json = Record<string, unknown>;

interface Device {
  keys?: Json;
  readonly oneTimeKeys: Map<string, unknown>;
  readonly toDevice: { readonly at: number; readonly event: Json }[];
}

interface User {
  readonly devices: Map<string, Device>;
  readonly accountData: Map<string, { readonly at: number; readonly content: Json }>;
  readonly crossSigning: Map<string, Json>;
  /** Where in the stream the keys of the user changed last. */
  changedAt: number;
}

interface Room {
  readonly members: Set<string>;
  readonly state: Map<string, Json>;
  readonly timeline: { readonly at: number; readonly event: Json }[];
}

/** A failed request, as `{errcode, error}`. */
class Refused extends Error {
  readonly status: number;
  readonly errcode: string;

  constructor(status: number, errcode: string) {
    super(errcode);
    this.status = status;
    this.errcode = errcode;
  }
}

/**
 * As much of a homeserver as matrix-js-sdk needs to encrypt, decrypt and back up: login, sync, device keys, to-device
 * messages, account data and rooms. What it is asked under `room_keys` goes to a key backup server.
 */
export class SmallHomeserver {
  /** The port of the key backup server. */
  backupPort = 0;
  /** While set, the next `PUT /room_keys/keys` waits for it. */
  hold: Promise<void> | undefined;
  /** How many such requests have come to wait. */
  held = 0;
  /** What it was asked and does not know. */
  readonly unknown = new Set<string>();
  readonly #users = new Map<string, User>();
  readonly #tokens = new Map<string, { readonly userId: string; readonly deviceId: string }>();
  readonly #rooms = new Map<string, Room>();
  readonly #server = createServer((request, response) => void this.#serve(request, response));
  #waiting: (() => void)[] = [];
  #clock = 1;

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async start(): Promise<this> {
    // Never closes a connection just as the client sends its next request.
    this.#server.keepAliveTimeout = 0;
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return this;
  }

  async stop(): Promise<void> {
    this.#notify();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://localhost');
    try {
      if (url.pathname.includes('/room_keys/')) {
        await this.#forward(request, response);
        return;
      }
      const text = (await buffer(request)).toString();
      const body = (text === '' ? {} : JSON.parse(text)) as Json;
      const answer = await this.#answer(request, url, body);
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
    } catch (error) {
      const { status, errcode } = error instanceof Refused ? error : new Refused(500, 'M_UNKNOWN');
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ errcode, error: String(error) }));
    }
  }

  async #forward(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (this.hold && request.method === 'PUT' && request.url?.includes('/room_keys/keys')) {
      this.held++;
      await this.hold;
    }
    const { method, url: path, headers } = request;
    await new Promise<void>((resolve, reject) => {
      // A connection for each request, for the same reason.
      const options = { port: this.backupPort, method, path, headers, agent: false };
      const forwarded = httpRequest(options, (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response).on('finish', resolve).on('error', reject);
      });
      forwarded.on('error', reject);
      request.pipe(forwarded);
    });
  }

  async #answer(request: IncomingMessage, url: URL, body: Json): Promise<unknown> {
    const method = request.method ?? 'GET';
    if (url.pathname === '/_matrix/client/versions') {
      return { versions: ['v1.1', 'v1.5', 'v1.11'], unstable_features: {} };
    }
    const match = /^\/_matrix\/client\/(?:v3|r0|v1|unstable)\/(.*)$/.exec(url.pathname);
    const [what = '', ...rest] = (match?.[1] ?? '').split('/').map(decodeURIComponent);
    if (what === 'login' && method === 'POST') return this.#logIn(body);
    const caller = this.#tokens.get(request.headers.authorization?.slice('Bearer '.length) ?? '');
    if (!caller) throw new Refused(401, 'M_UNKNOWN_TOKEN');
    const { userId, deviceId } = caller;
    switch (`${method} ${what}`) {
      case 'GET account':
        return { user_id: userId, device_id: deviceId };
      case 'GET pushrules':
        return { global: { override: [], content: [], room: [], sender: [], underride: [] } };
      case 'GET capabilities':
        return { capabilities: {} };
      case 'GET sync':
        return this.#sync(userId, deviceId, url.searchParams);
      case 'GET user':
      case 'PUT user':
      case 'POST user':
        return this.#ofUser(method, userId, rest, body);
      case 'POST createRoom':
        return this.#createRoom(userId, body);
      case 'PUT rooms':
      case 'GET rooms':
        return this.#ofRoom(method, userId, rest, body);
      case 'POST keys':
        return this.#keys(rest.join('/'), userId, deviceId, body);
      case 'PUT sendToDevice':
        return this.#sendToDevice(userId, rest[0], body);
      default:
        this.unknown.add(`${method} ${url.pathname}`);
        throw new Refused(404, 'M_UNRECOGNIZED');
    }
  }

  #logIn(body: Json): Json {
    const { user } = body.identifier as { user: string };
    const userId = user.startsWith('@') ? user : `@${user}:localhost`;
    const deviceId = (body.device_id as string | undefined) ?? `DEVICE${this.#clock++}`;
    const token = `token-of-${deviceId}`;
    this.#tokens.set(token, { userId, deviceId });
    this.#device(userId, deviceId);
    return { user_id: userId, device_id: deviceId, access_token: token, home_server: 'localhost' };
  }

  #user(userId: string): User {
    let user = this.#users.get(userId);
    if (!user) {
      user = { devices: new Map(), accountData: new Map(), crossSigning: new Map(), changedAt: 0 };
      this.#users.set(userId, user);
    }
    return user;
  }

  #device(userId: string, deviceId: string): Device {
    const { devices } = this.#user(userId);
    let device = devices.get(deviceId);
    if (!device) devices.set(deviceId, (device = { oneTimeKeys: new Map(), toDevice: [] }));
    return device;
  }

  #notify(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  async #sync(userId: string, deviceId: string, query: URLSearchParams): Promise<Json> {
    const since = Number(query.get('since') ?? 0);
    const wait = Math.min(Number(query.get('timeout') ?? 0), 5000);
    if (since > 0 && since >= this.#clock && wait > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, wait);
        this.#waiting.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
    const user = this.#user(userId);
    const device = this.#device(userId, deviceId);
    // What was delivered and is asked for no more has arrived.
    while (device.toDevice[0]?.at <= since) device.toDevice.shift();
    const join: Json = {};
    for (const [roomId, { members, timeline }] of this.#rooms) {
      const events = timeline.filter(({ at }) => at > since).map(({ event }) => event);
      if (!members.has(userId) || events.length === 0) continue;
      join[roomId] = { state: { events: [] }, timeline: { events, limited: false, prev_batch: '0' } };
    }
    const changed = [...this.#users].filter(([, { changedAt }]) => changedAt > since).map(([id]) => id);
    const accountData = [...user.accountData].filter(([, { at }]) => at > since);
    return {
      next_batch: String(this.#clock),
      rooms: { join },
      account_data: { events: accountData.map(([type, { content }]) => ({ type, content })) },
      to_device: { events: device.toDevice.map(({ event }) => event) },
      device_lists: { changed, left: [] },
      device_one_time_keys_count: { signed_curve25519: device.oneTimeKeys.size },
      device_unused_fallback_key_types: ['signed_curve25519'],
    };
  }

  #ofUser(method: string, userId: string, [owner, what, type]: string[], body: Json): Json {
    if (owner !== userId) throw new Refused(403, 'M_FORBIDDEN');
    if (what === 'filter') return method === 'POST' ? { filter_id: '0' } : {};
    const { accountData } = this.#user(userId);
    if (method === 'PUT') {
      accountData.set(type, { at: ++this.#clock, content: body });
      this.#notify();
      return {};
    }
    const found = accountData.get(type);
    if (!found) throw new Refused(404, 'M_NOT_FOUND');
    return found.content;
  }

  #createRoom(userId: string, body: Json): Json {
    const roomId = `!room${this.#rooms.size}:localhost`;
    this.#rooms.set(roomId, { members: new Set([userId]), state: new Map(), timeline: [] });
    const initial = (body.initial_state as Json[] | undefined) ?? [];
    const state = [
      { type: 'm.room.create', state_key: '', content: { creator: userId, room_version: '10' } },
      { type: 'm.room.member', state_key: userId, content: { membership: 'join' } },
      { type: 'm.room.history_visibility', state_key: '', content: { history_visibility: 'shared' } },
      ...initial.map((event) => ({ state_key: '', ...event })),
    ];
    for (const event of state) this.#addEvent(roomId, userId, event);
    return { room_id: roomId };
  }

  #addEvent(roomId: string, sender: string, event: Json): string {
    const room = this.#rooms.get(roomId)!;
    const at = ++this.#clock;
    const whole = { ...event, event_id: `$${at}`, room_id: roomId, sender, origin_server_ts: Date.now() };
    if ('state_key' in event) room.state.set(`${String(event.type)}|${String(event.state_key)}`, whole);
    room.timeline.push({ at, event: whole });
    this.#notify();
    return whole.event_id;
  }

  #ofRoom(method: string, userId: string, [roomId, what, type]: string[], body: Json): unknown {
    const room = this.#rooms.get(roomId);
    if (!room?.members.has(userId)) throw new Refused(403, 'M_FORBIDDEN');
    const members = [...room.state.values()].filter((event) => event.type === 'm.room.member');
    if (method === 'PUT' && what === 'send') {
      return { event_id: this.#addEvent(roomId, userId, { type, content: body }) };
    }
    if (method === 'GET' && what === 'members') return { chunk: members };
    if (method === 'GET' && what === 'messages') return { chunk: [], start: '0' };
    throw new Refused(404, 'M_UNRECOGNIZED');
  }

  #keys(what: string, userId: string, deviceId: string, body: Json): Json {
    const user = this.#user(userId);
    const device = this.#device(userId, deviceId);
    switch (what) {
      case 'upload':
        if (body.device_keys) {
          device.keys = body.device_keys as Json;
          this.#changed(user);
        }
        for (const [id, value] of Object.entries((body.one_time_keys as Json | undefined) ?? {})) {
          device.oneTimeKeys.set(id, value);
        }
        return { one_time_key_counts: { signed_curve25519: device.oneTimeKeys.size } };
      case 'query':
        return this.#queryKeys(Object.keys(body.device_keys as Json), userId);
      case 'claim':
        return { failures: {}, one_time_keys: this.#claim(body.one_time_keys as Record<string, Json>) };
      case 'device_signing/upload':
        for (const [name, value] of Object.entries(body)) {
          if (name.endsWith('_key')) user.crossSigning.set(name, value as Json);
        }
        this.#changed(user);
        return {};
      case 'signatures/upload':
        for (const [owner, keys] of Object.entries(body))
          this.#addSignatures(this.#user(owner), keys as Json);
        return { failures: {} };
      default:
        throw new Refused(404, 'M_UNRECOGNIZED');
    }
  }

  #changed(user: User): void {
    user.changedAt = ++this.#clock;
    this.#notify();
  }

  #queryKeys(userIds: string[], caller: string): Json {
    const answer: Record<string, Json> = {
      device_keys: {},
      master_keys: {},
      self_signing_keys: {},
      user_signing_keys: {},
    };
    for (const userId of userIds) {
      const { devices, crossSigning } = this.#user(userId);
      const known = [...devices].filter(([, { keys }]) => keys);
      answer.device_keys[userId] = Object.fromEntries(known.map(([id, { keys }]) => [id, keys]));
      for (const [name, value] of crossSigning) {
        if (name !== 'user_signing_key' || userId === caller) answer[`${name}s`][userId] = value;
      }
    }
    return { ...answer, failures: {} };
  }

  #claim(wanted: Record<string, Json>): Json {
    const claimed: Record<string, Json> = {};
    for (const [userId, devices] of Object.entries(wanted)) {
      claimed[userId] = {};
      for (const deviceId of Object.keys(devices)) {
        const { oneTimeKeys } = this.#device(userId, deviceId);
        const first = [...oneTimeKeys].at(0);
        if (!first) continue;
        oneTimeKeys.delete(first[0]);
        claimed[userId][deviceId] = { [first[0]]: first[1] };
      }
    }
    return claimed;
  }

  /** Adds the signatures to the device or cross-signing key that they are for. */
  #addSignatures(user: User, signed: Json): void {
    const targets = new Map<string, Json>();
    for (const [id, { keys }] of user.devices) if (keys) targets.set(id, keys);
    for (const key of user.crossSigning.values()) {
      for (const publicKey of Object.values(key.keys as Json)) targets.set(publicKey as string, key);
    }
    for (const [id, value] of Object.entries(signed)) {
      const target = targets.get(id);
      if (!target) continue;
      const signatures = (target.signatures ??= {}) as Record<string, Json>;
      for (const [owner, added] of Object.entries((value as Json).signatures as Json)) {
        signatures[owner] = { ...signatures[owner], ...(added as Json) };
      }
    }
    this.#changed(user);
  }

  #sendToDevice(sender: string, type: string, { messages }: Json): Json {
    for (const [userId, devices] of Object.entries(messages as Record<string, Json>)) {
      for (const [deviceId, content] of Object.entries(devices)) {
        const all = [...this.#user(userId).devices.keys()];
        for (const id of deviceId === '*' ? all : [deviceId]) {
          const event = { sender, type, content: content as Json };
          this.#device(userId, id).toDevice.push({ at: ++this.#clock, event });
        }
      }
    }
    this.#notify();
    return {};
  }
}

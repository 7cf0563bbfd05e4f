import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { createHandler, type Handler, type HandlerOptions } from '../../src/server/handler.js';
import { createMemoryStore } from '../support/memory-store.js';
import { TOKEN_A, TOKEN_B, identify, serve } from '../support/serving.js';
import { keyOf, newVersion } from '../contracts/store.js';

const PATH = '/_matrix/client/v3/room_keys';
const API = `http://localhost${PATH}`;
const headersOf = (token: string) => ({ authorization: `Bearer ${token}` });

/** A server with a version of both users, into which large records may be written. */
async function begin(options: Partial<HandlerOptions>) {
  const store = createMemoryStore();
  const handler = await createHandler({ store, identify, maxRecord: 10 << 20, ...options });
  const versions = [await newVersion(store, '@user0:x'), await newVersion(store, '@user1:x')];
  return { store, handler, versions };
}

/** A request whose body arrives when it is told to; gives the answer. */
function slowPut(handler: Handler, token: string, version: string, length: number, announced: boolean) {
  const { data } = keyOf('!r:x', 's');
  const body = new Uint8Array(length).fill(0x20);
  body.set(data);
  let send: () => void = () => undefined;
  const sent = new Promise<void>((resolve) => (send = resolve));
  const stream = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        controller.enqueue(body.subarray(0, length - 1));
        await sent;
        controller.enqueue(body.subarray(length - 1));
        controller.close();
      },
    },
    { highWaterMark: 0 },
  );
  const headers = { ...headersOf(token), ...(announced ? { 'content-length': String(length) } : {}) };
  const url = `${API}/keys/!r:x/s?version=${version}`;
  const answer = handler(new Request(url, { method: 'PUT', headers, body: stream, duplex: 'half' }));
  return { answer, send };
}

const turns = () => new Promise((resolve) => setTimeout(resolve, 20));

async function expectLimited(answer: Promise<Response>, status: 429 | 503): Promise<void> {
  const response = await answer;
  expect(response.status).toBe(status);
  expect(response.headers.get('retry-after')).toBe('1');
  expect(await response.json()).toMatchObject({ errcode: 'M_LIMIT_EXCEEDED', retry_after_ms: 1000 });
}

describe.each([
  ['announced', true],
  ['not announced', false],
])('bodies whose length is %s', (_, announced) => {
  test('count until they are stored, and are 429 beyond the share of a user', async () => {
    const { handler, versions } = await begin({ inFlight: { perUser: 25_000, total: 90_000 } });
    const put = (user: 0 | 1) =>
      slowPut(handler, user === 0 ? TOKEN_A : TOKEN_B, versions[user], 10_000, announced);
    const held = [put(0), put(0), put(1)];
    await turns();
    await expectLimited(put(0).answer, 429);
    held.push(put(1));
    await turns();
    for (const { send } of held) send();
    for (const { answer } of held) expect((await answer).status).toBe(200);
    const again = put(0);
    again.send();
    expect((await again.answer).status).toBe(200);
  });

  test('are 503 beyond the total of all users', async () => {
    const { handler, versions } = await begin({ inFlight: { perUser: 25_000, total: 15_000 } });
    const first = slowPut(handler, TOKEN_A, versions[0], 10_000, announced);
    await turns();
    await expectLimited(slowPut(handler, TOKEN_B, versions[1], 10_000, announced).answer, 503);
    first.send();
    expect((await first.answer).status).toBe(200);
  });

  test('are taken one at a time where one is larger than the limits', async () => {
    const { handler, versions } = await begin({ inFlight: { perUser: 1_000, total: 1_000 } });
    for (let i = 0; i < 3; i++) {
      const put = slowPut(handler, TOKEN_A, versions[0], 10_000, announced);
      await turns();
      await expectLimited(slowPut(handler, TOKEN_A, versions[0], 10_000, announced).answer, 429);
      put.send();
      expect((await put.answer).status).toBe(200);
    }
  });

  test('no longer count after an error', async () => {
    const { handler } = await begin({ inFlight: { perUser: 10_000, total: 10_000 } });
    for (let i = 0; i < 3; i++) {
      const put = slowPut(handler, TOKEN_A, 'unknown', 10_000, announced);
      put.send();
      expect((await put.answer).status).toBe(404);
    }
  });
});

describe('responses', () => {
  const LARGE = 1_000_000;

  async function withLarge() {
    const begun = await begin({ inFlight: { perUser: 2.5 * LARGE, total: 100 * LARGE } });
    const { store, handler, versions } = begun;
    const large = keyOf('!r:x', 's', 0, false, 'y'.repeat(LARGE));
    await store.writeKeys('@user0:x', versions[0], [large], {}, undefined);
    const get = (path: string) =>
      handler(new Request(`${API}${path}?version=${versions[0]}`, { headers: headersOf(TOKEN_A) }));
    return { ...begun, get };
  }

  test.each(['/keys/!r:x/s', '/keys/!r:x', '/keys'])('of %s count until they are read', async (path) => {
    const { get } = await withLarge();
    const held = [await get(path), await get(path)];
    expect(held.map(({ status }) => status)).toEqual([200, 200]);
    await expectLimited(get(path), 429);
    expect((await held[0].text()).length).toBeGreaterThan(LARGE);
    const next = await get(path);
    expect(next.status).toBe(200);
    await next.body!.cancel();
    await held[1].body!.cancel();
    for (let i = 0; i < 5; i++) expect((await (await get(path)).text()).length).toBeGreaterThan(LARGE);
  });

  test('of a user who has taken the whole share are refused before anything is read', async () => {
    const { handler, store, versions } = await begin({ inFlight: { perUser: 10_000, total: 1e9 } });
    store.readVersion = () => Promise.reject(new Error('it was read'));
    const put = slowPut(handler, TOKEN_A, versions[0], 10_000, true);
    await turns();
    await expectLimited(handler(new Request(`${API}/version`, { headers: headersOf(TOKEN_A) })), 429);
    put.send();
    expect((await put.answer).status).toBe(200);
  });

  test('of keys do not keep the event loop from others, however fast they are read', async () => {
    const { handler, store, versions } = await begin({});
    const keys = Array.from({ length: 3_000 }, (_, i) => keyOf('!r:x', `s${i}`));
    await store.writeKeys('@user0:x', versions[0], keys, {}, undefined);
    let reads = 0;
    const readKeys = store.readKeys.bind(store);
    store.readKeys = (...args) => (reads++, readKeys(...args));
    const response = await handler(new Request(`${API}/keys`, { headers: headersOf(TOKEN_A) }));
    let taken = 0;
    let turn = setImmediate(function again() {
      taken++;
      turn = setImmediate(again);
    });
    const reader = response.body!.getReader();
    while (!(await reader.read()).done);
    clearImmediate(turn);
    expect(reads).toBeGreaterThan(20);
    expect(taken).toBeGreaterThan(20);
  });

  test('of keys that do not exist do not count', async () => {
    const { get, store, handler } = await withLarge();
    await store.deleteVersion('@user0:x', (await store.readVersion('@user0:x'))!.version);
    for (let i = 0; i < 30; i++) expect((await get('/keys')).status).toBe(404);
    expect(handler).toBeDefined();
  });

  test('a stream that a larger record would take beyond the share is cut off', async () => {
    const { handler, store, versions } = await begin({
      inFlight: { perUser: 1.5 * LARGE, total: 9 * LARGE },
    });
    const keys = [keyOf('!r:x', 'a'), keyOf('!r:x', 'b', 0, false, 'y'.repeat(LARGE))];
    await store.writeKeys('@user0:x', versions[0], keys, {}, undefined);
    const get = () => handler(new Request(`${API}/keys`, { headers: headersOf(TOKEN_A) }));
    const [one, two] = [await get(), await get()];
    const reader = one.body!.getReader();
    // The larger record is held, and not read on.
    while ((await reader.read()).value!.length < 65_536);
    await expect(two.text()).rejects.toThrow();
    await reader.cancel();
    expect((await (await get()).text()).length).toBeGreaterThan(LARGE);
  });
});

describe('over connections', () => {
  let server: { url: string; stop: (grace?: number) => Promise<void> } | undefined;
  afterEach(() => server?.stop(0));

  test('20 stalled GETs of a large key hold no more than the share of a user', async () => {
    const store = createMemoryStore();
    const size = 8_000_000;
    server = await serve(store, { maxRecord: 2 * size, inFlight: { perUser: 2.5 * size, total: 9 * size } });
    const { url } = server;
    const version = await newVersion(store, '@user0:x');
    const large = keyOf('!r:x', 's', 0, false, 'y'.repeat(size));
    await store.writeKeys('@user0:x', version, [large], {}, undefined);
    const path = `${PATH}/keys/!r:x/s?version=${version}`;
    const sockets = Array.from({ length: 20 }, () => stalled(url, path));
    const statuses = await Promise.all(sockets.map(({ status }) => status));
    expect(statuses.filter((status) => status === 200)).toHaveLength(2);
    expect(statuses.filter((status) => status === 429)).toHaveLength(18);
    for (const { socket } of sockets) socket.destroy();
    // What they held is given back.
    for (let turn = 0; turn < 3; turn++) {
      let answer: Response;
      do answer = await fetch(url + path, { headers: headersOf(TOKEN_A) });
      while (answer.status === 429);
      expect((await answer.arrayBuffer()).byteLength).toBeGreaterThan(size);
    }
  });

  /** Sends a request, reads the status and stops reading. */
  function stalled(url: string, path: string): { socket: Socket; status: Promise<number> } {
    const { hostname, port } = new URL(url);
    const socket = connect(Number(port), hostname);
    socket.on('error', () => undefined);
    socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${TOKEN_A}\r\n\r\n`);
    const status = new Promise<number>((resolve) => {
      socket.once('data', (data) => {
        socket.pause();
        resolve(Number(/^HTTP\/1\.1 (\d+)/.exec(String(data))?.[1]));
      });
    });
    return { socket, status };
  }
});

describe('ids and records', () => {
  const call = async (method: string, path: string, body?: string) => {
    const { handler } = await begin({ maxRecord: 200 });
    const init = { method, headers: headersOf(TOKEN_A), ...(body === undefined ? {} : { body }) };
    const response = await handler(new Request(API + path, init));
    return { status: response.status, json: (await response.json()) as { errcode: string; error: string } };
  };
  const long = 'é'.repeat(128);
  const room = encodeURIComponent(`!${long}`);
  const session = 's'.repeat(1025);

  test.each(['GET', 'PUT', 'DELETE'])('%s of a path with an id that is too long is 400', async (method) => {
    for (const [path, place] of [
      [`/keys/${room}?version=v`, `rooms["!${long}"]: expected a room id of at most 255 bytes`],
      [`/keys/${room}/s?version=v`, `rooms["!${long}"]: expected a room id`],
      [`/keys/!r:x/${session}?version=v`, 'expected a session id of at most 1024 bytes'],
    ]) {
      const { status, json } = await call(method, path, method === 'PUT' ? '{}' : undefined);
      expect([status, json.errcode]).toEqual([400, 'M_INVALID_PARAM']);
      expect(json.error).toContain(place);
      expect(json.error.length).toBeLessThan(500);
    }
  });

  test('a body with an id that is too long is 400', async () => {
    const sessions = { [session]: {} };
    for (const [path, body] of [
      ['/keys?version=v', { rooms: { '!r:x': { sessions } } }],
      ['/keys/!r:x?version=v', { sessions }],
    ] as const) {
      const { status, json } = await call('PUT', path, JSON.stringify(body));
      expect([status, json.errcode]).toEqual([400, 'M_BAD_JSON']);
      expect(json.error).toMatch(
        /^rooms\["!r:x"\]\.sessions\["s{255}…"\]: expected a session id of at most 1024/,
      );
    }
  });

  test.each([
    ['PUT', '/keys/!r:x/s?version=v', JSON.stringify({ more: 'x'.repeat(200) })],
    ['POST', '/version', JSON.stringify({ algorithm: 'a', auth_data: { more: 'x'.repeat(200) } })],
    ['PUT', '/version/v', JSON.stringify({ algorithm: 'a', auth_data: { more: 'x'.repeat(200) } })],
  ])('%s %s of more than a record may take is 413', async (method, path, body) => {
    const { status, json } = await call(method, path, body);
    expect([status, json.errcode]).toEqual([413, 'M_TOO_LARGE']);
  });
});

test('reads one page of all downloads in a round of the event loop', async () => {
  const { store, handler, versions } = await begin({});
  await store.writeKeys('@user0:x', versions[0], [keyOf('!r:x', 'a'), keyOf('!r:x', 'b')], {}, undefined);
  let [reads, most, isOver] = [0, 0, false];
  const readKeys = store.readKeys.bind(store);
  // The same keys thirty times.
  store.readKeys = (user, version, scope, after, limit) =>
    readKeys(user, version, scope, reads++ < 30 * 30 ? undefined : after, limit);
  const watching = (async () => {
    while (!isOver) {
      const before = reads;
      await new Promise((resolve) => setImmediate(resolve));
      most = Math.max(most, reads - before);
    }
  })();
  const url = `${API}/keys?version=${versions[0]}`;
  const responses = await Promise.all(
    Array.from({ length: 30 }, () => handler(new Request(url, { headers: headersOf(TOKEN_A) }))),
  );
  await Promise.all(responses.map((response) => response.arrayBuffer()));
  isOver = true;
  await watching;
  expect(reads).toBeGreaterThan(30 * 30);
  expect(most).toBeLessThanOrEqual(2);
});

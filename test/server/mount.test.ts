import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Hono } from 'hono';
import { expect, test } from 'vitest';
import { createApp, createHandler, type Handler } from '../../src/server/handler.js';
import { nodeListener } from '../../src/server/listen.js';
import { withHealth } from '../../src/server/observability.js';
import { createMemoryStore } from '../support/memory-store.js';
import { TOKEN_A, identify } from '../support/serving.js';

const URL = 'http://localhost/_matrix/client/v3/room_keys/keys/!a%2Fb:x/%2B?version=none';
const request = (): Request => new Request(URL, { headers: { authorization: `Bearer ${TOKEN_A}` } });

async function expectUnknownVersion(response: Response): Promise<void> {
  expect(response.status).toBe(404);
  expect(await response.json()).toEqual({ errcode: 'M_NOT_FOUND', error: 'Unknown backup version' });
}

test('mounts under hono, beside other routes', async () => {
  const store = createMemoryStore();
  const handler = await createHandler({ store, identify });
  for (const app of [
    new Hono().all('/_matrix/client/*', async (context) => handler(context.req.raw)),
    new Hono().get('/own', (context) => context.text('own')).route('/', await createApp({ store, identify })),
  ]) {
    await expectUnknownVersion(await app.fetch(request()));
  }
});

/** Listens with what a framework would do to a request before it is the listener's turn. */
async function withServer(
  before: (request: IncomingMessage & { originalUrl?: string }) => void | Promise<void>,
  work: (url: string) => Promise<void>,
): Promise<void> {
  const listener = await nodeListener(await createHandler({ store: createMemoryStore(), identify }));
  const server = createServer(
    (incoming, outgoing) => void Promise.resolve(before(incoming)).then(() => listener(incoming, outgoing)),
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    await work(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

const PATH = URL.slice('http://localhost'.length);
const authorization = `Bearer ${TOKEN_A}`;

test.each([
  ['as it is', PATH, (url: string) => url],
  [
    'under a prefix of Matrix that a framework cut off',
    PATH,
    (url: string) => url.replace('/_matrix/client', ''),
  ],
  [
    'under a prefix of its own that a framework cut off',
    `/backup${PATH}`,
    (url: string) => url.replace('/backup', ''),
  ],
])('serves under node:http %s', async (_name, path, cutOff) => {
  await withServer(
    (incoming) => {
      incoming.originalUrl = incoming.url ?? '';
      incoming.url = cutOff(incoming.originalUrl);
    },
    async (url) => expectUnknownVersion(await fetch(url + path, { headers: { authorization } })),
  );
});

test('says so when something else has read the body', async () => {
  const create = (url: string): Promise<Response> =>
    fetch(`${url}/_matrix/client/v3/room_keys/version`, {
      method: 'POST',
      headers: { authorization },
      body: JSON.stringify({ algorithm: 'a', auth_data: {} }),
    });
  await withServer(
    () => undefined,
    async (url) => {
      expect((await create(url)).status).toBe(200);
    },
  );
  await withServer(
    async (incoming) => {
      for await (const _ of incoming);
    },
    async (url) => {
      const response = await create(url);
      expect(response.status).toBe(500);
      expect(await response.json()).toEqual({
        errcode: 'M_UNKNOWN',
        error: expect.stringContaining('before any body parser') as string,
      });
    },
  );
});

test('health says whether the store answers, without a token', async () => {
  const store = createMemoryStore();
  const inner = await createHandler({ store, identify });
  const health = (handler: Handler): Promise<Response> => handler(new Request('http://localhost/health'));
  expect((await health(withHealth(inner, store))).status).toBe(200);
  const broken = withHealth(inner, { ...store, ping: () => Promise.reject(new Error('gone')) });
  expect((await health(broken)).status).toBe(503);
  await expectUnknownVersion(await broken(request()));
});

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { Hono } from 'hono';
import { expect, test } from 'vitest';
import { createApp, createHandler, type Handler } from '../../src/server/handler.js';
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

test('serves under node:http through a request listener', async () => {
  const handler: Handler = await createHandler({ store: createMemoryStore(), identify });
  const listener = getRequestListener(handler, { overrideGlobalObjects: false });
  const server = createServer((incoming, outgoing) => void listener(incoming, outgoing));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const { pathname, search } = new globalThis.URL(URL);
  const headers = { authorization: `Bearer ${TOKEN_A}` };
  await expectUnknownVersion(await fetch(`http://127.0.0.1:${port}${pathname}${search}`, { headers }));
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
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

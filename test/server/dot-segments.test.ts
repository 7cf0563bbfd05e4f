import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { Hono } from 'hono';
import { describe, expect, test } from 'vitest';
import { createApp, createHandler } from '../../src/server/handler.js';
import { listen } from '../../src/server/listen.js';
import { withHealth } from '../../src/server/observability.js';
import type { BackupStore } from '../../src/server/store.js';
import { keyOf, newVersion } from '../contracts/store.js';
import { createMemoryStore } from '../support/memory-store.js';
import { TOKEN_A, identify } from '../support/serving.js';

const API = '/_matrix/client/v3/room_keys';
const USER = '@user0:x';

interface Listening {
  readonly url: string;
  readonly stop: () => Promise<void>;
}

async function listenOn(fetch: Parameters<typeof getRequestListener>[0]): Promise<Listening> {
  const listener = getRequestListener(fetch, { overrideGlobalObjects: false });
  const server = createServer((incoming, outgoing) => void listener(incoming, outgoing));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}

const WAYS: readonly [string, (store: BackupStore) => Promise<Listening>][] = [
  ['listen', async (store) => listen(withHealth(await createHandler({ store, identify }), store))],
  [
    'listen with replaced globals',
    async (store) => listen(await createHandler({ store, identify }), { overrideGlobalObjects: true }),
  ],
  [
    'a request listener',
    async (store) => {
      const handler = await createHandler({ store, identify });
      return listenOn(handler);
    },
  ],
  [
    'a hono application',
    async (store) => {
      const app = new Hono().route('/', await createApp({ store, identify }));
      return listenOn(app.fetch);
    },
  ],
];

/** Sends a path as it is; `fetch` would remove the dot segments. */
function send(url: string, method: string, path: string): Promise<number | undefined> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${TOKEN_A}` };
    const sent = request({ host: hostname, port, method, path, headers }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    sent.on('error', reject);
    sent.end();
  });
}

describe.each(WAYS)('served by %s', (way, open) => {
  test.each([
    '/keys/%2E/!victim%3Ax',
    '/keys/%2e/!victim%3Ax',
    '/keys/./!victim%3Ax',
    '/keys/!victim%3Ax/.',
    '/keys/!victim%3Ax/%2E',
    '/keys/!a%3Ax/../!victim%3Ax',
    '/keys/!a%3Ax/%2e%2E/!victim%3Ax',
    '/keys/!a%3Ax/..',
    '/keys/!victim%3Ax/.%2e',
    '/keys/%2E%2e',
    '/keys/.',
    '/version/../keys',
    '/%2e/keys',
  ])('DELETE %s deletes nothing', async (path) => {
    const store = createMemoryStore();
    const version = await newVersion(store, USER);
    await store.writeKeys(USER, version, [keyOf('!victim:x', 's'), keyOf('!victim:x', 't')], {}, undefined);
    const { url, stop } = await open(store);
    try {
      expect([400, 404]).toContain(await send(url, 'DELETE', `${API}${path}?version=${version}`));
      expect(await store.readVersion(USER, version)).toMatchObject({ count: 2, etag: '1' });
    } finally {
      await stop();
    }
  });

  test('rejects a dot segment with 400 and takes ids that contain dots', async () => {
    const store = createMemoryStore();
    const version = await newVersion(store, USER);
    await store.writeKeys(USER, version, [keyOf('...', '.s.')], {}, undefined);
    const { url, stop } = await open(store);
    try {
      for (const path of ['/keys/%2E/s', '/keys/!r%3Ax/..', '/keys/!r%3Ax/%2e%2e', '/version/.']) {
        const status = await send(url, 'GET', `${API}${path}?version=${version}`);
        // An application around this one has its own routes, for the path without dot segments.
        expect(way === 'a hono application' ? [400, 404] : [400], path).toContain(status);
      }
      expect(await send(url, 'GET', `${API}/keys/.../.s.?version=${version}`)).toBe(200);
      expect(await send(url, 'GET', `${API}/keys/%2E%2E./%2Es%2E?version=${version}`)).toBe(200);
      expect(await send(url, 'GET', `${url}${API}/keys/.../.s.?version=${version}`)).toBe(200);
    } finally {
      await stop();
    }
  });
});

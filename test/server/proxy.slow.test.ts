import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { runConformance } from '../../src/conformance/run.js';
import { serverUnderTest } from '../../src/conformance/server-under-test.js';
import type { BackupStore } from '../../src/server/store.js';
import { createMemoryStore } from '../support/memory-store.js';
import { caddy, nginx, type Proxy as ReverseProxy } from '../support/proxy.js';
import { TOKEN_A, TOKEN_B, serve } from '../support/serving.js';

/** The proxy snippets of docs/running-the-server.md, run by the proxies that are installed. */

/** What `serve` allows by default. */
const MAX_BODY = 10 * 2 ** 20;

/** Checks that a proxy answers itself, before the server has heard of the request: U+0000 and broken encodings. */
const ANSWERED_BY_ITSELF: Readonly<Record<string, readonly string[]>> = {
  nginx: ['any string is an id in a path', 'an invalid percent-encoding is 4xx with an errcode'],
  Caddy: ['an invalid percent-encoding is 4xx with an errcode'],
};

const IDS = [
  'a+b/c=',
  '%2F',
  '%25',
  '//',
  '/./',
  '/../a',
  ' ?#&;',
  'é e\u0301 😀',
  '__proto__',
  '"\\\u007f\ufeff',
  'x'.repeat(252),
];

const RECORD = {
  first_message_index: 0,
  forwarded_count: 0,
  is_verified: false,
  session_data: { ciphertext: 'A'.repeat(1000), ephemeral: 'A'.repeat(43), mac: 'A'.repeat(11) },
};

/** Pages sent before the answer breaks off: more than any buffer on the way holds. */
const PAGES_BEFORE = 20;

describe.each([nginx, caddy])('$name', (kind) => {
  let breaking = false;
  let proxy: ReverseProxy;
  let homeserver: Server;
  let stopServer: () => Promise<void>;
  const address = () => ({ url: proxy.url, tokenA: TOKEN_A, tokenB: TOKEN_B });

  if (kind.version === undefined) {
    test.skip('is not installed');
    return;
  }

  beforeAll(async () => {
    const inner = createMemoryStore();
    let pages = 0;
    const store = reading(inner, async (...args) => {
      if (breaking && ++pages > PAGES_BEFORE) throw new Error('the database went away');
      return inner.readKeys(...args);
    });
    const server = await serve(store, { maxBody: MAX_BODY });
    stopServer = server.stop;
    homeserver = createServer((request, response) => {
      response.writeHead(404, { 'content-type': 'application/json', 'access-control-allow-origin': '*' });
      response.end(JSON.stringify({ errcode: 'M_UNRECOGNIZED', error: `homeserver ${request.url ?? ''}` }));
    });
    await new Promise<void>((resolve) => homeserver.listen(0, '127.0.0.1', resolve));
    proxy = await kind.start({
      backup: Number(new URL(server.url).port),
      homeserver: (homeserver.address() as AddressInfo).port,
    });
  });

  afterAll(async () => {
    await proxy.stop();
    await stopServer();
    homeserver.close();
  });

  test('the checks of the specification pass through it', async () => {
    const results = await runConformance(address());
    const failed = results.filter(({ passed }) => !passed).map(({ name }) => name);
    expect(failed).toEqual(ANSWERED_BY_ITSELF[kind.name]);
    expect(results.length).toBeGreaterThan(20);
  });

  test('passes a body as large as the server allows, and rejects one byte more', async () => {
    const { alice } = serverUnderTest(address());
    const version = await alice.newVersion();
    const put = async (length: number) => {
      const body = '{"rooms":{}}'.padEnd(length);
      const headers = { authorization: `Bearer ${TOKEN_A}`, 'content-type': 'application/json' };
      const url = `${proxy.url}/_matrix/client/v3/room_keys/keys?version=${version}`;
      return (await fetch(url, { method: 'PUT', headers, body })).status;
    };
    expect(await put(MAX_BODY)).toBe(200);
    // The server closes the connection without reading such a body. A proxy that still writes may miss its answer.
    expect([413, 502]).toContain(await put(MAX_BODY + 1));
  });

  test.each(IDS)('an id arrives as it was sent: %j', async (id) => {
    const { alice } = serverUnderTest(address());
    const version = await alice.newVersion();
    await alice.putKey(version, `!${id}:x`, id, RECORD);
    expect(await alice.getKeys(version, `!${id}:x`, id)).toEqual(RECORD);
    expect(await alice.getKeys(version)).toEqual({
      rooms: { [`!${id}:x`]: { sessions: { [id]: RECORD } } },
    });
  });

  test('everything else goes to the homeserver, as it came', async () => {
    for (const path of ['/_matrix/client/v3/sync', '/_matrix/client/v1/room_keys/version', '/']) {
      expect(await (await fetch(proxy.url + path)).json()).toHaveProperty('error', `homeserver ${path}`);
    }
  });

  test('an answer that broke off is no JSON, if it looks complete at all', async () => {
    const { alice } = serverUnderTest(address());
    const version = await alice.newVersion();
    const sessions = Object.fromEntries(Array.from({ length: 4000 }, (_, i) => [`session${i}`, RECORD]));
    await alice.putKeys(version, { '!room:x': { sessions } });
    const url = `${proxy.url}/_matrix/client/v3/room_keys/keys?version=${version}`;
    const read = async () => {
      const response = await fetch(url, { headers: { authorization: `Bearer ${TOKEN_A}` } });
      return response.text().then(outcomeOf, () => 'broken off');
    };
    expect(await read()).toBe('complete');
    breaking = true;
    expect(await read()).toBe(kind === nginx ? 'broken off' : 'no JSON');
    breaking = false;
  });
});

function outcomeOf(text: string): 'complete' | 'no JSON' {
  try {
    JSON.parse(text);
    return 'complete';
  } catch {
    return 'no JSON';
  }
}

/** A store with another `readKeys`. */
function reading(store: BackupStore, readKeys: BackupStore['readKeys']): BackupStore {
  return new Proxy(store, {
    get: (target, name) => {
      if (name === 'readKeys') return readKeys;
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

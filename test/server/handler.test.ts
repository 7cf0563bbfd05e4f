import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MatrixError } from '../../src/server/matrix-error.js';
import { createHandler, type Handler, type RequestRecord } from '../../src/server/handler.js';
import type { BackupStore } from '../../src/server/store.js';
import { KeyBackupError } from '../../src/errors.js';
import { createMemoryStore } from '../support/memory-store.js';
import { TOKEN_A, identify, temporarySqlite } from '../support/serving.js';
import { runs } from '../support/runs.js';

const API = 'http://localhost/_matrix/client/v3/room_keys';
const headers = { authorization: `Bearer ${TOKEN_A}` };
const key = (index = 0) => ({
  first_message_index: index,
  forwarded_count: 0,
  is_verified: false,
  session_data: {},
});

async function call(handler: Handler, method: string, path: string, body?: unknown) {
  const text = typeof body === 'string' || body === undefined ? body : JSON.stringify(body);
  const response = await handler(
    new Request(API + path, { method, headers, ...(text === undefined ? {} : { body: text }) }),
  );
  const answer = await response.text();
  return {
    status: response.status,
    headers: response.headers,
    json: JSON.parse(answer) as Record<string, unknown>,
  };
}

async function newVersion(handler: Handler): Promise<string> {
  return (await call(handler, 'POST', '/version', { algorithm: 'a', auth_data: {} })).json.version as string;
}

/** A body that fails when anybody reads it. */
function unreadableRequest(path: string, more: Record<string, string>): Request {
  const body = new ReadableStream(
    {
      pull: () => {
        throw new Error('the body was read');
      },
    },
    { highWaterMark: 0 },
  );
  return new Request(API + path, { method: 'PUT', headers: more, body, duplex: 'half' });
}

describe('before the body is read', () => {
  test.each([
    ['no token', {}, 401, 'M_MISSING_TOKEN'],
    ['a wrong token', { authorization: 'Bearer wrong' }, 401, 'M_UNKNOWN_TOKEN'],
    ['another scheme', { authorization: `Basic ${TOKEN_A}` }, 401, 'M_MISSING_TOKEN'],
    ['too long a body', { ...headers, 'content-length': '1001' }, 413, 'M_TOO_LARGE'],
  ])('rejects %s', async (_name, more, status, errcode) => {
    const errors: unknown[] = [];
    const handler = await createHandler({
      store: createMemoryStore(),
      identify,
      maxBody: 1000,
      onError: (e) => errors.push(e),
    });
    const response = await handler(unreadableRequest('/keys?version=v', more));
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ errcode });
    expect(errors).toEqual([]);
  });

  test('rejects a missing version and an invalid path', async () => {
    const handler = await createHandler({ store: createMemoryStore(), identify });
    expect((await handler(unreadableRequest('/keys', headers))).status).toBe(400);
    expect((await handler(unreadableRequest('/keys/%ff?version=v', headers))).status).toBe(400);
  });
});

test('a body of unannounced length is cut off at the limit', async () => {
  const handler = await createHandler({ store: createMemoryStore(), identify, maxBody: 10_000 });
  let sent = 0;
  const body = new ReadableStream({
    pull: (controller) => {
      sent += 1000;
      controller.enqueue(new Uint8Array(1000).fill(0x20));
    },
  });
  const request = new Request(`${API}/version`, {
    method: 'POST',
    headers,
    body,
    duplex: 'half',
  });
  const response = await handler(request);
  expect(response.status).toBe(413);
  expect(sent).toBeLessThan(20_000);
});

describe('an answer of keys', () => {
  const many = Object.fromEntries(Array.from({ length: 700 }, (_, i) => [`s${i}`, key(i)]));

  async function filled(
    change: (store: BackupStore) => Partial<BackupStore>,
  ): Promise<[Handler, string, unknown[]]> {
    const store = createMemoryStore();
    const errors: unknown[] = [];
    const handler = await createHandler({
      store: { ...store, ...change(store) },
      identify,
      onError: (e) => errors.push(e),
    });
    const version = await newVersion(handler);
    await call(handler, 'PUT', `/keys/!r:x?version=${version}`, { sessions: many });
    return [handler, version, errors];
  }

  test.each([
    ['the store fails', () => Promise.reject(new KeyBackupError('store-failed', 'gone'))],
    ['the version is deleted', () => Promise.resolve({ outcome: 'unknown-version' } as const)],
  ])('breaks off when %s half-way', async (_name, fail) => {
    let reads = 0;
    const [handler, version, errors] = await filled((store) => ({
      readKeys: (...args) => (++reads > 2 ? fail() : store.readKeys(...args)),
    }));
    const response = await handler(new Request(`${API}/keys?version=${version}`, { headers }));
    expect(response.status).toBe(200);
    let got = '';
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    await expect(
      (async () => {
        for (;;) {
          const { done, value } = await reader.read();
          if (done) return;
          got += value;
        }
      })(),
    ).rejects.toThrow();
    expect(errors).toHaveLength(1);
    expect(got.length).toBeGreaterThan(1000);
    expect(() => JSON.parse(got) as unknown).toThrow();
  });

  test('is an error when the store fails at once', async () => {
    const [handler, version] = await filled(() => ({
      readKeys: () => Promise.reject(new KeyBackupError('store-failed', 'secret detail')),
    }));
    const { status, json } = await call(handler, 'GET', `/keys?version=${version}`);
    expect([status, json.errcode]).toEqual([503, 'M_UNKNOWN']);
    expect(JSON.stringify(json)).not.toContain('secret');
  });

  test('is read no faster than it is taken, and no further when the client leaves', async () => {
    let reads = 0;
    const [handler, version] = await filled((store) => ({
      readKeys: (...args) => {
        reads++;
        return store.readKeys(...args);
      },
    }));
    const response = await handler(new Request(`${API}/keys?version=${version}`, { headers }));
    await new Promise((resolve) => setImmediate(resolve));
    expect(reads).toBe(1);
    const reader = response.body!.getReader();
    await reader.read();
    await reader.cancel();
    expect(reads).toBeLessThanOrEqual(2);
  });

  test('comes in pages when asked for', async () => {
    const [handler, version] = await filled(() => ({}));
    await call(handler, 'PUT', `/keys?version=${version}`, {
      rooms: { '!a:x': { sessions: { '\0é': key() } }, '!z:x': { sessions: many } },
    });
    const seen = new Map<string, number>();
    let from = '';
    let pages = 0;
    for (;;) {
      const { status, json } = await call(
        handler,
        'GET',
        `/keys?version=${version}&org.megolm-backup.limit=200${from}`,
      );
      expect(status).toBe(200);
      let count = 0;
      for (const [room, { sessions }] of Object.entries(json.rooms as Record<string, { sessions: object }>)) {
        for (const session of Object.keys(sessions)) {
          seen.set(`${room} ${session}`, (seen.get(`${room} ${session}`) ?? 0) + 1);
          count++;
        }
      }
      pages++;
      const next = json['org.megolm-backup.next_batch'] as string | undefined;
      if (next === undefined) break;
      expect(count).toBe(200);
      from = `&org.megolm-backup.from=${next}`;
    }
    expect(pages).toBe(8);
    expect(seen.size).toBe(1401);
    expect(new Set(seen.values())).toEqual(new Set([1]));
    // A page that ends where the keys end is the last one.
    const last = await call(handler, 'GET', `/keys?version=${version}&org.megolm-backup.limit=1401`);
    expect(last.json['org.megolm-backup.next_batch']).toBeUndefined();
    const plain = await call(handler, 'GET', `/keys?version=${version}`);
    expect(Object.keys(plain.json)).toEqual(['rooms']);
  });

  test.each([
    'limit=0',
    'limit=-1',
    'limit=x',
    'limit=1.5',
    'limit=',
    'from=',
    'from=x',
    'from=WyJhIl0',
    'from=WzEsMl0',
    'from=%00',
    'from=bnVsbA',
  ])('rejects org.megolm-backup.%s', async (query) => {
    const [handler, version] = await filled(() => ({}));
    const { status, json } = await call(
      handler,
      'GET',
      `/keys?version=${version}&org.megolm-backup.${query}`,
    );
    expect([status, json.errcode]).toEqual([400, 'M_INVALID_PARAM']);
  });
});

test('quotas and rates are said as Matrix errors', async () => {
  const handler = await createHandler({
    store: createMemoryStore(),
    identify,
    quota: { versions: 1, keys: 1 },
    rateLimit: { perSecond: 0.001, burst: 5 },
  });
  const version = await newVersion(handler);
  const second = await call(handler, 'POST', '/version', { algorithm: 'a', auth_data: {} });
  expect([second.status, second.json.errcode]).toEqual([403, 'M_RESOURCE_LIMIT_EXCEEDED']);
  expect(second.json.error).toContain('versions');
  const over = await call(handler, 'PUT', `/keys/!r:x?version=${version}`, {
    sessions: { a: key(), b: key() },
  });
  expect([over.status, over.json.errcode]).toEqual([403, 'M_RESOURCE_LIMIT_EXCEEDED']);
  expect(over.json.error).toContain('keys');
  await call(handler, 'GET', '/version');
  await call(handler, 'GET', '/version');
  const often = await call(handler, 'GET', '/version');
  expect([often.status, often.json.errcode]).toEqual([429, 'M_LIMIT_EXCEEDED']);
  expect(Number(often.headers.get('retry-after')) * 1000).toBeGreaterThanOrEqual(
    often.json.retry_after_ms as number,
  );
  expect(often.json.retry_after_ms).toBeGreaterThan(900_000);
  expect(often.headers.get('access-control-allow-origin')).toBe('*');
});

test('requests are told of without anything secret', async () => {
  const records: RequestRecord[] = [];
  const handler = await createHandler({
    store: createMemoryStore(),
    identify,
    onRequest: (r) => records.push(r),
  });
  await call(handler, 'GET', `/keys/!secret-room:x/secret-session?version=secret-version`);
  await handler(new Request(`${API}/nothing/secret?access_token=${TOKEN_A}`));
  expect(records).toMatchObject([
    { method: 'GET', route: '/room_keys/keys/:roomId/:sessionId', status: 404, userId: '@user0:x' },
    { method: 'GET', route: '', status: 404, userId: undefined },
  ]);
  expect(JSON.stringify(records)).not.toMatch(/secret|token/);
});

test('a failing authentication that is no Matrix error is 500 and told to onError only', async () => {
  const errors: unknown[] = [];
  const handler = await createHandler({
    store: createMemoryStore(),
    identify: () => Promise.reject(new Error('secret detail')),
    onError: (error) => errors.push(error),
  });
  const { status, json } = await call(handler, 'GET', '/version');
  expect([status, json]).toEqual([500, { errcode: 'M_UNKNOWN', error: 'Internal server error' }]);
  expect(errors).toHaveLength(1);
  expect(new MatrixError(400, 'M_X', 'x').body).toEqual({ errcode: 'M_X', error: 'x' });
});

test('arbitrary requests are never the server’s error', async () => {
  const { store, remove } = await temporarySqlite();
  const errors: unknown[] = [];
  const handler = await createHandler({
    store,
    identify,
    maxBody: 100_000,
    onError: (error) => errors.push(error),
  });
  const version = await newVersion(handler);
  const name = fc.oneof(fc.constantFrom('!r:x', '__proto__', '', '\0'), fc.string({ unit: 'grapheme' }));
  const record = fc.record(
    {
      first_message_index: fc.oneof(fc.nat(), fc.jsonValue()),
      forwarded_count: fc.oneof(fc.nat(), fc.jsonValue()),
      is_verified: fc.oneof(fc.boolean(), fc.jsonValue()),
      session_data: fc.oneof(fc.dictionary(name, fc.jsonValue()), fc.jsonValue()),
    },
    { requiredKeys: [] },
  );
  const sessions = fc.oneof(fc.dictionary(name, fc.oneof(record, fc.jsonValue())), fc.jsonValue());
  const rooms = fc.oneof(
    fc.dictionary(name, fc.oneof(fc.record({ sessions }), fc.jsonValue())),
    fc.jsonValue(),
  );
  const json = fc.oneof(
    record,
    fc.record({ sessions }),
    fc.record({ rooms }),
    fc.record({ algorithm: fc.string(), auth_data: fc.object() }),
    fc.jsonValue(),
  );
  const cut = fc.tuple(json, fc.nat({ max: 60 })).map(([value, at]) => JSON.stringify(value).slice(at));
  const body = fc.oneof(
    json.map((value) => JSON.stringify(value)),
    cut,
    fc.uint8Array(),
    fc.string(),
  );
  const segment = fc.oneof(
    fc.constantFrom('version', 'keys', version, '%', '%ff', '%00', '..', '%2e%2e', '+', 'a%2Fb'),
    name.map((id) => encodeURIComponent(id)),
  );
  const path = fc.oneof(
    fc.array(segment, { maxLength: 4 }).map((parts) => `/${parts.join('/')}`),
    fc.constantFrom('/keys', '/keys/!r:x', '/keys/!r:x/s', '/version', `/version/${version}`),
  );
  const query = fc.constantFrom(
    '',
    `?version=${version}`,
    `?version=${version}&org.megolm-backup.limit=3`,
    '?version=%ff',
    '?version',
    '?%',
    '?version=%00',
  );
  const statuses = new Set<number>();
  try {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('GET', 'PUT', 'POST', 'DELETE', 'PATCH'),
        path,
        query,
        body,
        async (method, where, q, content) => {
          const init = method === 'GET' ? {} : { body: content as string };
          const response = await handler(new Request(API + where + q, { method, headers, ...init }));
          const answer = JSON.parse(await response.text()) as Record<string, unknown>;
          statuses.add(response.status);
          expect(response.status).toBeLessThan(500);
          if (response.status >= 400) expect(answer.errcode).toMatch(/^M_[A-Z_]+$/);
        },
      ),
      { numRuns: runs(3000) },
    );
  } finally {
    await remove();
  }
  expect(errors).toEqual([]);
  expect([...statuses].sort()).toEqual(expect.arrayContaining([200, 400, 404, 405]));
}, 120_000);

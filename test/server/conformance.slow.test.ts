import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';

import { CHECKS, hasBackup, runConformance, type CheckResult } from '../../src/conformance/run.js';
import {
  serverUnderTest,
  type ServerAddress,
  type ServerUnderTest,
} from '../../src/conformance/server-under-test.js';
import { BACKUP_ALGORITHM } from '../../src/index.js';
import { openPostgresStore } from '../../src/server/postgres/index.js';
import type { BackupStore } from '../../src/server/store.js';
import { Workspace } from '../cli/workspace.js';
import { createMemoryStore } from '../support/memory-store.js';
import { startPostgres } from '../support/postgres.js';
import { TOKEN_A, TOKEN_B, serve, temporarySqlite } from '../support/serving.js';

const MAX_BODY = 300_000;

interface Opened {
  readonly store: BackupStore;
  readonly stop: () => Promise<void>;
}

const stores: [string, () => Promise<Opened | undefined>][] = [
  ['the model', () => Promise.resolve({ store: createMemoryStore(), stop: () => Promise.resolve() })],
  [
    'SQLite',
    async () => {
      const { store, remove } = await temporarySqlite();
      return { store, stop: remove };
    },
  ],
  [
    'PostgreSQL',
    async () => {
      const postgres = await startPostgres();
      const store = await openPostgresStore(await postgres.createDatabase());
      return {
        store,
        stop: async () => {
          await store.close();
          await postgres.stop();
        },
      };
    },
  ],
];

describe.each(stores)('conformance over HTTP: %s', (_name, open) => {
  let opened: Opened | undefined;
  let server: ServerUnderTest;
  let stopServer: () => Promise<void>;
  beforeAll(async () => {
    opened = await open();
    if (!opened) return;
    const { url, stop } = await serve(opened.store, { maxBody: MAX_BODY });
    stopServer = stop;
    server = serverUnderTest({ url, tokenA: TOKEN_A, tokenB: TOKEN_B, maxBody: MAX_BODY });
  }, 120_000);
  afterAll(async () => {
    if (!opened) return;
    await stopServer();
    await opened.stop();
  });

  test.each(CHECKS)('$name', async (check) => {
    if (!opened) return;
    await server.alice.deleteVersions();
    await server.bob.deleteVersions();
    await check.run(server);
  });
});

/** Servers that get one thing wrong, as deployed ones do, and the checks that notice it, no other. */
const mutants: [string, (store: BackupStore) => Partial<BackupStore>, string[]][] = [
  [
    'the last write wins',
    (store) => ({
      writeKeys: async (user, version, keys, quota, writer) => {
        for (const { room_id, session_id } of keys)
          await store.deleteKeys(user, version, { room_id, session_id });
        return store.writeKeys(user, version, keys, quota, writer);
      },
    }),
    [
      'of two copies verified wins, then the lower index, then the lower count',
      'of two equally good copies the stored one stays',
      'the etag stays when a write changes nothing',
    ],
  ],
  [
    'current_version of the request',
    (store) => ({
      writeKeys: async (user, version, ...rest) => {
        const result = await store.writeKeys(user, version, ...rest);
        return result.outcome === 'wrong-version' ? { ...result, current_version: version } : result;
      },
    }),
    ['M_WRONG_ROOM_KEYS_VERSION names the true current_version'],
  ],
  [
    'an etag that never changes',
    (store) => ({
      writeKeys: async (...args) => {
        const result = await store.writeKeys(...args);
        return result.outcome === 'changed' ? { ...result, etag: '0' } : result;
      },
    }),
    ['the etag changes when keys change'],
  ],
  [
    'one user for all',
    (store) => ({
      readVersion: (_user, version) => store.readVersion('@user0:x', version),
      readKey: (_user, ...rest) => store.readKey('@user0:x', ...rest),
    }),
    ["a user does not see another user's backup"],
  ],
];

test.each(mutants)('the checks notice %s', async (_name, mutate, expected) => {
  const store = createMemoryStore();
  const server = await serve({ ...store, ...mutate(store) });
  try {
    const results = await runConformance({ url: server.url, tokenA: TOKEN_A, tokenB: TOKEN_B });
    const failed = results.filter(({ passed }) => !passed);
    expect(failed.map(({ name }) => name)).toEqual(expected);
    for (const { reason } of failed) expect(reason).toBeTruthy();
  } finally {
    await server.stop();
  }
});

/** A conforming server that does none of what is only recommended here: small ids, other codes, no extras. */
async function serveDifferently(url: string): Promise<{ url: string; stop: () => Promise<void> }> {
  const versions: string[] = [];
  const small = (text: string) => versions.reduce((t, id, i) => t.replaceAll(`"${id}"`, `"${i + 1}"`), text);
  const large = (id: string) => versions[Number(id) - 1] ?? id;
  const answer = async (method: string, path: string, body: string, headers: Record<string, string>) => {
    const at = new URL(path, url);
    const error = (status: number, errcode: string) => ({
      status,
      text: JSON.stringify({ errcode, error: 'no' }),
    });
    if (!path.startsWith('/_matrix/client/v3/')) return error(404, 'M_UNRECOGNIZED');
    if (method === 'OPTIONS' || method === 'HEAD') return { status: 200, text: '' };
    const token = at.searchParams.get('access_token');
    if (token !== null) headers.authorization = `Bearer ${token}`;
    const isKnown = [TOKEN_A, TOKEN_B].some((known) => headers.authorization === `Bearer ${known}`);
    let sent = body;
    if (body !== '') {
      try {
        const json = JSON.parse(body) as { algorithm?: unknown; version?: string } | null;
        if (method === 'POST' && at.pathname.endsWith('/version') && isKnown) {
          if (json?.algorithm !== BACKUP_ALGORITHM) return error(400, 'M_INVALID_PARAM');
        }
        if (typeof json?.version === 'string')
          sent = JSON.stringify({ ...json, version: large(json.version) });
      } catch {
        return error(400, 'M_NOT_JSON');
      }
    }
    const version = at.searchParams.get('version');
    if (version !== null) at.searchParams.set('version', large(version));
    else if (method === 'GET' && at.pathname.endsWith('/keys') && isKnown) {
      return error(400, 'M_MISSING_PARAM');
    }
    at.pathname = at.pathname.replace(/(?<=\/version\/)[^/]+$/, (id) =>
      encodeURIComponent(large(decodeURIComponent(id))),
    );
    const response = await fetch(at, { method, headers, ...(body === '' ? {} : { body: sent }) });
    const text = await response.text();
    const json = JSON.parse(text) as Record<string, unknown>;
    const { status } = response;
    if (json.errcode === 'M_BAD_JSON') return error(400, 'M_INVALID_PARAM');
    if (status === 404 && method === 'PUT' && at.pathname.includes('/keys')) {
      return error(403, 'M_WRONG_ROOM_KEYS_VERSION');
    }
    if (method === 'POST' && typeof json.version === 'string') versions.push(json.version);
    delete json.unknown;
    return { status, text: small(JSON.stringify(json)) };
  };
  const server = createServer((request, response) => {
    void (async () => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const { method = '', url: path = '' } = request;
      const { authorization } = request.headers;
      const headers: Record<string, string> = authorization === undefined ? {} : { authorization };
      const { status, text } = await answer(method, path, Buffer.concat(chunks).toString(), headers);
      response.writeHead(status, { 'content-type': 'application/json' }).end(text);
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: () =>
      new Promise((resolve) =>
        server.close(() => {
          resolve();
        }),
      ),
  };
}

/** What {@link serveDifferently} does not follow. */
const NOT_FOLLOWED = [
  'a version id cannot be guessed',
  'another spelling of a version id is not found',
  'any algorithm is accepted',
  'a write to an unknown version is 404 M_NOT_FOUND',
  'unknown fields beside session_data come back',
  'numbers beyond 2^53, fractions and lone surrogates are rejected',
  'the error about an invalid key names the room, the session and the field',
  'r0 and unstable are the same API as v3',
  'a token is checked before the body is read',
  'a token in the query does not count',
  'an empty body and one that is not UTF-8 are 400 M_NOT_JSON',
  'JSON of 100,000 levels is rejected',
  'HEAD is 405',
  'a preflight allows the methods and headers of the API',
  'every answer lets any origin read it, errors too',
];

describe('megolm-backup conformance', () => {
  async function conformance(url: string, ...options: string[]) {
    const work = new Workspace();
    work.write('a.txt', TOKEN_A);
    work.write('b.txt', TOKEN_B);
    const files = ['--token-file', 'a.txt', '--token-file-b', 'b.txt'];
    return work.run(['conformance', '--homeserver', url, ...files, ...options]);
  }

  test('passes a different but conforming server, and lists the recommendations apart', async () => {
    const ours = await serve(createMemoryStore());
    const server = await serveDifferently(ours.url);
    onTestFinished(async () => {
      await server.stop();
      await ours.stop();
    });
    const { code, stdout } = await conformance(server.url, '--json');
    const { passed, failed, recommendations, checks } = JSON.parse(stdout) as Conformance;
    expect(checks.filter(({ kind, passed }) => kind === 'specification' && !passed)).toEqual([]);
    expect(checks.filter(({ passed }) => !passed).map(({ name }) => name)).toEqual(NOT_FOLLOWED);
    expect({ code, failed, notFollowed: recommendations.failed }).toEqual({
      code: 0,
      failed: 0,
      notFollowed: NOT_FOLLOWED.length,
    });
    expect(passed + recommendations.passed + recommendations.failed).toBe(CHECKS.length);
    expect(checks).toContainEqual(
      expect.objectContaining({ note: 'it is 400 M_MISSING_PARAM', passed: true }),
    );
    const text = await conformance(server.url);
    expect(text.code).toBe(0);
    const [required, recommended] = text.stdout.split('\nnot in the specification, and recommended:\n');
    expect(required).not.toContain('FAIL');
    expect(required).toContain('gives the current backup: it is 400 M_MISSING_PARAM\n');
    for (const name of NOT_FOLLOWED) expect(recommended).toContain(`note  ${name}\n`);
    expect(recommended).toContain(`specification: ${passed} passed, 0 failed\n`);
  });

  test('fails a server that violates the specification, and names the section', async () => {
    const store = createMemoryStore();
    const [, mutate] = mutants.find(([name]) => name === 'current_version of the request')!;
    const server = await serve({ ...store, ...mutate(store) });
    onTestFinished(() => server.stop());
    const { code, stdout } = await conformance(server.url, '--json');
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ failed: 1, recommendations: { failed: 0 } });
    const text = await conformance(server.url);
    expect(text.code).toBe(1);
    expect(text.stdout).toContain(
      'FAIL  M_WRONG_ROOM_KEYS_VERSION names the true current_version\n' +
        '      Server-side key backups, PUT /room_keys/keys\n      current_version: expected ',
    );
    expect(text.stdout).toContain('gives the current backup: it gives the current backup\n');
  });
});

interface Conformance {
  readonly passed: number;
  readonly failed: number;
  readonly recommendations: { readonly passed: number; readonly failed: number };
  readonly checks: readonly CheckResult[];
}

test('every check names its section or its reason, once', () => {
  expect(new Set(CHECKS.map(({ name }) => name)).size).toBe(CHECKS.length);
  for (const check of CHECKS) {
    expect(check.kind === 'specification' ? check.section : check.why).toMatch(/^\S.{8,}/);
  }
});

test('knows whether a user has a backup that the checks would delete', async () => {
  const store = createMemoryStore();
  const server = await serve(store);
  const address: ServerAddress = { url: server.url, tokenA: TOKEN_A, tokenB: TOKEN_B };
  expect(await hasBackup(address)).toBe(false);
  await store.createVersion('@user1:x', { algorithm: 'a', auth_data: '{}' }, {});
  expect(await hasBackup(address)).toBe(true);
  await expect(hasBackup({ ...address, tokenB: 'wrong' })).rejects.toThrow('401');
  await server.stop();
});

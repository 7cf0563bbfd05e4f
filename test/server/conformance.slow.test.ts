import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { deleteVersions } from '../../src/conformance/backup.js';
import { CHECKS, hasBackup, runConformance } from '../../src/conformance/run.js';
import {
  serverUnderTest,
  type ServerAddress,
  type ServerUnderTest,
} from '../../src/conformance/server-under-test.js';
import { openPostgresStore } from '../../src/server/postgres.js';
import type { BackupStore } from '../../src/server/store.js';
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
    await deleteVersions(server.alice);
    await deleteVersions(server.bob);
    await check.run(server);
  });
});

/** Servers that get one thing wrong, as deployed ones do, and the check that has to notice. */
const mutants: [string, (store: BackupStore) => Partial<BackupStore>, RegExp][] = [
  [
    'small integers for versions',
    (store) => {
      let last = 0;
      const names = new Map<string, string>();
      const of = (version: string): string =>
        [...names].find(([, small]) => small === version)?.[0] ?? version;
      return {
        createVersion: async (...args) => {
          const made = await store.createVersion(...args);
          if (made.outcome !== 'created') return made;
          names.set(made.version, String(++last));
          return { ...made, version: String(last) };
        },
        readVersion: async (user, version) => {
          const found = await store.readVersion(user, version === undefined ? undefined : of(version));
          return found && { ...found, version: names.get(found.version) ?? found.version };
        },
        deleteVersion: (user, version) => store.deleteVersion(user, of(version)),
      };
    },
    /nobody can guess/,
  ],
  [
    'the last write wins',
    (store) => ({
      writeKeys: async (user, version, keys, quota, writer) => {
        for (const { room_id, session_id } of keys)
          await store.deleteKeys(user, version, { room_id, session_id });
        return store.writeKeys(user, version, keys, quota, writer);
      },
    }),
    /verified wins/,
  ],
  [
    'current_version of the request',
    (store) => ({
      writeKeys: async (user, version, ...rest) => {
        const result = await store.writeKeys(user, version, ...rest);
        return result.outcome === 'wrong-version' ? { ...result, current_version: version } : result;
      },
    }),
    /true current_version/,
  ],
  [
    'an etag that never changes',
    (store) => ({
      writeKeys: async (...args) => {
        const result = await store.writeKeys(...args);
        return result.outcome === 'changed' ? { ...result, etag: '0' } : result;
      },
    }),
    /when and only when keys changed/,
  ],
  [
    'one user for all',
    (store) => ({
      readVersion: (_user, version) => store.readVersion('@user0:x', version),
      readKey: (_user, ...rest) => store.readKey('@user0:x', ...rest),
    }),
    /never see or touch/,
  ],
];

test.each(mutants)('the checks notice %s', async (_name, mutate, expected) => {
  const store = createMemoryStore();
  const server = await serve({ ...store, ...mutate(store) });
  try {
    const results = await runConformance({ url: server.url, tokenA: TOKEN_A, tokenB: TOKEN_B });
    const failed = results.filter(({ passed }) => !passed);
    expect(failed.map(({ name }) => name).join('\n')).toMatch(expected);
    for (const { reason } of failed) expect(reason).toBeTruthy();
  } finally {
    await server.stop();
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

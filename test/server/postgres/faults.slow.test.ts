import pg from 'pg';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { withHealth } from '../../../src/server/observability.js';
import { createHandler, type Handler } from '../../../src/server/handler.js';
import { openPostgresStore, openStoreOnPool } from '../../../src/server/postgres/index.js';
import { openPool } from '../../../src/server/postgres/pool.js';
import { purgeVersion } from '../../../src/server/postgres/purge.js';
import type { BackupStore, Quota } from '../../../src/server/store.js';
import { keyOf, newVersion } from '../../contracts/store.js';
import { networkTo } from '../../support/network.js';
import { startPostgres, type TestPostgres } from '../../support/postgres.js';

/** What PostgreSQL and the network may do to a server, and what one user may do to another. */

let server: TestPostgres;
beforeAll(async () => {
  server = await startPostgres();
});
afterAll(() => server.stop());

let users = 0;
const newUser = (): string => `@user${++users}:x`;

async function open(url?: string, on = (to: string) => openPostgresStore(to)) {
  const database = url ?? (await server.createDatabase());
  const store = await on(database);
  onTestFinished(() => store.close().catch(() => undefined));
  return { url: database, store };
}

/** A session beside the server's own. */
async function session(url: string): Promise<pg.Client> {
  const client = new pg.Client(url);
  await client.connect();
  onTestFinished(() => client.end());
  return client;
}

/** Locks rows as a transaction would that does not end. */
async function holding(url: string, rows: string): Promise<{ release(): Promise<void> }> {
  const client = await session(url);
  await client.query('BEGIN');
  await client.query(`SELECT FROM ${rows} FOR UPDATE`);
  return {
    release: async () => {
      await client.query('ROLLBACK');
    },
  };
}

/** Requests of any user, without a port: the token is the user's id. */
async function requests(
  store: BackupStore,
): Promise<(user: string, method: string, path: string, body?: unknown) => Promise<number>> {
  const identify = (request: Request) =>
    Promise.resolve({ user_id: request.headers.get('authorization')!.slice('Bearer '.length) });
  const handler: Handler = withHealth(await createHandler({ store, identify }), store);
  return async (user, method, path, body) => {
    const response = await handler(
      new Request(`http://x${path === '/health' ? path : `/_matrix/client/v3/room_keys${path}`}`, {
        method,
        headers: { authorization: `Bearer ${user}` },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      }),
    );
    await response.text();
    return response.status;
  };
}

const RECORD = { first_message_index: 0, forwarded_count: 0, is_verified: false, session_data: {} };
const oneKey = (session_id: string) => ({ rooms: { '!r:x': { sessions: { [session_id]: RECORD } } } });
const VERSION = { algorithm: 'a', auth_data: {} };
const WAITING = `FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`;

/** Asserts what becomes so soon, for a machine under load. */
const soon = <T>(read: () => T) => expect.poll(read, { timeout: 120_000, interval: 20 });

async function rowsOf(client: pg.Client, text: string, values: unknown[] = []): Promise<unknown[][]> {
  return (await client.query({ text, values, rowMode: 'array' })).rows as unknown[][];
}

test.each([
  ['its own pool', openPostgresStore],
  [
    'a pool of the caller',
    (url: string) => openStoreOnPool(new pg.Pool({ connectionString: url, pipeline: true })),
  ],
])(
  'answers 503 when a backend is terminated during a wait for a lock, and goes on, with %s',
  async (_, on) => {
    const { url, store } = await open(undefined, on);
    const request = await requests(store);
    const people = await Promise.all(
      Array.from({ length: 4 }, async () => {
        const user = newUser();
        const version = await newVersion(store, user);
        expect(await request(user, 'PUT', `/keys?version=${version}`, oneKey('a'))).toBe(200);
        return { user, version };
      }),
    );
    const ask = () =>
      Promise.all(
        [
          { method: 'PUT', path: '/keys?version=', body: oneKey('b') },
          { method: 'DELETE', path: '/keys?version=' },
          { method: 'PUT', path: '/version/', body: VERSION },
          { method: 'DELETE', path: '/version/' },
        ].map(({ method, path, body }, i) => request(people[i].user, method, path + people[i].version, body)),
      );
    const admin = await session(url);
    const locked = await holding(url, 'versions');
    const asked = ask();
    await soon(() => rowsOf(admin, `SELECT ${WAITING}`)).toHaveLength(4);
    await admin.query(`SELECT pg_terminate_backend(pid) ${WAITING}`);
    expect(await asked).toEqual([503, 503, 503, 503]);
    await locked.release();
    expect(await ask()).toEqual([200, 200, 200, 200]);
  },
);

test('loses no acknowledged write when the database restarts under load, and recovers by itself', async ({
  skip,
}) => {
  skip(!server.process, 'PGlite is no process');
  const { store } = await open();
  const request = await requests(store);
  const acknowledged = new Map<string, Set<string>>();
  const statuses = new Set<number>();
  let isWriting = true;
  onTestFinished(() => {
    isWriting = false;
  });
  let writes = 0;
  const writing = Array.from({ length: 8 }, async () => {
    const user = newUser();
    const version = await newVersion(store, user);
    const stored = new Set<string>();
    acknowledged.set(user, stored);
    for (let i = 0; isWriting; i++) {
      const status = await request(user, 'PUT', `/keys?version=${version}`, oneKey(`s${i}`));
      statuses.add(status);
      if (status === 200) {
        stored.add(`s${i}`);
        writes++;
      } else await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return { user, version, stored };
  });
  for (let restart = 1; restart <= 3; restart++) {
    const before = writes;
    await soon(() => writes).toBeGreaterThanOrEqual(before + 100);
    await server.process!.kill();
    expect(await request('@any:x', 'GET', '/health')).toBe(503);
    expect(await request('@any:x', 'GET', '/keys')).toBe(503);
    await server.process!.restart();
  }
  const before = writes;
  await soon(() => writes).toBeGreaterThanOrEqual(before + 100);
  isWriting = false;
  expect(await request('@any:x', 'GET', '/health')).toBe(200);
  for (const { user, version, stored } of await Promise.all(writing)) {
    for (const session_id of stored) {
      expect(await store.readKey(user, version, '!r:x', session_id)).toMatchObject({ outcome: 'key' });
    }
  }
  expect([...statuses].sort()).toEqual([200, 503]);
});

test('answers 503 within the query timeout when the network is cut or silent, and goes on after that', async ({
  skip,
}) => {
  skip(!server.process, 'PGlite takes no connections beside ours');
  const direct = new URL(await server.createDatabase());
  const network = await networkTo(Number(direct.port));
  onTestFinished(() => network.stop());
  direct.port = String(network.port);
  // Ours takes a minute.
  direct.searchParams.set('query_timeout', '1000');
  const { store } = await open(direct.href);
  const request = await requests(store);
  const user = newUser();
  const version = await newVersion(store, user);
  const all = () =>
    Promise.all([
      request(user, 'PUT', `/keys?version=${version}`, oneKey('a')),
      request(user, 'GET', '/keys'),
      request(newUser(), 'POST', '/version', VERSION),
    ]);
  expect(await all()).toEqual([200, 200, 200]);
  network.freeze();
  const started = performance.now();
  expect(await all()).toEqual([503, 503, 503]);
  // A minute is what it takes without that setting; a machine under load may take long.
  expect(performance.now() - started).toBeLessThan(30_000);
  expect(await request(user, 'GET', '/health')).toBe(503);
  network.thaw();
  await soon(all).toEqual([200, 200, 200]);
  expect(await request(user, 'GET', '/health')).toBe(200);
  // While requests are under way, and while connections are idle.
  const cut = all();
  network.drop();
  for (const status of await cut) expect([200, 503]).toContain(status);
  expect(await all()).toEqual([200, 200, 200]);
  network.drop();
  await soon(all).toEqual([200, 200, 200]);
});

test('leaves nothing of a user who is erased while a version is made, and lets the user start afresh', async () => {
  const { url, store } = await open();
  const { store: second } = await open(url);
  const admin = await session(url);
  for (let pair = 0; pair < 25; pair++) {
    const user = newUser();
    await newVersion(store, user);
    const [, created] = await Promise.all([
      store.eraseUser(user),
      second.createVersion(user, { algorithm: 'a', auth_data: '{}' }, {}),
    ]);
    const left = await rowsOf(admin, 'SELECT version FROM versions WHERE user_id = $1', [user]);
    // Erased after it was made, or made after the user was erased.
    if (left.length > 0)
      expect([{ outcome: 'created', version: left[0][0] }, 1]).toEqual([created, left.length]);
    expect(await rowsOf(admin, 'SELECT FROM users WHERE user_id = $1', [user])).toHaveLength(left.length);
    expect(await second.readVersion(user, await newVersion(second, user))).toMatchObject({ count: 0 });
    expect(await store.eraseUser(user)).toBe(true);
    expect(await rowsOf(admin, 'SELECT FROM versions WHERE user_id = $1', [user])).toEqual([]);
  }
});

test('never holds more than the quota allows, however many write at once', async () => {
  const { url, store } = await open();
  const stores = [store, (await open(url)).store];
  const admin = await session(url);
  const atOnce = (one: (on: BackupStore, i: number) => Promise<unknown>) =>
    Promise.all(Array.from({ length: 10 }, (_, i) => one(stores[i % 2], i)));
  const held = async (user: string): Promise<number[]> => {
    const rows = await rowsOf(
      admin,
      `SELECT count(*), sum(count), sum(bytes) FROM versions WHERE user_id = $1 AND NOT deleted`,
      [user],
    );
    return rows[0].map(Number);
  };
  const big = (i: number) => keyOf('!r:x', `s${i}`, 0, false, 'x'.repeat(40_000));
  const quota: Quota = { versions: 3, keys: 4, bytes: 100_000 };
  for (let round = 0; round < 5; round++) {
    const user = newUser();
    const version = await newVersion(store, user);
    await atOnce((on, i) => on.writeKeys(user, version, [big(i)], { bytes: quota.bytes }, undefined));
    expect((await held(user))[1]).toBe(2);
    expect((await held(user))[2]).toBeLessThanOrEqual(quota.bytes!);

    const other = newUser();
    const second = await newVersion(store, other);
    await atOnce((on, i) =>
      on.writeKeys(other, second, [keyOf('!r:x', `s${i}`)], { keys: quota.keys }, undefined),
    );
    expect((await held(other))[1]).toBe(4);
    await atOnce((on) => on.createVersion(other, { algorithm: 'a', auth_data: '{}' }, quota));
    expect((await held(other))[0]).toBe(3);
    // Versions of one user are one quota: each takes more, and together they may not.
    const rows = await rowsOf(admin, 'SELECT version FROM versions WHERE user_id = $1', [other]);
    const content = { algorithm: 'a', auth_data: JSON.stringify({ pad: 'x'.repeat(40_000) }) };
    await atOnce((on, i) => on.updateVersion(other, rows[i % 3][0] as string, content, quota));
    expect((await held(other))[2]).toBeLessThanOrEqual(quota.bytes!);
    expect((await held(other))[2]).toBeGreaterThan(80_000);
  }
});

test('serves others while many requests of one user wait for a lock', async () => {
  const { url, store } = await open();
  const request = await requests(store);
  const user = newUser();
  const version = await newVersion(store, user);
  const locked = await holding(url, 'versions');
  let answered = 0;
  const waiting = Array.from({ length: 12 }, async (_, i) => {
    const status = await request(user, 'PUT', `/keys?version=${version}`, oneKey(`s${i}`));
    answered++;
    return status;
  });
  const other = newUser();
  expect(await request(other, 'POST', '/version', VERSION)).toBe(200);
  const own = (await store.readVersion(other))!.version;
  expect(await request(other, 'PUT', `/keys?version=${own}`, oneKey('a'))).toBe(200);
  expect(await request(other, 'GET', '/keys')).toBe(200);
  expect(answered).toBe(0);
  await locked.release();
  for (const status of await Promise.all(waiting)) expect(status).toBe(200);
});

test('answers /health while many users wait for locks', async () => {
  const { url, store } = await open();
  const request = await requests(store);
  const admin = await session(url);
  const people = await Promise.all(
    Array.from({ length: 12 }, async () => {
      const user = newUser();
      return { user, version: await newVersion(store, user) };
    }),
  );
  const locked = await holding(url, 'versions');
  let answered = 0;
  const waiting = people.map(async ({ user, version }) => {
    const status = await request(user, 'PUT', `/keys?version=${version}`, oneKey('a'));
    answered++;
    return status;
  });
  // All that may be.
  await soon(() => rowsOf(admin, `SELECT ${WAITING}`)).toHaveLength(10);
  expect(await request('@any:x', 'GET', '/health')).toBe(200);
  expect(answered).toBe(0);
  await locked.release();
  for (const status of await Promise.all(waiting)) expect(status).toBe(200);
});

test('waits no longer for a lock than it says', async () => {
  const { url, store } = await open();
  const request = await requests(store);
  const user = newUser();
  const version = await newVersion(store, user);
  const locked = await holding(url, 'versions');
  // A test that waits for a minute, the limit of a statement, would tell nothing from this.
  const started = performance.now();
  expect(await request(user, 'PUT', `/keys?version=${version}`, oneKey('a'))).toBe(503);
  expect(performance.now() - started).toBeLessThan(40_000);
  await locked.release();
  expect(await request(user, 'PUT', `/keys?version=${version}`, oneKey('a'))).toBe(200);
});

test('answers that a version is deleted before its keys are, which happens later, after a restart too', async () => {
  const { url, store } = await open();
  const admin = await session(url);
  const user = newUser();
  const version = await newVersion(store, user);
  const keys = Array.from({ length: 12_000 }, (_, i) => keyOf('!r:x', `s${i}`));
  await store.writeKeys(user, version, keys, {}, undefined);
  const left = async () => Number((await rowsOf(admin, 'SELECT count(*) FROM keys'))[0][0]);
  expect(await left()).toBe(12_000);
  const locked = await holding(url, 'keys');
  expect(await store.deleteVersion(user, version)).toEqual({ outcome: 'done' });
  expect(await store.readVersion(user, version)).toBeUndefined();
  expect(await store.readKeys(user, version, {}, undefined, 10)).toEqual({ outcome: 'unknown-version' });
  expect(await store.deleteVersion(user, version)).toEqual({ outcome: 'done' });
  // What the purge cannot do does not matter to anything else, the start included.
  const { store: second } = await open(url);
  expect(await left()).toBe(12_000);
  const closed = store.close();
  await locked.release();
  await closed;
  await second.ping();
  await soon(left).toBe(0);
});

test('purges no key of a version that is not deleted', async () => {
  const { url, store } = await open();
  const user = newUser();
  const version = await newVersion(store, user);
  await store.writeKeys(user, version, [keyOf('!r:x', 's')], {}, undefined);
  const pool = await openPool(url, 1, 60_000);
  onTestFinished(() => pool.end());
  await purgeVersion({ pool, isPreparing: true }, user, version);
  expect(await store.readKey(user, version, '!r:x', 's')).toMatchObject({ outcome: 'key' });
});

test('deletes the keys of a large backup in several transactions', async () => {
  const { url, store } = await open();
  const user = newUser();
  const [other, version] = [await newVersion(store, user), await newVersion(store, user)];
  await store.writeKeys(user, version, [keyOf('!r:x', 's'), keyOf('!other:x', 's')], {}, undefined);
  const admin = await session(url);
  await admin.query(`
    INSERT INTO keys SELECT (jsonb_populate_record(keys, jsonb_build_object('session_id', '\\x' || to_hex(268435456 + i)))).*
      FROM keys, generate_series(1, 100000) AS i WHERE room_id = '!r:x';
    UPDATE versions SET count = 100002, bytes = octet_length(auth_data) + (
      SELECT sum(octet_length(room_id) + octet_length(session_id) + octet_length(data)) FROM keys
    ) WHERE version = '${version}';
    CREATE TABLE deletions (count bigint);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
      'BEGIN INSERT INTO deletions SELECT count(*) FROM gone; RETURN NULL; END';
    CREATE TRIGGER note AFTER DELETE ON keys REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION note();
  `);
  expect(await store.deleteKeys(user, other, {})).toMatchObject({ etag: '0', count: 0 });
  expect(await store.deleteKeys(user, version, { room_id: '!r:x' })).toMatchObject({ count: 1 });
  const { rows } = await admin.query<{ most: string; all: string }>(
    'SELECT max(count) AS most, sum(count) AS all FROM deletions',
  );
  expect(rows[0]).toEqual({ most: '50000', all: '100001' });
  expect(await store.readKey(user, version, '!other:x', 's')).toMatchObject({ outcome: 'key' });
  const size = await admin.query<{ bytes: string }>(
    `SELECT bytes - octet_length(auth_data) AS bytes FROM versions WHERE version = '${version}'`,
  );
  expect(Number(size.rows[0].bytes)).toBe('!other:xs'.length + keyOf('!other:x', 's').data.length);
});

test('migrates tables of the first release, and users who were erased while a version was made', async () => {
  const { url, store } = await open();
  const admin = await session(url);
  const [user, broken] = [newUser(), newUser()];
  const versions = await Promise.all([user, broken].map((who) => newVersion(store, who)));
  await store.writeKeys(user, versions[0], [keyOf('!r:x', 's')], {}, undefined);
  await store.close();
  for (const statement of [
    ...TO_SCHEMA_2,
    `ALTER TABLE users ADD COLUMN last_number bigint NOT NULL DEFAULT 1`,
    `ALTER TABLE versions DROP COLUMN purged`,
    `DELETE FROM megolm_backup_schema WHERE version = 2`,
    `UPDATE versions SET deleted = true WHERE version = '${versions[0]}'`,
    `DELETE FROM users WHERE user_id = '${broken}'`,
  ]) {
    await admin.query(statement);
  }
  const { store: migrated } = await open(url);
  await soon(() => rowsOf(admin, 'SELECT FROM keys')).toEqual([]);
  expect(await rowsOf(admin, 'SELECT user_id FROM users ORDER BY user_id')).toEqual(
    [[user], [broken]].sort(),
  );
  expect(await migrated.readVersion(broken)).toMatchObject({ version: versions[1] });
  const next = await newVersion(migrated, broken);
  expect(await migrated.readVersion(broken)).toMatchObject({ version: next });
});

/** As the tables were before ids and the audit trail counted. */
const TO_SCHEMA_2 = [
  `UPDATE versions SET bytes = octet_length(auth_data) + (
     SELECT coalesce(sum(octet_length(data)), 0) FROM keys
     WHERE keys.user_id = versions.user_id AND keys.number = versions.number
   ) WHERE NOT deleted`,
  `ALTER TABLE users DROP COLUMN trail_bytes`,
  `DELETE FROM megolm_backup_schema WHERE version = 3`,
];

test('a migration that is interrupted changes nothing, and the next counts all ids', async () => {
  const { url, store } = await open();
  const admin = await session(url);
  const all = Array.from({ length: 1_003 }, newUser);
  const [user] = all;
  const version = await newVersion(store, user);
  const ids = Array.from({ length: 3_000 }, (_, i) => `${i % 7 === 0 ? '\0' : 'é'}${i}`);
  await store.writeKeys(
    user,
    version,
    ids.map((id) => keyOf(`!${id}:x`, id, 1)),
    {},
    'D',
  );
  for (const i of [7, 8]) await store.writeKeys(user, version, [keyOf(`!${ids[i]}:x`, ids[i])], {}, 'É');
  await admin.query(`INSERT INTO users SELECT unnest($1::text[]) ON CONFLICT DO NOTHING`, [all]);
  const counted = (): Promise<unknown[][]> =>
    rowsOf(admin, 'SELECT bytes, trail_bytes FROM versions JOIN users USING (user_id) WHERE NOT deleted');
  const before = await counted();
  await store.close();
  for (const statement of TO_SCHEMA_2) await admin.query(statement);

  const lock = await holding(url, 'versions');
  const opening = expect(openPostgresStore(url)).rejects.toMatchObject({ code: 'store-failed' });
  await soon(() => rowsOf(admin, `SELECT ${WAITING}`)).toHaveLength(1);
  await admin.query(`SELECT pg_terminate_backend(pid) ${WAITING}`);
  await opening;
  await lock.release();
  expect(await rowsOf(admin, 'SELECT max(version) FROM megolm_backup_schema')).toEqual([['2']]);
  await expect(counted()).rejects.toThrow('trail_bytes');

  const { store: migrated } = await open(url);
  expect(await counted()).toEqual(before);
  const sizes = await rowsOf(
    admin,
    `SELECT (SELECT sum(octet_length(room_id) + octet_length(session_id) + octet_length(data)) + 2 FROM keys),
       (SELECT sum(octet_length(room_id) + octet_length(session_id) + 128
          + octet_length(old_device_id) + octet_length(new_device_id)) FROM replacements)`,
  );
  expect(before).toEqual(sizes);
  expect(await migrated.readVersion(user)).toMatchObject({ count: 3_000, etag: '3' });
});

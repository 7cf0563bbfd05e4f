import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, readFileSync, truncateSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, describe, expect, it } from 'vitest';
import { RoomKeys } from '../../../src/client/api.js';
import { identifyByTokens } from '../../../src/server/identify.js';
import { openPostgresStore } from '../../../src/server/postgres/index.js';
import type { BackupStore } from '../../../src/server/store.js';
import { KeyBackupServer } from '../../support/key-backup-server.js';
import { fences } from '../../support/markdown.js';
import { createMemoryStore } from '../../support/memory-store.js';
import { startPostgres } from '../../support/postgres.js';
import { serve, temporarySqlite } from '../../support/serving.js';
import { Workspace, ended } from '../workspace.js';

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const USERS = ['@alice:example.org', '@bob:example.org', '@carol:example.org'];
const tokenOf = (side: string, userId: string): string => `SECRET_${side}_${userId.slice(1, 4)}`;

/** A server of backups and nothing else, with tokens of its own. */
async function server(side: string, own?: BackupStore) {
  const tokens = USERS.map((user_id) => ({
    sha256: createHash('sha256').update(tokenOf(side, user_id)).digest('hex'),
    user_id,
    device_id: 'D',
  }));
  const store = own ?? (side === 'to' ? await sqliteStore() : createMemoryStore());
  const { url, stop } = await serve(store, { identify: identifyByTokens(tokens) });
  cleanups.push(() => stop(0));
  const as = (userId: string) => new RoomKeys({ baseUrl: url, accessToken: tokenOf(side, userId) });
  return { url, as };
}

async function sqliteStore(): Promise<BackupStore> {
  const { store, remove } = await temporarySqlite();
  cleanups.push(() => remove());
  return store;
}

async function postgresStore(): Promise<BackupStore> {
  const postgres = await startPostgres();
  const store = await openPostgresStore(await postgres.createDatabase());
  cleanups.push(
    () => postgres.stop(),
    () => store.close(),
  );
  return store;
}

const record = { first_message_index: 1, forwarded_count: 0, is_verified: false, session_data: { a: 'b' } };

async function fill(roomKeys: RoomKeys, count: number): Promise<string> {
  const version = await roomKeys.createVersion({ algorithm: 'any', auth_data: { public_key: 'x' } });
  const sessions = Object.fromEntries(
    Array.from({ length: count }, (_, i) => [`s${i}`, { ...record, unsigned: { i } }]),
  );
  await roomKeys.putKeys(version, { rooms: { '!a:x': { sessions } } });
  return version;
}

async function contents(roomKeys: RoomKeys): Promise<unknown[]> {
  const all: unknown[] = [];
  const { version } = (await roomKeys.currentVersion())!;
  for await (const batch of roomKeys.keys(version)) {
    for (const { room_id, session_id, ...item } of batch) {
      all.push([room_id, session_id, item.error ?? ('value' in item && item.value)]);
    }
  }
  return all;
}

async function begin(stores: { from?: BackupStore; to?: BackupStore } = {}) {
  const [from, to] = [await server('from', stores.from), await server('to', stores.to)];
  const work = new Workspace();
  for (const user of USERS) work.secrets.push(tokenOf('from', user), tokenOf('to', user));
  const users = USERS.map((user_id) => ({
    user_id,
    from_token: tokenOf('from', user_id),
    to_token: tokenOf('to', user_id),
  }));
  work.writeJson('users.json', users);
  const args = ['migrate', '--from', from.url, '--to', to.url, '--users', 'users.json'];
  return { from, to, work, users, args };
}

describe('migrate', () => {
  it('copies what users have, says so, and does it again without harm', async () => {
    const { from, to, work, args } = await begin();
    await fill(from.as(USERS[0]), 450);
    await fill(from.as(USERS[1]), 3);
    const first = await work.run(args);
    expect(first).toMatchObject({ code: 0, stderr: '3 of 3 users; 0 failed\n' });
    const versions = await Promise.all(USERS.map((user) => to.as(user).currentVersion()));
    expect(versions.map((info) => info?.count)).toEqual([450, 3, undefined]);
    expect(first.stdout.trimEnd().split('\n')).toEqual([
      `${USERS[0]}  450 keys copied to the new version ${versions[0]!.version}, which has 450`,
      `${USERS[1]}  3 keys copied to the new version ${versions[1]!.version}, which has 3`,
      `${USERS[2]}  has no backup, skipped`,
    ]);
    for (const user of USERS.slice(0, 2)) {
      expect(await contents(to.as(user))).toEqual(await contents(from.as(user)));
    }
    const again = await work.run([...args, '--json']);
    work.expectNoSecret(again.stdout);
    expect(again).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(again.stdout)).toMatchObject({
      ...{ ok: 3, failed: 0 },
      users: [
        { user_id: USERS[0], outcome: 'complete', created: false, copied: 450, count: 450, failures: [] },
        { user_id: USERS[1], outcome: 'complete', version: versions[1]!.version },
        { user_id: USERS[2], outcome: 'no-backup' },
      ],
    });
    expect(await to.as(USERS[0]).currentVersion()).toEqual(versions[0]);
  });

  it('copies a backup of many batches from SQLite to PostgreSQL', async () => {
    const { from, to, work, args } = await begin({ from: await sqliteStore(), to: await postgresStore() });
    await fill(from.as(USERS[0]), 20_000);
    const { code, stdout } = await work.run(args);
    expect(code).toBe(0);
    expect(stdout).toContain(`${USERS[0]}  20000 keys copied`);
    expect(await contents(to.as(USERS[0]))).toEqual(await contents(from.as(USERS[0])));
  }, 120_000);

  it('goes on after a user whose token is wrong, on either side', async () => {
    const { from, to, work, users, args } = await begin();
    for (const user of USERS) await fill(from.as(user), 2);
    work.secrets.push('SECRET_WRONG');
    users[0].from_token = 'SECRET_WRONG';
    users[1].to_token = 'SECRET_WRONG';
    work.writeJson('users.json', users);
    const end = await work.run(args);
    work.expectNoSecret(end.stdout);
    expect(end.code).toBe(1);
    const lines = end.stdout.trimEnd().split('\n');
    expect(lines[0]).toMatch(/^@alice:example\.org {2}FAILED: unauthorized: /);
    expect(lines[1]).toMatch(/^@bob:example\.org {2}FAILED: unauthorized: /);
    expect(lines[2]).toMatch(/^@carol:example\.org {2}2 keys copied/);
    expect(await to.as(USERS[0]).currentVersion()).toBeUndefined();
    expect(await to.as(USERS[1]).currentVersion()).toBeUndefined();
    expect(await contents(to.as(USERS[2]))).toHaveLength(2);
  });

  it('leaves another backup alone unless told', async () => {
    const { from, to, work, args } = await begin();
    await fill(from.as(USERS[0]), 2);
    const present = await to
      .as(USERS[0])
      .createVersion({ algorithm: 'any', auth_data: { public_key: 'new' } });
    const end = await work.run(args);
    expect(end.code).toBe(1);
    expect(end.stdout).toContain(`NOT COPIED: the destination has another backup, version ${present}`);
    expect((await to.as(USERS[0]).currentVersion())?.version).toBe(present);
    expect((await work.run([...args, '--replace'])).code).toBe(0);
    expect((await to.as(USERS[0]).currentVersion())?.count).toBe(2);
  });

  /** A source that says whose token it is, and may hold anything. */
  async function odd() {
    const source = await new KeyBackupServer().start();
    cleanups.push(() => source.stop());
    const { to, work, args, users } = await begin();
    args[2] = source.url;
    work.writeJson('users.json', users.slice(0, 1));
    return { source, to, work, args, users };
  }

  it('names the records that the destination refuses, and copies the others', async () => {
    const { source, to, work, args } = await odd();
    const version = source.createVersion('any', {});
    const ids = ['a', 'b', 'c', 'bad\u001b[2J', 'd'];
    for (const id of ids) {
      source.store(version, '!r:x', id, (id.startsWith('bad') ? { session_data: 1 } : record) as never);
    }
    const end = await work.run(args);
    expect(end.code).toBe(1);
    expect(end.stderr).toMatch(/^@alice:example\.org: room !r:x, session bad\\u001b\[2J: http: .*400/);
    expect(end.stdout).toMatch(/INCOMPLETE: 4 keys copied .* which has 4; 1 failed, the source has 5\n$/);
    expect(await contents(to.as(USERS[0]))).toHaveLength(4);
    const json = JSON.parse((await work.run([...args, '--json'])).stdout) as { users: unknown[] };
    expect(json.users).toMatchObject([
      { outcome: 'incomplete', failures: [{ room_id: '!r:x', session_id: ids[3], code: 'http' }] },
    ]);
  });

  it("refuses a token of another user, and does not repeat a server's echo of it", async () => {
    const { source, to, work, args, users } = await odd();
    source.createVersion('any', {});
    work.writeJson('users.json', [{ ...users[1] }]);
    const end = await work.run(args);
    expect(end.code).toBe(1);
    expect(end.stdout).toContain(
      'from_token: expected a token of this user, got one of "@alice:example.org"',
    );
    expect(await to.as(USERS[1]).currentVersion()).toBeUndefined();
    source.faulty = (_, path) => path.endsWith('whoami');
    const error = `no token ${users[1].from_token}`;
    source.faults = [
      { kind: 'answer', status: 401, body: JSON.stringify({ errcode: 'M_UNKNOWN_TOKEN', error }) },
    ];
    const echoed = await work.run(args);
    work.expectNoSecret(echoed.stdout);
    expect(echoed.stdout).toContain('no token ***');
  });

  it.each(['SIGINT', 'SIGTERM'] as const)('stops on %s, and goes on when run again', async (signal) => {
    const { source, to, work, args } = await odd();
    const version = source.createVersion('any', {});
    for (let i = 0; i < 1000; i++) source.store(version, '!r:x', `s${i}`, record);
    source.faulty = (_, path) => path.endsWith('/keys');
    source.faults = [{ kind: 'stall', bytes: 60_000 }];
    const child = work.start(args);
    const end = ended(child);
    while (((await to.as(USERS[0]).currentVersion())?.count ?? 0) === 0) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    child.kill(signal);
    expect(await end).toMatchObject({
      ...{ code: null, signal, stdout: '', stderr: `megolm-backup migrate: interrupted (${signal})\n` },
    });
    expect((await work.run(args)).code).toBe(0);
    expect((await to.as(USERS[0]).currentVersion())?.count).toBe(1000);
  });

  it('notices that both URLs lead to one server', async () => {
    const { to, work, users, args } = await begin();
    await fill(to.as(USERS[0]), 2);
    work.writeJson('users.json', [{ user_id: USERS[0], from_token: users[0].to_token }]);
    args[2] = to.url.replace('127.0.0.1', 'localhost');
    const end = await work.run(args);
    expect(end.code).toBe(1);
    expect(end.stdout).toContain('name the old server itself');
  });

  it('warns of a file that others can read', async () => {
    const { work, args } = await begin();
    chmodSync(work.path('users.json'), 0o644);
    expect((await work.run(args)).stderr).toContain('warning: users.json holds a secret');
  });

  it('reads no file of users that is a whole database', async () => {
    const { work, args } = await begin();
    truncateSync(work.path('users.json'), 100 * 2 ** 20);
    const { code, stderr } = await work.run(args);
    expect({ code, stderr }).toEqual({
      code: 2,
      stderr: expect.stringContaining('got more than 67108864 bytes'),
    });
  });

  it('uses from_token for both where there is no other', async () => {
    const { work, args, users } = await begin();
    work.writeJson('users.json', [{ user_id: users[0].user_id, from_token: users[0].from_token }]);
    // The destination does not know it, and says so.
    expect((await work.run(args)).stdout).toMatch(/FAILED: unauthorized: GET .*room_keys\/version/);
  });

  it.each<[content: string, message: RegExp]>([
    ['SECRET_from_ali', /users\.json: expected JSON/],
    ['{}', /expected an array of users/],
    ['[]', /expected an array of users/],
    ['["SECRET_from_ali"]', /\[0\]: expected an object/],
    ['[{"user_id":"@a:x","from_token":"SECRET_from_ali é"}]', /\[0\]\.from_token: expected an access token/],
    ['[{"user_id":"@a:x"}]', /\[0\]\.from_token/],
    ['[{"user_id":"@a:x","from_token":"t","to_token":null}]', /\[0\]\.to_token/],
    ['[{"user_id":"SECRET_from_ali","from_token":"t"}]', /\[0\]\.user_id: expected a user id/],
    ['[{"user_id":"@a:x","from_token":"t","SECRET_from_ali":1}]', /got other fields/],
    ['[{"user_id":"@a:x","from_token":"t"},{"user_id":"@a:x","from_token":"u"}]', /\[1\]: .* twice/],
  ])('refuses users like %s', async (content, message) => {
    const work = new Workspace();
    work.secrets.push('SECRET_from_ali');
    work.write('users.json', content);
    const end = await work.run([
      'migrate',
      '--from',
      'http://a',
      '--to',
      'http://b',
      '--users',
      'users.json',
    ]);
    expect(end).toMatchObject({ code: 2, stdout: '' });
    expect(end.stderr).toMatch(message);
  });

  it('serve takes a name in place of a URL, and rejects anything else', async () => {
    const work = new Workspace();
    for (const wrong of ['not a server', 'http://', '@alice']) {
      const end = await work.run(['serve', '--db', 'backup.db', '--homeserver', wrong]);
      expect(end).toMatchObject({ code: 2, stdout: '' });
      expect(end.stderr).toContain('expected a URL, a server name or a user id');
      expect(work.filesBut()).toEqual([]);
    }
  });

  it('ends with 2 when it is used wrongly or there is no way to a server', async () => {
    const { from, work, args } = await begin();
    const help = await work.run(['migrate', '--help']);
    expect(help).toMatchObject({ code: 0, stderr: '' });
    expect(help.stdout).toMatch(/^usage: megolm-backup migrate/);
    expect(help.stdout).toMatch(
      /\nexample:\n {2}megolm-backup migrate --from \S+ --to \S+ --users users\.json\n$/,
    );
    expect(new Set(help.stdout.match(/--[a-z]+/g))).toEqual(
      new Set(['--from', '--to', '--users', '--replace', '--json']),
    );
    const nobody = 'http://127.0.0.1:1';
    for (const [wrong, message] of [
      [['migrate'], /missing option: --from WHERE, --to WHERE, --users FILE/],
      [[...args.slice(0, -1), 'none.json'], /cannot read none\.json \(ENOENT: .*\)/],
      [['migrate', '--from', from.url, '--to', `${from.url}/`, ...args.slice(5)], /the same server/],
      [['migrate', '--from', nobody, ...args.slice(3)], /network/],
      [[...args.slice(0, 3), '--to', nobody, ...args.slice(5)], /network/],
      [['migrate', '--from', 'not a server', ...args.slice(3)], /server name/],
    ] as const) {
      const end = await work.run(wrong);
      expect(end).toMatchObject({ code: 2, stdout: '' });
      expect(end.stderr).toMatch(message);
    }
  });
});

const TOMORROW = /\d{10}000/;
const ACTOR = '01J2KDPHTZYW3TAT1SKVAD63SQ';
/** Requests and what is answered to them, by the documentation of Synapse and of the Matrix Authentication Service. */
const ANSWERS: Readonly<Record<string, object>> = {
  'POST /_synapse/admin/v1/users/@alice:example.org/login Bearer ADMIN {"valid_until_ms": TOMORROW}': {
    access_token: tokenOf('from', USERS[0]),
  },
  [`POST /oauth2/token Basic ${btoa('CLIENT:SECRET')} grant_type=client_credentials&scope=urn:mas:admin`]: {
    ...{ access_token: 'MAS_ADMIN', token_type: 'Bearer', expires_in: 300, scope: 'urn:mas:admin' },
  },
  'GET /api/admin/v1/users/by-username/alice Bearer MAS_ADMIN ': {
    data: { type: 'user', id: ACTOR, attributes: { username: 'alice' } },
  },
  [`POST /api/admin/v1/personal-sessions Bearer MAS_ADMIN {"actor_user_id": "${ACTOR}", "human_name": "migrate", "scope": "urn:matrix:client:api:*", "expires_in": 86400}`]:
    { data: { type: 'personal-session', id: '01', attributes: { access_token: tokenOf('from', USERS[0]) } } },
};

it.each([
  ['Synapse', '_synapse/admin'],
  ['the Matrix Authentication Service', 'personal-sessions'],
])('migrate takes a token that the commands of the document get from %s', async (_name, path) => {
  const asked: string[] = [];
  const standIn = createServer((request, response) => {
    void text(request).then((body) => {
      const days = (Number(TOMORROW.exec(body)?.[0]) - Date.now()) / 86_400_000;
      const sent = Math.round(days) === 1 ? body.replace(TOMORROW, 'TOMORROW') : body;
      const line = `${request.method} ${request.url} ${request.headers.authorization} ${sent}`;
      asked.push(line);
      response.writeHead(line in ANSWERS ? 200 : 404).end(JSON.stringify(ANSWERS[line]));
    });
  });
  await once(standIn.listen(0, '127.0.0.1'), 'listening');
  cleanups.push(() => Promise.resolve(void standIn.close()));
  const url = `http://127.0.0.1:${(standIn.address() as AddressInfo).port}`;
  const page = readFileSync(new URL('../../../docs/running-the-server.md', import.meta.url), 'utf8');
  const [commands] = fences(page).filter(
    ({ language, text: code }) => language === 'sh' && code.includes(path),
  );
  const script = commands.text.replace(/http:\/\/127\.0\.0\.1:8008|https:\/\/mas\.example\.org/, url);
  const env = { ...process.env, ADMIN_TOKEN: 'ADMIN', CLIENT_ID: 'CLIENT', CLIENT_SECRET: 'SECRET' };
  const { stdout } = await ended(spawn('bash', ['-euc', script], { env }));
  expect(stdout, asked.join('\n')).toContain(tokenOf('from', USERS[0]));

  const { from, work, args, users } = await begin();
  await fill(from.as(USERS[0]), 3);
  const [from_token] = /SECRET_\w+/.exec(stdout) ?? [];
  work.writeJson('users.json', [{ ...users[0], from_token }]);
  expect((await work.run(args)).stdout).toMatch(/3 keys copied/);
});

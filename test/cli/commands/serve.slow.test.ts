import { execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { MAIN, TOKEN, ended, request, startServe, tokensFile } from '../../contracts/kill.js';
import { freePort } from '../../support/network.js';
import { startPostgres } from '../../support/postgres.js';

const directory = mkdtempSync(join(tmpdir(), 'serve-'));
afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});
const key = (index: number) => ({
  first_message_index: index,
  forwarded_count: 0,
  is_verified: false,
  session_data: {},
});

function run(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [MAIN, ...args], (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr });
    });
  });
}

/** The lines of a log, each of which has to be JSON. */
function linesOf(text: string): Record<string, unknown>[] {
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

test('serve --dev --json prints where it is and who may come, and SIGTERM ends it without a trace', async () => {
  const temporary = join(directory, 'tmp');
  rmSync(temporary, { recursive: true, force: true });
  const { mkdirSync } = await import('node:fs');
  mkdirSync(temporary);
  const child = spawn(process.execPath, [MAIN, 'serve', '--dev', '--json'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, TMPDIR: temporary },
  });
  const line = await new Promise<string>((resolve) =>
    child.stdout.once('data', (data) => {
      resolve(String(data));
    }),
  );
  const { url, users } = JSON.parse(line) as {
    url: string;
    users: { user_id: string; access_token: string }[];
  };
  expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  expect(new Set(users.map(({ user_id }) => user_id)).size).toBe(2);
  expect(readdirSync(temporary)).toHaveLength(1);
  for (const { access_token } of users) {
    const answer = await fetch(`${url}/_matrix/client/v3/room_keys/version`, {
      headers: { authorization: `Bearer ${access_token}` },
    });
    expect(answer.status).toBe(404);
  }
  expect(await (await fetch(`${url}/health`)).json()).toEqual({ status: 'ok' });
  // Clients may be tried with it.
  const tried = spawnSync(process.execPath, [MAIN, 'diagnose', '--homeserver', url], {
    env: { ...process.env, MATRIX_ACCESS_TOKEN: users[0].access_token },
    encoding: 'utf8',
  });
  expect(tried).toMatchObject({ status: 1, stderr: '' });
  expect(tried.stdout).toContain('There is no backup on the server.');
  const stranger = await fetch(`${url}/_matrix/client/v3/account/whoami`);
  expect(stranger.status).toBe(401);
  await writeTokens(users.map(({ access_token }) => access_token));
  const [a, b] = ['a.txt', 'b.txt'].map((name) => join(directory, name)) as [string, string];
  const checked = await run(
    'conformance',
    '--homeserver',
    url,
    '--token-file',
    a,
    '--token-file-b',
    b,
    '--json',
  );
  expect(JSON.parse(checked.stdout)).toMatchObject({ failed: 0 });
  expect(checked.code).toBe(0);
  // A backup is not deleted unasked.
  await fetch(`${url}/_matrix/client/v3/room_keys/version`, {
    method: 'POST',
    headers: { authorization: `Bearer ${users[0].access_token}` },
    body: JSON.stringify({ algorithm: 'a', auth_data: {} }),
  });
  const refused = await run('conformance', '--homeserver', url, '--token-file', a, '--token-file-b', b);
  expect(refused.code).toBe(2);
  expect(refused.stderr).toContain('--destroy-existing-backups');
  await ended(child, 'SIGTERM');
  expect(child.exitCode).toBe(0);
  expect(readdirSync(temporary)).toEqual([]);
}, 60_000);

function writeTokens(tokens: readonly string[]): Promise<void> {
  tokens.forEach((token, i) => {
    writeFileSync(join(directory, `${'ab'[i] ?? ''}.txt`), `${token}\n`, { mode: 0o600 });
  });
  return Promise.resolve();
}

test('serve, audit and erase-user share a database', async () => {
  const db = join(directory, 'backup.db');
  const { child, url } = await startServe(['--db', db, '--tokens', tokensFile(directory), '--max-keys', '2']);
  const { version } = (await request(url, 'POST', '/version', { algorithm: 'a', auth_data: {} })) as {
    version: string;
  };
  await request(url, 'PUT', `/keys/!r:x/s?version=${version}`, key(5));
  await request(url, 'PUT', `/keys/!r:x/s?version=${version}`, key(4));
  await request(url, 'PUT', `/keys/!r:x/t?version=${version}`, key(4));
  await expect(request(url, 'PUT', `/keys/!r:x/u?version=${version}`, key(4))).rejects.toThrow(
    'M_RESOURCE_LIMIT_EXCEEDED',
  );
  const audit = await run('audit', '--db', db, '--user', '@a:x', '--json');
  expect(audit.code).toBe(0);
  expect(JSON.parse(audit.stdout)).toMatchObject({
    version,
    session_id: 's',
    before: { device_id: 'D', first_message_index: 5 },
    after: { device_id: 'D', first_message_index: 4 },
  });
  const plain = await run('audit', '--db', db, '--user', '@a:x');
  expect(plain.stdout).toContain(
    '"s": "D" (not verified, first_message_index 4, forwarded_count 0) replaced',
  );
  expect((await run('audit', '--db', db, '--user', '@a:x', '--session', 'other')).stdout).toBe('');
  expect((await run('erase-user', '--db', db, '--user', '@a:x')).code).toBe(2);
  expect((await run('erase-user', '--db', db, '--user', '@a:x', '--yes')).code).toBe(0);
  expect((await run('erase-user', '--db', db, '--user', '@a:x', '--yes')).code).toBe(1);
  await expect(request(url, 'GET', '/version')).rejects.toThrow('404');
  await ended(child, 'SIGTERM');
  expect(child.exitCode).toBe(0);
}, 60_000);

test('metrics and logs tell of requests and hold no token', async () => {
  const metricsPort = await freePort();
  const db = join(directory, 'metrics.db');
  const args = [
    '--db',
    db,
    '--tokens',
    tokensFile(directory),
    '--metrics',
    `127.0.0.1:${metricsPort}`,
    '--listen',
    '127.0.0.1:0',
    '--json',
  ];
  const child = spawn(process.execPath, [MAIN, 'serve', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  child.stderr.on('data', (data) => (log += String(data)));
  const line = await new Promise<string>((resolve) =>
    child.stdout.once('data', (data) => {
      resolve(String(data));
    }),
  );
  const { url } = JSON.parse(line) as { url: string };
  await expect(request(url, 'GET', `/keys/!room:x/session?version=x&access_token=${TOKEN}`)).rejects.toThrow(
    '404',
  );
  const metrics = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
  expect(metrics).toContain(
    'megolm_backup_request_seconds_count{route="/room_keys/keys/:roomId/:sessionId",method="GET",status="404"} 1',
  );
  expect((await fetch(`${url}/metrics`)).status).toBe(404);
  await ended(child, 'SIGTERM');
  const entries = linesOf(log);
  expect(entries).toContainEqual(
    expect.objectContaining({ message: 'request', status: 404, user_id: '@a:x' }),
  );
  expect(log).not.toContain(TOKEN);
  expect(log).not.toContain('!room');
}, 60_000);

test('warnings are lines of the log too', async () => {
  const url = 'postgres://backup:secret@127.0.0.1:1/backup';
  const { code, stderr } = await run('serve', '--postgres', url, '--tokens', tokensFile(directory));
  expect(code).toBe(2);
  expect(stderr).not.toContain('secret');
  expect(linesOf(stderr)).toMatchObject([
    { level: 'warn', message: expect.stringContaining('warning: others on this machine') as string },
    { level: 'error', message: expect.stringContaining('--postgres: store-failed') as string },
  ]);
});

test('the environment configures it, the password of PostgreSQL too', () => {
  const env = { ...process.env, MEGOLM_BACKUP_POSTGRES: 'postgres://backup:secret@127.0.0.1:1/backup' };
  const args = ['serve', '--tokens', tokensFile(directory)];
  const refused = spawnSync(process.execPath, [MAIN, ...args], { env, encoding: 'utf8' });
  expect(refused).toMatchObject({ status: 2, stdout: '' });
  expect(linesOf(refused.stderr)).toMatchObject([
    { level: 'error', message: expect.stringContaining('--postgres: store-failed') as string },
  ]);
});

test('a homeserver that does not answer is a warning, and keeps nothing from starting or stopping', async () => {
  const silent = createServer(() => undefined).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const absent = `http://127.0.0.1:${await freePort()}`;
  const { port } = silent.address() as AddressInfo;
  const wrong = createServer((_, response) => response.end('hello')).listen(0, '127.0.0.1');
  await once(wrong, 'listening');
  for (const [homeserver, warning] of [
    [absent, /^--homeserver: no homeserver answers, .*ECONNREFUSED/],
    [
      `http://127.0.0.1:${(wrong.address() as AddressInfo).port}`,
      /^--homeserver: no homeserver answers, .*JSON/,
    ],
    [`http://127.0.0.1:${port}`, undefined],
  ] as const) {
    const child = spawn(process.execPath, [MAIN, 'serve'], {
      env: {
        ...process.env,
        MEGOLM_BACKUP_DB: join(directory, 'alone.db'),
        MEGOLM_BACKUP_HOMESERVER: homeserver,
        MEGOLM_BACKUP_LISTEN: '127.0.0.1:0',
        MEGOLM_BACKUP_JSON: 'true',
        MEGOLM_BACKUP_LOG_LEVEL: 'warn',
      },
    });
    let log = '';
    child.stderr.on('data', (data) => (log += String(data)));
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    const { url } = JSON.parse(String(line)) as { url: string };
    expect((await fetch(`${url}/health`)).status).toBe(200);
    while (warning && log === '') await new Promise((resolve) => setTimeout(resolve, 50));
    await ended(child, 'SIGTERM');
    expect(child.exitCode).toBe(0);
    if (warning) {
      const message = expect.stringMatching(warning) as string;
      expect(linesOf(log)).toEqual([{ time: expect.any(String) as string, level: 'warn', message }]);
    } else expect(log).toBe('');
  }
  silent.closeAllConnections();
  for (const server of [silent, wrong]) server.close();
}, 60_000);

test('what packages print is a line of the log, and SIGHUP stops like SIGTERM', async () => {
  const db = join(directory, 'hangup.db');
  const args = ['--db', db, '--tokens', tokensFile(directory), '--listen', '127.0.0.1:0', '--json'];
  const noise = `setTimeout(() => {
    console.error(new Error('a\\nb'));
    console.log('c');
    process.emitWarning('d');
  }, 3000)`;
  const noisy = `data:text/javascript,${encodeURIComponent(noise)}`;
  const child = spawn(process.execPath, ['--import', noisy, MAIN, 'serve', ...args]);
  let [out, log] = ['', ''];
  child.stdout.on('data', (data) => (out += String(data)));
  child.stderr.on('data', (data) => (log += String(data)));
  while (!log.includes('"d"')) await new Promise((resolve) => setTimeout(resolve, 50));
  await ended(child, 'SIGHUP');
  expect(child.exitCode).toBe(0);
  expect(linesOf(log).map(({ message }) => message)).toEqual(['a\nb', 'c', 'd']);
  expect(linesOf(out)).toHaveLength(1);
  // The log of the database was brought into it.
  expect(existsSync(`${db}-wal`)).toBe(false);
}, 60_000);

describe('wrong usage is exit code 2 and says what is wrong', () => {
  const tokens = (): string[] => ['--tokens', tokensFile(directory)];
  test.each<[string, () => string[], string]>([
    ['no database', () => tokens(), '--db FILE or --postgres URL'],
    ['two databases', () => ['--db', 'x', '--postgres', 'y', ...tokens()], '--db FILE or --postgres URL'],
    ['no users', () => ['--db', join(directory, 'no.db')], '--homeserver WHERE or --tokens FILE'],
    ['a homeserver that is no URL', () => ['--db', 'x', '--homeserver', 'http://['], '--homeserver'],
    ['a tokens file that is not there', () => ['--db', 'x', '--tokens', join(directory, 'none')], 'ENOENT'],
    ['a bad address', () => ['--db', 'x', ...tokens(), '--listen', 'x'], '--listen'],
    [
      'a check of PostgreSQL',
      () => ['--postgres', 'postgres://127.0.0.1/x', ...tokens(), '--check'],
      '--check is for a database of --db',
    ],
    [
      'a bad number',
      () => ['--db', 'x', ...tokens(), '--max-body', '50M'],
      '--max-body: expected a whole number',
    ],
    [
      'a database that cannot be made',
      () => ['--db', join(directory, 'none', 'x'), ...tokens()],
      'store-failed',
    ],
    [
      'a database in memory',
      () => ['--db', ':memory:', ...tokens()],
      'bad-parameters: expected the path of an SQLite file, got ":memory:"',
    ],
    ['a database URI', () => ['--db', 'file:x', ...tokens()], 'bad-parameters: expected the path'],
    ['a database without a name', () => ['--db', '', ...tokens()], 'bad-parameters: expected the path'],
    ['a database that is no URL', () => ['--postgres', 'x', ...tokens()], '--postgres: expected a URL'],
    [
      'a tokens file of something else',
      () => ['--db', 'x', '--tokens', import.meta.filename],
      'expected [{"sha256"',
    ],
    [
      'an address of another machine',
      () => ['--db', join(directory, 'unreached.db'), ...tokens(), '--listen', '192.0.2.1:1'],
      '--listen: ',
    ],
    ['--dev with a database', () => ['--dev', '--db', 'x'], '--dev'],
    [
      'a level of the log that is not one',
      () => ['--dev', '--log-level', 'debug'],
      '--log-level: expected info',
    ],
    ['an unknown option', () => ['--frobnicate'], '--frobnicate'],
  ])('%s', async (_name, args, message) => {
    const { code, stderr, stdout } = await run('serve', ...args());
    expect([code, stdout]).toEqual([2, '']);
    // A wrong command line is explained; all else is a line of the log.
    const isUsage = stderr.startsWith('megolm-backup serve: ') && stderr.endsWith('--help\n');
    const said = isUsage
      ? stderr
      : linesOf(stderr)
          .map((line) => line.message)
          .join();
    expect(said).toContain(message);
    expect(existsSync('x')).toBe(false);
  });
});

test('two servers on one PostgreSQL lose nothing of 50 parallel writes', async ({ skip }) => {
  const postgres = await startPostgres();
  if (!postgres.process) {
    await postgres.stop();
    skip();
    return;
  }
  const args = ['--postgres', await postgres.createDatabase(), '--tokens', tokensFile(directory)];
  // Both make the tables.
  const servers = await Promise.all([startServe(args), startServe(args)]);
  const { version } = (await request(servers[0].url, 'POST', '/version', {
    algorithm: 'a',
    auth_data: {},
  })) as { version: string };
  const answers = await Promise.all(
    Array.from({ length: 50 }, (_, i) =>
      request(servers[i % 2].url, 'PUT', `/keys?version=${version}`, {
        rooms: {
          '!shared:x': { sessions: { s: key(100 - i) } },
          [`!${i % 5}:x`]: { sessions: { [`own${i}`]: key(0) } },
        },
      }),
    ),
  );
  expect(new Set(answers.map(({ etag }) => etag)).size).toBe(50);
  for (const { url } of servers) {
    expect(await request(url, 'GET', '/version')).toMatchObject({ count: 51, etag: '50' });
    expect(await request(url, 'GET', `/keys/!shared:x/s?version=${version}`)).toMatchObject({
      first_message_index: 51,
    });
  }
  for (const { child } of servers) {
    await ended(child, 'SIGTERM');
    expect(child.exitCode).toBe(0);
  }
  await postgres.stop();
}, 120_000);

import { spawn } from 'node:child_process';
import { describe, expect, it, afterEach } from 'vitest';
import { createAuthData, encryptSessionsSync } from '../../src/index.js';
import { BACKUP_ALGORITHM } from '../../src/scheme/auth-data.js';
import type { KeyBackupData } from '../../src/wire/types.js';
import { KeyBackupServer } from '../support/key-backup-server.js';
import { makeSessions } from '../support/sessions.js';
import { MAIN, Workspace, ended, signedAuthData } from './workspace.js';

const servers: KeyBackupServer[] = [];

afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop();
});

const TOKEN = 'syt_SECRET_TOKEN';

async function begin() {
  const server = await new KeyBackupServer().start();
  servers.push(server);
  const work = new Workspace();
  work.secrets.push(TOKEN);
  work.write('token.txt', `${TOKEN}\n`);
  const reach = ['--homeserver', server.url, '--token-file', 'token.txt'];
  const withKey = [...reach, '--key-file', 'key.txt'];
  const fill = (count: number) => {
    const version = server.createVersion(BACKUP_ALGORITHM, { ...createAuthData(work.key.publicKey) });
    const sessions = makeSessions(count);
    for (const result of encryptSessionsSync(sessions, work.key.publicKey)) {
      if (!result.ok) throw result.error;
      const data = result.key_backup_data as unknown as KeyBackupData;
      server.store(version, result.room_id, result.session_id, data);
    }
    return { version, sessions };
  };
  return { server, work, reach, withKey, fill };
}

const ids = (sessions: unknown): string[] =>
  (sessions as { session_id: string }[]).map(({ session_id }) => session_id).sort();
const untilTrue = async (condition: () => boolean): Promise<void> => {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
};

describe('every command that talks to a server', () => {
  it.each(['versions', 'upload', 'restore', 'diagnose'])(
    '%s: help, and no way to the server',
    async (command) => {
      const work = new Workspace();
      const help = await work.run([command, '--help']);
      expect(help).toMatchObject({ code: 0, stderr: '' });
      expect(help.stdout).toContain('example:');
      const file = command === 'upload' ? ['export.json'] : [];
      work.write('token.txt', 'x\n');
      const key = command === 'versions' ? [] : ['--key-file', 'key.txt'];
      const bare = await work.run([command, ...file, ...key]);
      expect(bare).toMatchObject({ code: 2 });
      expect(bare.stderr).toContain('--homeserver');
      const args = [command, ...file, ...key, '--token-file', 'token.txt', '--homeserver', 'not a server'];
      const wrong = await work.run(args);
      expect(wrong).toMatchObject({ code: 2 });
      expect(wrong.stderr).toContain('server name');
    },
  );

  it('refuses a token it does not know with 2, and never shows it', async () => {
    const { server, work, withKey } = await begin();
    server.faulty = (_, path) => path.includes('room_keys');
    server.faults = [{ kind: 'answer', status: 401, body: '{"errcode":"M_UNKNOWN_TOKEN","error":"no"}' }];
    const end = await work.run(['restore', ...withKey, '-o', 'out.json']);
    expect(end).toMatchObject({ code: 2 });
    expect(end.stderr).toContain('unauthorized');
    expect(server.seen.at(-1)?.authorization).toBe(`Bearer ${TOKEN}`);
  });
});

describe('what a server wrote', () => {
  const HOSTILE = `x\r\nusable     yes\u001b[2J\u009b2J\u202e${'y'.repeat(5000)}`;

  it('neither steers the terminal nor forges a line, and JSON stays what it was', async () => {
    const { server, work, reach, withKey } = await begin();
    const signatures = { '@alice:example.org': { [`ed25519:${HOSTILE}`]: 'x' } };
    server.createVersion(HOSTILE, { ...createAuthData(work.key.publicKey), signatures });
    const ends = [await work.run(['versions', ...reach]), await work.run(['diagnose', ...withKey])];
    server.createVersion(BACKUP_ALGORITHM, { ...createAuthData(work.key.publicKey), signatures });
    ends.push(await work.run(['versions', ...reach]), await work.run(['diagnose', ...withKey]));
    server.faulty = (method) => method === 'PUT';
    const body = JSON.stringify({ errcode: 'M_X', error: HOSTILE });
    server.faults = Array.from({ length: 9 }, () => ({ kind: 'answer', status: 400, body }) as const);
    work.writeJson('export.json', makeSessions(2));
    ends.push(await work.run(['upload', 'export.json', ...withKey]));
    expect(ends.filter(({ stdout, stderr }) => (stdout + stderr).includes('\\u009b2J'))).toHaveLength(4);
    for (const { stdout, stderr } of ends) {
      expect(stdout + stderr).not.toMatch(/[\0-\x09\x0b-\x1f\x7f-\x9f\u202e]/);
      for (const line of (stdout + stderr).split('\n')) {
        expect(line.length).toBeLessThan(1000);
        expect(line).not.toMatch(/^usable +yes/);
      }
    }
    server.faults = [];
    const { stdout } = await work.run(['versions', ...reach, '--json']);
    expect(stdout).not.toMatch(/[\x7f-\x9f\u202e]/);
    expect(JSON.parse(stdout)).toMatchObject({ signatures: [{ keyId: `ed25519:${HOSTILE}` }] });
  });
});

describe('versions', () => {
  it('shows the current version, and whether the keys given fit', async () => {
    const { server, work, reach, withKey } = await begin();
    expect(await work.run(['versions', ...reach])).toMatchObject({
      code: 1,
      stdout: 'there is no backup on this account; is it the right account, and the right homeserver?\n',
    });
    const { authData, signer } = signedAuthData(work.key);
    server.createVersion(BACKUP_ALGORITHM, { ...authData });
    const shown = await work.run(['versions', ...reach]);
    expect(shown.code).toBe(0);
    expect(shown.stdout).toContain('version    v1');
    expect(shown.stdout).toContain('usable     unknown');
    expect((await work.run(['versions', ...withKey])).code).toBe(0);
    const signed = await work.run(['versions', ...reach, '--key', signer, '--json']);
    expect(signed.code).toBe(0);
    expect(JSON.parse(signed.stdout)).toMatchObject({ version: 'v1', usable: true, problems: [] });
    work.write('other.txt', `${new Workspace().key.toRecoveryKey()}\n`);
    const other = await work.run(['versions', ...reach, '--key-file', 'other.txt']);
    expect(other.code).toBe(1);
    expect(other.stdout).toContain('another backup');
  });
});

describe('upload', () => {
  it('makes a backup when told, uploads, and says how many', async () => {
    const { server, work, withKey } = await begin();
    const sessions = makeSessions(30);
    work.writeJson('export.json', [...sessions, { room_id: '!x' }, 7]);
    const refused = await work.run(['upload', 'export.json', ...withKey]);
    expect(refused).toMatchObject({ code: 2 });
    expect(refused.stderr).toContain('--create');
    const end = await work.run(['upload', 'export.json', ...withKey, '--create', '--json']);
    expect(end.code).toBe(1);
    expect(JSON.parse(end.stdout)).toMatchObject({ outcome: 'complete', uploaded: 30, failed: 2, count: 30 });
    expect(server.current?.auth_data.public_key).toBe(work.key.publicKey.toBase64());
    work.writeJson('export.json', sessions);
    const again = await work.run(['upload', 'export.json', ...withKey, '--skip-stored']);
    expect(again).toMatchObject({ code: 0 });
    expect(again.stderr).toContain('0 uploaded, 30 skipped, 0 failed');
    expect(work.filesBut('token.txt', 'export.json')).toEqual([]);
  });

  it('counts and names the sessions that were mended', async () => {
    const { work, withKey, fill } = await begin();
    fill(0);
    const [good, mended, unreadable] = makeSessions(3);
    const sessions = [good, { ...mended, sender_claimed_keys: null }, { ...unreadable, sender_key: '' }];
    work.writeJson('export.json', sessions);
    const end = await work.run(['upload', 'export.json', ...withKey]);
    expect(end).toMatchObject({ code: 0 });
    expect(end.stderr.split('\n')).toEqual([
      `${mended.session_id}: malformed: unusable-claimed-key`,
      `${unreadable.session_id}: malformed: unusable-sender-key; other implementations cannot read this record`,
      '3 uploaded, 2 of them flagged, 0 skipped, 0 failed; the backup has 3 keys',
      '',
    ]);
    const json = await work.run(['upload', 'export.json', ...withKey, '--json']);
    expect(JSON.parse(json.stdout)).toMatchObject({ uploaded: 3, failed: 0, flagged: 2 });
    const restored = await work.run(['restore', ...withKey, '-o', 'out.json', '--json']);
    expect(restored).toMatchObject({ code: 0 });
    expect(JSON.parse(restored.stdout)).toMatchObject({ ok: 3, failed: 0, flagged: 1 });
  });

  it('to the backup of another key is refused', async () => {
    const { server, work, withKey } = await begin();
    const other = createAuthData(new Workspace().key.publicKey);
    server.createVersion(BACKUP_ALGORITHM, { ...other });
    work.writeJson('export.json', makeSessions(1));
    const end = await work.run(['upload', 'export.json', ...withKey]);
    expect(end).toMatchObject({ code: 1 });
    expect(end.stderr).toContain('wrong-key');
    expect(server.keysOf(server.current!)).toEqual([]);
  });

  it('stopped in the middle goes on from its state', async () => {
    const { server, work, withKey, fill } = await begin();
    fill(0);
    const sessions = makeSessions(450);
    work.writeJson('export.json', sessions);
    server.faulty = (method) => method === 'PUT';
    server.faults = [{ kind: 'then', effect: () => undefined }, { kind: 'stall' }];
    const child = work.start(['upload', 'export.json', ...withKey]);
    const ending = ended(child);
    await untilTrue(() => server.seen.filter(({ method }) => method === 'PUT').length === 2);
    child.kill('SIGINT');
    const stopped = await ending;
    expect(stopped.code).not.toBe(0);
    expect(stopped.stderr).toContain('200 sessions are done');
    expect(work.mode('export.json.upload-state')).toBe('600');
    server.seen.length = 0;
    const end = await work.run(['upload', 'export.json', ...withKey]);
    expect(end).toMatchObject({ code: 0 });
    expect(end.stderr).toContain('250 uploaded');
    expect(ids(server.keysOf(server.current!).map(([, session_id]) => ({ session_id })))).toEqual(
      ids(sessions),
    );
    expect(work.filesBut('token.txt', 'export.json')).toEqual([]);
  });
});

describe('restore', () => {
  it('writes the sessions, the report and the numbers', async () => {
    const { work, withKey, fill } = await begin();
    const { version, sessions } = fill(40);
    const room = version.keys.get(sessions[3].room_id)!;
    room.set(sessions[3].session_id, { ...room.get(sessions[3].session_id)!, session_data: {} });
    const args = ['restore', ...withKey, '--report', 'report.json', '-o', 'out.json', '--json'];
    const end = await work.run(args);
    expect(end.code).toBe(1);
    expect(JSON.parse(end.stdout)).toMatchObject({
      total: 40,
      ok: 39,
      failed: 1,
      flagged: 0,
      codes: { 'missing-field': 1 },
    });
    expect(ids(work.json('out.json'))).toEqual(ids(sessions.filter((_, i) => i !== 3)));
    expect(work.mode('out.json')).toBe('600');
    expect(work.json('report.json')).toMatchObject({
      format: 'megolm-backup-report/1',
      keys: [{ session_id: sessions[3].session_id, code: 'missing-field' }],
    });
    expect(work.filesBut('token.txt', 'out.json', 'report.json')).toEqual([]);
    const toStdout = await work.run(['restore', ...withKey, '--room', sessions[0].room_id]);
    const ofRoom = sessions.filter(({ room_id }, i) => room_id === sessions[0].room_id && i !== 3);
    expect(ids(JSON.parse(toStdout.stdout))).toEqual(ids(ofRoom));
  });

  it('of nothing writes an empty array', async () => {
    const { work, withKey, fill } = await begin();
    fill(0);
    expect(await work.run(['restore', ...withKey, '-o', 'out.json'])).toMatchObject({ code: 0 });
    expect(work.json('out.json')).toEqual([]);
    expect(JSON.parse((await work.run(['restore', ...withKey])).stdout)).toEqual([]);
  });

  it('with the key of another backup writes nothing', async () => {
    const { server, work, withKey } = await begin();
    server.createVersion(BACKUP_ALGORITHM, { ...createAuthData(new Workspace().key.publicKey) });
    const end = await work.run(['restore', ...withKey, '-o', 'out.json', '--report', 'report.json']);
    expect(end).toMatchObject({ code: 1 });
    expect(end.stderr).toContain('wrong-key');
    expect(work.filesBut('token.txt')).toEqual([]);
  });

  it.each(['SIGINT', 'a network that is gone'])('stopped by %s goes on from its state', async (what) => {
    const { server, work, withKey, fill } = await begin();
    const { version, sessions } = fill(300);
    const room = version.keys.get(sessions[0].room_id)!;
    const damaged = room.get(sessions[0].session_id)!;
    // What salvage flags has to be in the report of the run that ends it.
    const { mac } = damaged.session_data as { mac: string };
    const session_data = { ...damaged.session_data, mac: mac.slice(0, 10) };
    room.set(sessions[0].session_id, { ...damaged, session_data });
    server.faulty = (_, path) => path.endsWith('/keys');
    server.faults = [{ kind: 'stall', bytes: 200_000 }];
    const child = work.start([
      'restore',
      ...withKey,
      '--salvage',
      '-o',
      'out.json',
      '--report',
      'report.json',
    ]);
    const ending = ended(child);
    await untilTrue(() => server.seen.some(({ url }) => url.includes('/keys?')));
    await new Promise((resolve) => setTimeout(resolve, 1000));
    if (what === 'SIGINT') {
      child.kill('SIGINT');
    } else {
      server.faults = Array.from({ length: 9 }, () => ({ kind: 'answer', status: 400, body: '' }) as const);
      server.dropAll();
    }
    const stopped = await ending;
    expect(stopped.code).not.toBe(0);
    expect(stopped.stderr).toMatch(/keys are in out\.json\.partial/);
    expect(work.filesBut('token.txt').sort()).toEqual(['out.json.partial', 'out.json.state']);
    expect([work.mode('out.json.partial'), work.mode('out.json.state')]).toEqual(['600', '600']);
    work.write('out.json.partial', `${work.read('out.json.partial')}{"what a crash left`);
    server.faults = [];
    const args = ['restore', ...withKey, '--salvage', '-o', 'out.json', '--report', 'report.json', '--json'];
    const end = await work.run(args);
    expect(end.code).toBe(0);
    expect(JSON.parse(end.stdout)).toMatchObject({ total: 300, ok: 300, failed: 0, flagged: 1 });
    expect(ids(work.json('out.json'))).toEqual(ids(sessions));
    expect(work.json('report.json')).toMatchObject({ keys: [{ flags: ['mac-length'] }] });
    expect(work.filesBut('token.txt').sort()).toEqual(['out.json', 'report.json']);
  });

  it.skipIf(process.platform === 'win32')('that cannot write any more loses nothing', async () => {
    const { work, withKey, fill } = await begin();
    const { sessions } = fill(500);
    const args = ['restore', ...withKey, '-o', 'out.json'];
    // The limit of a file's size stands for a disk that is full, where a small state may still fit.
    const command = [process.execPath, MAIN, ...args];
    const full = spawn('bash', ['-c', 'ulimit -f 100; exec "$@"', 'bash', ...command], { cwd: work.folder });
    const stopped = await ended(full);
    expect(stopped).toMatchObject({ code: 2 });
    expect(stopped.stderr).toContain('EFBIG');
    expect(work.filesBut('token.txt')).toContain('out.json.partial');
    expect(await work.run(args)).toMatchObject({ code: 0 });
    expect(ids(work.json('out.json'))).toEqual(ids(sessions));
  });

  it('does not go on with the state of another backup, or with a damaged one', async () => {
    const { work, withKey, fill } = await begin();
    fill(1);
    const header = {
      format: 'megolm-backup-restore/1',
      version: 'x',
      etag: '',
      rooms: null,
      length: 0,
      flagged: [],
    };
    for (const state of [`${JSON.stringify(header)}\n${'\0'.repeat(16)}`, 'x', '{}\n', '']) {
      work.write('out.json.state', state);
      const end = await work.run(['restore', ...withKey, '-o', 'out.json']);
      expect(end).toMatchObject({ code: 2 });
      expect(end.stderr).toContain('to begin anew');
    }
  });
});

describe('diagnose', () => {
  it('says what is wrong and what to do', async () => {
    const { work, reach, withKey, fill } = await begin();
    const none = await work.run(['diagnose', ...reach]);
    expect(none.code).toBe(1);
    expect(none.stdout).toContain('no backup');
    const { version, sessions } = fill(10);
    const healthy = await work.run(['diagnose', ...withKey]);
    expect(healthy).toMatchObject({ code: 0 });
    expect(healthy.stdout).toContain('10 of 10 keys can be read');
    version.keys.get(sessions[0].room_id)!.set(sessions[0].session_id, null as never);
    const damaged = await work.run(['diagnose', ...withKey, '--json']);
    expect(damaged.code).toBe(1);
    expect(JSON.parse(damaged.stdout)).toMatchObject({
      state: 'damaged',
      keys: { total: 10, readable: 9, damage: { 'bad-json': 1 } },
    });
  });
});

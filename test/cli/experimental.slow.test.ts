import { afterAll, describe, expect, it } from 'vitest';
import { BACKUP_ALGORITHM, createAuthData } from '../../src/index.js';
import { AUTHENTICATED_BACKUP_ALGORITHM } from '../../src/experimental.js';
import { KeyBackupServer } from '../support/key-backup-server.js';
import { directSessions, forwardedSessions } from '../support/sample.js';
import { Workspace } from './workspace.js';

const FLAG = '--experimental-msc4048';
const KEY = ['--key-file', 'key.txt'];
const sessions = [...directSessions(3), ...forwardedSessions(1)];
const servers: KeyBackupServer[] = [];
afterAll(async () => {
  for (const server of servers) await server.stop();
});

function begin() {
  const work = new Workspace();
  work.writeJson('export.json', sessions);
  return work;
}

async function onServer() {
  const work = begin();
  const server = await new KeyBackupServer().start();
  servers.push(server);
  work.write('token.txt', 'TOKEN\n');
  return { work, server, at: ['--homeserver', server.url, '--token-file', 'token.txt', ...KEY] };
}

const ids = (value: unknown) =>
  (value as { session_id: string }[]).map(({ session_id }) => session_id).sort();

describe.concurrent('the experimental algorithm', () => {
  it.each(['encrypt', 'decrypt', 'upload', 'restore', 'move'])(
    'is called unstable in the help of %s',
    async (command) => {
      const { stdout } = await begin().run([command, '--help']);
      expect(stdout).toContain('EXPERIMENTAL');
      expect(stdout).toMatch(/org\.matrix\.msc4048\.curve25519-aes-sha2, is unstable/);
    },
  );

  it('needs a MAC key, and has nothing to salvage', async () => {
    const work = begin();
    const publicKey = work.key.publicKey.toBase64();
    const none = await work.run(['encrypt', 'export.json', '--public-key', publicKey, FLAG]);
    expect(none).toMatchObject({ code: 2, stdout: '' });
    expect(none.stderr).toContain('--mac-key-file');
    for (const args of [
      ['decrypt', 'export.json', ...KEY, FLAG, '--salvage'],
      ['restore', '--homeserver', 'x', ...KEY, FLAG, '--salvage'],
    ]) {
      const end = await work.run(args);
      expect(end).toMatchObject({ code: 2 });
      expect(end.stderr).toContain('nothing to --salvage');
    }
    const move = await work.run(['move', 'export.json', ...KEY]);
    expect(move).toMatchObject({ code: 2 });
    expect(move.stderr).toContain(FLAG);
  });

  it('does not read what is of v1, and v1 does not read it', async () => {
    const work = begin();
    await work.run(['encrypt', 'export.json', ...KEY, '-o', 'v1.json']);
    await work.run(['encrypt', 'export.json', ...KEY, FLAG, '-o', 'v2.json']);
    const old = await work.run(['decrypt', 'v1.json', ...KEY, FLAG, '-o', 'out.json', '--report', 'r.json']);
    expect(old).toMatchObject({ code: 1 });
    expect(old.stderr).toContain('not one key is authenticated');
    expect(work.json('r.json')).toMatchObject({ ok: 0, failed: 4 });
    const read = await work.run(['decrypt', 'v2.json', ...KEY, '-o', 'out.json']);
    expect(read).toMatchObject({ code: 1 });
    expect(read.stderr).toContain('4 missing-field');
    const version = { algorithm: BACKUP_ALGORITHM, auth_data: createAuthData(work.key.publicKey) };
    work.writeJson('version.json', version);
    const wrong = await work.run(['decrypt', 'v2.json', ...KEY, FLAG, '--auth-data', 'version.json']);
    expect(wrong).toMatchObject({ code: 1 });
    expect(wrong.stderr).toContain('unsupported-algorithm');
  });

  it('with the wrong key says so and writes nothing', async () => {
    const work = begin();
    await work.run(['encrypt', 'export.json', ...KEY, FLAG, '-o', 'backup.json']);
    const other = new Workspace();
    other.write('backup.json', work.read('backup.json'));
    const end = await other.run(['decrypt', 'backup.json', ...KEY, FLAG, '-o', 'out.json']);
    expect(end).toMatchObject({ code: 1 });
    expect(end.stderr).toContain('wrong-key');
    expect(other.filesBut('backup.json')).toEqual([]);
  });

  it('encrypts and decrypts files', async () => {
    const work = begin();
    const auth_data = createAuthData(work.key.publicKey);
    work.writeJson('version.json', { algorithm: AUTHENTICATED_BACKUP_ALGORITHM.unstable, auth_data });
    const authData = ['--auth-data', 'version.json'];
    const written = await work.run([
      'encrypt',
      'export.json',
      ...KEY,
      ...authData,
      FLAG,
      '-o',
      'backup.json',
    ]);
    expect(written).toMatchObject({ code: 0 });
    expect(work.read('backup.json')).not.toContain('"mac"');
    const read = await work.run([
      ...['decrypt', 'backup.json', ...KEY, ...authData, FLAG, '-o', 'out.json', '--json'],
    ]);
    expect(read).toMatchObject({ code: 0 });
    expect(JSON.parse(read.stdout)).toMatchObject({
      authenticity: { verified: 3, 'declared-unauthenticated': 1 },
    });
    expect(ids(work.json('out.json'))).toEqual(ids(sessions));
  });

  it('is created, written and read on a server', async () => {
    const { work, server, at } = await onServer();
    const upload = ['upload', 'export.json', ...at, FLAG];
    expect(await work.run(upload)).toMatchObject({ code: 2 });
    const made = await work.run([...upload, '--create']);
    expect(made).toMatchObject({ code: 0 });
    expect(server.current?.algorithm).toBe('org.matrix.msc4048.curve25519-aes-sha2');
    const again = await work.run([...upload, '--skip-stored', '--json']);
    expect(JSON.parse(again.stdout)).toMatchObject({ uploaded: 0, skipped: 4 });
    for (const [room, session, record] of server.keysOf(server.current!)) {
      const { unsigned: _, ...session_data } = record.session_data;
      server.current!.keys.get(room)!.set(session, { ...record, session_data });
    }
    const kept = await work.run([...upload, '--skip-stored', '--json']);
    expect(kept).toMatchObject({ code: 1 });
    expect(JSON.parse(kept.stdout)).toMatchObject({ uploaded: 4, skipped: 0, kept: 4 });
    server.current!.keys.clear();
    expect(await work.run(upload)).toMatchObject({ code: 0 });
    const restored = await work.run(['restore', ...at, FLAG, '-o', 'out.json', '--json']);
    expect(restored).toMatchObject({ code: 0 });
    expect(JSON.parse(restored.stdout)).toMatchObject({
      authenticity: { verified: 3, 'declared-unauthenticated': 1 },
    });
    expect(ids(work.json('out.json'))).toEqual(ids(sessions));
    for (const args of [
      ['restore', ...at],
      ['upload', 'export.json', ...at],
    ]) {
      const plain = await work.run(args);
      expect(plain).toMatchObject({ code: 1 });
      expect(plain.stderr).toContain('unsupported-algorithm');
    }
  });
});

describe.concurrent('move', () => {
  it.each([
    [[FLAG], 'give either one BACKUP.json or --homeserver'],
    [[FLAG, 'backup.json', '--into', 'v2', '--from', 'v1'], 'for a server only'],
    [[FLAG, '--homeserver', 'x', '-o', 'x.json'], 'for a file only'],
    [[FLAG, '--homeserver', 'x', '--into', 'v2'], '--into goes with --from'],
  ])('%j is refused', async (args, why) => {
    const end = await begin().run(['move', ...KEY, ...args]);
    expect(end).toMatchObject({ code: 2 });
    expect(end.stderr).toContain(why);
  });

  it('of a file makes nothing authentic', async () => {
    const work = begin();
    await work.run(['encrypt', 'export.json', ...KEY, '-o', 'plain.json']);
    await work.run(['encrypt', 'export.json', ...KEY, '--backup-mac', '-o', 'signed.json']);
    for (const [name, verified] of [
      ['plain.json', 0],
      ['signed.json', 3],
    ] as const) {
      const end = await work.run(['move', name, ...KEY, FLAG, '-o', 'moved.json', '--json']);
      expect(end).toMatchObject({ code: 0 });
      expect(JSON.parse(end.stdout)).toMatchObject({ ok: 4, after: { verified } });
      const read = await work.run(['decrypt', 'moved.json', ...KEY, FLAG, '-o', 'out.json', '--json']);
      expect(read).toMatchObject({ code: 0 });
      expect(JSON.parse(read.stdout)).toMatchObject({
        authenticity: { verified, 'declared-unauthenticated': 4 - verified },
      });
    }
    const other = new Workspace();
    other.write('plain.json', work.read('plain.json'));
    const wrong = await other.run(['move', 'plain.json', ...KEY, FLAG, '-o', 'moved.json']);
    expect(wrong).toMatchObject({ code: 1 });
    expect(wrong.stderr).toContain('wrong-key');
    expect(other.filesBut('plain.json')).toEqual([]);
  });

  it('on a server puts everything into a new version, and goes on in it', async () => {
    const { work, server, at } = await onServer();
    await work.run(['upload', 'export.json', ...at, '--create', '--backup-mac']);
    const moved = await work.run(['move', FLAG, ...at, '--json', '--report', 'report.json']);
    expect(moved).toMatchObject({ code: 0 });
    expect(JSON.parse(moved.stdout)).toMatchObject({ uploaded: 4, version: 'v2', after: { verified: 3 } });
    expect(moved.stderr).toContain('--from v1 --into v2');
    expect(server.current).toMatchObject({ algorithm: 'org.matrix.msc4048.curve25519-aes-sha2' });
    const again = await work.run(['move', FLAG, ...at, '--from', 'v1', '--into', 'v2', '--json']);
    expect(JSON.parse(again.stdout)).toMatchObject({ uploaded: 0, skipped: 4 });
    const restored = await work.run(['restore', ...at, FLAG, '-o', 'out.json']);
    expect(restored).toMatchObject({ code: 0 });
    expect(restored.stderr).toContain('authenticity: 3 verified, 1 declared-unauthenticated');
  });
});

import { afterAll, describe, expect, it } from 'vitest';
import { BACKUP_ALGORITHM, createAuthData, encryptSession } from '../../src/index.js';
import { KeyBackupServer } from '../support/key-backup-server.js';
import { directSessions, forwardedSessions } from '../support/sample.js';
import { DECRYPT, Workspace } from './workspace.js';

type Rooms = Record<string, { sessions: Record<string, { session_data: Record<string, unknown> }> }>;

const sessions = [...directSessions(3), ...forwardedSessions(1)];

async function encrypted(work: Workspace, ...options: string[]): Promise<{ rooms: Rooms }> {
  work.writeJson('export.json', sessions);
  const args = [
    'encrypt',
    'export.json',
    '--key-file',
    'key.txt',
    '--force',
    '-o',
    'backup.json',
    ...options,
  ];
  expect(await work.run(args)).toMatchObject({ code: 0 });
  return work.json('backup.json') as { rooms: Rooms };
}

const DECRYPT_TO_FILE = [...DECRYPT, '--force', '-o', 'out.json'];

async function decrypted(work: Workspace, ...options: string[]) {
  const end = await work.run([...DECRYPT_TO_FILE, '--json', ...options, '--report', 'report.json']);
  return { ...end, summary: JSON.parse(end.stdout) as Record<string, unknown> };
}

function firstRecord({ rooms }: { rooms: Rooms }) {
  const { room_id, session_id } = sessions[0];
  return rooms[room_id].sessions[session_id];
}

const NONE = { verified: 0, 'declared-unauthenticated': 0, 'wrong-mac': 0, 'no-mac': 0 };

describe('encrypt --backup-mac', () => {
  it.each([
    [['--public-key', 'hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo', '--backup-mac'], 'needs --key-file'],
    [['--key-file', 'key.txt', '--bind-room-id'], 'needs --backup-mac'],
  ])('%j is refused', async (options, why) => {
    const work = new Workspace();
    work.writeJson('export.json', sessions);
    const end = await work.run(['encrypt', 'export.json', '--force', '-o', 'backup.json', ...options]);
    expect(end).toMatchObject({ code: 2 });
    expect(end.stderr).toContain(why);
  });

  it('vouches for what came straight from its sender, and decrypt says so', async () => {
    const work = new Workspace();
    await encrypted(work, '--backup-mac');
    const { code, summary } = await decrypted(work);
    expect(code).toBe(0);
    expect(summary.authenticity).toEqual({ ...NONE, verified: 3, 'declared-unauthenticated': 1 });
    expect(work.json('report.json')).toMatchObject({ authenticity: summary.authenticity, keys: [] });
    const text = await work.run(DECRYPT_TO_FILE);
    expect(text.stderr).toContain('authenticity: 3 verified, 1 declared-unauthenticated\n');
  });

  it('without it nothing is authenticated', async () => {
    const work = new Workspace();
    await encrypted(work);
    expect((await decrypted(work)).summary.authenticity).toEqual({ ...NONE, 'no-mac': 4 });
    const strict = await decrypted(work, '--require-authenticated');
    expect(strict.code).toBe(1);
    expect(strict.summary).toMatchObject({ ok: 0, failed: 4, codes: { 'not-authenticated': 4 } });
  });
});

describe('decrypt', () => {
  it('reports a wrong MAC, warns of it and ends with 1', async () => {
    const work = new Workspace();
    const backup = await encrypted(work, '--backup-mac');
    const record = firstRecord(backup);
    record.session_data.unsigned = { backup_mac: 'A'.repeat(43) };
    work.writeJson('backup.json', backup);
    const { code, summary } = await decrypted(work);
    expect(code).toBe(1);
    expect(summary).toMatchObject({ ok: 4, failed: 0, flagged: 1 });
    expect(summary.authenticity).toMatchObject({ 'wrong-mac': 1 });
    const { session_id } = sessions[0];
    expect(work.json('report.json')).toMatchObject({
      keys: [{ session_id, flags: ['wrong-mac'], authenticity: 'wrong-mac' }],
    });
    const text = await work.run(DECRYPT_TO_FILE);
    expect(text.stderr).toContain('1 keys carry a wrong backup_mac');
  });

  it('--require-authenticated gives only what is verified, and still tells a wrong key', async () => {
    const work = new Workspace();
    await encrypted(work, '--backup-mac');
    const { code, summary } = await decrypted(work, '--require-authenticated');
    expect(code).toBe(1);
    expect(summary).toMatchObject({ ok: 3, codes: { 'not-authenticated': 1 } });
    expect(work.json('out.json')).toHaveLength(3);
    const other = new Workspace();
    other.writeJson('backup.json', work.json('backup.json'));
    const wrong = await decrypted(other, '--require-authenticated');
    expect(wrong).toMatchObject({ code: 1 });
    expect(wrong.stderr).toContain('wrong-key');
    expect(other.filesBut('backup.json', 'report.json')).toEqual([]);
  });

  it('notices a moved record that names its room', async () => {
    const work = new Workspace();
    const backup = await encrypted(work, '--backup-mac', '--bind-room-id');
    const { room_id, session_id } = sessions[0];
    backup.rooms['!elsewhere'] = { sessions: { [session_id]: firstRecord(backup) } };
    // eslint-disable-next-line @typescript-eslint/no-dynamic-delete
    delete backup.rooms[room_id].sessions[session_id];
    work.writeJson('backup.json', backup);
    const { code, summary } = await decrypted(work);
    expect(code).toBe(1);
    expect(summary.codes).toEqual({ 'room-id-mismatch': 1 });
    expect(work.read('out.json')).not.toContain('org.megolm-backup.room_id');
  });
});

describe('authenticate', () => {
  async function authenticated(work: Workspace, ...options: string[]) {
    const args = ['authenticate', 'backup.json', '--key-file', 'key.txt', '--trusted', 'trusted.json'];
    return work.run([...args, '--force', '-o', 'new.json', ...options]);
  }

  function recordsOf(work: Workspace): number {
    const { rooms } = work.json('new.json') as { rooms: Rooms };
    return Object.values(rooms).reduce((sum, room) => sum + Object.keys(room.sessions).length, 0);
  }

  it('writes what there is a trusted copy of, and nothing else', async () => {
    const work = new Workspace();
    await encrypted(work);
    work.writeJson('trusted.json', sessions.slice(0, 2));
    const end = await authenticated(work, '--json');
    expect(end.code).toBe(0);
    expect(JSON.parse(end.stdout)).toMatchObject({ authenticated: 2, unknown: 2, conflicting: 0, failed: 0 });
    expect(recordsOf(work)).toBe(2);
    expect(work.mode('new.json')).toBe('600');
    work.write('backup.json', work.read('new.json'));
    expect((await decrypted(work)).summary.authenticity).toEqual({ ...NONE, verified: 2 });
    await authenticated(work, '--all');
    expect(recordsOf(work)).toBe(2);
  });

  it('--all writes the rest as it is, --declare-rest says what it is', async () => {
    const work = new Workspace();
    await encrypted(work);
    work.writeJson('trusted.json', sessions.slice(0, 1));
    await authenticated(work, '--all');
    expect(recordsOf(work)).toBe(4);
    const end = await authenticated(work, '--declare-rest', '--bind-room-id', '--verified');
    expect(end.stderr).toContain('1 authenticated, 3 declared unauthenticated');
    work.write('backup.json', work.read('new.json'));
    const { summary } = await decrypted(work);
    expect(summary.authenticity).toEqual({ ...NONE, verified: 1, 'declared-unauthenticated': 3 });
    expect(work.read('new.json')).toContain('"is_verified":true');
  });

  it('reports a key that contradicts its copy, and ends with 1', async () => {
    const work = new Workspace();
    await encrypted(work);
    const lies = sessions.map((session) => ({ ...session, sender_key: 'A'.repeat(43) }));
    work.writeJson('trusted.json', [lies[0], sessions[1]]);
    const end = await authenticated(work, '--report', 'report.json');
    expect(end.code).toBe(1);
    expect(end.stderr).toContain('sender_key differs');
    expect(work.json('report.json')).toMatchObject({
      keys: [{ session_id: sessions[0].session_id, code: 'not-authenticated' }],
    });
    expect(recordsOf(work)).toBe(1);
  });

  it('counts as authenticated exactly what decrypt --require-authenticated then reads', async () => {
    const work = new Workspace();
    await encrypted(work);
    work.writeJson('trusted.json', sessions);
    const end = await authenticated(work, '--json');
    expect(end.code).toBe(0);
    expect(JSON.parse(end.stdout)).toMatchObject({ authenticated: 3, declared: 1, unknown: 0 });
    work.write('backup.json', work.read('new.json'));
    expect((await decrypted(work, '--require-authenticated')).summary).toMatchObject({ ok: 3, failed: 1 });
  });

  it('refuses a key of another backup and copies that are none', async () => {
    const work = new Workspace();
    await encrypted(work);
    work.writeJson('trusted.json', [{ room_id: 5 }]);
    expect(await authenticated(work)).toMatchObject({ code: 2 });
    const other = new Workspace();
    other.writeJson('backup.json', work.json('backup.json'));
    other.writeJson('trusted.json', sessions);
    const wrong = await authenticated(other);
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toContain('wrong-key');
    expect(other.filesBut('backup.json', 'trusted.json')).toEqual([]);
  });
});

describe('authenticate on a server', () => {
  const servers: KeyBackupServer[] = [];
  afterAll(async () => {
    for (const server of servers) await server.stop();
  });

  async function start(work: Workspace): Promise<KeyBackupServer> {
    const server = await new KeyBackupServer().start();
    servers.push(server);
    const auth_data = { ...createAuthData(work.key.publicKey) };
    const version = server.createVersion(BACKUP_ALGORITHM, auth_data);
    for (const session of sessions) {
      const { room_id, session_id, key_backup_data } = encryptSession(session, work.key.publicKey);
      server.store(version, room_id, session_id, key_backup_data as never);
    }
    work.writeJson('trusted.json', sessions.slice(0, 3));
    work.write('token.txt', 'TOKEN\n');
    return server;
  }

  function authenticated(work: Workspace, server: KeyBackupServer, ...options: string[]) {
    const at = ['--homeserver', server.url, '--token-file', 'token.txt'];
    const with_ = ['--key-file', 'key.txt', '--trusted', 'trusted.json'];
    return work.run(['authenticate', ...at, ...with_, ...options]);
  }

  it('says that the server kept the old records, and what to do', async () => {
    const work = new Workspace();
    const server = await start(work);
    const end = await authenticated(work, server);
    expect(end.code).toBe(1);
    expect(end.stderr).toContain('the server kept 3 old records');
    expect(end.stderr).toContain('--new-version');
    expect(end.stderr).toContain('0 authenticated, 0 declared');
  });

  it('--new-version takes all of it along, and --into goes on with it', async () => {
    const work = new Workspace();
    const server = await start(work);
    const end = await authenticated(work, server, '--new-version', '--json', '--report', 'report.json');
    expect(end.code).toBe(0);
    const numbers = { authenticated: 3, unknown: 1, uploaded: 4, kept: 0 };
    expect(JSON.parse(end.stdout)).toMatchObject(numbers);
    expect(work.json('report.json')).toMatchObject({ ok: 4, failed: 0 });
    const [from, into] = server.versions.map(({ version }) => version);
    expect(end.stderr).toContain(
      `made backup version ${into}; if interrupted, continue with --from ${from} --into ${into}\n`,
    );
    const again = await authenticated(work, server, '--from', from, '--into', into, '--json');
    expect(JSON.parse(again.stdout)).toMatchObject({ uploaded: 0, skipped: 4 });
    const restored = ['--homeserver', server.url, '--token-file', 'token.txt', '--key-file', 'key.txt'];
    const restore = await work.run(['restore', ...restored, '-o', 'out.json', '--json'], { outside: true });
    expect(JSON.parse(restore.stdout)).toMatchObject({ authenticity: { verified: 3, 'no-mac': 1 } });
    const strict = await work.run(['restore', ...restored, '-o', 'strict.json', '--require-authenticated']);
    expect(strict.code).toBe(1);
    expect(work.json('strict.json')).toHaveLength(3);
  });

  it('works in place with --verified', async () => {
    const work = new Workspace();
    const server = await start(work);
    expect(await authenticated(work, server, '--verified')).toMatchObject({ code: 0 });
  });

  it('upload --backup-mac vouches for what it uploads', async () => {
    const work = new Workspace();
    const server = await start(work);
    server.versions[0].keys.clear();
    work.writeJson('export.json', sessions);
    const at = ['--homeserver', server.url, '--token-file', 'token.txt', '--key-file', 'key.txt'];
    const options = ['--backup-mac', '--bind-room-id'];
    expect(await work.run(['upload', 'export.json', ...at, ...options], { outside: true })).toMatchObject({
      code: 0,
    });
    const restore = await work.run(['restore', ...at, '--force', '-o', 'out.json']);
    expect(restore.stderr).toContain('authenticity: 3 verified, 1 declared-unauthenticated');
  });

  it.each([
    [['--all'], 'for a file only'],
    [['-o', 'x.json'], 'for a file only'],
    [['--into', 'v2'], '--into goes with --from'],
    [['backup.json'], 'either one BACKUP.json or --homeserver'],
  ])('refuses %j', async (options, why) => {
    const work = new Workspace();
    const server = await start(work);
    const end = await authenticated(work, server, ...options);
    expect(end.code).toBe(2);
    expect(end.stderr).toContain(why);
    expect(server.seen).toEqual([]);
  });
});

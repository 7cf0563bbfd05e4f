import { afterAll, describe, expect, it } from 'vitest';
import type { KeyBackupData } from '../../src/wire/types.js';
import { BACKUP_ALGORITHM, BackupMacKey, createAuthData, encryptSession } from '../../src/index.js';
import { KeyBackupServer } from '../support/key-backup-server.js';
import { directSessions, forwardedSessions } from '../support/sample.js';
import { DECRYPT, Workspace, type Ended, type ReportFile } from './workspace.js';

/** A `backup_mac` that is wrong is a check that does not hold: every command that reads says so, and ends with 1. */

const sessions = [...directSessions(3), ...forwardedSessions(1)];
const [touched] = sessions;
const COUNTS = { verified: 2, 'declared-unauthenticated': 1, 'wrong-mac': 1, 'no-mac': 0 };
const LINE = 'authenticity: 2 verified, 1 declared-unauthenticated, 1 wrong-mac\n';
const WARNING = '1 keys carry a wrong backup_mac: somebody without the key wrote them';

const servers: KeyBackupServer[] = [];
afterAll(async () => {
  for (const server of servers) await server.stop();
});

/** A backup in files and on a server, whose first record was changed, or not. */
async function begin(isTouched = true) {
  const work = new Workspace();
  const server = await new KeyBackupServer().start();
  servers.push(server);
  const auth_data = { ...createAuthData(work.key.publicKey) };
  const version = server.createVersion(BACKUP_ALGORITHM, auth_data);
  const rooms: Record<string, { sessions: Record<string, KeyBackupData> }> = {};
  const macKey = BackupMacKey.fromDecryptionKey(work.key);
  for (const session of sessions) {
    const { room_id, session_id, key_backup_data } = encryptSession(session, work.key.publicKey, { macKey });
    const record = JSON.parse(JSON.stringify(key_backup_data)) as KeyBackupData;
    const more = isTouched && session === touched ? { more: 1 } : {};
    const data = { ...record, session_data: { ...record.session_data, ...more } };
    server.store(version, room_id, session_id, data);
    rooms[room_id] ??= { sessions: {} };
    rooms[room_id].sessions[session_id] = data;
  }
  work.writeJson('backup.json', { rooms });
  work.writeJson('version.json', { version: 'v1', algorithm: BACKUP_ALGORITHM, auth_data });
  work.writeJson('trusted.json', []);
  work.write('token.txt', 'TOKEN\n');
  work.write('phrase.txt', 'a passphrase\n');
  const at = ['--homeserver', server.url, '--token-file', 'token.txt', '--key-file', 'key.txt'];
  return { work, at, version };
}

const RESCUE = ['rescue', '--export-passphrase-file', 'phrase.txt', '--force', '-o', 'out.txt'];
const FILES = ['--version-file', 'version.json', '--backup-file', 'backup.json', '--key-file', 'key.txt'];

/** Every command that reads and writes a report. */
const READERS: readonly [string, (at: readonly string[]) => string[]][] = [
  ['decrypt', () => [...DECRYPT, '--force', '-o', 'out.json']],
  ['restore', (at) => ['restore', ...at, '--force', '-o', 'out.json']],
  ['rescue of files', () => [...RESCUE, ...FILES]],
  ['rescue from a server', (at) => [...RESCUE, ...at]],
  [
    'authenticate of a file',
    () => [
      'authenticate',
      'backup.json',
      '--key-file',
      'key.txt',
      '--trusted',
      'trusted.json',
      '-o',
      'out.json',
    ],
  ],
  ['authenticate on a server', (at) => ['authenticate', ...at, '--trusted', 'trusted.json']],
];

describe.concurrent('a wrong backup_mac', () => {
  it.each(READERS)('%s: exit code 1, a warning, a flag in the report', async (_, argsOf) => {
    const { work, at } = await begin();
    const text = await work.run([...argsOf(at), '--report', 'report.json']);
    expect(text).toMatchObject({ code: 1 });
    expect(text.stderr).toContain(LINE + WARNING);
    const report = work.json('report.json') as ReportFile & { authenticity: unknown };
    expect(report).toMatchObject({ total: 4, ok: 4, failed: 0, flagged: 1, authenticity: COUNTS });
    const { room_id, session_id } = touched;
    expect(report.keys).toMatchObject([
      { room_id, session_id, flags: ['wrong-mac'], authenticity: 'wrong-mac' },
    ]);
    expect(report.keys[0].reason).toContain('somebody without the key wrote it');
  });

  it.each(READERS)('%s: the numbers as JSON', async (_, argsOf) => {
    const { work, at } = await begin();
    const { code, stdout } = await work.run([...argsOf(at), '--json']);
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ ok: 4, failed: 0, flagged: 1, authenticity: COUNTS });
  });

  it.each(READERS)('%s: nothing of it where all are right', async (_, argsOf) => {
    const { work, at } = await begin(false);
    const end: Ended = await work.run([...argsOf(at), '--report', 'report.json']);
    expect(end).toMatchObject({ code: 0 });
    expect(end.stderr).toContain('authenticity: 3 verified, 1 declared-unauthenticated\n');
    expect(end.stderr).not.toContain('wrong');
    expect(work.json('report.json')).toMatchObject({ flagged: 0, keys: [] });
  });

  it('diagnose: a finding with advice, and exit code 1', async () => {
    const { work, at } = await begin();
    const text = await work.run(['diagnose', ...at], { outside: true });
    expect(text.code).toBe(1);
    expect(text.stdout).toContain(LINE);
    expect(text.stdout).toContain('warning: 1 keys carry a wrong backup_mac');
    const { code, stdout } = await work.run(['diagnose', ...at, '--json']);
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({
      state: 'damaged',
      keys: { authenticity: COUNTS },
      findings: [{ code: 'wrong-mac', count: 1 }],
    });
  });

  it('diagnose: a note alone is no finding that fails', async () => {
    const { work, at, version } = await begin(false);
    const { room_id, session_id } = touched;
    const data = encryptSession(touched, work.key.publicKey).key_backup_data as unknown as KeyBackupData;
    version.keys.get(room_id)!.set(session_id, data);
    const { code, stdout } = await work.run(['diagnose', ...at]);
    expect(code).toBe(0);
    expect(stdout).toContain('note: 1 keys have no backup_mac (no-mac), beside 2 that are verified');
  });
});

describe.concurrent('rescue --require-authenticated', () => {
  it.each([
    ['files', () => FILES],
    ['a server', (at: readonly string[]) => at],
  ] as const)('of %s leaves behind what is not verified', async (_, sourceOf) => {
    const { work, at } = await begin();
    const args = [...RESCUE, ...sourceOf(at), '--require-authenticated', '--json'];
    const { code, stdout } = await work.run(args);
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({
      ...{ ok: 2, failed: 2, codes: { 'not-authenticated': 2 } },
      authenticity: { verified: 2, 'wrong-mac': 0 },
    });
    const decrypted = await work.run([
      ...[
        'export',
        'decrypt',
        'out.txt',
        '--passphrase-file',
        'phrase.txt',
        '--force',
        '-o',
        'sessions.json',
      ],
    ]);
    expect(decrypted.code).toBe(0);
    const ids = (work.json('sessions.json') as { session_id: string }[]).map(({ session_id }) => session_id);
    expect(ids.sort()).toEqual([sessions[1].session_id, sessions[2].session_id].sort());
  });
});

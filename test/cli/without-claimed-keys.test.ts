import { afterEach, beforeEach, expect, it } from 'vitest';
import { BACKUP_ALGORITHM, createAuthData } from '../../src/scheme/auth-data.js';
import { KeyBackupServer } from '../support/key-backup-server.js';
import type { ExportedSessionData } from '../../src/formats/room-key.js';
import { sealedExport } from '../support/samples.js';
import { DECRYPT, Workspace, recordOf, type ReportFile } from './workspace.js';

let work: Workspace;
let server: KeyBackupServer;
let theirs: ExportedSessionData;
let expected: unknown[];

beforeEach(async () => {
  server = await new KeyBackupServer().start();
  work = new Workspace();
  work.write('phrase.txt', 'a phrase for the export\n');
  work.write('token.txt', 'syt_token\n');
  server.createVersion(BACKUP_ALGORITHM, { ...createAuthData(work.key.publicKey) });
  const { sender_claimed_keys: _, ...bare } = work.session();
  expected = [{ ...bare, sender_claimed_keys: {} }];
  theirs = bare;
  work.write(
    'theirs.txt',
    sealedExport({ plaintext: JSON.stringify([bare]), passphrase: 'a phrase for the export' }),
  );
  await ok('export', 'decrypt', 'theirs.txt', '--passphrase-file', 'phrase.txt', '-o', 'bare.json');
  expect(work.json('bare.json')).toEqual(expected);
});

afterEach(() => server.stop());

async function ok(...args: string[]): Promise<void> {
  expect(await work.run(args), args.join(' ')).toMatchObject({ code: 0 });
}

it('export decrypt writes what encrypt reads, as no claimed keys', async () => {
  await ok('encrypt', 'bare.json', '--key-file', 'key.txt', '-o', 'backup.json');
  await ok(...DECRYPT, '-o', 'out.json');
  expect(work.json('out.json')).toEqual(expected);
  const trusted = ['--key-file', 'key.txt', '--trusted', 'bare.json'];
  await ok('authenticate', 'backup.json', ...trusted, '-o', 'vouched.json');
  await ok('decrypt', 'vouched.json', '--key-file', 'key.txt', '--require-authenticated', '-o', 'right.json');
  expect(work.json('right.json')).toEqual(expected);
});

it('export decrypt writes what upload reads, as no claimed keys', async () => {
  const reach = ['--homeserver', server.url, '--token-file', 'token.txt', '--key-file', 'key.txt'];
  await ok('upload', 'bare.json', ...reach);
  await ok('restore', ...reach, '-o', 'out.json');
  expect(work.json('out.json')).toEqual(expected);
});

it('export decrypt writes what export encrypt reads, as no claimed keys', async () => {
  const phrase = ['--passphrase-file', 'phrase.txt'];
  await ok('export', 'encrypt', 'bare.json', ...phrase, '-o', 'ours.txt');
  await ok('export', 'decrypt', 'ours.txt', ...phrase, '-o', 'out.json');
  expect(work.json('out.json')).toEqual(expected);
});

it('records of another client come out of every command that reads a backup, and are flagged', async () => {
  const { room_id, session_id } = theirs;
  const { room_id: _r, session_id: _s, ...plaintext } = theirs;
  const record = recordOf(plaintext, work.key.publicKey);
  work.writeJson('backup.json', { rooms: { [room_id]: { sessions: { [session_id]: record } } } });
  work.writeJson('version.json', { auth_data: createAuthData(work.key.publicKey) });
  server.store(server.versions[0], room_id, session_id, record as never);
  const reach = ['--homeserver', server.url, '--token-file', 'token.txt'];
  const rescue = ['rescue', '--key-file', 'key.txt', '--export-passphrase-file', 'phrase.txt'];
  for (const [args, isExport] of [
    [DECRYPT, false],
    [['restore', ...reach, '--key-file', 'key.txt'], false],
    [[...rescue, '--version-file', 'version.json', '--backup-file', 'backup.json'], true],
    [[...rescue, ...reach], true],
  ] as const) {
    const name = isExport ? 'keys.txt' : 'sessions.json';
    await ok(...args, '-o', name, '--report', 'report.json', '--force');
    expect(isExport ? await work.exported() : work.json(name), args.join(' ')).toEqual(expected);
    const { keys } = work.json('report.json') as ReportFile;
    expect(keys.map(({ flags }) => flags[0])).toEqual(['missing-sender-claimed-keys']);
  }
});

import { pbkdf2Sync } from 'node:crypto';
import { existsSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { createAuthData, signAuthData } from '../../../src/scheme/auth-data.js';
import { BackupMacKey } from '../../../src/scheme/backup-mac.js';
import { base64Encode } from '../../../src/encoding/base64.js';
import { encryptSession } from '../../../src/batch/encrypt.js';
import { BackupDecryptionKey } from '../../../src/scheme/keys.js';
import { readMasterKey } from '../../../src/secret-storage/account-secrets.js';
import { derivePassphraseKey } from '../../../src/scheme/passphrase.js';
import { SecretStorageKey } from '../../../src/secret-storage/secret-storage.js';
import { BACKUP_ALGORITHM } from '../../../src/scheme/auth-data.js';
import { KeyBackupServer } from '../../support/key-backup-server.js';
import { Workspace, backupOf, ended, type ReportFile } from '../workspace.js';

const RESCUE = [
  ...['rescue', '--key-file', 'storage.txt', '--export-passphrase-file', 'phrase.txt'],
  ...[
    '--version-file',
    'version.json',
    '--backup-file',
    'backup.json',
    '--account-data-file',
    'account.json',
  ],
  ...['--force', '-o', 'keys.txt'],
];
const INPUTS = ['storage.txt', 'phrase.txt', 'version.json', 'backup.json', 'account.json'];
const SEED = base64Encode(new Uint8Array(32).fill(5));

/** An account with everything: a backup of two keys, signed by the master key, its key in the secret storage. */
function account() {
  const work = new Workspace();
  const storage = SecretStorageKey.generate('k');
  const text = storage.toRecoveryKey();
  work.secrets.push(text, text.replaceAll(' ', ''), 'export phrase', SEED);
  work.write('storage.txt', `${text}\n`);
  work.write('phrase.txt', 'export phrase\n');
  const authData = createAuthData(work.key.publicKey);
  work.writeJson('version.json', {
    algorithm: 'm.megolm_backup.v1.curve25519-aes-sha2',
    auth_data: signAuthData(authData, [readMasterKey(SEED).signer('@a:example.org')]),
  });
  const accountData = {
    'm.secret_storage.default_key': { key: 'k' },
    'm.secret_storage.key.k': storage.describe(),
    'm.megolm_backup.v1': storage.encryptSecret('m.megolm_backup.v1', work.key.toBase64()),
    'm.cross_signing.master': storage.encryptSecret('m.cross_signing.master', SEED),
  };
  work.writeJson('account.json', accountData);
  const sessions = [work.session({ room_id: '!a' }), work.session({ room_id: '!b' })];
  const backup = backupOf(sessions, work.key);
  work.writeJson('backup.json', backup);
  return { work, storage, text, authData, accountData, sessions, backup };
}

describe.concurrent('rescue refuses', () => {
  it.each([
    ['no output', RESCUE.slice(0, -2)],
    ['no backup', RESCUE.filter((arg) => !['--backup-file', 'backup.json'].includes(arg))],
    ['no version', RESCUE.filter((arg) => !['--version-file', 'version.json'].includes(arg))],
    ['a version file that is not there', RESCUE.map((arg) => arg.replace('version.json', 'none.json'))],
    ['account data that is no JSON', RESCUE.map((arg) => arg.replace('account.json', 'phrase.txt'))],
    ['two secrets on one standard input', RESCUE.map((arg) => arg.replace(/^(storage|phrase).txt/, '-'))],
    ['an argument', [...RESCUE, 'argument']],
  ])('%s', async (_, args) => {
    const { work } = account();
    const end = await work.run(args);
    expect(end.code).toBe(2);
    expect(work.filesBut(...INPUTS)).toEqual([]);
  });

  it.each<[string, string, string]>([
    ['an unrelated key', BackupDecryptionKey.generate().toRecoveryKey(), 'wrong-key'],
    ['a phrase where none was set', 'a phrase', 'missing-field'],
  ])('%s, and writes nothing', async (_, given, code) => {
    const { work } = account();
    work.write('storage.txt', given);
    work.secrets.push(given);
    const end = await work.run([...RESCUE, '--report', 'report.json']);
    expect(end.code).toBe(1);
    expect(end.stderr).toContain(code);
    expect(work.filesBut(...INPUTS)).toEqual([]);
  });

  it('a storage key without account data, and says what is missing', async () => {
    const { work } = account();
    const end = await work.run(RESCUE.filter((arg) => !arg.includes('account')));
    expect(end.code).toBe(1);
    expect(end.stderr).toContain('give the account data');
  });

  it('a key that fits the auth_data but not one record', async () => {
    const { work } = account();
    work.writeJson('backup.json', backupOf([work.session()], BackupDecryptionKey.generate()));
    const end = await work.run([...RESCUE, '--report', 'report.json']);
    expect(end.code).toBe(1);
    expect(end.stderr).toContain('not one of its keys was encrypted to it');
    expect((work.json('report.json') as ReportFile).keys[0].code).toBe('mac-mismatch');
    expect(work.filesBut(...INPUTS, 'report.json')).toEqual([]);
  });

  it('to correct a mistyped key unasked, and corrects it when asked', async () => {
    const { work, text } = account();
    work.write('storage.txt', text.slice(0, -1));
    work.secrets.push(text.slice(0, -1));
    const unasked = await work.run(RESCUE);
    expect(unasked.code).toBe(1);
    expect(unasked.stderr).toContain('--correct');
    expect(work.filesBut(...INPUTS)).toEqual([]);
    const asked = await work.run([...RESCUE, '--correct']);
    expect(asked).toMatchObject({ code: 0 });
    expect(asked.stderr).toContain('with one more character');
  });
});

describe.concurrent('rescue', () => {
  it.each([
    ['the key of the secret storage', 'secret-storage-key', true],
    ['the decryption key of the backup', 'backup-decryption-key', null],
  ])('with %s gives an export file and says which it was', async (name, by, signed) => {
    const { work, sessions } = account();
    const args = signed === null ? RESCUE.map((arg) => arg.replace('storage.txt', 'key.txt')) : RESCUE;
    const end = await work.run([...args, '--json', '--report', 'report.json']);
    expect(end.code).toBe(0);
    expect(end.stderr).toContain(`opened with ${name}\n`);
    expect(JSON.parse(end.stdout)).toMatchObject({
      ...{ opened_by: by, key_matches: true, master_signed: signed },
      ...{ total: 2, ok: 2, failed: 0, flagged: 0, codes: {}, salvageable: {} },
    });
    expect(await work.exported()).toEqual(sessions);
    expect(work.mode('keys.txt')).toBe('600');
    expect(work.json('report.json')).toMatchObject({ total: 2, ok: 2, keys: [] });
  });

  it('tries a key on the records where the auth_data has no usable public key', async () => {
    const { work, accountData, sessions } = account();
    work.writeJson('version.json', {
      algorithm: BACKUP_ALGORITHM,
      auth_data: { public_key: 'A'.repeat(60) },
    });
    const args = RESCUE.map((arg) => arg.replace('storage.txt', 'key.txt'));
    for (const known of [accountData, {}]) {
      work.writeJson('account.json', known);
      const right = await work.run([...args, '--json']);
      expect(right).toMatchObject({ code: 0 });
      expect(right.stderr).toContain('tried as the decryption key of the backup\n');
      expect(right.stderr).toContain('whether the key fits shows only when it is tried');
      expect(JSON.parse(right.stdout)).toMatchObject({ key_matches: false, ok: 2 });
      expect(await work.exported()).toEqual(sessions);
    }
    const other = BackupDecryptionKey.generate().toRecoveryKey();
    work.secrets.push(other);
    work.write('other.txt', other);
    const wrong = await work.run([...args.map((arg) => arg.replace('key.txt', 'other.txt'))]);
    expect(wrong).toMatchObject({ code: 1 });
    expect(wrong.stderr).toContain('not one of its keys was encrypted to it');
  });

  it('tries a text of 43 letters as key and as old passphrase, and leaves what fits', async () => {
    const { work } = account();
    const letters = 'abcdefghijklmnopqrstuvwxyzabcdefghijklmnopq';
    work.secrets.push(letters);
    work.write('letters.txt', letters);
    const auth_data = { public_key: '', private_key_salt: 's', private_key_iterations: 10 };
    work.writeJson('version.json', { algorithm: BACKUP_ALGORITHM, auth_data });
    const derived = await derivePassphraseKey(letters, auth_data);
    const keys = [BackupDecryptionKey.fromBytes(derived), BackupDecryptionKey.fromBase64(letters)];
    const tried = ['the passphrase of the backup', 'the decryption key of the backup'];
    const args = RESCUE.map((arg) => arg.replace('storage.txt', 'letters.txt'));
    for (const [i, key] of keys.entries()) {
      const sessions = [work.session()];
      work.writeJson('backup.json', backupOf(sessions, key));
      const end = await work.run([...args, '--report', 'report.json']);
      expect(end).toMatchObject({ code: 0 });
      expect(end.stderr).toContain(`tried as ${tried[i]}\n`);
      expect(await work.exported()).toEqual(sessions);
      expect(work.json('report.json')).toMatchObject({ total: 1, ok: 1 });
    }
  });

  it('says when the master key has not signed the backup', async () => {
    const { work, authData } = account();
    work.writeJson('version.json', authData);
    const end = await work.run(RESCUE);
    expect(end.code).toBe(0);
    expect(end.stderr).toContain('the backup is not signed by the cross-signing master key');
  });

  it('opens with a phrase and with the file that keygen writes', async () => {
    const { work, accountData } = account();
    const passphrase = { algorithm: 'm.pbkdf2', salt: 's', iterations: 10 };
    const phrased = SecretStorageKey.fromBytes(pbkdf2Sync('my phrase', 's', 10, 32, 'sha512'), 'k');
    const writing = { allowUnproven: true };
    work.writeJson('account.json', {
      ...accountData,
      'm.secret_storage.key.k': { ...phrased.describe(writing), passphrase },
      'm.megolm_backup.v1': phrased.encryptSecret('m.megolm_backup.v1', work.key.toBase64(), writing),
    });
    work.write('storage.txt', 'my phrase\n');
    expect((await work.run(RESCUE)).stderr).toContain('opened with the security phrase');
    work.writeJson('storage.txt', { private_key: work.key.toBase64() });
    expect((await work.run(RESCUE)).stderr).toContain('opened with the decryption key of the backup');
  });

  it('leaves behind what it cannot read, with the reasons, and offers salvage', async () => {
    const { work, sessions, backup } = account();
    const [first, second] = sessions;
    const damaged = backup.rooms['!a'].sessions[first.session_id];
    Object.assign(damaged.session_data, { mac: damaged.session_data.mac.slice(0, 6) });
    backup.rooms['!c'] = { sessions: { x: {} as never } };
    work.writeJson('backup.json', backup);
    const strict = await work.run([...RESCUE, '--report', 'report.json']);
    expect(strict.code).toBe(1);
    expect(strict.stderr).toContain('1 more can perhaps be read with --salvage: 1 bad-mac-length\n');
    expect(await work.exported()).toEqual([second]);
    const { keys } = work.json('report.json') as ReportFile;
    expect(keys.map(({ session_id, code }) => [session_id, code])).toEqual([
      [first.session_id, 'bad-mac-length'],
      ['x', 'missing-field'],
    ]);
    expect(keys[1].path).toContain('rooms["!c"].sessions');
    const salvaged = await work.run([...RESCUE, '--salvage', '--report', 'report.json']);
    expect(salvaged.code).toBe(1);
    expect(await work.exported()).toEqual(sessions);
    expect((work.json('report.json') as ReportFile).keys[0]).toMatchObject({ flags: ['mac-length'] });
  });

  it('leaves out what no client imports, although it was decrypted', async () => {
    const { work, sessions } = account();
    work.writeJson('backup.json', backupOf([...sessions, work.session({ room_id: 'no-room' })], work.key));
    const end = await work.run([...RESCUE, '--report', 'report.json']);
    expect(end.code).toBe(1);
    expect(end.stderr).toContain('2 of 3 keys; 1 failed\n  1 bad-json\n');
    expect(await work.exported()).toEqual(sessions);
  });

  it('counts what proves where it comes from, and ends with 1 when a backup_mac is wrong', async () => {
    const { work, sessions } = account();
    const macKey = BackupMacKey.fromDecryptionKey(work.key);
    const rooms: Record<string, { sessions: Record<string, object> }> = {};
    const records = sessions.map((session) => encryptSession(session, work.key.publicKey, { macKey }));
    for (const { room_id, session_id, key_backup_data } of records) {
      rooms[room_id] = { sessions: { [session_id]: key_backup_data } };
    }
    const unproven = work.session({ room_id: '!c' });
    Object.assign(rooms, backupOf([unproven], work.key).rooms);
    work.writeJson('backup.json', { rooms });
    const right = await work.run([...RESCUE, '--json']);
    expect(right.code).toBe(0);
    expect(JSON.parse(right.stdout)).toMatchObject({ ok: 3, authenticity: { verified: 2, 'no-mac': 1 } });
    const strict = await work.run([...RESCUE, '--json', '--require-authenticated']);
    expect(strict.code).toBe(1);
    expect(JSON.parse(strict.stdout)).toMatchObject({ ok: 2, codes: { 'not-authenticated': 1 } });
    expect(await work.exported()).toEqual(sessions);
    const [{ session_data }] = records.map(({ key_backup_data }) => key_backup_data);
    Object.assign(session_data, { unsigned: { backup_mac: 'A'.repeat(43) } });
    work.writeJson('backup.json', { rooms });
    const wrong = await work.run([...RESCUE, '--json']);
    expect(wrong.code).toBe(1);
    expect(JSON.parse(wrong.stdout)).toMatchObject({ ok: 3, failed: 0, authenticity: { 'wrong-mac': 1 } });
  });

  it('of an empty backup is a file of nothing', async () => {
    const { work } = account();
    work.writeJson('backup.json', { rooms: {} });
    expect(await work.run(RESCUE)).toMatchObject({ code: 0 });
    expect(await work.exported()).toEqual([]);
  });

  it('of a backup that ends early gives the keys before its end', async () => {
    const { work, sessions } = account();
    work.write('backup.json', work.read('backup.json').slice(0, -20));
    const end = await work.run(RESCUE);
    expect(end.code).toBe(1);
    expect(end.stderr).toContain(
      '1 of 2 keys; 1 failed\n  1 truncated\nthe file ends early: 1 keys recovered\n',
    );
    expect(await work.exported()).toEqual(sessions.slice(0, 1));
  });
});

const servers: KeyBackupServer[] = [];

afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop();
});

const TOKEN = 'syt_SECRET_TOKEN';

/** The same account on a homeserver. */
async function onServer() {
  const { accountData, authData, ...made } = account();
  const { backup } = made;
  const server = await new KeyBackupServer().start();
  servers.push(server);
  const version = server.createVersion(BACKUP_ALGORITHM, { ...authData });
  for (const [room, { sessions }] of Object.entries(backup.rooms)) {
    for (const [session, data] of Object.entries(sessions)) {
      server.store(version, room, session, data as never);
    }
  }
  for (const [type, content] of Object.entries(accountData)) {
    server.accountData.set(`@alice:example.org/account_data/${type}`, content);
  }
  made.work.secrets.push(TOKEN);
  made.work.write('token.txt', `${TOKEN}\n`);
  const args = [
    ...RESCUE.slice(0, 5),
    '--homeserver',
    server.url,
    '--token-file',
    'token.txt',
    '-o',
    'keys.txt',
  ];
  return { ...made, server, args };
}

describe('rescue from a homeserver', () => {
  it('finds the secret storage, opens it, and writes the export', async () => {
    const { work, server, args, sessions } = await onServer();
    const end = await work.run([...args, '--json']);
    expect(end.code).toBe(0);
    expect(end.stderr).toContain('opened with the key of the secret storage');
    expect(JSON.parse(end.stdout)).toMatchObject({ total: 2, ok: 2, master_signed: false });
    expect(await work.exported()).toEqual(sessions);
    for (const { url, body } of server.seen) work.expectNoSecret(url + body);
  });

  it('refuses keys without proof from there too, when asked', async () => {
    const { work, args } = await onServer();
    const end = await work.run([...args, '--json', '--require-authenticated']);
    expect(end.code).toBe(1);
    expect(JSON.parse(end.stdout)).toMatchObject({ ok: 0, codes: { 'not-authenticated': 2 } });
    expect(work.filesBut(...INPUTS, 'token.txt')).toEqual([]);
  });

  it('goes on when the connection breaks', async () => {
    const { work, server, args, sessions } = await onServer();
    server.faulty = (_, path) => path.includes('/room_keys/keys');
    server.faults = [{ kind: 'cut', bytes: 300 }, { kind: 'drop-before' }];
    expect(await work.run(args)).toMatchObject({ code: 0 });
    expect(await work.exported()).toEqual(sessions);
  });

  it('that is interrupted keeps what came, and resumes', async () => {
    const { work, server, args, backup } = await onServer();
    const [version] = server.versions;
    const [[[id, record]]] = Object.values(backup.rooms).map(({ sessions }) => Object.entries(sessions));
    for (let room = 0; room < 3000; room++) server.store(version, `!room-${room}`, id, record as never);
    server.faulty = (_, path) => path.includes('/room_keys/keys');
    server.faults = [{ kind: 'stall', bytes: 2_500_000 }];
    const child = work.start(args);
    const ending = ended(child);
    while (!existsSync(work.path('keys.txt.state'))) await new Promise((resolve) => setTimeout(resolve, 20));
    child.kill('SIGINT');
    const { signal, stderr } = await ending;
    expect(signal).toBe('SIGINT');
    expect(stderr).toContain(
      'what came is in keys.txt.state, still encrypted; the same command resumes there\n',
    );
    expect(work.filesBut(...INPUTS, 'token.txt')).toEqual(['keys.txt.state']);
    const end = await work.run([...args, '--json']);
    expect(end).toMatchObject({ code: 0 });
    expect(end.stderr).toContain('resuming with the keys in keys.txt.state\n');
    expect(JSON.parse(end.stdout)).toMatchObject({ total: 3002, ok: 3002 });
    expect(work.filesBut(...INPUTS, 'token.txt')).toEqual(['keys.txt']);
  });

  it.each<[string, number, (server: KeyBackupServer) => void, string[]]>([
    ['no backup', 2, (server) => server.versions.splice(0), []],
    [
      'a token it does not know',
      2,
      (server) => {
        server.faulty = (_, path) => path.includes('room_keys');
        server.faults = [{ kind: 'answer', status: 401, body: '{"errcode":"M_UNKNOWN_TOKEN","error":"no"}' }];
      },
      [],
    ],
    [
      'no secret storage',
      1,
      (server) => {
        server.accountData.clear();
      },
      [],
    ],
    ['files beside it', 2, () => undefined, ['--backup-file', 'backup.json']],
  ])('with %s ends with %i and leaves nothing', async (_, code, spoil, more) => {
    const { work, server, args } = await onServer();
    spoil(server);
    const end = await work.run([...args, ...more]);
    expect(end.code).toBe(code);
    expect(work.filesBut(...INPUTS, 'token.txt')).toEqual([]);
  });
});

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LOOKALIKE, WRONG_KEY } from '../../src/cli/errors.js';
import { encryptSessionsSync } from '../../src/batch/encrypt.js';
import { BACKUP_ALGORITHM, createAuthData } from '../../src/scheme/auth-data.js';
import { SecretStorageKey } from '../../src/secret-storage/secret-storage.js';
import { KeyBackupServer } from '../support/key-backup-server.js';
import { directSessions } from '../support/sample.js';
import { USER, Workspace, backupOf } from './workspace.js';

let server: KeyBackupServer;
let work: Workspace;

beforeEach(async () => {
  server = await new KeyBackupServer().start();
  work = new Workspace();
  work.write('token.txt', 'token\n');
  work.write('phrase.txt', 'a phrase for the export\n');
  const other = new Workspace().key.toRecoveryKey();
  work.secrets.push(other);
  work.write('other.txt', other);
});

afterEach(() => server.stop());

/** A backup of these sessions on the server, and in files. */
function backUp(authData: object, sessions = directSessions(4)) {
  const auth_data = { ...createAuthData(work.key.publicKey), ...authData };
  const version = server.createVersion(BACKUP_ALGORITHM, auth_data);
  for (const result of encryptSessionsSync(sessions, work.key.publicKey)) {
    if (result.ok) server.store(version, result.room_id, result.session_id, result.key_backup_data as never);
  }
  work.writeJson('version.json', { algorithm: BACKUP_ALGORITHM, auth_data, version: 7 });
  work.writeJson('backup.json', backupOf(sessions, work.key));
  work.writeJson('export.json', sessions);
  return sessions;
}

const reach = () => ['--homeserver', server.url, '--token-file', 'token.txt'];
const rescue = (key: string) => [
  ...['rescue', '--key-file', key, '--export-passphrase-file', 'phrase.txt', '-o', 'keys.txt', '--force'],
];
const files = ['--version-file', 'version.json', '--backup-file', 'backup.json'];
const out = ['-o', 'out.json', '--force'];

const twice = () => Buffer.from(work.key.publicKey.toBase64()).toString('base64');

describe.each([
  ['encoded in base64 twice', twice],
  ['malformed', () => `${'A'.repeat(59)}B`],
])('a backup whose public key is %s', (_, publicKey) => {
  beforeEach(() => backUp({ public_key: publicKey() }));

  it('is not written', async () => {
    const encrypt = ['encrypt', 'export.json', '--auth-data', 'version.json', ...out];
    for (const how of [['--key-file', 'key.txt'], ['--trust-unverified']]) {
      const end = await work.run([...encrypt, ...how]);
      expect(end.code).toBe(1);
      expect(end.stderr).toContain('bad-auth-data');
      expect(end.stderr).toContain('can be read but not written to');
    }
    const end = await work.run(['upload', 'export.json', ...reach(), '--key-file', 'key.txt']);
    expect(end.code).toBe(1);
    expect(server.seen.every(({ method }) => method === 'GET')).toBe(true);
  });

  it('is read by every command, from a homeserver and from files', async () => {
    const key = ['--key-file', 'key.txt'];
    for (const args of [
      [...rescue('key.txt'), ...reach()],
      [...rescue('key.txt'), ...files],
      ['restore', ...reach(), ...key, ...out],
      ['decrypt', 'backup.json', ...key, '--auth-data', 'version.json', ...out],
    ]) {
      const end = await work.run([...args, '--json']);
      expect(end).toMatchObject({ code: 0 });
      expect(JSON.parse(end.stdout)).toMatchObject({ ok: 4, failed: 0 });
    }
  });

  it('fits no other key: that is said, and no file is left', async () => {
    const key = ['--key-file', 'other.txt'];
    const before = work.filesBut();
    for (const args of [
      [...rescue('other.txt'), ...reach()],
      [...rescue('other.txt'), ...files],
      ['restore', ...reach(), ...key, ...out],
      ['restore', ...reach(), ...key],
      ['decrypt', 'backup.json', ...key, '--auth-data', 'version.json', ...out],
    ]) {
      const end = await work.run(args);
      expect(end).toMatchObject({ code: 1, stdout: '' });
      expect(end.stderr).toContain('wrong-key');
      expect(work.filesBut()).toEqual(before);
    }
  });
});

it('says that a public key is encoded in base64 twice', async () => {
  backUp({ public_key: twice() });
  const verify = ['verify', 'version.json', '--user', USER, '--key-file', 'key.txt'];
  const verdict = await work.run([...verify, '--json']);
  expect(JSON.parse(verdict.stdout)).toMatchObject({
    ...{ trusted: false, public_key: null, key_matches: true, flags: ['double-base64-public-key'] },
  });
  const diagnose = ['diagnose', ...reach(), '--key-file', 'key.txt'];
  for (const args of [
    verify,
    diagnose,
    [...rescue('key.txt'), ...reach()],
    [...rescue('key.txt'), ...files],
  ]) {
    const end = await work.run(args);
    expect(end.stdout + end.stderr).toContain('in base64 twice');
  }
});

it('reads a version file with a number as version and neither count nor etag', async () => {
  backUp({});
  const key = ['--key-file', 'key.txt'];
  const verify = await work.run(['verify', 'version.json', '--user', USER, ...key]);
  expect(verify.code).toBe(0);
  for (const args of [
    ['encrypt', 'export.json', '--auth-data', 'version.json', ...key, ...out],
    ['decrypt', 'backup.json', '--auth-data', 'version.json', ...key, ...out],
    [...rescue('key.txt'), ...files],
  ]) {
    const end = await work.run([...args, '--json']);
    expect(end).toMatchObject({ code: 0 });
    expect(JSON.parse(end.stdout)).toMatchObject({ ok: 4 });
  }
});

it('diagnose says of another key that the backup is fine, and what people mistake for its key', async () => {
  backUp({});
  const end = await work.run(['diagnose', ...reach(), '--key-file', 'other.txt']);
  expect(end.code).toBe(1);
  expect(end.stdout).toContain('The backup itself is fine');
  expect(end.stdout).toContain(LOOKALIKE);
  expect(end.stdout).not.toMatch(/make a new|reset|delete/i);
});

describe('restore of rooms', () => {
  const restore = (...rooms: string[]) => [
    ...['restore', ...reach(), '--key-file', 'key.txt', ...rooms.flatMap((room) => ['--room', room])],
  ];

  it('that are not there is no success, and leaves no file', async () => {
    backUp({});
    const before = work.filesBut();
    for (const more of [out, []]) {
      const end = await work.run([...restore('!none:example.org'), ...more]);
      expect(end).toMatchObject({ code: 1, stdout: '' });
      expect(end.stderr).toContain('the backup has no key of the room "!none:example.org"');
      expect(work.filesBut()).toEqual(before);
    }
  });

  it('by another name than an id are told what an id looks like', async () => {
    backUp({});
    const end = await work.run(restore('#alias:example.org'));
    expect(end.code).toBe(1);
    expect(end.stderr).toContain('no key of the room "#alias:example.org"; the id of a room starts with "!"');
  });

  it('of which one is not there gives the keys of the others', async () => {
    const sessions = backUp({});
    const [{ room_id }] = sessions;
    const inRoom = sessions.filter((session) => session.room_id === room_id);
    const end = await work.run([...restore(room_id, '!none:example.org'), ...out]);
    expect(end.code).toBe(1);
    expect(end.stderr).toContain('"!none:example.org"');
    expect(end.stderr).not.toContain(room_id);
    expect(work.json('out.json')).toHaveLength(inRoom.length);
  });
});

it('asks after the account before upload is told how to make a backup', async () => {
  work.writeJson('export.json', directSessions(1));
  const end = await work.run(['upload', 'export.json', ...reach(), '--key-file', 'key.txt']);
  expect(end).toMatchObject({ code: 2, stdout: '' });
  expect(end.stderr).toMatch(/right account, .*\? If so, --create makes one/);
});

it('says that a backup is empty, and asks after the account', async () => {
  backUp({}, []);
  const key = ['--key-file', 'key.txt'];
  for (const args of [
    ['restore', ...reach(), ...key, ...out],
    ['decrypt', 'backup.json', ...key, ...out],
    [...rescue('key.txt'), ...reach()],
    [...rescue('key.txt'), ...files],
  ]) {
    const end = await work.run(args);
    expect(end.code).toBe(0);
    expect(end.stderr).toContain('the backup is empty; is it the right account?');
  }
});

it('says what to do about an access token that is refused, and a name that is not found', async () => {
  backUp({});
  server.faulty = (_, path) => path.includes('room_keys');
  server.faults = [{ kind: 'answer', status: 401, body: '{"errcode":"M_UNKNOWN_TOKEN","error":"no"}' }];
  const refused = await work.run([...rescue('key.txt'), ...reach()]);
  expect(refused.code).toBe(2);
  expect(refused.stderr).toContain('M_UNKNOWN_TOKEN');
  expect(refused.stderr).toContain('copy the access token again, as a whole');
  const unknown = ['--homeserver', '@a:nowhere.invalid', '--token-file', 'token.txt'];
  const end = await work.run([...rescue('key.txt'), ...unknown]);
  expect(end.code).toBe(2);
  expect(end.stderr).toContain('check how the name is spelled');
});

it('asks after an account without a backup instead of advising to make one', async () => {
  const key = ['--key-file', 'key.txt'];
  for (const args of [
    ['restore', ...reach(), ...key, ...out],
    [...rescue('key.txt'), ...reach()],
    ['save', 'dir', ...reach()],
    ['diagnose', ...reach(), ...key],
    ['versions', ...reach(), ...key],
    ['authenticate', ...reach(), ...key, '--trusted', 'export.json'],
  ]) {
    const end = await work.run(args);
    expect(end.stdout + end.stderr).toMatch(/right account/);
    expect(end.stdout + end.stderr).not.toMatch(/--create|make one|makes one/i);
  }
});

describe('a key of the secret storage', () => {
  const storage = SecretStorageKey.generate('k');
  const accountData = {
    'm.secret_storage.default_key': { key: 'k' },
    'm.secret_storage.key.k': storage.describe(),
  };
  const withSecret = () => ({
    ...accountData,
    'm.megolm_backup.v1': storage.encryptSecret('m.megolm_backup.v1', work.key.toBase64()),
  });
  const serve = (data: object) => {
    for (const [type, content] of Object.entries(data)) {
      server.accountData.set(`${USER}/account_data/${type}`, content);
    }
  };

  beforeEach(() => {
    work.write('storage.txt', storage.toRecoveryKey());
    work.secrets.push(storage.toRecoveryKey());
    backUp({});
  });

  it.each<[string, object, RegExp]>([
    ['no secret storage', {}, /this account has no secret storage/],
    ['no backup key in it', accountData, /the secret storage opened, but holds no backup key/],
  ])(
    'on an account with %s gets the true reason, and no advice that cannot be followed',
    async (_, data, reason) => {
      serve(data);
      const end = await work.run([...rescue('storage.txt'), ...reach()]);
      expect(end.code).toBe(1);
      expect(end.stderr).toMatch(reason);
      expect(end.stderr).not.toContain('give the account data');
      expect(end.stderr).toContain('look for another recovery key or phrase');
    },
  );

  it('whose secret is of another backup gets that as the reason, and no claim which is older', async () => {
    const other = storage.encryptSecret('m.megolm_backup.v1', new Workspace().key.toBase64());
    serve({ ...accountData, 'm.megolm_backup.v1': other });
    const end = await work.run([...rescue('storage.txt'), ...reach()]);
    expect(end.code).toBe(1);
    expect(end.stderr).toContain('the backup key in it is that of another backup');
    expect(end.stderr).not.toMatch(/old|new|earlier|later|previous|replaced/i);
  });

  it('that is a wrong phrase is said once, without names of the code', async () => {
    const passphrase = { algorithm: 'm.pbkdf2', salt: 'salt', iterations: 1000, bits: 256 };
    serve({ ...withSecret(), 'm.secret_storage.key.k': { ...storage.describe(), passphrase } });
    work.write('storage.txt', 'another phrase\n');
    const end = await work.run([...rescue('storage.txt'), ...reach()]);
    expect(end.code).toBe(1);
    expect(end.stderr).toBe(
      'megolm-backup rescue: wrong-passphrase: expected the account’s security phrase or passphrase, got another\n',
    );
  });

  it('in account data of any form that people get opens the backup', async () => {
    const data = withSecret();
    const events = Object.entries(data).map(([type, content]) => ({ type, content }));
    for (const form of [
      events,
      { account_data: { events } },
      { account_data: { global: data, rooms: {} } },
    ]) {
      work.writeJson('account.json', form);
      const end = await work.run([...rescue('storage.txt'), ...files, '--account-data-file', 'account.json']);
      expect(end).toMatchObject({ code: 0 });
    }
  });

  it('says of a file that it holds no secret storage, and still takes the backup’s own key', async () => {
    work.writeJson('account.json', [{ type: 'm.direct', content: {} }]);
    for (const [key, code] of [
      ['storage.txt', 1],
      ['key.txt', 0],
    ] as const) {
      const end = await work.run([...rescue(key), ...files, '--account-data-file', 'account.json']);
      expect(end.code).toBe(code);
      expect(end.stderr).toContain('account.json holds no secret storage');
    }
  });

  it('without a description opens the backup of an account', async () => {
    serve({ 'm.megolm_backup.v1': withSecret()['m.megolm_backup.v1'] });
    expect(await work.run([...rescue('storage.txt'), ...reach()])).toMatchObject({ code: 0 });
  });
});

it('the message of a wrong key names the code, and what people may have mistaken for the key', () => {
  expect(WRONG_KEY).toContain('wrong-key');
  expect(WRONG_KEY).toContain(LOOKALIKE);
  expect(LOOKALIKE).toContain('secret storage');
});

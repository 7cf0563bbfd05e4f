import { pbkdf2Sync } from 'node:crypto';
import { afterAll, describe, expect, it } from 'vitest';
import {
  BACKUP_ALGORITHM,
  BackupDecryptionKey,
  BackupMacKey,
  SecretStorageKey,
  createAuthData,
} from '../../../src/index.js';
import { KeyBackupServer } from '../../support/key-backup-server.js';
import { directSessions } from '../../support/sample.js';
import { DECRYPT, USER, Workspace, signedAuthData } from '../workspace.js';

const sessions = directSessions(3);
const servers: KeyBackupServer[] = [];
afterAll(async () => {
  for (const server of servers) await server.stop();
});

/** A device that has the MAC key and no decryption key: that lies in a file which is only there to read with. */
function begin() {
  const work = new Workspace();
  const macKey = BackupMacKey.fromDecryptionKey(work.key).toBase64();
  work.secrets.push(macKey);
  work.write('mac-key.txt', `${macKey}\n`);
  work.writeJson('export.json', sessions);
  const publicKey = work.key.publicKey.toBase64();
  return { work, macKey, publicKey };
}

async function authenticity(work: Workspace) {
  const end = await work.run([...DECRYPT, '--force', '-o', 'out.json', '--json']);
  return (JSON.parse(end.stdout) as { authenticity: unknown }).authenticity;
}

async function startServer(work: Workspace, auth_data = { ...createAuthData(work.key.publicKey) }) {
  const server = await new KeyBackupServer().start();
  servers.push(server);
  server.createVersion(BACKUP_ALGORITHM, { ...auth_data });
  work.write('token.txt', 'TOKEN\n');
  return { server, at: ['--homeserver', server.url, '--token-file', 'token.txt'] };
}

describe.concurrent('mac-key', () => {
  it('derives it, for the owner of the file only, and overwrites no key', async () => {
    const { work, macKey } = begin();
    const shown = await work.run(['mac-key', '--key-file', 'key.txt']);
    expect(shown).toEqual({ code: 0, signal: null, stdout: `${macKey}\n`, stderr: '' });
    const args = ['mac-key', '--key-file', '-', '--force', '-o', 'derived.txt'];
    expect(await work.run(args, { stdin: work.read('key.txt') })).toMatchObject({ code: 0, stdout: '' });
    expect([work.read('derived.txt'), work.mode('derived.txt')]).toEqual([`${macKey}\n`, '600']);
    const again = await work.run(args, { stdin: work.read('key.txt') });
    expect(again).toMatchObject({ code: 2 });
    expect(again.stderr).toContain('holds a key already');
  });

  it.each([
    [[], 'give a file'],
    [['--key-file', 'key.txt', '--store', '--fetch'], 'do not go together'],
    [['--key-file', 'key.txt', '--storage-key-file', 'x'], 'goes with --store or --fetch'],
    [['--key-file', 'key.txt', '--homeserver', 'x'], 'goes with --store or --fetch'],
    [['--key-file', 'key.txt', '--store', '-o', 'x.txt'], '--store writes no file'],
    [['--key-file', '-', '--store', '--storage-key-file', '-'], 'standard input holds one line'],
    [['--key-file', 'phrase.txt'], 'bad-recovery-key'],
  ])('%j is refused', async (args, why) => {
    const { work } = begin();
    work.write('phrase.txt', 'a phrase\n');
    const end = await work.run(['mac-key', ...args], { outside: args.length === 0 });
    expect(end).toMatchObject({ code: 2, stdout: '' });
    expect(end.stderr).toContain(why);
  });
});

describe.concurrent('mac-key and the secret storage', () => {
  async function account() {
    const { work, macKey } = begin();
    const { server, at } = await startServer(work);
    const storage = SecretStorageKey.generate('writers');
    work.secrets.push(storage.toRecoveryKey());
    work.write('storage.txt', `${storage.toRecoveryKey()}\n`);
    const put = (type: string, content: unknown) =>
      server.accountData.set(`${USER}/account_data/${type}`, content);
    put('m.secret_storage.default_key', { key: 'default' });
    put('m.secret_storage.key.default', SecretStorageKey.generate('default').describe());
    put('m.secret_storage.key.writers', storage.describe());
    const secret = [...at, '--storage-key-file', 'storage.txt'];
    return { work, macKey, server, at, put, storage, secret };
  }
  const WRITERS = ['--storage-key-id', 'writers'];

  it('refuses the key of another backup and another storage key, and stores nothing', async () => {
    const { work, server, secret } = await account();
    work.write('other.txt', `${BackupDecryptionKey.generate().toRecoveryKey()}\n`);
    for (const [args, code] of [
      [['--key-file', 'other.txt', ...WRITERS], 'wrong-key'],
      [['--key-file', 'key.txt'], 'wrong-key'],
      [['--key-file', 'key.txt', '--storage-key-id', 'nobody'], 'missing-field'],
    ] as const) {
      const end = await work.run(['mac-key', '--store', ...secret, ...args]);
      expect(end).toMatchObject({ code: 1, stdout: '' });
      expect(end.stderr).toContain(code);
    }
    expect(server.seen.every(({ method }) => method === 'GET')).toBe(true);
  });

  it('stores it and fetches it', async () => {
    const { work, macKey, server, secret } = await account();
    const none = await work.run(['mac-key', '--fetch', ...secret, ...WRITERS]);
    expect(none).toMatchObject({ code: 1, stdout: '' });
    expect(none.stderr).toContain('found none');
    const stored = await work.run(['mac-key', '--store', ...secret, ...WRITERS, '--key-file', 'key.txt']);
    expect(stored).toMatchObject({ code: 0, stdout: '' });
    expect(stored.stderr).toContain('org.matrix.msc4048.mac');
    expect([...server.accountData.keys()]).toContain(`${USER}/account_data/org.matrix.msc4048.mac`);
    const fetched = await work.run(['mac-key', '--fetch', ...secret, ...WRITERS, '-o', 'fetched.txt']);
    expect(fetched).toMatchObject({ code: 0, stdout: '' });
    expect(fetched.stderr).toContain('cannot tell whether it belongs to the current backup');
    expect([work.read('fetched.txt'), work.mode('fetched.txt')]).toEqual([`${macKey}\n`, '600']);
    const checked = await work.run(['mac-key', '--fetch', ...secret, ...WRITERS, '--key-file', 'key.txt']);
    expect(checked).toMatchObject({ code: 0, stdout: `${macKey}\n`, stderr: '' });
    work.write('other.txt', `${BackupDecryptionKey.generate().toRecoveryKey()}\n`);
    const wrong = await work.run(['mac-key', '--fetch', ...secret, ...WRITERS, '--key-file', 'other.txt']);
    expect(wrong).toMatchObject({ code: 1, stdout: '' });
    expect(wrong.stderr).toContain('wrong-key');
  });

  it.each<[string, object, object]>([
    ['one round and no MAC', { iterations: 1 }, { iv: undefined, mac: undefined }],
    ['no MAC', {}, { iv: undefined, mac: undefined }],
    ['no iv', {}, { iv: undefined }],
    ['a MAC that is malformed', {}, { mac: 'AAAA' }],
    ['a right MAC of 99,999 rounds', { iterations: 99_999 }, {}],
  ])(
    'uploads nothing under a phrase to a server that describes its key with %s',
    async (_, rounds, change) => {
      const { work, server, at, put } = await account();
      const passphrase = { algorithm: 'm.pbkdf2', salt: 'salt', iterations: 100_000, ...rounds };
      const bytes = pbkdf2Sync('a phrase', 'salt', passphrase.iterations, 32, 'sha512');
      const described = SecretStorageKey.fromBytes(bytes, 'phrase').describe({ allowUnproven: true });
      put('m.secret_storage.key.phrase', { ...described, passphrase, ...change });
      work.write('phrase.txt', 'a phrase\n');
      const args = ['mac-key', '--store', ...at, '--key-file', 'key.txt', '--storage-key-file', 'phrase.txt'];
      const end = await work.run([...args, '--storage-key-id', 'phrase']);
      expect(server.seen.filter(({ method }) => method !== 'GET')).toEqual([]);
      expect(end).toMatchObject({ code: 1, stdout: '' });
      expect(end.stderr).not.toContain('stored as');
    },
  );

  it('uploads nothing under a key that nothing has proven, and stores it once a secret has', async () => {
    const { work, server, put, storage, secret } = await account();
    put('m.secret_storage.key.writers', { algorithm: storage.describe().algorithm });
    const args = ['mac-key', '--store', ...secret, ...WRITERS, '--key-file', 'key.txt'];
    const end = await work.run(args);
    expect(end).toMatchObject({ code: 1, stdout: '' });
    expect(end.stderr).toContain('unproven-key');
    expect(server.seen.filter(({ method }) => method !== 'GET')).toEqual([]);
    put('m.cross_signing.master', storage.encryptSecret('m.cross_signing.master', 'a seed'));
    expect(await work.run(args)).toMatchObject({ code: 0 });
  });

  it('takes the stable name, and a phrase', async () => {
    const { work, macKey, at, put } = await account();
    const passphrase = { algorithm: 'm.pbkdf2', salt: 'salt', iterations: 1000 };
    // Few rounds and no MAC: good enough to read with.
    put('m.secret_storage.key.phrase', { algorithm: 'm.secret_storage.v1.aes-hmac-sha2', passphrase });
    const storage = SecretStorageKey.fromBytes(pbkdf2Sync('a phrase', 'salt', 1000, 32, 'sha512'), 'phrase');
    const name = 'm.megolm_backup.v1.mac';
    put(name, storage.encryptSecret(name, macKey, { allowUnproven: true }));
    work.write('phrase.txt', 'a phrase\n');
    const args = ['mac-key', '--fetch', ...at, '--storage-key-file', 'phrase.txt'];
    const fetched = await work.run([...args, '--storage-key-id', 'phrase', '--key-file', 'key.txt']);
    expect(fetched).toMatchObject({ code: 0, stdout: `${macKey}\n` });
  });
});

describe.concurrent('encrypt --mac-key-file', () => {
  const encrypt = (work: Workspace, ...args: string[]) =>
    work.run(['encrypt', 'export.json', '--force', '-o', 'backup.json', ...args]);

  it('refuses another backup’s key, and the decryption key itself', async () => {
    const { work, publicKey } = begin();
    const other = BackupMacKey.fromDecryptionKey(BackupDecryptionKey.generate()).toBase64();
    work.write('other.txt', `${other}\n`);
    const wrong = await encrypt(work, '--key-file', 'key.txt', '--mac-key-file', 'other.txt');
    expect(wrong).toMatchObject({ code: 1 });
    expect(wrong.stderr).toContain('wrong-key');
    work.write('decryption.txt', `${work.key.toBase64()}\n`);
    const itself = await encrypt(work, '--public-key', publicKey, '--mac-key-file', 'decryption.txt');
    expect(itself).toMatchObject({ code: 1 });
    expect(itself.stderr).toContain('got the decryption key');
    expect(work.filesBut('other.txt', 'decryption.txt', 'mac-key.txt', 'export.json')).toEqual([]);
  });

  it.each([
    ['no key', 'AAAA', 'backup MAC key: bad-length'],
    ['a text form', BackupDecryptionKey.generate().toRecoveryKey(), 'backup MAC key: bad-'],
    ['nothing', '', 'expected one line, got nothing'],
    ['two lines', 'a\nb', 'expected one line, got several'],
  ])('refuses a file with %s', async (_, content, why) => {
    const { work, publicKey } = begin();
    work.write('wrong.txt', content);
    const end = await encrypt(work, '--public-key', publicKey, '--mac-key-file', 'wrong.txt');
    expect(end).toMatchObject({ code: 2 });
    expect(end.stderr).toContain(why);
  });

  it('refuses two keys on standard input, and a MAC without any key', async () => {
    const { work, publicKey } = begin();
    const both = await encrypt(work, '--key-file', '-', '--mac-key-file', '-');
    expect(both.stderr).toContain('standard input holds one line');
    const none = await encrypt(work, '--public-key', publicKey, '--backup-mac');
    expect(none.stderr).toContain('or --mac-key-file');
    expect([both.code, none.code]).toEqual([2, 2]);
  });

  it('writes what is authenticated without being able to read', async () => {
    const { work, publicKey } = begin();
    const args = ['--public-key', publicKey, '--mac-key-file', '-', '--bind-room-id'];
    const end = await work.run(['encrypt', 'export.json', '-o', 'backup.json', ...args], {
      stdin: work.read('mac-key.txt'),
    });
    expect(end).toMatchObject({ code: 0 });
    expect(await authenticity(work)).toMatchObject({ verified: 3, 'no-mac': 0 });
    expect(await encrypt(work, '--key-file', 'key.txt', '--mac-key-file', 'mac-key.txt')).toMatchObject({
      code: 0,
    });
    expect(await authenticity(work)).toMatchObject({ verified: 3, 'no-mac': 0 });
  });
});

describe.concurrent('upload --mac-key-file', () => {
  async function device() {
    const { work, macKey } = begin();
    const { authData, signer } = signedAuthData(work.key);
    const { server, at } = await startServer(work, { ...authData });
    const upload = (...args: string[]) => work.run(['upload', 'export.json', ...at, ...args]);
    return { work, macKey, server, at, signer, upload };
  }

  it.each([
    [['--key', 'SIGNER', '--backup-mac'], 'needs --key-file'],
    [['--key', 'SIGNER', '--create'], '--create needs --key-file'],
    [['--key-file', 'key.txt', '--bind-room-id'], 'needs --backup-mac or --mac-key-file'],
    [['--key', 'x'], 'a key is given as ed25519:ID=BASE64'],
    [['--key-file', '-', '--mac-key-file', '-'], 'standard input holds one line'],
  ])('%j is refused', async (args, why) => {
    const { server, signer, upload } = await device();
    const end = await upload(...args.map((arg) => (arg === 'SIGNER' ? signer : arg)));
    expect(end).toMatchObject({ code: 2 });
    expect(end.stderr).toContain(why);
    expect(server.seen).toEqual([]);
  });

  it('of a device that cannot read refuses a backup that its key has not signed', async () => {
    const { work, server, upload } = await device();
    const { signer } = signedAuthData(work.key);
    const end = await upload('--key', signer, '--mac-key-file', 'mac-key.txt');
    expect(end).toMatchObject({ code: 1 });
    expect(end.stderr).toContain('untrusted-backup');
    expect(server.keysOf(server.current!)).toEqual([]);
  });

  it('of a device that cannot read writes what is authenticated', async () => {
    const { work, server, at, signer, upload } = await device();
    const end = await upload('--key', signer, '--mac-key-file', 'mac-key.txt');
    expect(end).toMatchObject({ code: 0 });
    expect(server.keysOf(server.current!)).toHaveLength(3);
    const restore = await work.run(['restore', ...at, '--key-file', 'key.txt', '-o', 'out.json', '--json']);
    expect(JSON.parse(restore.stdout)).toMatchObject({ authenticity: { verified: 3, 'no-mac': 0 } });
  });
});

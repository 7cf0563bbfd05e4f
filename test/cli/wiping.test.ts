import { pbkdf2Sync } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  BACKUP_ALGORITHM,
  SecretStorageKey,
  createAuthData,
  readMasterKey,
  signAuthData,
} from '../../src/index.js';
import { decodeRecoveryKey } from '../../src/engine.js';
import { KeyBackupServer } from '../support/key-backup-server.js';
import { areWiped, overwrittenIn, secretsSeenIn } from '../support/seen-secrets.js';
import { USER, Workspace, backupOf } from './workspace.js';

/** Commands in this very process, whose memory is looked at when they are over. In the slow tier they have their own. */
const inProcess = process.env.TIER !== 'slow';
const SEED = Buffer.alloc(32, 5).toString('base64');

let server: KeyBackupServer;
let work: Workspace;
let at: string[];
let storageKey: string;

beforeEach(async () => {
  server = await new KeyBackupServer().start();
  work = new Workspace();
  at = ['--homeserver', server.url, '--token-file', 'token.txt'];
  work.write('token.txt', 'TOKEN\n');
  work.write('phrase.txt', 'export phrase\n');
  const storage = SecretStorageKey.generate('k');
  work.write('storage.txt', `${storage.toRecoveryKey()}\n`);
  storageKey = Buffer.from(decodeRecoveryKey(storage.toRecoveryKey())).toString('base64');
  const master = readMasterKey(SEED);
  const auth_data = signAuthData(createAuthData(work.key.publicKey), [master.signer(USER)]);
  server.createVersion(BACKUP_ALGORITHM, { ...auth_data });
  const weak = SecretStorageKey.fromBytes(pbkdf2Sync('weak', 's', 1, 32, 'sha512'), 'weak');
  const passphrase = { algorithm: 'm.pbkdf2', salt: 's', iterations: 1 };
  for (const [type, content] of Object.entries({
    'm.secret_storage.default_key': { key: 'k' },
    'm.secret_storage.key.k': storage.describe(),
    'm.secret_storage.key.weak': { ...weak.describe({ allowUnproven: true }), passphrase },
    'm.megolm_backup.v1': storage.encryptSecret('m.megolm_backup.v1', work.key.toBase64()),
    'm.cross_signing.master': storage.encryptSecret('m.cross_signing.master', SEED),
  })) {
    server.accountData.set(`${USER}/account_data/${type}`, content);
  }
  work.write('weak.txt', 'weak\n');
  work.writeJson('backup.json', backupOf([work.session()], work.key));
  work.writeJson('version.json', { auth_data: { public_key: 'A'.repeat(60) } });
});

afterEach(() => server.stop());

const RESCUE = ['rescue', '--export-passphrase-file', 'phrase.txt', '-o', 'keys.txt'];
const FILES = ['--version-file', 'version.json', '--backup-file', 'backup.json'];
const STORAGE = ['--storage-key-file', 'storage.txt'];

describe('leaves no key in memory', () => {
  it.each<[string, number, () => string[]]>([
    ['a rescue', 0, () => [...RESCUE, ...at, '--key-file', 'storage.txt']],
    ['a rescue that tries a key', 0, () => [...RESCUE, ...FILES, '--key-file', 'key.txt']],
    [
      'a rescue that fails',
      2,
      () => [
        ...RESCUE,
        '--version-file',
        'version.json',
        '--backup-file',
        'phrase.txt',
        '--key-file',
        'key.txt',
      ],
    ],
    ['mac-key', 0, () => ['mac-key', '--key-file', 'key.txt']],
    ['mac-key that cannot write', 2, () => ['mac-key', '--key-file', 'key.txt', '-o', 'none/key.txt']],
    ['mac-key --store', 0, () => ['mac-key', '--store', ...at, ...STORAGE, '--key-file', 'key.txt']],
    [
      'mac-key --store that is refused',
      1,
      () => [
        'mac-key',
        '--store',
        ...at,
        '--storage-key-file',
        'weak.txt',
        '--storage-key-id',
        'weak',
        '--key-file',
        'key.txt',
      ],
    ],
    ['mac-key --fetch that finds nothing', 1, () => ['mac-key', '--fetch', ...at, ...STORAGE]],
  ])('%s', async (_, code, args) => {
    const seen = await secretsSeenIn(async () => {
      const end = await work.run(args());
      expect([end.code, end.stderr]).toEqual([code, expect.any(String)]);
    });
    if (!inProcess) return;
    expect(seen.length).toBeGreaterThan(0);
    expect(areWiped(seen)).toBe(true);
  });
});

it.skipIf(!inProcess)('a rescue overwrites the storage key, the master key and the backup key', async () => {
  const overwritten = await overwrittenIn(async () => {
    expect(await work.run([...RESCUE, ...at, '--key-file', 'storage.txt'])).toMatchObject({ code: 0 });
  });
  for (const bytes of [storageKey, SEED, `${work.key.toBase64()}=`]) expect(overwritten).toContain(bytes);
});

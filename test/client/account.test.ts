import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { nodeBackend } from '../../src/backends/node.js';
import { RoomKeys } from '../../src/client/api.js';
import { createBackup } from '../../src/client/backup.js';
import {
  fetchBackupMacKey,
  fetchSecretStorage,
  storeBackupKey,
  storeBackupMacKey,
} from '../../src/client/account.js';
import { BACKUP_MAC_SECRET, BackupMacKey } from '../../src/scheme/backup-mac.js';
import { BackupDecryptionKey } from '../../src/scheme/keys.js';
import { readMasterKey } from '../../src/secret-storage/account-secrets.js';
import { SecretStorageKey } from '../../src/secret-storage/secret-storage.js';
import { unlock } from '../../src/secret-storage/unlock.js';
import { KeyBackupServer } from '../support/key-backup-server.js';

const USER = '@alice:example.org';
let server: KeyBackupServer;
let roomKeys: RoomKeys;

beforeEach(async () => {
  server = await new KeyBackupServer().start();
  roomKeys = new RoomKeys({ baseUrl: server.url, accessToken: 'token' });
});

afterEach(() => server.stop());

const put = (type: string, content: unknown) =>
  server.accountData.set(`${USER}/account_data/${type}`, content);

describe('secret storage over the client', () => {
  it('is nothing on an account without', async () => {
    expect(await fetchSecretStorage(roomKeys, USER)).toEqual({});
  });

  it('survives nonsense', async () => {
    put('m.secret_storage.default_key', { key: 5 });
    put('m.megolm_backup.v1', { encrypted: [] });
    expect(Object.keys(await fetchSecretStorage(roomKeys, USER)).sort()).toEqual([
      'm.megolm_backup.v1',
      'm.secret_storage.default_key',
    ]);
  });

  it('asks for a bounded number of keys', async () => {
    const encrypted = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`key${i}`, {}]));
    put('m.megolm_backup.v1', { encrypted });
    await fetchSecretStorage(roomKeys, USER);
    expect(server.seen.length).toBeLessThan(110);
  });

  it('says what went wrong when the server fails', async () => {
    server.faults = [{ kind: 'answer', status: 403, body: '{"errcode":"M_FORBIDDEN","error":"no"}' }];
    await expect(fetchSecretStorage(roomKeys, USER)).rejects.toMatchObject({ name: 'KeyBackupError' });
  });

  it('holds the key of a new backup, signed by the master key that lies there', async () => {
    const storage = SecretStorageKey.generate('k/1');
    put('m.secret_storage.default_key', { key: storage.id });
    put('m.secret_storage.key.k/1', storage.describe());
    const seed = 'BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc';
    put('m.cross_signing.master', storage.encryptSecret('m.cross_signing.master', seed));
    const key = BackupDecryptionKey.generate();
    const signers = [readMasterKey(seed).signer(USER)];
    const { auth_data } = await createBackup(roomKeys, { publicKey: key.publicKey, signers });
    await storeBackupKey(roomKeys, USER, storage, key);

    const accountData = await fetchSecretStorage(roomKeys, USER);
    const result = await unlock(storage.toRecoveryKey(), { authData: auth_data, accountData });
    expect(result).toMatchObject({ ok: true, by: 'secret-storage-key', keyMatches: true });
    expect(result.ok && result.masterKey?.signingKey).toEqual(readMasterKey(seed).signingKey);
  });
});

describe('storing a secret under a key that the server alone describes', () => {
  const key = BackupDecryptionKey.generate();
  const macKey = BackupMacKey.fromDecryptionKey(key);
  const ALGORITHM = 'm.secret_storage.v1.aes-hmac-sha2';
  const writes = [
    (storage: SecretStorageKey, options: object = {}) =>
      storeBackupKey(roomKeys, USER, storage, key, options),
    (storage: SecretStorageKey, options: object = {}) =>
      storeBackupMacKey(roomKeys, USER, storage, macKey, { names: 'stable', ...options }),
  ];
  const described = (fields: object = {}) => ({
    'm.secret_storage.default_key': { key: 'k' },
    'm.secret_storage.key.k': { algorithm: ALGORITHM, ...fields },
  });
  const written = () => server.seen.filter(({ method }) => method !== 'GET');

  it.each([1, 99_999, 100_000])(
    'writes nothing under a phrase of %i rounds without a MAC',
    async (iterations) => {
      const passphrase = { algorithm: 'm.pbkdf2', salt: 's', iterations };
      const options = { backend: nodeBackend() };
      const storage = await SecretStorageKey.fromPassphrase('phrase', described({ passphrase }), options);
      expect(storage.proven).toBe(false);
      for (const write of writes) {
        for (const allowUnproven of [false, true]) {
          await expect(write(storage, { allowUnproven })).rejects.toMatchObject({
            code: iterations < 100_000 ? 'bad-parameters' : 'unproven-key',
          });
        }
      }
      expect(written()).toEqual([]);
    },
  );

  it('writes nothing under an unchecked key, unless the caller says so by name', async () => {
    const text = SecretStorageKey.generate('k').toRecoveryKey();
    const storage = SecretStorageKey.fromRecoveryKey(text, described());
    for (const write of writes) {
      await expect(write(storage)).rejects.toMatchObject({ code: 'unproven-key' });
    }
    expect(written()).toEqual([]);
    for (const write of writes) await write(storage, { allowUnproven: true });
    expect(written()).toHaveLength(2);
  });

  it('writes base64 with padding', async () => {
    const storage = SecretStorageKey.generate('k');
    for (const write of writes) await write(storage);
    for (const { body } of written()) {
      const { iv, ciphertext, mac } = (
        JSON.parse(body) as { encrypted: Record<string, Record<string, string>> }
      ).encrypted.k;
      for (const text of [iv, ciphertext, mac]) expect([text.length % 4, text.length > 0]).toEqual([0, true]);
      expect(mac).toMatch(/=$/);
    }
  });
});

describe('the MAC key for devices that may write but not read', () => {
  const key = BackupDecryptionKey.generate();
  const macKey = BackupMacKey.fromDecryptionKey(key);
  const storage = SecretStorageKey.generate('writers');
  const stored = (name: string) => server.accountData.get(`${USER}/account_data/${name}`);

  it('is undefined on an account without one', async () => {
    expect(await fetchBackupMacKey(roomKeys, USER, storage)).toBeUndefined();
  });

  it('of another backup is refused, where the decryption key is at hand', async () => {
    await storeBackupMacKey(roomKeys, USER, storage, macKey);
    const other = BackupDecryptionKey.generate();
    await expect(fetchBackupMacKey(roomKeys, USER, storage, { key: other })).rejects.toMatchObject({
      code: 'wrong-key',
    });
  });

  it('cannot be read with another storage key', async () => {
    await storeBackupMacKey(roomKeys, USER, storage, macKey);
    const other = SecretStorageKey.generate('others');
    await expect(fetchBackupMacKey(roomKeys, USER, other)).rejects.toMatchObject({ code: 'missing-field' });
  });

  it('goes under the unstable name, and comes back', async () => {
    await storeBackupMacKey(roomKeys, USER, storage, macKey);
    expect(stored(BACKUP_MAC_SECRET.stable)).toBeUndefined();
    expect(JSON.stringify(stored('org.matrix.msc4048.mac'))).not.toContain(macKey.toBase64());
    for (const given of [{}, { key }]) {
      const found = await fetchBackupMacKey(roomKeys, USER, storage, given);
      expect(found?.toBase64()).toBe(macKey.toBase64());
    }
    // This storage key alone does not lead to the decryption key.
    const accountData = await fetchSecretStorage(roomKeys, USER);
    expect(Object.keys(accountData)).toEqual([]);
  });

  it('is read under the stable name', async () => {
    await storeBackupMacKey(roomKeys, USER, storage, macKey, { names: 'stable' });
    expect(stored(BACKUP_MAC_SECRET.unstable)).toBeUndefined();
    const found = await fetchBackupMacKey(roomKeys, USER, storage, { key });
    expect(found?.toBase64()).toBe(macKey.toBase64());
  });

  it('leaves no key of an earlier backup under the other name', async () => {
    const earlier = BackupMacKey.fromDecryptionKey(BackupDecryptionKey.generate());
    await storeBackupMacKey(roomKeys, USER, storage, earlier, { names: 'stable' });
    await storeBackupMacKey(roomKeys, USER, storage, macKey);
    const found = await fetchBackupMacKey(roomKeys, USER, storage);
    expect(found?.toBase64()).toBe(macKey.toBase64());
  });

  it('brings the descriptions of the storage keys it lies under', async () => {
    put('m.secret_storage.default_key', { key: 'default' });
    for (const id of ['default', 'writers', 'asked-for']) {
      put(`m.secret_storage.key.${id}`, SecretStorageKey.generate(id).describe());
    }
    await storeBackupMacKey(roomKeys, USER, storage, macKey);
    const options = { secrets: Object.values(BACKUP_MAC_SECRET), storageId: 'asked-for' };
    const accountData = await fetchSecretStorage(roomKeys, USER, options);
    expect(Object.keys(accountData).sort()).toEqual([
      'm.secret_storage.default_key',
      'm.secret_storage.key.asked-for',
      'm.secret_storage.key.default',
      'm.secret_storage.key.writers',
      BACKUP_MAC_SECRET.unstable,
    ]);
  });
});

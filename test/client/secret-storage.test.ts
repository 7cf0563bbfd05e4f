import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RoomKeys } from '../../src/client/room-keys.js';
import { createBackup } from '../../src/client/backup.js';
import { fetchSecretStorage, storeBackupKey } from '../../src/client/secret-storage.js';
import { BackupDecryptionKey } from '../../src/engine/keys.js';
import { readMasterKey } from '../../src/engine/master-key.js';
import { SecretStorageKey } from '../../src/engine/secret-storage.js';
import { unlock } from '../../src/engine/unlock.js';
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
    expect(server.seen.length).toBeLessThan(15);
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

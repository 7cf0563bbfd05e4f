import { describe, expect, test } from 'vitest';
import type { KeyBackupData } from '../../src/wire/types.js';
import { uploadSessions, type UploadOptions } from '../../src/client/upload.js';
import {
  BackupDecryptionKey,
  BackupMacKey,
  decryptSession,
  encryptSession,
  type EncryptSettings,
} from '../../src/index.js';
import type { KeyBackupServer } from '../support/key-backup-server.js';
import { directSessions } from '../support/sample.js';
import { clientOf, key, makeBackup, startServer, trust } from './support.js';

const macKey = BackupMacKey.fromDecryptionKey(key);
const direct = directSessions(6);

/** A backup with one record of each kind given. */
async function backup(...kinds: ('verified' | 'wrong-mac' | 'no-mac')[]) {
  const server = await startServer();
  const version = makeBackup(server);
  const sessions = kinds.map((kind, i) => {
    const settings: EncryptSettings = kind === 'no-mac' ? {} : { macKey };
    const { room_id, session_id, key_backup_data } = encryptSession(direct[i], key.publicKey, settings);
    const record = JSON.parse(JSON.stringify(key_backup_data)) as KeyBackupData;
    const spoilt = kind === 'wrong-mac' ? { unsigned: { backup_mac: 'A'.repeat(43) } } : {};
    const session_data = { ...record.session_data, ...spoilt };
    server.store(version, room_id, session_id, { ...record, session_data });
    return direct[i];
  });
  return { server, sessions };
}

describe('uploading only what is better', () => {
  async function upload(server: KeyBackupServer, options: Partial<UploadOptions>, sessions = direct) {
    const roomKeys = clientOf(server);
    const info = (await roomKeys.currentVersion())!;
    return uploadSessions(roomKeys, info, sessions, { trust, ...options });
  }
  const authenticities = (server: KeyBackupServer) =>
    server
      .keysOf(server.versions[0])
      .map(([room_id, session_id, key_backup_data]) => {
        return decryptSession({ room_id, session_id, key_backup_data }, key).authenticity;
      })
      .sort();

  test('and authenticated needs a MAC key, of this backup', async () => {
    const { server } = await backup('no-mac');
    const wrong = BackupMacKey.fromDecryptionKey(BackupDecryptionKey.generate());
    const asked = server.seen.length;
    for (const [given, code] of [
      [undefined, 'bad-parameters'],
      [wrong, 'wrong-key'],
      // Taken for the MAC key, which looks alike.
      [BackupMacKey.fromBase64(key.toBase64()), 'wrong-key'],
    ] as const) {
      const uploading = upload(server, { skipStored: 'authenticated', macKey: given });
      await expect(uploading).rejects.toMatchObject({ code });
    }
    expect(server.seen.slice(asked).map(({ method }) => method)).toEqual(['GET', 'GET', 'GET']);
  });

  test('by the metadata alone does not notice a missing or a wrong MAC', async () => {
    const { server, sessions } = await backup('no-mac', 'wrong-mac', 'verified');
    const outcome = await upload(server, { skipStored: true, macKey }, sessions);
    expect(outcome).toMatchObject({ uploaded: 0, skipped: 3, kept: 0 });
  });

  test('and authenticated sends what has none or a wrong one, and notices that the server kept it', async () => {
    const { server, sessions } = await backup('no-mac', 'wrong-mac', 'verified');
    const options = { skipStored: 'authenticated', macKey } as const;
    const outcome = await upload(server, options, [...sessions, direct[5]]);
    // The server takes the old record of two that are equally good; the new session it takes.
    expect(outcome).toMatchObject({ outcome: 'complete', uploaded: 3, skipped: 1, kept: 2 });
    expect(authenticities(server)).toEqual(['no-mac', 'verified', 'verified', 'wrong-mac']);
  });

  test('and authenticated notices that also of what an earlier run has sent', async () => {
    const { server, sessions } = await backup('no-mac', 'wrong-mac', 'verified');
    const options = { skipStored: 'authenticated', macKey } as const;
    const { state } = await upload(server, options, sessions);
    expect(await upload(server, { ...options, state }, sessions)).toMatchObject({ uploaded: 0, kept: 2 });
    server.versions[0].keys.clear();
    expect(await upload(server, options, sessions)).toMatchObject({ uploaded: 3, kept: 0 });
    expect(await upload(server, { ...options, state }, sessions)).toMatchObject({ uploaded: 0, kept: 0 });
  });

  test('and authenticated is done when the server takes the new records', async () => {
    const { server, sessions } = await backup('no-mac', 'wrong-mac', 'verified');
    const options = { skipStored: 'authenticated', macKey, isVerified: true } as const;
    expect(await upload(server, options, sessions)).toMatchObject({ uploaded: 3, kept: 0 });
    expect(authenticities(server)).toEqual(['verified', 'verified', 'verified']);
    server.seen.length = 0;
    expect(await upload(server, options, sessions)).toMatchObject({ uploaded: 0, skipped: 3, kept: 0 });
    expect(server.seen.filter(({ method }) => method === 'PUT')).toEqual([]);
  });

  test('works for a device that has the MAC key and cannot read', async () => {
    const { server, sessions } = await backup('no-mac', 'verified');
    const given = BackupMacKey.fromBase64(macKey.toBase64());
    const options = { skipStored: 'authenticated', macKey: given } as const;
    const untrusted = { trust: 'encrypt-to-an-untrusted-backup' as const };
    expect(await upload(server, { ...options, ...untrusted }, sessions)).toMatchObject({
      uploaded: 1,
      skipped: 1,
      kept: 1,
    });
  });
});

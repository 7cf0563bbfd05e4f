import { setAccountData, storeBackupKey } from '../../src/client/account.js';
import { createBackup } from '../../src/client/backup.js';
import { RoomKeys } from '../../src/client/api.js';
import { uploadSessions } from '../../src/client/upload.js';
import { base64Encode } from '../../src/encoding/base64.js';
import { BackupDecryptionKey } from '../../src/scheme/keys.js';
import { readMasterKey } from '../../src/secret-storage/account-secrets.js';
import type { ExportedSessionData } from '../../src/formats/room-key.js';
import { MASTER_KEY_SECRET } from '../../src/secret-storage/key-description.js';
import { SecretStorageKey } from '../../src/secret-storage/secret-storage.js';
import { TOKEN_A } from './serving.js';

/** Whom {@link TOKEN_A} belongs to. */
export const USER_A = '@user0:x';

/**
 * An account as a client leaves it, made by the client of this package alone: a secret storage with the cross-signing
 * master key and the backup key in it, and a backup that the master key has signed.
 */
export async function makeAccount(url: string, sessions: readonly ExportedSessionData[]) {
  const roomKeys = new RoomKeys({ baseUrl: url, accessToken: TOKEN_A, retryDelay: 1 });
  const storage = SecretStorageKey.generate('a/key');
  const key = BackupDecryptionKey.generate();
  const seed = base64Encode(crypto.getRandomValues(new Uint8Array(32)));
  const put = (type: string, content: object) =>
    setAccountData(roomKeys, USER_A, type, content as Record<string, unknown>);
  await put('m.secret_storage.default_key', { key: storage.id });
  await put(`m.secret_storage.key.${storage.id}`, storage.describe());
  await put(MASTER_KEY_SECRET, storage.encryptSecret(MASTER_KEY_SECRET, seed));
  const signers = [readMasterKey(seed).signer(USER_A)];
  const info = await createBackup(roomKeys, { publicKey: key.publicKey, signers });
  await uploadSessions(roomKeys, info, sessions, { trust: { userId: USER_A, decryptionKey: key } });
  await storeBackupKey(roomKeys, USER_A, storage, key);
  return { roomKeys, storage, key, seed, info };
}

/** Replaces a key by an unreadable record, as a server that lost bytes would return it. */
export async function damage(
  roomKeys: RoomKeys,
  version: string,
  { room_id, session_id }: ExportedSessionData,
): Promise<void> {
  await roomKeys.deleteKey(version, room_id, session_id);
  const session_data = { ephemeral: 'A'.repeat(43), ciphertext: 'A'.repeat(22), mac: 'A'.repeat(11) };
  const metadata = { first_message_index: 0, forwarded_count: 0, is_verified: false };
  await roomKeys.putKey(version, room_id, session_id, { ...metadata, session_data });
}

import { isJsonObject, ownValue, type JsonObject } from '../engine/json.js';
import type { AccountData } from '../engine/key-description.js';
import type { BackupDecryptionKey } from '../engine/keys.js';
import { BACKUP_SECRET, MASTER_KEY_SECRET, type SecretStorageKey } from '../engine/secret-storage.js';
import { accountData, setAccountData } from './account.js';
import type { CallOptions, RoomKeys } from './room-keys.js';

/** As many keys as `unlock` looks at. */
const MAX_KEYS = 8;

/**
 * Fetches what `unlock` needs of a user's account data: the descriptions of the secret storage keys, the backup
 * decryption key and the cross-signing master key, the secrets still encrypted.
 *
 * @throws {@link RequestError}.
 *
 * @example
 * ```ts
 * const userId = await ownUserId(roomKeys);
 * const info = await roomKeys.currentVersion();
 * const result = await unlock(typed, {
 *   authData: info.auth_data,
 *   accountData: await fetchSecretStorage(roomKeys, userId),
 * });
 * ```
 */
export async function fetchSecretStorage(
  roomKeys: RoomKeys,
  userId: string,
  options: CallOptions = {},
): Promise<AccountData> {
  const found = new Map<string, JsonObject>();
  const fetch = async (type: string) => {
    const content = await accountData(roomKeys, userId, type, options);
    if (content) found.set(type, content);
    return content;
  };
  const standard = await fetch('m.secret_storage.default_key');
  const ids = new Set<unknown>([standard && ownValue(standard, 'key')]);
  const secret = await fetch(BACKUP_SECRET);
  const encrypted = secret && ownValue(secret, 'encrypted');
  if (isJsonObject(encrypted)) for (const id of Object.keys(encrypted)) ids.add(id);
  await fetch(MASTER_KEY_SECRET);
  for (const id of [...ids].slice(0, MAX_KEYS)) {
    if (typeof id === 'string') await fetch(`m.secret_storage.key.${id}`);
  }
  return Object.fromEntries(found);
}

/**
 * Stores the decryption key of a backup in the user's secret storage, where their clients look for it. What lay there
 * before is replaced.
 *
 * @throws {@link RequestError}.
 */
export async function storeBackupKey(
  roomKeys: RoomKeys,
  userId: string,
  storageKey: SecretStorageKey,
  key: BackupDecryptionKey,
  options: CallOptions = {},
): Promise<void> {
  const content = storageKey.encryptSecret(BACKUP_SECRET, key.toBase64());
  await setAccountData(roomKeys, userId, BACKUP_SECRET, content, options);
}

import { expectInstance, expectMethod, expectOptions } from '../encoding/arguments.js';
import { BACKUP_MAC_SECRET, BackupMacKey, type MacNames } from '../scheme/backup-mac.js';
import { isJsonObject, ownValue, type JsonObject } from '../encoding/json.js';
import type { AccountData } from '../secret-storage/key-description.js';
import type { BackupDecryptionKey } from '../scheme/keys.js';
import { readMacKeySecret, type MacKeySecret } from '../secret-storage/account-secrets.js';
import {
  BACKUP_SECRET,
  MASTER_KEY_SECRET,
  type SecretStorageKey,
  type StorageWriteOptions,
} from '../secret-storage/secret-storage.js';
import { accountData, setAccountData } from './account.js';
import type { CallOptions, RoomKeys } from './api.js';

/** As many keys as `unlock` looks at. */
const MAX_KEYS = 8;

/** What to fetch of the secret storage. */
export interface SecretStorageOptions extends CallOptions {
  /** The secrets that are wanted besides the master key; default the backup decryption key. */
  readonly secrets?: readonly string[] | undefined;
  /** A storage key whose description is wanted whatever is stored under it. */
  readonly storageId?: string | undefined;
}

/**
 * Fetches what `unlock` needs of a user's account data: the descriptions of the secret storage keys, the backup
 * decryption key and the cross-signing master key, the secrets still encrypted.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#storage
 * @returns Account data by event type, nothing about it checked; what there is not is left out.
 * @throws {@link RequestError}.
 *
 * @example
 * ```ts
 * import { unlock } from 'megolm-backup';
 * import { fetchSecretStorage, ownUserId, type RoomKeys } from 'megolm-backup/client';
 *
 * async function open(roomKeys: RoomKeys, typed: string) {
 *   const info = await roomKeys.currentVersion();
 *   const accountData = await fetchSecretStorage(roomKeys, await ownUserId(roomKeys));
 *   const result = await unlock(typed, { authData: info?.auth_data, accountData });
 *   console.log(result.ok ? result.by : result.error.code);
 * }
 * ```
 */
export async function fetchSecretStorage(
  roomKeys: RoomKeys,
  userId: string,
  options: SecretStorageOptions = {},
): Promise<AccountData> {
  expectOptions(options);
  const { secrets = [BACKUP_SECRET], storageId, signal } = options;
  const found = new Map<string, JsonObject>();
  const fetch = async (type: string) => {
    const content = await accountData(roomKeys, userId, type, { signal });
    if (content) found.set(type, content);
    return content;
  };
  const standard = await fetch('m.secret_storage.default_key');
  const ids = new Set<unknown>([storageId, standard && ownValue(standard, 'key')]);
  for (const name of secrets) {
    const secret = await fetch(name);
    const encrypted = secret && ownValue(secret, 'encrypted');
    if (isJsonObject(encrypted)) for (const id of Object.keys(encrypted)) ids.add(id);
  }
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
 * @param storageKey - One that is proven; for another see `allowUnproven`.
 * @throws {@link RequestError}; {@link KeyBackupError} `unproven-key`, `bad-parameters` as
 * {@link SecretStorageKey.encryptSecret} has it, before anything is written.
 */
export async function storeBackupKey(
  roomKeys: RoomKeys,
  userId: string,
  storageKey: SecretStorageKey,
  key: BackupDecryptionKey,
  options: CallOptions & StorageWriteOptions = {},
): Promise<void> {
  expectMethod(storageKey, 'decryptSecret', 'storageKey');
  expectMethod(key, 'matches', 'key');
  expectOptions(options);
  const { signal, ...writing } = options;
  const content = storageKey.encryptSecret(BACKUP_SECRET, key.toBase64(), writing);
  await setAccountData(roomKeys, userId, BACKUP_SECRET, content, { signal });
}

/**
 * Stores the MAC key of a backup in the user's secret storage, for devices that may write to the backup but not read
 * it. What lay there before is replaced, under the other name of the secret as well.
 *
 * @param storageKey - One that does not open the decryption key as well, which would make the MAC key needless. It has
 * to be proven; for another see `allowUnproven`.
 * @param options - `names` is the name to write; default `unstable`, as long as the proposal is open.
 * @throws {@link RequestError}; {@link KeyBackupError} `unproven-key`, `bad-parameters` as
 * {@link SecretStorageKey.encryptSecret} has it, before anything is written.
 */
export async function storeBackupMacKey(
  roomKeys: RoomKeys,
  userId: string,
  storageKey: SecretStorageKey,
  macKey: BackupMacKey,
  options: CallOptions & StorageWriteOptions & { readonly names?: MacNames | undefined } = {},
): Promise<void> {
  expectMethod(storageKey, 'decryptSecret', 'storageKey');
  expectInstance(macKey, BackupMacKey, 'macKey');
  expectOptions(options);
  const { names = 'unstable', signal, ...writing } = options;
  for (const [spelling, name] of Object.entries(BACKUP_MAC_SECRET)) {
    // A key of an earlier backup under the other name would contradict this one.
    if (spelling !== names && !(await accountData(roomKeys, userId, name, { signal }))) continue;
    const content = storageKey.encryptSecret(name, macKey.toBase64(), writing);
    await setAccountData(roomKeys, userId, name, content, { signal });
  }
}

/**
 * Fetches the MAC key of a backup from the user's secret storage.
 *
 * @param options - `key` is the decryption key, where it is at hand: then a MAC key that does not fit is refused.
 * Without it nothing tells whether the secret is of the current backup or of one before it.
 * @returns `undefined` when there is none.
 * @throws {@link RequestError}; {@link KeyBackupError} as `readMacKeySecret` has it: `wrong-key`, and what a secret
 * that cannot be read gives.
 */
export async function fetchBackupMacKey(
  roomKeys: RoomKeys,
  userId: string,
  storageKey: SecretStorageKey,
  options: CallOptions & { readonly key?: BackupDecryptionKey | undefined } = {},
): Promise<MacKeySecret | undefined> {
  expectMethod(storageKey, 'decryptSecret', 'storageKey');
  expectOptions(options);
  const { key, signal } = options;
  const found = new Map<string, JsonObject>();
  for (const name of Object.values(BACKUP_MAC_SECRET)) {
    const content = await accountData(roomKeys, userId, name, { signal });
    if (content) found.set(name, content);
  }
  return readMacKeySecret(storageKey, Object.fromEntries(found), key);
}

import { expectInstance, expectMethod, expectOptions } from '../encoding/arguments.js';
import { expectString, ownString, type JsonObject } from '../encoding/json.js';
import { BACKUP_MAC_SECRET, BackupMacKey, type MacNames } from '../scheme/backup-mac.js';
import type { BackupDecryptionKey } from '../scheme/keys.js';
import {
  BACKUP_SECRET,
  MASTER_KEY_SECRET,
  storageKeyIds,
  type AccountData,
} from '../secret-storage/key-description.js';
import { readMacKeySecret } from '../secret-storage/account-secrets.js';
import type { SecretStorageKey, StorageWriteOptions } from '../secret-storage/secret-storage.js';
import { RoomKeys, signalOf, type CallOptions } from './api.js';
import { unlessMissing } from './http-error.js';
import { expectBody, path, type HttpRequest } from './http.js';

/** The user id that the access token belongs to. */
export async function ownUserId(roomKeys: RoomKeys, options: CallOptions = {}): Promise<string> {
  const request = { method: 'GET', path: '/_matrix/client/v3/account/whoami' } as const;
  return expectInstance(roomKeys, RoomKeys, 'roomKeys').homeserver.request(
    { ...request, signal: signalOf(options) },
    (value) => expectString(expectBody(value), 'user_id', 'the body'),
  );
}

/** `GET /user/{userId}/account_data/{type}`; `undefined` if it does not exist. */
export async function accountData(
  roomKeys: RoomKeys,
  userId: string,
  type: string,
  options: CallOptions = {},
): Promise<JsonObject | undefined> {
  return unlessMissing(requestAccountData(roomKeys, userId, type, options));
}

/** `PUT /user/{userId}/account_data/{type}`. */
export async function setAccountData(
  roomKeys: RoomKeys,
  userId: string,
  type: string,
  content: JsonObject,
  options: CallOptions = {},
): Promise<void> {
  await requestAccountData(roomKeys, userId, type, options, { method: 'PUT', body: content });
}

async function requestAccountData(
  roomKeys: RoomKeys,
  userId: string,
  type: string,
  options: CallOptions,
  how: Pick<HttpRequest, 'method' | 'body'> = { method: 'GET' },
): Promise<JsonObject> {
  const at = path`/_matrix/client/v3/user/${userId}/account_data/${type}`;
  return expectInstance(roomKeys, RoomKeys, 'roomKeys').homeserver.request(
    { ...how, path: at, signal: signalOf(options) },
    expectBody,
  );
}

/** Descriptions, one request each. Without its description a key is proven by the secret; only a phrase needs it. */
const MAX_DESCRIPTIONS = 100;

/** What to fetch from secret storage. */
export interface SecretStorageOptions extends CallOptions {
  /** The secrets to fetch besides the master key; default the backup decryption key. */
  readonly secrets?: readonly string[] | undefined;
  /** A storage key whose description is fetched even if it encrypts none of the secrets. */
  readonly storageId?: string | undefined;
}

/**
 * Fetches what `unlock` needs of a user's account data: the descriptions of the secret storage keys, and the still
 * encrypted backup decryption key and cross-signing master key.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#storage
 * @returns Account data by event type, not validated; without what the server does not have.
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
  for (const name of new Set([...secrets, MASTER_KEY_SECRET])) await fetch(name);
  const named = storageKeyIds(Object.fromEntries(found));
  const ids = new Set([storageId, ownString(standard, 'key'), ...named]);
  for (const id of [...ids].slice(0, MAX_DESCRIPTIONS)) {
    if (id !== undefined) await fetch(`m.secret_storage.key.${id}`);
  }
  return Object.fromEntries(found);
}

/**
 * Stores the decryption key of a backup in the user's secret storage, where clients look for it, and replaces the
 * previous one.
 *
 * @param storageKey - A proven one, except with `allowUnproven`.
 * @throws {@link RequestError}; {@link KeyBackupError} `unproven-key`, `bad-parameters` as
 * {@link SecretStorageKey.encryptSecret} throws them, before anything is written.
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
 * it, and replaces the previous one under both names of the secret.
 *
 * @param storageKey - A proven one, except with `allowUnproven`. It should not also encrypt the decryption key, which
 * would make the MAC key needless.
 * @param options - `names` is the name to write; default `unstable` while the proposal is open.
 * @throws {@link RequestError}; {@link KeyBackupError} `unproven-key`, `bad-parameters` as
 * {@link SecretStorageKey.encryptSecret} throws them, before anything is written.
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
    // A key of another backup under the other name would contradict this one.
    if (spelling !== names && !(await accountData(roomKeys, userId, name, { signal }))) continue;
    const content = storageKey.encryptSecret(name, macKey.toBase64(), writing);
    await setAccountData(roomKeys, userId, name, content, { signal });
  }
}

/**
 * Fetches the MAC key of a backup from the user's secret storage.
 *
 * @param options - With the decryption key as `key`, the MAC key of another backup is rejected. Without it the secret
 * may be that of another backup.
 * @returns The key, which the caller disposes of; `undefined` if it does not exist.
 * @throws {@link RequestError}; {@link KeyBackupError} as `readMacKeySecret` throws it: `wrong-key`, and the errors of
 * an unreadable secret.
 */
export async function fetchBackupMacKey(
  roomKeys: RoomKeys,
  userId: string,
  storageKey: SecretStorageKey,
  options: CallOptions & { readonly key?: BackupDecryptionKey | undefined } = {},
): Promise<BackupMacKey | undefined> {
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

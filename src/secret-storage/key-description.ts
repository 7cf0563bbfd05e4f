import { expectText } from '../encoding/arguments.js';
import { base64Decode } from '../encoding/base64.js';
import { KeyBackupError, numberOr } from '../errors.js';
import {
  expectObject,
  expectString,
  isJsonObject,
  ownString,
  ownValue,
  type JsonObject,
} from '../encoding/json.js';
import { BACKUP_MAC_SECRET } from '../scheme/backup-mac.js';
import { checkIterations } from '../scheme/passphrase.js';
import { excerpt } from '../encoding/quote.js';

/**
 * What a user's account data says about the keys of their secret storage, without the keys themselves.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#key-storage
 */

/** The only algorithm of secret storage. */
export const SECRET_STORAGE_ALGORITHM = 'm.secret_storage.v1.aes-hmac-sha2';

const KEY_TYPE = 'm.secret_storage.key.';

/** The account data type of the backup decryption key, and its name as a secret. */
export const BACKUP_SECRET = 'm.megolm_backup.v1';

/** The account data type of the seed of the cross-signing master key, and its name as a secret. */
export const MASTER_KEY_SECRET = 'm.cross_signing.master';

/** The secrets that can prove a storage key. A list of our own: the server could name a million. */
export const SECRETS = [BACKUP_SECRET, MASTER_KEY_SECRET, ...Object.values(BACKUP_MAC_SECRET)] as const;

/** Content of account data, by event type, as `GET /user/{userId}/account_data/{type}` gives it. */
export type AccountData = Readonly<Record<string, unknown>>;

/** What `m.secret_storage.key.<id>` holds. */
export interface KeyDescription {
  readonly algorithm: string;
  readonly iv?: string;
  readonly mac?: string;
  readonly [unknown: string]: unknown;
}

/**
 * The id of the key that the user's secrets are stored under.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#key-storage
 * @param accountData - With the content of `m.secret_storage.default_key`.
 * @throws {@link KeyBackupError} `missing-field` when the account has no secret storage; `bad-json`.
 */
export function defaultKeyId(accountData: AccountData): string {
  const content = ownValue(expectObject(accountData, 'account data'), 'm.secret_storage.default_key');
  if (content === undefined) {
    throw new KeyBackupError('missing-field', 'm.secret_storage.default_key: expected a key id, got nothing');
  }
  return expectString(
    expectObject(content, 'm.secret_storage.default_key'),
    'key',
    'm.secret_storage.default_key',
  );
}

/**
 * The description of a key: the content of `m.secret_storage.key.<id>`.
 *
 * @returns The object in the account data.
 * @throws {@link KeyBackupError} `missing-field`, `bad-json`, `unsupported-algorithm`.
 */
export function keyDescription(accountData: AccountData, id: string): KeyDescription {
  const type = `${KEY_TYPE}${expectText(id, 'key id')}`;
  const content = ownValue(expectObject(accountData, 'account data'), type);
  const field = excerpt(type);
  if (isDeleted(content)) {
    throw new KeyBackupError('missing-field', `${field}: expected the description of a key, got nothing`);
  }
  const description = expectObject(content, field);
  const algorithm = expectString(description, 'algorithm', field);
  if (algorithm !== SECRET_STORAGE_ALGORITHM) {
    throw new KeyBackupError(
      'unsupported-algorithm',
      `${field}.algorithm: expected ${SECRET_STORAGE_ALGORITHM}, got another`,
    );
  }
  return description as unknown as KeyDescription;
}

/** The description of a key for reading: whatever there is. The secrets under a key prove it as well. */
export function anyDescription(accountData: AccountData, id: string): KeyDescription {
  const content = ownValue(
    expectObject(accountData, 'account data'),
    `${KEY_TYPE}${expectText(id, 'key id')}`,
  );
  return (isJsonObject(content) ? content : {}) as KeyDescription;
}

/**
 * Account data in the forms in which people get it: contents by event type, an event or a list of events, the answer of
 * `/sync` or of Synapse's admin API. Of anything else the result holds no secret storage.
 */
export function accountDataOf(value: unknown): AccountData {
  if (Array.isArray(value)) {
    return Object.fromEntries(
      value.flatMap((event) => {
        const type = ownString(event, 'type');
        return type === undefined ? [] : [[type, ownValue(event as JsonObject, 'content')]];
      }),
    );
  }
  if (!isJsonObject(value)) return {};
  for (const name of ['account_data', 'global', 'events']) {
    const inner = ownValue(value, name);
    if (typeof inner === 'object' && inner !== null) return accountDataOf(inner);
  }
  return typeof value.type === 'string' ? accountDataOf([value]) : value;
}

/** What account data knows of a backup key: `unknown` without account data, `none` without a secret storage. */
export type SecretStorageState = 'unknown' | 'none' | 'no-backup-key' | 'backup-key';

/** What these account data know of a backup key. */
export function secretStorageState(accountData: AccountData | undefined): SecretStorageState {
  if (!accountData) return 'unknown';
  if (keyIdsUnder(accountData, BACKUP_SECRET).length > 0) return 'backup-key';
  return storageKeyIds(accountData).length > 0 ? 'no-backup-key' : 'none';
}

/** The ids of all storage keys: those that a secret lies under, then the default one, then the others. */
export function storageKeyIds(accountData: AccountData): string[] {
  const described = Object.keys(accountData).filter(
    (type) => type.startsWith(KEY_TYPE) && isJsonObject(accountData[type]) && !isDeleted(accountData[type]),
  );
  const others = described.map((type) => type.slice(KEY_TYPE.length));
  const standard = ownString(ownValue(accountData, 'm.secret_storage.default_key'), 'key');
  const ids = SECRETS.flatMap((name) => keyIdsUnder(accountData, name));
  return [...new Set([...ids, ...others.filter((id) => id === standard), ...others])];
}

function keyIdsUnder(accountData: AccountData, name: string): string[] {
  const content = ownValue(accountData, name);
  const encrypted = isJsonObject(content) ? ownValue(content, 'encrypted') : undefined;
  return isJsonObject(encrypted) ? Object.keys(encrypted) : [];
}

/** Whether account data is not there; an empty object is how clients delete it. */
export function isDeleted(content: unknown): boolean {
  return content === undefined || (isJsonObject(content) && Object.keys(content).length === 0);
}

/**
 * The `iv` (16 bytes) and `mac` (32) that a key is checked with, `undefined` if either is absent; throws if malformed.
 */
export function descriptionMac(
  description: KeyDescription,
  field: string,
): { iv: Uint8Array; mac: Uint8Array } | undefined {
  const decode = (name: string) =>
    ownValue(description, name) === undefined
      ? undefined
      : base64Decode(expectString(description, name, field), `${field}.${name}`);
  const iv = decode('iv');
  const mac = decode('mac');
  // nheko writes 32 bytes, of which its AES takes the first 16.
  if (iv && iv.length !== 16 && iv.length !== 32) {
    throw new KeyBackupError('bad-length', `${field}.iv: expected 16 bytes, got ${iv.length}`);
  }
  if (mac && mac.length !== 32) {
    throw new KeyBackupError('bad-mac-length', `${field}.mac: expected 32 bytes, got ${mac.length}`);
  }
  return iv && mac && { iv: iv.subarray(0, 16), mac };
}

/** The passphrase parameters of a key description, which the server chooses: checked. */
export function passphraseParameters(description: KeyDescription): { salt: string; iterations: number } {
  const field = 'secret storage key.passphrase';
  const value = ownValue(description, 'passphrase');
  if (value === undefined) {
    throw new KeyBackupError(
      'missing-field',
      `${field}: expected parameters, got nothing: this key has no passphrase`,
    );
  }
  const parameters = expectObject(value, field);
  if (expectString(parameters, 'algorithm', field) !== 'm.pbkdf2') {
    throw new KeyBackupError('unsupported-algorithm', `${field}.algorithm: expected m.pbkdf2, got another`);
  }
  const salt = expectString(parameters, 'salt', field);
  const iterations = ownValue(parameters, 'iterations');
  checkIterations(iterations, `${field}.iterations`);
  const bits = ownValue(parameters, 'bits');
  if (bits !== undefined && bits !== 256) {
    throw new KeyBackupError(
      'bad-parameters',
      `${field}.bits: expected 256 or nothing, got ${numberOr(bits)}`,
    );
  }
  return { salt, iterations };
}

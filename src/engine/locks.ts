import { KeyBackupError } from './errors.js';
import { isJsonObject, ownValue } from './json.js';
import { keyDescription, type AccountData, type KeyDescription } from './key-description.js';
import { BackupDecryptionKey, BackupPublicKey } from './keys.js';
import { readMasterKey, type MasterKey } from './master-key.js';
import { BACKUP_SECRET, MASTER_KEY_SECRET, SecretStorageKey } from './secret-storage.js';

/** What the given key or phrase was. */
export type UnlockedBy =
  'backup-decryption-key' | 'secret-storage-key' | 'security-phrase' | 'backup-passphrase';

/** What was found behind a lock. */
export interface Opened {
  readonly by: UnlockedBy;
  /** The backup decryption key; the caller disposes of it. */
  readonly key: BackupDecryptionKey;
  /** Whether the key is known to be the backup's: it derives the public key in the `auth_data`. */
  readonly keyMatches: boolean;
  /** The key that opened the secret storage, for storing other secrets; the caller disposes of it. */
  readonly storageKey: SecretStorageKey | undefined;
  /** Out of the secret storage; `undefined` when there is none, or it cannot be read. */
  readonly masterKey: MasterKey | undefined;
  /** `comma-separated-bytes`: an old client stored the secret in a form of its own. */
  readonly flags: readonly 'comma-separated-bytes'[];
}

/** A key that is right, and leads nowhere. */
export interface DeadEnd {
  readonly as: UnlockedBy;
  readonly error: KeyBackupError;
}

/** No account has more; account data that names more only costs time. */
const MAX_STORAGES = 8;

interface Storage {
  readonly id: string;
  readonly description: KeyDescription;
}

/** Everything about an account that a key can be compared with. */
export class LocksOfAccount {
  /** The keys of the secret storage, the default one first. */
  readonly storages: readonly Storage[];
  readonly #publicKey: BackupPublicKey | undefined;
  readonly #authData: unknown;
  readonly #accountData: AccountData;

  constructor(authData: unknown, accountData: AccountData = {}) {
    this.#authData = authData;
    this.#accountData = accountData;
    this.#publicKey = publicKeyOr(authData);
    this.storages = storagesOf(accountData);
  }

  /** What a key of 32 bytes is, as far as anything tells. */
  fits(bytes: Uint8Array): UnlockedBy | undefined {
    if (this.#publicKey && matches(bytes, this.#authData)) return 'backup-decryption-key';
    return this.#storageOf(bytes) === undefined ? undefined : 'secret-storage-key';
  }

  /**
   * Opens what a key of 32 bytes opens. A key that nothing can be compared with is taken as the backup's own, and
   * `keyMatches` is false.
   */
  open(bytes: Uint8Array): Opened | DeadEnd | undefined {
    const storage = this.#storageOf(bytes);
    const lock = this.fits(bytes);
    if (lock === 'backup-decryption-key') return this.openBackup(bytes, lock);
    if (storage) return this.openStorage(storage.id, bytes, 'secret-storage-key');
    return this.#publicKey ? undefined : this.openBackup(bytes, 'backup-decryption-key');
  }

  /** Opens the backup itself; `undefined` when the key does not derive its public key. */
  openBackup(bytes: Uint8Array, by: UnlockedBy): Opened | undefined {
    const keyMatches = this.#publicKey !== undefined && matches(bytes, this.#authData);
    if (this.#publicKey && !keyMatches) return undefined;
    const key = BackupDecryptionKey.fromBytes(bytes);
    return { by, key, keyMatches, storageKey: undefined, masterKey: undefined, flags: [] };
  }

  /** Opens a storage key and what lies behind it; `undefined` when it is not this key. */
  openStorage(id: string, bytes: Uint8Array, by: UnlockedBy): Opened | DeadEnd | undefined {
    const storage = this.storages.find((one) => one.id === id);
    if (!storage || !this.#isKeyOf(storage, bytes)) return undefined;
    const storageKey = SecretStorageKey.fromBytes(bytes, id);
    try {
      const secret = storageKey.decryptSecret(BACKUP_SECRET, ownValue(this.#accountData, BACKUP_SECRET));
      const { key, flags } = BackupDecryptionKey.fromSecret(secret.trim());
      if (this.#publicKey && !key.matches(this.#authData)) {
        key.dispose();
        throw new KeyBackupError(
          'wrong-key',
          'the secret storage opened, but the backup key in it is another backup’s: this backup was made anew since',
        );
      }
      const masterKey = this.#masterKey(storageKey);
      return { by, key, keyMatches: this.#publicKey !== undefined, storageKey, masterKey, flags };
    } catch (error) {
      storageKey.dispose();
      if (!(error instanceof KeyBackupError)) throw error;
      return { as: by, error: explained(error) };
    }
  }

  #storageOf(bytes: Uint8Array): Storage | undefined {
    return this.storages.find((storage) => this.#isKeyOf(storage, bytes));
  }

  /** By its MAC; a description without one leaves only the secret itself to ask. */
  #isKeyOf({ id, description }: Storage, bytes: Uint8Array): boolean {
    const key = SecretStorageKey.fromBytes(bytes, id);
    try {
      const check = key.check(description);
      if (check !== 'unchecked') return check === 'right';
      key.decryptSecret(BACKUP_SECRET, ownValue(this.#accountData, BACKUP_SECRET));
      return true;
    } catch {
      return false;
    } finally {
      key.dispose();
    }
  }

  #masterKey(storageKey: SecretStorageKey): MasterKey | undefined {
    try {
      return readMasterKey(
        storageKey.decryptSecret(MASTER_KEY_SECRET, ownValue(this.#accountData, MASTER_KEY_SECRET)),
      );
    } catch {
      // Not every account cross-signs, and the backup can be read without.
      return undefined;
    }
  }
}

function publicKeyOr(authData: unknown): BackupPublicKey | undefined {
  if (authData === undefined) return undefined;
  try {
    return BackupPublicKey.fromAuthData(authData);
  } catch {
    // A malformed public key tells nothing about a key; the records will.
    return undefined;
  }
}

function matches(bytes: Uint8Array, authData: unknown): boolean {
  const key = BackupDecryptionKey.fromBytes(bytes);
  const result = key.matches(authData);
  key.dispose();
  return result;
}

const TYPE = 'm.secret_storage.key.';

function storagesOf(accountData: AccountData): Storage[] {
  const standard = ownValue(accountData, 'm.secret_storage.default_key');
  const first = isJsonObject(standard) ? ownValue(standard, 'key') : undefined;
  const ids = Object.keys(accountData)
    .filter((type) => type.startsWith(TYPE))
    .map((type) => type.slice(TYPE.length))
    .sort((a, b) => Number(b === first) - Number(a === first));
  return ids.slice(0, MAX_STORAGES).flatMap((id) => {
    try {
      return [{ id, description: keyDescription(accountData, id) }];
    } catch {
      return [];
    }
  });
}

function explained(error: KeyBackupError): KeyBackupError {
  if (error.code !== 'missing-field') return error;
  return new KeyBackupError(
    'missing-field',
    `the secret storage opened, but holds no backup key: ${error.message}`,
  );
}

import { KeyBackupError } from '../errors.js';
import { isJsonObject, ownValue } from '../encoding/json.js';
import { descriptionMac, keyDescription, type AccountData, type KeyDescription } from './key-description.js';
import { BackupDecryptionKey, BackupPublicKey } from '../scheme/keys.js';
import { readMasterKey, type MasterKey } from './master-key.js';
import { BACKUP_SECRET, MASTER_KEY_SECRET, SecretStorageKey, provesRight } from './secret-storage.js';

/** What the given key or phrase was. */
export type UnlockedBy =
  'backup-decryption-key' | 'secret-storage-key' | 'security-phrase' | 'backup-passphrase';

/** What was found behind a lock. */
export interface UnlockedKey {
  readonly by: UnlockedBy;
  /** The backup decryption key; the caller disposes of it. */
  readonly key: BackupDecryptionKey;
  /**
   * Whether the key derives the public key in the `auth_data`. False only of a key out of the secret storage, where
   * the `auth_data` has no usable public key: it is the account's, and maybe of an earlier backup.
   */
  readonly keyMatches: boolean;
  /** The key that opened the secret storage, for storing other secrets; the caller disposes of it. */
  readonly storageKey: SecretStorageKey | undefined;
  /**
   * Out of the secret storage; `undefined` when it holds none, or one that cannot be read. The caller disposes of it.
   */
  readonly masterKey: MasterKey | undefined;
  /** `comma-separated-bytes`: an old client stored the secret in a form of its own. */
  readonly flags: readonly 'comma-separated-bytes'[];
}

/** A key that is right, and leads nowhere. */
export interface UnusableKey {
  readonly as: UnlockedBy;
  readonly error: KeyBackupError;
}

/** No account has more; account data that names more only costs time. */
const MAX_STORAGES = 8;

/** A key of the secret storage, as the account data describes it. */
export interface Storage {
  readonly id: string;
  readonly description: KeyDescription;
}

/** Everything about an account that a key can be compared with. */
export class AccountSecrets {
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

  /** Whether the `auth_data` has a public key to compare a key with. */
  get hasPublicKey(): boolean {
    return this.#publicKey !== undefined;
  }

  /** What a key of 32 bytes is, as far as anything tells. */
  fits(bytes: Uint8Array): UnlockedBy | undefined {
    if (this.#matches(bytes)) return 'backup-decryption-key';
    const storageKey = this.#storageKey(bytes);
    storageKey?.dispose();
    return storageKey && 'secret-storage-key';
  }

  /** Opens what a key of 32 bytes opens; `undefined` when it fits nothing. */
  open(bytes: Uint8Array): UnlockedKey | UnusableKey | undefined {
    const backup = this.openBackup(bytes, 'backup-decryption-key');
    if (backup) return backup;
    const storageKey = this.#storageKey(bytes);
    return storageKey && this.#openWith(storageKey, 'secret-storage-key');
  }

  /** Opens the backup itself; `undefined` unless the key derives its public key. */
  openBackup(bytes: Uint8Array, by: UnlockedBy): UnlockedKey | undefined {
    if (!this.#matches(bytes)) return undefined;
    const key = BackupDecryptionKey.fromBytes(bytes);
    return { by, key, keyMatches: true, storageKey: undefined, masterKey: undefined, flags: [] };
  }

  /** Opens a storage with the key that a phrase gave, and what lies behind it; `undefined` when it is not its key. */
  openStorage(
    storage: Storage,
    bytes: Uint8Array,
    iterations: number,
  ): UnlockedKey | UnusableKey | undefined {
    const storageKey = this.#provenKey(storage, bytes, iterations);
    return storageKey && this.#openWith(storageKey, 'security-phrase');
  }

  /** The first fault in the description of a storage: such a storage has no MAC that a key could fit. */
  get malformed(): KeyBackupError | undefined {
    for (const { id, description } of this.storages) {
      try {
        descriptionMac(description, `m.secret_storage.key.${id}`);
      } catch (error) {
        return error as KeyBackupError;
      }
    }
    return undefined;
  }

  #matches(bytes: Uint8Array): boolean {
    if (!this.#publicKey) return false;
    const key = BackupDecryptionKey.fromBytes(bytes);
    try {
      return key.matches(this.#authData);
    } finally {
      key.dispose();
    }
  }

  #openWith(storageKey: SecretStorageKey, by: UnlockedBy): UnlockedKey | UnusableKey {
    let opened = false;
    try {
      const secret = storageKey.decryptSecret(BACKUP_SECRET, ownValue(this.#accountData, BACKUP_SECRET));
      const { key, flags } = BackupDecryptionKey.fromSecret(secret);
      if (this.#publicKey && !key.matches(this.#authData)) {
        key.dispose();
        throw new KeyBackupError(
          'wrong-key',
          'the secret storage opened, but the backup key in it is another backup’s: this backup was made anew since',
        );
      }
      const masterKey = this.#masterKey(storageKey);
      opened = true;
      return { by, key, keyMatches: this.#publicKey !== undefined, storageKey, masterKey, flags };
    } catch (error) {
      if (!(error instanceof KeyBackupError)) throw error;
      return { as: by, error: explained(error) };
    } finally {
      if (!opened) storageKey.dispose();
    }
  }

  #storageKey(bytes: Uint8Array): SecretStorageKey | undefined {
    for (const storage of this.storages) {
      const key = this.#provenKey(storage, bytes);
      if (key) return key;
    }
    return undefined;
  }

  /** The key of a storage, if these are its bytes; the caller disposes of it. */
  #provenKey(
    { id, description }: Storage,
    bytes: Uint8Array,
    iterations?: number,
  ): SecretStorageKey | undefined {
    const key = SecretStorageKey.fromBytes(bytes, id, iterations);
    let isProven = false;
    try {
      isProven = provesRight(key, description, this.#accountData);
      return isProven ? key : undefined;
    } finally {
      if (!isProven) key.dispose();
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

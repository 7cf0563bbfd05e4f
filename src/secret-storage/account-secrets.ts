import { expectMethod } from '../encoding/arguments.js';
import { publicSigningKeyOf } from '../curve25519/ed25519.js';
import { base64Encode } from '../encoding/base64.js';
import { DISPOSE, SecretBytes } from '../encoding/bytes.js';
import { expectObject, ownValue } from '../encoding/json.js';
import { KeyBackupError } from '../errors.js';
import { ed25519Signer, type Signer, type SigningKey } from '../scheme/auth-data.js';
import { BACKUP_MAC_SECRET, BackupMacKey } from '../scheme/backup-mac.js';
import {
  BackupDecryptionKey,
  comparableKey,
  compareKey,
  decodeSecret,
  type PublicKeyFlag,
} from '../scheme/keys.js';
import {
  BACKUP_SECRET,
  MASTER_KEY_SECRET,
  anyDescription,
  isDeleted,
  secretStorageState,
  storageKeyIds,
  type AccountData,
  type KeyDescription,
  type SecretStorageState,
} from './key-description.js';
import { whyIncomparable } from './sealed-secret.js';
import { SecretStorageKey, provesRight } from './secret-storage.js';

/** The secrets of an account: what a key opens, and the keys that lie in the secret storage. */

/** What the key or phrase is. */
export type UnlockedBy =
  'backup-decryption-key' | 'secret-storage-key' | 'security-phrase' | 'backup-passphrase';

/** The backup's key, and what else was found. */
export interface UnlockedKey {
  readonly by: UnlockedBy;
  /** The backup decryption key; the caller disposes of it. */
  readonly key: BackupDecryptionKey;
  /**
   * Whether the key derives the public key in the `auth_data`. False only for a key from the secret storage when the
   * `auth_data` has no usable public key: it may be the key of another backup.
   */
  readonly keyMatches: boolean;
  /** The key of the secret storage, to store other secrets with; the caller disposes of it. */
  readonly storageKey: SecretStorageKey | undefined;
  /** From the secret storage; `undefined` if it is missing or unreadable. The caller disposes of it. */
  readonly masterKey: MasterKey | undefined;
  /**
   * `comma-separated-bytes`: the secret is in the form of an old client. `double-base64-public-key`: the `auth_data` is
   * readable, but nothing can be encrypted to it.
   */
  readonly flags: readonly ('comma-separated-bytes' | PublicKeyFlag)[];
}

/** One way that was tried in vain. */
export interface Attempt {
  readonly as: UnlockedBy;
  readonly error: KeyBackupError;
}

/** A key of the secret storage, as account data describes it. */
export interface Storage {
  readonly id: string;
  readonly description: KeyDescription;
}

/** Everything in an account that a key can be compared with. */
export class AccountSecrets {
  /** The keys of the secret storage, those first that a secret lies under, then the default one. */
  readonly storages: readonly Storage[];
  readonly #comparable: ReturnType<typeof comparableKey>;
  readonly #authData: unknown;
  readonly #accountData: AccountData;
  /** What can be known of a key in the secret storage. */
  readonly state: SecretStorageState;

  constructor(authData: unknown, accountData?: AccountData) {
    this.#authData = authData;
    this.#accountData = accountData ?? {};
    this.state = secretStorageState(accountData);
    this.#comparable = comparableKey(authData);
    this.storages = storageKeyIds(this.#accountData).map((id) => ({
      id,
      description: anyDescription(this.#accountData, id),
    }));
  }

  /** Whether the `auth_data` has a public key to compare a key with. */
  get hasPublicKey(): boolean {
    return this.#comparable !== undefined;
  }

  /** Which key these 32 bytes are, if any. */
  fits(bytes: Uint8Array): UnlockedBy | undefined {
    if (this.#matches(bytes)) return 'backup-decryption-key';
    for (const storage of this.storages) {
      const key = this.#provenKey(storage, bytes);
      key?.dispose();
      if (key) return 'secret-storage-key';
    }
    return undefined;
  }

  /** Finds the backup's key with a key of 32 bytes; `undefined` if that fits nothing. */
  open(bytes: Uint8Array): UnlockedKey | Attempt | undefined {
    const backup = this.openBackup(bytes, 'backup-decryption-key');
    return backup ?? this.openStorage(bytes, 'secret-storage-key');
  }

  /** The backup's key from its own bytes; `undefined` unless they derive its public key. */
  openBackup(bytes: Uint8Array, by: UnlockedBy): UnlockedKey | undefined {
    if (!this.#matches(bytes)) return undefined;
    const key = BackupDecryptionKey.fromBytes(bytes);
    const { flags = [] } = this.#comparable ?? {};
    return { by, key, keyMatches: true, storageKey: undefined, masterKey: undefined, flags };
  }

  /**
   * Finds the backup's key with a storage key: the first failure if the key is right but opens nothing, `undefined` if
   * it is wrong.
   */
  openStorage(
    bytes: Uint8Array,
    by: UnlockedBy,
    storages = this.storages,
    iterations?: number,
  ): UnlockedKey | Attempt | undefined {
    let failed: Attempt | undefined;
    for (const storage of storages) {
      const storageKey = this.#provenKey(storage, bytes, iterations);
      const opened = storageKey && this.#openWith(storageKey, by);
      if (opened && !('error' in opened)) return opened;
      failed ??= opened;
    }
    return failed;
  }

  /** Why a key can be compared with none of these; `undefined` if it can with one. */
  whyIncomparable(storages: readonly Storage[]): KeyBackupError | undefined {
    const reasons = storages.map(({ id }) => whyIncomparable(id, this.#accountData));
    return reasons.includes(undefined) ? undefined : reasons[0];
  }

  /** The first malformed MAC of a storage that holds no secret: no key can fit it. */
  get malformed(): KeyBackupError | undefined {
    const reasons = this.storages.map(({ id }) => whyIncomparable(id, this.#accountData));
    return reasons.find((reason) => reason?.code.startsWith('bad-'));
  }

  #matches(bytes: Uint8Array): boolean {
    if (!this.hasPublicKey) return false;
    const key = BackupDecryptionKey.fromBytes(bytes);
    try {
      return compareKey(key, this.#authData) === true;
    } finally {
      key.dispose();
    }
  }

  #openWith(storageKey: SecretStorageKey, by: UnlockedBy): UnlockedKey | Attempt {
    let opened = false;
    try {
      const secret = storageKey.decryptSecret(BACKUP_SECRET, ownValue(this.#accountData, BACKUP_SECRET));
      const { key, flags } = BackupDecryptionKey.fromSecret(secret);
      if (compareKey(key, this.#authData) === false) {
        key.dispose();
        throw new KeyBackupError(
          'wrong-key',
          'the secret storage opened, but the backup key in it is that of another backup',
        );
      }
      const masterKey = this.#masterKey(storageKey);
      opened = true;
      const { flags: more = [] } = this.#comparable ?? {};
      return { by, key, keyMatches: this.hasPublicKey, storageKey, masterKey, flags: [...flags, ...more] };
    } catch (error) {
      if (!(error instanceof KeyBackupError)) throw error;
      return { as: by, error: explained(error) };
    } finally {
      if (!opened) storageKey.dispose();
    }
  }

  /** The key of a storage, if these are its bytes. The caller disposes of it. */
  #provenKey(
    { id, description }: Storage,
    bytes: Uint8Array,
    iterations?: number,
  ): SecretStorageKey | undefined {
    const key = SecretStorageKey.fromBytes(bytes, id, iterations);
    if (provesRight(key, description, this.#accountData)) return key;
    key.dispose();
    return undefined;
  }

  #masterKey(storageKey: SecretStorageKey): MasterKey | undefined {
    try {
      return readMasterKey(
        storageKey.decryptSecret(MASTER_KEY_SECRET, ownValue(this.#accountData, MASTER_KEY_SECRET)),
      );
    } catch {
      // Not every account has one, and the backup can be read without.
      return undefined;
    }
  }
}

function explained(error: KeyBackupError): KeyBackupError {
  if (error.code !== 'missing-field') return error;
  return new KeyBackupError(
    'missing-field',
    `the secret storage opened, but holds no backup key: ${error.message}`,
  );
}

/**
 * The user's cross-signing master key, from the secret `m.cross_signing.master`.
 *
 * What a server says is the master key proves nothing; the one whose seed lies in the user's own secret storage is
 * theirs. Its signature makes a backup trusted, and it can sign one made here.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#cross-signing
 */
export interface MasterKey {
  /** Goes into the trusted keys of `verifyAuthData`. */
  readonly signingKey: SigningKey;
  /**
   * Signs an `auth_data` as the master key. Every signer has a copy of the seed, which the caller disposes of. Throws
   * `bad-parameters` after {@link MasterKey.dispose}.
   */
  readonly signer: (userId: string) => Signer;
  /** Overwrites the seed, not those of the signers. */
  readonly dispose: () => void;
  /** The same, for `using`. */
  readonly [DISPOSE]: () => void;
}

/**
 * Reads the secret `m.cross_signing.master`.
 *
 * @param secret - Base64 of 32 bytes, the Ed25519 seed; padded or not, white space around it ignored.
 * @returns The key; the caller disposes of it.
 * @throws {@link KeyBackupError} `bad-base64`, `bad-length`; `bad-json` for anything but a string.
 *
 * @example
 * ```ts
 * import { BackupDecryptionKey, createAuthData, readMasterKey, signAuthData, verifyAuthData } from 'megolm-backup';
 *
 * const master = readMasterKey('BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc'); // out of the secret storage
 * const userId = '@alice:example.org';
 * const signer = master.signer(userId);
 * const authData = signAuthData(createAuthData(BackupDecryptionKey.generate().publicKey), [signer]);
 * console.log(verifyAuthData(authData, { userId, trustedKeys: [master.signingKey] }).by); // signature
 * signer.dispose();
 * master.dispose();
 * ```
 */
export function readMasterKey(secret: string): MasterKey {
  const seed = decodeSecret(secret, MASTER_KEY_SECRET);
  const kept = new SecretBytes(seed, 'master key');
  const publicKey = base64Encode(publicSigningKeyOf(seed));
  const dispose = () => {
    kept.dispose();
  };
  return {
    signingKey: { keyId: `ed25519:${publicKey}`, publicKey },
    signer: (userId) => ed25519Signer(userId, kept.value),
    dispose,
    [DISPOSE]: dispose,
  };
}

/**
 * Reads the key of the `backup_mac` out of a user's secret storage, where it lies for devices that may write to the
 * backup but not read it. Both names of the secret are read (`BACKUP_MAC_SECRET`). To store it, encrypt
 * `macKey.toBase64()` with {@link SecretStorageKey.encryptSecret}, under a storage key that does not open the
 * decryption key as well.
 *
 * @param key - The decryption key of the backup, where it is at hand. Then a MAC key that does not fit is refused;
 * without it nothing tells whether the secret is of this backup.
 * @returns The key, which the caller disposes of; `undefined` when there is no such secret.
 * @throws {@link KeyBackupError} `wrong-key` when the secret is not the MAC key of `key`, or when both names hold
 * secrets that differ and nothing tells which is right; what {@link SecretStorageKey.decryptSecret} says; `bad-base64`,
 * `bad-length` when the secret is no key.
 *
 * @example
 * ```ts
 * import { BACKUP_MAC_SECRET, BackupDecryptionKey, BackupMacKey, SecretStorageKey, readMacKeySecret } from 'megolm-backup';
 *
 * const key = BackupDecryptionKey.generate();
 * const storage = SecretStorageKey.generate('writers');
 * const name = BACKUP_MAC_SECRET.unstable;
 * const secret = BackupMacKey.fromDecryptionKey(key).toBase64();
 * const accountData = { [name]: storage.encryptSecret(name, secret) };
 *
 * const found = readMacKeySecret(storage, accountData);
 * console.log(found?.toBase64() === secret); // true
 * ```
 */
export function readMacKeySecret(
  storageKey: SecretStorageKey,
  accountData: AccountData,
  key?: BackupDecryptionKey,
): BackupMacKey | undefined {
  expectMethod(storageKey, 'decryptSecret', 'storageKey');
  expectObject(accountData, 'account data');
  if (key !== undefined) expectMethod(key, 'matches', 'decryption key');
  const { stable, unstable } = BACKUP_MAC_SECRET;
  const found: BackupMacKey[] = [];
  let right: BackupMacKey | undefined;
  try {
    for (const name of [stable, unstable]) {
      const content = ownValue(accountData, name);
      if (isDeleted(content)) continue;
      found.push(BackupMacKey.fromBase64(storageKey.decryptSecret(name, content)));
    }
    if (found.length === 0) return undefined;
    const [first] = found;
    // The derived one, because it knows which backup it is of.
    const expected = key ? BackupMacKey.fromDecryptionKey(key) : first;
    const fitting = found.filter((one) => one.equals(expected));
    if (fitting.length === found.length || (key && fitting.length > 0)) return (right = expected);
    if (key) expected.dispose();
    throw new KeyBackupError(
      'wrong-key',
      key
        ? 'the MAC key in the secret storage: expected that of this backup, got that of another'
        : `${stable} and ${unstable}: expected one key, got two: the decryption key would tell which is right`,
    );
  } finally {
    for (const one of found) if (one !== right) one.dispose();
  }
}

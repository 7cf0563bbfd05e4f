import { expectMethod } from '../encoding/arguments.js';
import { BACKUP_MAC_SECRET, BackupMacKey, type MacNames } from '../scheme/backup-mac.js';
import { KeyBackupError } from '../errors.js';
import { expectObject, isJsonObject, ownValue } from '../encoding/json.js';
import type { AccountData } from './key-description.js';
import type { BackupDecryptionKey } from '../scheme/keys.js';
import type { SecretStorageKey } from './secret-storage.js';

/** A MAC key out of the secret storage. */
export interface MacKeySecret {
  /** The caller disposes of it. */
  readonly macKey: BackupMacKey;
  /** Under which name it lay there. */
  readonly names: MacNames;
}

/**
 * Reads the key of the `backup_mac` out of a user's secret storage, where it lies for devices that may write to the
 * backup but not read it. Both names of the secret are read (`BACKUP_MAC_SECRET`). To store it, encrypt
 * `macKey.toBase64()` with {@link SecretStorageKey.encryptSecret}, under a storage key that does not open the
 * decryption key as well.
 *
 * @param key - The decryption key of the backup, where it is at hand. Then a MAC key that does not fit is refused;
 * without it nothing tells whether the secret is of this backup or of one before it.
 * @returns `undefined` when there is no such secret.
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
 * console.log(found?.names, found?.macKey.toBase64() === secret); // unstable true
 * ```
 */
export function readMacKeySecret(
  storageKey: SecretStorageKey,
  accountData: AccountData,
  key?: BackupDecryptionKey,
): MacKeySecret | undefined {
  expectMethod(storageKey, 'decryptSecret', 'storageKey');
  expectObject(accountData, 'account data');
  if (key !== undefined) expectMethod(key, 'matches', 'decryption key');
  const secrets = (['stable', 'unstable'] as const)
    .map((names) => ({ names, secret: secretOf(storageKey, accountData, BACKUP_MAC_SECRET[names]) }))
    .filter((one): one is { names: MacNames; secret: string } => one.secret !== undefined);
  const found: MacKeySecret[] = [];
  try {
    for (const { names, secret } of secrets) {
      found.push({ names, macKey: BackupMacKey.fromBase64(secret) });
    }
  } catch (error) {
    for (const { macKey } of found) macKey.dispose();
    throw error;
  }
  if (found.length === 0) return undefined;
  // The derived one, because it knows which backup it is of.
  const own = key && BackupMacKey.fromDecryptionKey(key);
  const expected = own ?? found[0].macKey;
  const fitting = found.filter(({ macKey }) => macKey.equals(expected));
  for (const { macKey } of found) if (macKey !== expected) macKey.dispose();
  if (fitting.length === found.length || (own && fitting.length > 0)) {
    return { macKey: expected, names: fitting[0].names };
  }
  expected.dispose();
  const { stable, unstable } = BACKUP_MAC_SECRET;
  throw new KeyBackupError(
    'wrong-key',
    own
      ? `${BACKUP_MAC_SECRET[found[0].names]}: expected the MAC key of this backup, got another: one of a backup before it`
      : `${stable} and ${unstable}: expected one key, got two: the decryption key would tell which is right`,
  );
}

function secretOf(storageKey: SecretStorageKey, accountData: AccountData, name: string): string | undefined {
  const content = ownValue(accountData, name);
  // An empty object is how account data is deleted.
  if (content === undefined || (isJsonObject(content) && Object.keys(content).length === 0)) return undefined;
  return storageKey.decryptSecret(name, content);
}

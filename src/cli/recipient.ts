import { UsageError } from './errors.js';
import { verifyAuthData } from '../scheme/auth-data.js';
import type { BackupMacKey } from '../scheme/backup-mac.js';
import { KeyBackupError } from '../errors.js';
import { BackupPublicKey, type BackupDecryptionKey } from '../scheme/keys.js';
import { parseSigningKey, readAuthDataFile } from './auth-data-file.js';
import { parseUserId } from './command.js';
import { readKeyFile } from './key-file.js';
import { chooseMacKey } from './mac-key-file.js';
import type { Terminal } from './terminal.js';

/** What a command line says about what to encrypt to. */
export interface Recipient {
  readonly publicKey: string | undefined;
  readonly keyFile: string | undefined;
  readonly macKeyFile: string | undefined;
  /** Whether records need a `backup_mac`. */
  readonly withMac: boolean;
  readonly authData: string | undefined;
  readonly user: string | undefined;
  readonly keys: readonly string[];
  readonly trustUnverified: boolean;
}

/** What to encrypt to, and where one was asked for, the key of the `backup_mac`; the caller disposes of that. */
export interface Chosen {
  readonly publicKey: BackupPublicKey;
  readonly macKey: BackupMacKey | undefined;
}

/**
 * Finds out what to encrypt to. An `auth_data` is believed by the decryption key, by a signature of a trusted key, or
 * because the user says so.
 *
 * @throws {@link UsageError}; {@link KeyBackupError} `untrusted-backup`, `wrong-key`, and what is wrong with a key.
 */
export async function chooseRecipient(given: Recipient, terminal: Terminal): Promise<Chosen> {
  const { keyFile, macKeyFile, withMac } = given;
  if (withMac && keyFile === undefined && macKeyFile === undefined) {
    throw new UsageError('a backup_mac needs --key-file, from which its key is derived, or --mac-key-file');
  }
  if (keyFile === '-' && macKeyFile === '-') {
    throw new UsageError('standard input holds one line: give the other key as a file');
  }
  const { publicKey, key } = await readRecipient(given, terminal);
  try {
    return { publicKey, macKey: await chooseMacKey(macKeyFile, withMac, publicKey, key, terminal) };
  } finally {
    key?.dispose();
  }
}

interface ReadRecipient {
  readonly publicKey: BackupPublicKey;
  /** Where it was given. */
  readonly key?: BackupDecryptionKey | undefined;
}

async function readRecipient(given: Recipient, terminal: Terminal): Promise<ReadRecipient> {
  const { publicKey, keyFile, authData, user, keys, trustUnverified } = given;
  const signers = user !== undefined || keys.length > 0;
  if (publicKey !== undefined) {
    if (keyFile !== undefined || authData !== undefined || signers || trustUnverified) {
      throw new UsageError('--public-key stands alone: there is nothing to check it against');
    }
    return { publicKey: parsePublicKey(publicKey) };
  }
  if (authData === undefined) {
    if (signers || trustUnverified) throw new UsageError('missing option: --auth-data FILE');
    if (keyFile === undefined)
      throw new UsageError('missing option: one of --public-key, --key-file, --auth-data');
    const key = await readKeyFile(keyFile, terminal);
    return { publicKey: key.publicKey, key };
  }
  if (signers && (user === undefined || keys.length === 0))
    throw new UsageError('--user and --key go together');
  if (!signers && keyFile === undefined && !trustUnverified) {
    throw new UsageError(
      '--auth-data needs a reason to trust it: --key-file, --user and --key, or --trust-unverified',
    );
  }
  if (user !== undefined) parseUserId('--user', user);
  return trustedRecipient(given, await readAuthDataFile(authData), terminal);
}

function parsePublicKey(text: string): BackupPublicKey {
  try {
    return BackupPublicKey.fromBase64(text);
  } catch (cause) {
    if (cause instanceof KeyBackupError && cause.code === 'low-order-key') throw cause;
    throw new UsageError(`--public-key: ${cause instanceof Error ? cause.message : 'unreadable'}`, { cause });
  }
}

async function trustedRecipient(
  given: Recipient,
  authData: unknown,
  terminal: Terminal,
): Promise<ReadRecipient> {
  const publicKey = BackupPublicKey.fromAuthData(authData);
  const key = given.keyFile === undefined ? undefined : await readKeyFile(given.keyFile, terminal);
  // A key that was named has to fit, whatever a signature says: it is what the backup will be read with.
  key?.expectMatch(authData);
  const { trusted, reason } = verifyAuthData(authData, {
    userId: given.user ?? '',
    trustedKeys: given.keys.map(parseSigningKey),
    ...(key && { decryptionKey: key }),
  });
  if (!trusted && !given.trustUnverified) {
    throw new KeyBackupError(
      'untrusted-backup',
      `auth_data: ${reason}, so nothing was encrypted; "megolm-backup verify" says more`,
    );
  }
  return { publicKey, key };
}

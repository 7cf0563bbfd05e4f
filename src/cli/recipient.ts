import { UsageError } from './errors.js';
import { verifyAuthData } from '../scheme/auth-data.js';
import type { BackupMacKey } from '../scheme/backup-mac.js';
import { KeyBackupError } from '../errors.js';
import { BackupPublicKey, type BackupDecryptionKey } from '../scheme/keys.js';
import { parseUserId } from './command.js';
import { chooseMacKey, parseSigningKey, readAuthDataFile, readKeyFile } from './secrets.js';
import type { Terminal } from './terminal.js';

/** The options that say what to encrypt to. */
export interface Recipient {
  readonly publicKey: string | undefined;
  readonly keyFile: string | undefined;
  readonly macKeyFile: string | undefined;
  /** Whether records need a `backup_mac`. */
  readonly withMac: boolean;
  readonly authData: string | undefined;
  readonly user: string | undefined;
  readonly key: readonly string[];
  readonly trustUnverified: boolean;
}

/** What to encrypt to, and the key of the `backup_mac` if one is wanted; the caller disposes of that. */
export interface Chosen {
  readonly publicKey: BackupPublicKey;
  readonly macKey: BackupMacKey | undefined;
}

/**
 * Decides what to encrypt to. An `auth_data` is trusted by the decryption key, by a signature of a trusted key, or
 * because the user says so.
 *
 * @throws {@link UsageError}; {@link KeyBackupError} `untrusted-backup`, `wrong-key`, and the codes of malformed keys.
 */
export async function chooseRecipient(given: Recipient, terminal: Terminal): Promise<Chosen> {
  const { keyFile, macKeyFile, withMac } = given;
  if (withMac && keyFile === undefined && macKeyFile === undefined) {
    throw new UsageError('a backup_mac needs --key-file, from which its key is derived, or --mac-key-file');
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
  const { publicKey, keyFile, authData, user, key: keys, trustUnverified } = given;
  const signers = user !== undefined || keys.length > 0;
  if (publicKey !== undefined) {
    if (keyFile !== undefined || authData !== undefined || signers || trustUnverified) {
      throw new UsageError(
        '--public-key goes with none of the other recipients: there is nothing to check it against',
      );
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
  return trustedRecipient(given, await readAuthDataFile(authData, terminal), terminal);
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
  // The key given has to fit even when a signature is trusted: the backup will be read with it.
  key?.expectMatch(authData);
  const { trusted, reason } = verifyAuthData(authData, {
    userId: given.user ?? '',
    trustedKeys: given.key.map(parseSigningKey),
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

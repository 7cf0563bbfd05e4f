import { InputError } from './errors.js';
import { BackupMacKey } from '../scheme/backup-mac.js';
import { KeyBackupError } from '../errors.js';
import type { BackupDecryptionKey, BackupPublicKey } from '../scheme/keys.js';
import { readSecretLine } from './key-file.js';
import type { Terminal } from './terminal.js';

/** The part of the help about a key file of this kind. */
export const MAC_KEY_USAGE = `  --mac-key-file FILE
                     add a backup_mac by this MAC key, one line of base64 as "mac-key" writes it; - is standard input.
                     With it a device that must not read can write what is authenticated.
`;

/**
 * Reads the key of the `backup_mac`: one line of base64.
 *
 * @throws {@link InputError} when the file is unreadable or holds something else. The message says which check
 * failed and never what stood there.
 */
export async function readMacKeyFile(path: string, terminal: Terminal): Promise<BackupMacKey> {
  const what = 'backup MAC key';
  const line = await readSecretLine(path, what, terminal);
  try {
    return BackupMacKey.fromBase64(line.replace(/\s+/g, ''));
  } catch (cause) {
    if (!(cause instanceof KeyBackupError)) throw cause;
    throw new InputError(`${what}: ${cause.code}: ${cause.message}`, { cause });
  }
}

/**
 * The MAC key to write with: out of a file, or derived from the decryption key.
 *
 * @param key - Where it is at hand, a MAC key out of a file has to be the one derived from it.
 * @returns `undefined` when none is wanted, or there is nothing to derive it from.
 * @throws {@link InputError}; {@link KeyBackupError} `wrong-key` when the file holds another backup's, or the
 * decryption key itself.
 */
export async function chooseMacKey(
  path: string | undefined,
  wanted: boolean,
  publicKey: BackupPublicKey,
  key: BackupDecryptionKey | undefined,
  terminal: Terminal,
): Promise<BackupMacKey | undefined> {
  if (path === undefined && !wanted) return undefined;
  const own = key && BackupMacKey.fromDecryptionKey(key);
  if (path === undefined) return own;
  let chosen: BackupMacKey | undefined;
  let given: BackupMacKey | undefined;
  try {
    given = await readMacKeyFile(path, terminal);
    given.expectMatch(publicKey);
    if (own && !given.equals(own)) {
      throw new KeyBackupError(
        'wrong-key',
        'backup MAC key: expected the one derived from the decryption key, got another backup’s',
      );
    }
    // The derived one, because it knows which backup it is of.
    chosen = own ?? given;
    return chosen;
  } finally {
    for (const one of [own, given]) if (one !== chosen) one?.dispose();
  }
}

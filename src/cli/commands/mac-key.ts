import { InputError, UsageError } from '../errors.js';
import { nodeBackend } from '../../backends/node.js';
import { ownUserId, fetchBackupMacKey, fetchSecretStorage, storeBackupMacKey } from '../../client/account.js';
import type { RoomKeys } from '../../client/api.js';
import { BACKUP_MAC_SECRET, BackupMacKey } from '../../scheme/backup-mac.js';
import { KeyBackupError } from '../../errors.js';
import { defaultKeyId, keyDescription, type AccountData } from '../../secret-storage/key-description.js';
import type { BackupDecryptionKey } from '../../scheme/keys.js';
import { SecretStorageKey } from '../../secret-storage/secret-storage.js';
import { parseCommand } from '../command.js';
import {
  HOMESERVER_ARGUMENTS,
  HOMESERVER_USAGE,
  connect,
  existingBackup,
  withServer,
} from '../homeserver.js';
import { holdsKey, readKeyFile, readSecretLine } from '../key-file.js';
import { writeOutput } from '../output.js';
import type { Terminal } from '../terminal.js';
import { excerpt } from '../../encoding/quote.js';

export const usage = `usage: megolm-backup mac-key --key-file FILE [-o FILE]
       megolm-backup mac-key --store --key-file FILE --storage-key-file FILE --homeserver WHERE
       megolm-backup mac-key --fetch --storage-key-file FILE --homeserver WHERE [--key-file FILE] [-o FILE]

The key of the backup_mac (MSC4048), for a device that may write to a backup but not read it: "encrypt" and "upload" take
it as a file. Whoever has it reads no key, and writes keys that pass for authenticated.

Without --store and --fetch it is derived from the backup decryption key and written out as one line of base64.

  --store            put it into the secret storage of an account instead, as ${BACKUP_MAC_SECRET.unstable}, if the
                     key is that of the current backup
  --fetch            get it from there, under that name or ${BACKUP_MAC_SECRET.stable}. With --key-file one that does
                     not fit is refused; without it nothing tells whether it is the current backup's.
  --key-file FILE    the backup decryption key, in its text form ("recovery key") or base64; - is standard input.
                     The key of the secret storage looks alike but is another one.
  --storage-key-file FILE
                     the key of the secret storage, in its text form ("recovery key"), or its security phrase, in one
                     line. Take a key that does not open the decryption key as well. Nothing is stored under a key
                     that neither a MAC nor a stored secret proves, nor under a phrase of fewer than 100,000 rounds.
  --storage-key-id ID
                     which key of the secret storage that is; without it, the default one
${HOMESERVER_USAGE}  -o, --output FILE  write it to a new file that only you can read; a file that holds a key already is never
                     overwritten. Without it, standard output

Exit code 0 when it is done, 1 when a key does not fit or there is no such secret, 2 for wrong usage, unreadable input, or
no way to the server.

example:
  megolm-backup mac-key --key-file key.txt -o mac-key.txt
`;

/** `megolm-backup mac-key` */
export async function run(args: readonly string[], terminal: Terminal): Promise<number> {
  const options = {
    ...HOMESERVER_ARGUMENTS,
    store: { type: 'boolean' },
    fetch: { type: 'boolean' },
    'key-file': { type: 'string' },
    'storage-key-file': { type: 'string' },
    'storage-key-id': { type: 'string' },
    output: { type: 'string', short: 'o' },
  } as const;
  const { values } = parseCommand(args, options, []);
  const { homeserver, output, store = false, fetch = false } = values;
  const { 'key-file': keyFile, 'storage-key-file': storageFile, 'token-file': tokenFile } = values;
  const storageId = values['storage-key-id'];
  if (store && fetch) throw new UsageError('--store and --fetch do not go together');
  const ofStorage = [homeserver, storageFile, storageId, tokenFile].some((value) => value !== undefined);
  if (!store && !fetch && ofStorage) throw new UsageError('the secret storage goes with --store or --fetch');
  if (store && output !== undefined) throw new UsageError('--store writes no file');
  if ([keyFile, storageFile, tokenFile].filter((path) => path === '-').length > 1) {
    throw new UsageError('standard input holds one line: give the other secrets as files');
  }
  if (output !== undefined && (await holdsKey(output, terminal))) {
    throw new InputError(`-o: ${output} holds a key already, maybe the only copy of it; give another name`);
  }
  const key = fetch && keyFile === undefined ? undefined : await readKeyFile(keyFile, terminal);
  try {
    if (!store && !fetch) {
      await writeMacKey(derived(key), output, terminal);
      return 0;
    }
    const given = await readSecretLine(storageFile, 'key of the secret storage, or its phrase', terminal);
    const roomKeys = await connect(values, terminal);
    const account = { roomKeys, given, storageId };
    await (store ? storeKey(account, key, terminal) : fetchKey(account, key, output, terminal));
    return 0;
  } finally {
    key?.dispose();
  }
}

function derived(key: BackupDecryptionKey | undefined): BackupMacKey {
  if (!key) throw new UsageError('missing option: --key-file FILE');
  return BackupMacKey.fromDecryptionKey(key);
}

async function writeMacKey(
  macKey: BackupMacKey,
  output: string | undefined,
  terminal: Terminal,
): Promise<void> {
  try {
    await writeOutput(output, `${macKey.toBase64()}\n`, terminal);
  } finally {
    macKey.dispose();
  }
}

/** An account, and what opens a key of its secret storage. */
interface Account {
  readonly roomKeys: RoomKeys;
  readonly given: string;
  readonly storageId: string | undefined;
}

async function storeKey(
  account: Account,
  key: BackupDecryptionKey | undefined,
  terminal: Terminal,
): Promise<void> {
  const { roomKeys } = account;
  const { signal } = terminal;
  const macKey = derived(key);
  try {
    await withServer(async () => {
      const info = await existingBackup(roomKeys, signal);
      key?.expectMatch(info.auth_data);
      const userId = await ownUserId(roomKeys, { signal });
      const storageKey = await openStorage(account, userId, terminal);
      try {
        await storeBackupMacKey(roomKeys, userId, storageKey, macKey, { signal });
      } finally {
        storageKey.dispose();
      }
      terminal.stderr(
        `stored as ${BACKUP_MAC_SECRET.unstable} under the storage key ${excerpt(storageKey.id)}\n`,
      );
    });
  } finally {
    macKey.dispose();
  }
}

async function fetchKey(
  account: Account,
  key: BackupDecryptionKey | undefined,
  output: string | undefined,
  terminal: Terminal,
): Promise<void> {
  const { roomKeys } = account;
  const { signal } = terminal;
  const found = await withServer(async () => {
    const userId = await ownUserId(roomKeys, { signal });
    const storageKey = await openStorage(account, userId, terminal);
    try {
      return await fetchBackupMacKey(roomKeys, userId, storageKey, { key, signal });
    } finally {
      storageKey.dispose();
    }
  });
  if (!found) {
    throw new KeyBackupError('missing-field', 'the secret storage: expected a MAC key, found none');
  }
  if (!key) terminal.stderr('nothing tells whether it is the current backup’s; --key-file would\n');
  await writeMacKey(found.macKey, output, terminal);
}

/** Opens a key of the secret storage with its text form or its phrase. */
async function openStorage(
  { roomKeys, given, storageId }: Account,
  userId: string,
  { signal }: Terminal,
): Promise<SecretStorageKey> {
  const secrets = Object.values(BACKUP_MAC_SECRET);
  const accountData: AccountData = await fetchSecretStorage(roomKeys, userId, { secrets, storageId, signal });
  const keyId = storageId ?? defaultKeyId(accountData);
  try {
    return SecretStorageKey.fromRecoveryKey(given, accountData, keyId);
  } catch (error) {
    // What is no key may be a phrase, where there is one.
    const isPhrase = error instanceof KeyBackupError && error.code === 'bad-recovery-key';
    if (!isPhrase || !Object.hasOwn(keyDescription(accountData, keyId), 'passphrase')) throw error;
    return SecretStorageKey.fromPassphrase(given, accountData, { keyId, signal, backend: nodeBackend() });
  }
}

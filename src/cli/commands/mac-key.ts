import { nodeBackend } from '../../backends/node.js';
import { fetchBackupMacKey, fetchSecretStorage, ownUserId, storeBackupMacKey } from '../../client/account.js';
import type { RoomKeys } from '../../client/api.js';
import { excerpt } from '../../encoding/quote.js';
import { KeyBackupError } from '../../errors.js';
import { BACKUP_MAC_SECRET, BackupMacKey } from '../../scheme/backup-mac.js';
import type { BackupDecryptionKey } from '../../scheme/keys.js';
import { pastedKey } from '../../scheme/pasted-key.js';
import { PASSPHRASE_FORMS } from '../../scheme/passphrase-forms.js';
import { anyDescription, defaultKeyId, type AccountData } from '../../secret-storage/key-description.js';
import { SecretStorageKey } from '../../secret-storage/secret-storage.js';
import { defineCommand } from '../command.js';
import { UsageError } from '../errors.js';
import { connect, existingBackup, withServer } from '../homeserver.js';
import { HOMESERVER, KEY_FILE, OUTPUT } from '../options.js';
import { writeOutput } from '../outputs.js';
import { expectNoKeyIn, readKeyFile, readKeyOrPhrase } from '../secrets.js';
import type { Terminal } from '../terminal.js';

export const command = defineCommand({
  name: 'mac-key',
  summary: 'derive, store or fetch the key that authenticates records',
  usage: [
    '--key-file FILE [-o FILE]',
    '--store --key-file FILE --storage-key-file FILE --homeserver WHERE',
    '--fetch --storage-key-file FILE --homeserver WHERE [--key-file FILE] [-o FILE]',
  ],
  description: `
The key of the backup_mac (MSC4048), for a device that may write to a backup but not read it: "encrypt" and
"upload" take it as a file. It reads no key, but with it anyone can write keys that pass for authenticated.

Without --store and --fetch it is derived from the backup decryption key and written out as one line of base64.
A file that holds a key already is never overwritten, not even with --force.
`,
  options: {
    store: {
      help: `put it into the secret storage of an account instead, as ${BACKUP_MAC_SECRET.unstable}, if the key is that
        of the current backup`,
    },
    fetch: {
      help: `get it from there, under that name or ${BACKUP_MAC_SECRET.stable}. With --key-file one that does not fit is
        rejected; without it there is no check that it belongs to the current backup`,
    },
    ...KEY_FILE,
    'storage-key-file': {
      value: 'FILE',
      help: `the key of the secret storage, in its text form ("recovery key"), or its security phrase, on one line. Take a
        key that does not open the decryption key as well. Nothing is stored under a key that neither a MAC nor a stored
        secret proves, nor under a phrase of fewer than 100,000 rounds`,
    },
    'storage-key-id': {
      value: 'ID',
      help: 'which key of the secret storage that is; default its default key',
    },
    ...HOMESERVER,
    ...OUTPUT,
  },
  exitCodes: `Exit code 0 when it is done, 1 when a key does not fit or there is no such secret, 2 for wrong usage,
    unreadable input, or no way to the server.`,
  example: 'megolm-backup mac-key --key-file key.txt -o mac-key.txt',
  async run({ store, fetch, keyFile, storageKeyFile, storageKeyId: storageId, ...options }, terminal) {
    const { homeserver, tokenFile, output } = options;
    if (store && fetch) throw new UsageError('--store and --fetch do not go together');
    const ofStorage = [homeserver, storageKeyFile, storageId, tokenFile].some((value) => value !== undefined);
    if (!store && !fetch && ofStorage)
      throw new UsageError('the secret storage goes with --store or --fetch');
    if (store && output !== undefined) throw new UsageError('--store writes no file');
    expectNoKeyIn(output, terminal);
    const key = fetch && keyFile === undefined ? undefined : await readKeyFile(keyFile, terminal);
    try {
      if (!store && !fetch) {
        await writeMacKey(derived(key), output, terminal);
        return 0;
      }
      const what = 'key of the secret storage, or its phrase';
      const given = await readKeyOrPhrase(storageKeyFile, terminal, what);
      const account = { roomKeys: await connect(options, terminal), given, storageId };
      await (store ? storeKey(account, key, terminal) : fetchKey(account, key, output, terminal));
      return 0;
    } finally {
      key?.dispose();
    }
  },
});

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
  if (!key) terminal.stderr('cannot tell whether it belongs to the current backup; --key-file checks that\n');
  await writeMacKey(found, output, terminal);
}

/** Opens a key of the secret storage with its text form or its phrase. */
async function openStorage(
  { roomKeys, given, storageId }: Account,
  userId: string,
  terminal: Terminal,
): Promise<SecretStorageKey> {
  const { signal } = terminal;
  const secrets = Object.values(BACKUP_MAC_SECRET);
  const accountData: AccountData = await fetchSecretStorage(roomKeys, userId, { secrets, storageId, signal });
  const keyId = storageId ?? defaultKeyId(accountData);
  try {
    return SecretStorageKey.fromRecoveryKey(pastedKey(given)?.text ?? given, accountData, keyId);
  } catch (error) {
    // It may be a phrase, if the key has one.
    const isPhrase = error instanceof KeyBackupError && error.code === 'bad-recovery-key';
    if (!isPhrase || !Object.hasOwn(anyDescription(accountData, keyId), 'passphrase')) throw error;
    return SecretStorageKey.fromPassphrase(given, accountData, {
      keyId,
      signal,
      backend: nodeBackend(),
      onOtherForm: (form) => {
        terminal.stderr(`the phrase fits ${PASSPHRASE_FORMS[form]}\n`);
      },
    });
  }
}

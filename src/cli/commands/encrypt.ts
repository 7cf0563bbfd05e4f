import { encryptSessions } from '../../backends/auto.js';
import { nodeBackend } from '../../backends/node.js';
import type { JsonObject } from '../../encoding/json.js';
import { printable } from '../../encoding/quote.js';
import { KeyBackupError } from '../../errors.js';
import type { ExportedSessionData } from '../../formats/room-key.js';
import { resultsInPlace } from '../../report/in-place.js';
import { reasonOf, Report, rooted } from '../../report/report.js';
import { verifyAuthData } from '../../scheme/auth-data.js';
import { BackupPublicKey, type BackupDecryptionKey } from '../../scheme/keys.js';
import type { BackupEntry } from '../../wire/backup-item.js';
import { defineCommand, parseUserId, type Values } from '../command.js';
import { UsageError } from '../errors.js';
import { openKeysFile } from '../files.js';
import {
  AUTH_DATA,
  BACKUP_MAC,
  BIND_ROOM_ID,
  JSON_SUMMARY,
  KEY_FILE,
  OUTPUT,
  TRUSTED_KEY,
  VERIFIED,
} from '../options.js';
import { BackupObjects, withResultFiles } from '../outputs.js';
import { isJsonSummary, tellSummary, withProgress } from '../results.js';
import {
  chooseMacKey,
  parsePublicKey,
  parseSigningKey,
  readAuthDataFile,
  readKeyFile,
  wantsMac,
} from '../secrets.js';
import type { Terminal } from '../terminal.js';

const OPTIONS = {
  'public-key': { value: 'BASE64', help: 'encrypt to this public key' },
  ...KEY_FILE,
  ...AUTH_DATA,
  user: { value: 'ID', help: 'whose backup it is; only this user’s signatures count' },
  ...TRUSTED_KEY,
  'trust-unverified': {
    help: 'encrypt to the backup of this auth_data although nothing proves it: its maker will be able to read every key',
  },
  ...BACKUP_MAC,
  ...BIND_ROOM_ID,
  ...VERIFIED,
  ...OUTPUT,
  ...JSON_SUMMARY,
} as const;

export const command = defineCommand({
  name: 'encrypt',
  summary: 'encrypt exported sessions into backup objects',
  usage: [
    'EXPORT.json --public-key BASE64 [options]',
    'EXPORT.json --key-file FILE [options]',
    'EXPORT.json --auth-data FILE --key-file FILE [options]',
    'EXPORT.json --auth-data FILE --user ID --key ed25519:ID=BASE64 [options]',
    'EXPORT.json --auth-data FILE --trust-unverified [options]',
  ],
  description: `
Encrypts exported sessions, an array of ExportedSessionData, into backup objects:
{"rooms":{ROOM:{"sessions":{SESSION:KeyBackupData}}}}, the body of PUT /room_keys/keys. What other
implementations would drop a key for is mended where that is possible; such keys are flagged.

An auth_data is used only when it is trusted: by the key, by a signature, or because you say so.
`,
  arguments: ['EXPORT.json'],
  options: OPTIONS,
  exitCodes: `Exit code 0 when every session was encrypted, 1 when some were not or the auth_data is not trusted, 2 for
    wrong usage or unreadable input.`,
  example:
    'megolm-backup encrypt export.json --public-key hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo -o backup.json',
  async run({ verified, ...options }, terminal, path) {
    const withMac = wantsMac(options, options.keyFile !== undefined);
    expectRecipient(options);
    const { publicKey, macKey } = await readRecipient(options, withMac, terminal);
    const report = new Report(({ path: where }, { code, message }) => {
      // A message about a record that is not JSON names its path already.
      terminal.stderr(`${rooted(where)}: ${code}: ${printable(message.replace(`${where}: `, ''))}\n`);
    });
    const backup = new BackupObjects();
    try {
      await withResultFiles(options, terminal, async (output) => {
        await withProgress(terminal, async (show) => {
          const file = openKeysFile(path, 'array', terminal);
          const settings = {
            isVerified: verified,
            macKey,
            bindRoomId: options.bindRoomId,
            backend: nodeBackend(),
            signal: terminal.signal,
            onProgress: () => {
              show(report.ok + report.failed, file.share);
            },
          };
          // The engine checks what it is given.
          const take = (entry: BackupEntry) => entry.key_backup_data as ExportedSessionData;
          const results = resultsInPlace(file.items, take, (sessions) =>
            encryptSessions(sessions, publicKey, settings),
          );
          for await (const result of results) {
            if (result.ok) {
              backup.add(result);
              report.succeeded(result, result.flags);
              if (result.flags.length > 0) {
                terminal.stderr(`${rooted(result.path)}: ${reasonOf(result.flags)}\n`);
              }
            } else {
              report.refused(result, result.error);
            }
          }
        });
        await backup.writeTo(output);
        return true;
      });
    } finally {
      macKey?.dispose();
    }
    const { duplicates } = backup;
    const notes =
      duplicates > 0 ? `${duplicates} sessions are duplicates; the copy that reads most was taken\n` : '';
    tellSummary(report, isJsonSummary(options), terminal, { duplicates }, report.text + notes);
    return report.failed === 0 ? 0 : 1;
  },
});

/** The options that say what to encrypt to. */
type Recipient = Pick<
  Values<typeof OPTIONS>,
  'publicKey' | 'keyFile' | 'macKeyFile' | 'authData' | 'user' | 'key' | 'trustUnverified'
>;

/** Expects one recipient. An `auth_data` needs a reason to trust it: the decryption key, a signature, or the word. */
function expectRecipient(given: Recipient): void {
  const { publicKey, keyFile, authData, user, key, trustUnverified } = given;
  const signers = user !== undefined || key.length > 0;
  if (publicKey !== undefined) {
    if (keyFile !== undefined || authData !== undefined || signers || trustUnverified) {
      throw new UsageError(
        '--public-key goes with none of the other recipients: there is nothing to check it against',
      );
    }
  } else if (authData === undefined) {
    if (signers || trustUnverified) throw new UsageError('missing option: --auth-data FILE');
    if (keyFile === undefined) {
      throw new UsageError('missing option: one of --public-key, --key-file, --auth-data');
    }
  } else if (signers && (user === undefined || key.length === 0)) {
    throw new UsageError('--user and --key go together');
  } else if (!signers && keyFile === undefined && !trustUnverified) {
    throw new UsageError(
      '--auth-data needs a reason to trust it: --key-file, --user and --key, or --trust-unverified',
    );
  }
  if (user !== undefined) parseUserId('--user', user);
}

/** What to encrypt to, and the key of the `backup_mac` if one is wanted; the caller disposes of that. */
async function readRecipient(given: Recipient, withMac: boolean, terminal: Terminal) {
  const { keyFile, macKeyFile, authData } = given;
  const described = authData === undefined ? undefined : await readAuthDataFile(authData, terminal);
  const key = keyFile === undefined ? undefined : await readKeyFile(keyFile, terminal);
  try {
    const publicKey = described
      ? trustedKey(described, given, key)
      : (key?.publicKey ?? parsePublicKey(given.publicKey ?? ''));
    return { publicKey, macKey: await chooseMacKey(macKeyFile, withMac, publicKey, key, terminal) };
  } finally {
    key?.dispose();
  }
}

function trustedKey(
  authData: JsonObject,
  { user, key: signers, trustUnverified }: Recipient,
  decryptionKey: BackupDecryptionKey | undefined,
): BackupPublicKey {
  const publicKey = BackupPublicKey.fromAuthData(authData);
  // The key given has to fit even when a signature is trusted: the backup will be read with it.
  decryptionKey?.expectMatch(authData);
  const trustedKeys = signers.map(parseSigningKey);
  const userId = user === undefined ? '' : parseUserId('--user', user);
  const { trusted, reason } = verifyAuthData(authData, { userId, trustedKeys, decryptionKey });
  if (!trusted && !trustUnverified) {
    throw new KeyBackupError(
      'untrusted-backup',
      `auth_data: ${reason}, so nothing was encrypted; "megolm-backup verify" says more`,
    );
  }
  return publicKey;
}

import { reasonOf, Report, rooted } from '../../report/report.js';
import { encryptSessions } from '../../backends/auto.js';
import { nodeBackend } from '../../backends/node.js';
import { printable } from '../../encoding/quote.js';
import type { ExportedSessionData } from '../../formats/room-key.js';
import type { UnauthenticatedSource } from '../../scheme/backup-mac.js';
import { defineCommand } from '../command.js';
import { UsageError } from '../errors.js';
import { keysInFlight, openKeysFile } from '../files.js';
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
import { chooseRecipient } from '../recipient.js';
import { isJsonSummary, summaryJson, withProgress } from '../results.js';

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
  options: {
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
    unauthenticated: {
      value: 'SOURCE',
      help: `with a backup_mac: vouch for none of the sessions, and say where they are from: m.legacy-v1,
        m.forwarded_room_key or m.undefined`,
    },
    ...VERIFIED,
    ...OUTPUT,
    ...JSON_SUMMARY,
  },
  exitCodes: `Exit code 0 when every session was encrypted, 1 when some were not or the auth_data is not trusted, 2 for
    wrong usage or unreadable input.`,
  example:
    'megolm-backup encrypt export.json --public-key hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo -o backup.json',
  async run({ verified, bindRoomId, unauthenticated, backupMac, ...options }, terminal, path) {
    const source = parseSource(unauthenticated);
    const withMac = backupMac || options.macKeyFile !== undefined;
    if (!withMac && (source !== undefined || bindRoomId)) {
      throw new UsageError('--bind-room-id and --unauthenticated need --backup-mac or --mac-key-file');
    }
    const { publicKey, macKey } = await chooseRecipient({ ...options, withMac }, terminal);
    const report = new Report(({ path: where }, { code, message }) => {
      // A message about a record that is not JSON names its path already.
      terminal.stderr(`${rooted(where)}: ${code}: ${printable(message.replace(`${where}: `, ''))}\n`);
    });
    const backup = new BackupObjects();
    try {
      await withResultFiles(options, terminal, async ({ result: output }) => {
        await withProgress(terminal, async (progress) => {
          const file = openKeysFile(path, 'array', terminal);
          // The engine checks what it is given.
          const keys = keysInFlight(file, report, ({ value }) => value as ExportedSessionData);
          const results = encryptSessions(keys.inputs, publicKey, {
            isVerified: verified,
            macKey,
            bindRoomId,
            unauthenticated: source && (() => source),
            backend: nodeBackend(),
            signal: terminal.signal,
            onProgress: () => {
              progress.update(report.ok + report.failed, file.share);
            },
          });
          for await (const result of results) {
            const place = keys.nextPlace();
            if (result.ok) {
              backup.add(result);
              report.succeeded(place, result.flags);
              if (result.flags.length > 0) {
                progress.clear();
                terminal.stderr(`${rooted(place.path)}: ${reasonOf(result.flags)}\n`);
              }
            } else {
              report.refused(place, result.error);
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
    if (isJsonSummary(options)) {
      terminal.stdout(summaryJson(report, { duplicates }));
    } else {
      terminal.stderr(report.text);
      if (duplicates > 0) {
        terminal.stderr(
          `${duplicates} sessions were there more than once; the copy that reads most was taken\n`,
        );
      }
    }
    return report.failed === 0 ? 0 : 1;
  },
});

const SOURCES: readonly UnauthenticatedSource[] = ['m.legacy-v1', 'm.forwarded_room_key', 'm.undefined'];

function parseSource(text: string | undefined): UnauthenticatedSource | undefined {
  const source = SOURCES.find((known) => known === text);
  if (text !== undefined && !source) {
    throw new UsageError(`--unauthenticated: expected one of ${SOURCES.join(', ')}`);
  }
  return source;
}

import type { BackupEntry } from '../../wire/backup-reader.js';
import { KeyFit } from '../../report/key-match-counter.js';
import { Report } from '../../report/report.js';
import { decryptSessions } from '../../backends/auto.js';
import { nodeBackend } from '../../backends/node.js';
import type { BackupRecord, DecryptSettings } from '../../batch/decrypt.js';
import type { BackupDecryptionKey } from '../../scheme/keys.js';
import { readAuthDataFile } from '../auth-data-file.js';
import { parseCommand } from '../command.js';
import { keysInFlight, openKeysFile } from '../input.js';
import { readKeyFile } from '../key-file.js';
import { ProgressLine } from '../progress.js';
import { openResultFiles } from '../result-files.js';
import { SessionArray } from '../session-array.js';
import { tellSummary } from '../summary.js';
import type { Terminal } from '../terminal.js';

export const usage = `usage: megolm-backup decrypt BACKUP.json --key-file FILE [options]

Decrypts the keys of a backup, {"rooms":{ROOM:{"sessions":{SESSION:KeyBackupData}}}} as GET /room_keys/keys gives
it, into an array of ExportedSessionData. Every key that cannot be read is counted with its reason.

  --key-file FILE    the backup decryption key, in its text form ("recovery key") or base64; - is standard input.
                     The key of the secret storage looks alike but is another one.
  --auth-data FILE   the backup's auth_data or version object: a key that does not fit is said before anything else
  --require-authenticated
                     refuse every key without a right backup_mac, and those their writer did not vouch for
  --salvage          also read keys that are malformed in ways an old client accepted; they are flagged
  --report FILE      write what became of every failed or flagged key
  -o, --output FILE  where the sessions go; without it, standard output
  --json             with -o: print the numbers as JSON

The summary says how many keys prove where they come from (verified) and how many do not (no-mac, wrong-mac,
declared-unauthenticated). Nobody vouches for the latter: do not vouch for them by encrypting them again with a MAC.

Exit code 0 when every key was read, 1 when some were not, when a backup_mac is wrong, or when the key is the wrong one.

example:
  megolm-backup decrypt backup.json --key-file key.txt --auth-data version.json --report report.json -o sessions.json
`;

/** `megolm-backup decrypt` */
export async function run(args: readonly string[], terminal: Terminal): Promise<number> {
  const { values, positionals } = parseCommand(
    args,
    {
      'key-file': { type: 'string' },
      'auth-data': { type: 'string' },
      'require-authenticated': { type: 'boolean' },
      salvage: { type: 'boolean' },
      report: { type: 'string' },
      output: { type: 'string', short: 'o' },
      json: { type: 'boolean' },
    },
    ['BACKUP.json'],
  );
  const authData =
    values['auth-data'] === undefined ? undefined : await readAuthDataFile(values['auth-data']);
  const key = await readKeyFile(values['key-file'], terminal);
  if (authData) key.expectMatch(authData);
  const report = new Report();
  const settings = {
    salvage: values.salvage === true,
    requireAuthenticated: values['require-authenticated'] === true,
  };
  const files = await openResultFiles(values.output, values.report, terminal);
  const sessions = new SessionArray(files.result);
  let fits: boolean;
  try {
    fits = await decryptFile(positionals[0], key, settings, report, sessions, terminal);
    await files.commitReport(report);
    if (fits) {
      await sessions.end();
      await files.result.commit();
    } else {
      await files.discard();
    }
  } catch (error) {
    await files.discard();
    throw error;
  } finally {
    key.dispose();
  }
  if (!fits) {
    terminal.stderr(`${KeyFit.WRONG_KEY}\n`);
  }
  tellSummary(report, values.json === true && values.output !== undefined, terminal);
  return report.exitCode;
}

/** Returns whether the key fits the backup, as far as its records tell. */
async function decryptFile(
  path: string,
  key: BackupDecryptionKey,
  settings: DecryptSettings,
  report: Report,
  sessions: SessionArray,
  terminal: Terminal,
): Promise<boolean> {
  const file = openKeysFile(path, 'rooms');
  const progress = new ProgressLine(terminal);
  const onProgress = () => {
    progress.update(report.ok + report.failed, file.share);
  };
  const fit = new KeyFit();
  try {
    const keys = keysInFlight(file, report, asRecord);
    const { signal } = terminal;
    const backend = nodeBackend();
    const options = { ...settings, backend, signal, onProgress };
    for await (const result of decryptSessions(keys.inputs, key, options)) {
      const place = keys.nextPlace();
      fit.take(result);
      if (result.ok) {
        report.succeeded(place, result.flags, result.authenticity);
        await sessions.write(result.session);
      } else {
        report.refused(place, result.error);
      }
    }
  } finally {
    progress.clear();
  }
  return fit.fits;
}

function asRecord({ room_id, session_id, value }: BackupEntry): BackupRecord {
  return { room_id: room_id ?? '', session_id: session_id ?? '', key_backup_data: value };
}

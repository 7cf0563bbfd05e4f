import { nodeBackend } from '../../backends/node.js';
import { KeyMatchCounter, rescueItems } from '../../report/rescue.js';
import { Report } from '../../report/report.js';
import { expectNoMismatch } from '../../scheme/keys.js';
import { defineCommand } from '../command.js';
import { WRONG_KEY } from '../errors.js';
import { openKeysFile } from '../files.js';
import { AUTH_DATA, KEY_FILE, READING } from '../options.js';
import { SessionArray, withResultFiles } from '../outputs.js';
import { isJsonSummary, tellReading, withProgress } from '../results.js';
import { readAuthDataFile, readKeyFile } from '../secrets.js';

export const command = defineCommand({
  name: 'decrypt',
  summary: 'decrypt backup objects into exported sessions',
  usage: ['BACKUP.json --key-file FILE [options]'],
  description: `
Decrypts the keys of a backup, {"rooms":{ROOM:{"sessions":{SESSION:KeyBackupData}}}} as GET /room_keys/keys
gives it, into an array of ExportedSessionData. Every key that cannot be read is counted with its reason.

The summary says how many keys prove where they come from (verified) and how many do not (no-mac, wrong-mac,
declared-unauthenticated). Do not vouch for the latter by encrypting them again with a MAC.
`,
  arguments: ['BACKUP.json'],
  options: { ...KEY_FILE, ...AUTH_DATA, ...READING },
  exitCodes: `Exit code 0 when every key was read, 1 when some were not, when a backup_mac is wrong, or when the key is the
    wrong one, 2 for wrong usage or unreadable input.`,
  example:
    'megolm-backup decrypt backup.json --key-file key.txt --auth-data version.json --report report.json -o sessions.json',
  async run({ keyFile, authData, salvage, requireAuthenticated, ...options }, terminal, path) {
    const described = authData === undefined ? undefined : await readAuthDataFile(authData, terminal);
    const key = await readKeyFile(keyFile, terminal);
    const report = new Report();
    const fit = new KeyMatchCounter();
    try {
      if (described) expectNoMismatch(key, described);
      await withResultFiles(options, terminal, async (output, commitReport) => {
        const sessions = new SessionArray(output);
        await withProgress(terminal, async (show) => {
          const file = openKeysFile(path, 'rooms', terminal);
          const results = rescueItems(file.items, key, {
            salvage,
            requireAuthenticated,
            backend: nodeBackend(),
            signal: terminal.signal,
            onProgress: () => {
              show(report.ok + report.failed, file.share);
            },
          });
          for await (const result of results) {
            fit.add(result);
            if (result.ok) {
              report.succeeded(result, result.flags, result.authenticity);
              await sessions.write(result.session);
            } else {
              report.refused(result, result.error);
            }
          }
        });
        await commitReport(report);
        if (fit.fits) await sessions.end();
        return fit.fits;
      });
    } finally {
      key.dispose();
    }
    if (!fit.fits) terminal.stderr(`${WRONG_KEY}\n`);
    return tellReading(report, { json: isJsonSummary(options), salvage }, terminal);
  },
});

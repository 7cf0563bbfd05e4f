import { nodeBackend } from '../backends/node.js';
import { noAuthenticity } from '../api/authenticity.js';
import { moveBackup, type MoveOutcome, type MoveResult } from '../client/move-backup.js';
import type { BackupDecryptionKey } from '../engine/keys.js';
import { moveToAuthenticated } from '../engine/msc4048.js';
import { readAuthDataFile } from './auth-data-file.js';
import { BackupObjects, commitBackup } from './backup-objects.js';
import { UsageError, expectNone, parseCommand } from './command.js';
import { EXPERIMENTAL_USAGE } from './experimental.js';
import { connect, existingBackup, withServer } from './homeserver.js';
import { keysInFlight, openKeysFile } from './input.js';
import { readKeyFile } from './key-file.js';
import { openOutput } from './output.js';
import { ProgressLine } from './progress.js';
import { Report, type Place } from '../api/report.js';
import { openResultFiles } from './result-files.js';
import type { Terminal } from './terminal.js';
import { printable } from '../engine/quote.js';

export const usage = `usage: megolm-backup move BACKUP.json --experimental-msc4048 --key-file FILE [options]
       megolm-backup move --homeserver WHERE --experimental-msc4048 --key-file FILE [options]

Moves a backup, in a file or on a server, to another algorithm with the same key. What has a right backup_mac moves as it
is. Everything else is encrypted anew, with a backup_mac and a word that nobody vouches for it (m.legacy-v1): moving makes
nothing authentic. What you have trusted copies of, "authenticate" vouches for; do that first.

${EXPERIMENTAL_USAGE}  --key-file FILE    the backup decryption key, in its text form ("recovery key") or base64; - is standard input
  --bind-room-id     add a copy of the room id to what is encrypted anew, so that a moved record is noticed
  --report FILE      write what became of every key that cannot be read, or has a wrong backup_mac
  --json             print the numbers as JSON, with a file when there is -o
with a file:
  --auth-data FILE   the backup's auth_data or version object: a key that does not fit is said before anything else
  -o, --output FILE  where the backup objects go, the body of PUT /room_keys/keys; without it, standard output
with a server, where the moved keys go into a new version. The old one stays until you delete it:
  --homeserver WHERE a URL, a server name or a user id
  --token-file FILE  the access token, in one line; - is standard input. Without it, the environment variable
                     MATRIX_ACCESS_TOKEN, or a question on the terminal.
  --into VERSION     go on with a new version that an earlier run has made, from the version that --from names
  --from VERSION     move this version, not the current one

Exit code 0 when every key was moved; 1 when some cannot be read, when a backup_mac was wrong, or when the key is the
wrong one; 2 for wrong usage, unreadable input, or no way to the server.

example:
  megolm-backup move backup.json --experimental-msc4048 --key-file key.txt -o moved.json
`;

/** `megolm-backup move` */
export async function run(args: readonly string[], terminal: Terminal): Promise<number> {
  const options = {
    'experimental-msc4048': { type: 'boolean' },
    'key-file': { type: 'string' },
    'bind-room-id': { type: 'boolean' },
    report: { type: 'string' },
    json: { type: 'boolean' },
    'auth-data': { type: 'string' },
    output: { type: 'string', short: 'o' },
    homeserver: { type: 'string' },
    'token-file': { type: 'string' },
    into: { type: 'string' },
    from: { type: 'string' },
  } as const;
  const { values, positionals } = parseCommand(args, options, undefined);
  const { homeserver, into, from, report: reportPath } = values;
  if (values['experimental-msc4048'] !== true) {
    throw new UsageError(
      '--experimental-msc4048 says where to, and that you know that no other client reads it',
    );
  }
  const onServer = homeserver !== undefined;
  if (positionals.length !== (onServer ? 0 : 1)) {
    throw new UsageError('give either one BACKUP.json or --homeserver');
  }
  if (onServer) expectNone(values, ['auth-data', 'output'], 'a file');
  else expectNone(values, ['token-file', 'into', 'from'], 'a server');
  if (into !== undefined && from === undefined) throw new UsageError('--into goes with --from');
  const key = await readKeyFile(values['key-file'], terminal);
  const report = new Report(({ path }, { code, message }) => {
    terminal.stderr(`${path}: ${code}: ${printable(message)}\n`);
  });
  const move = { key, report, reportPath, bindRoomId: values['bind-room-id'] === true };
  const json = values.json === true;
  try {
    if (onServer) return await onHomeserver(values, move, { from, into }, json, terminal);
    const files = { backup: positionals[0], authData: values['auth-data'], output: values.output };
    return await inFiles(files, move, json && values.output !== undefined, terminal);
  } finally {
    key.dispose();
  }
}

/** What both forms of the command do. */
interface Move {
  readonly key: BackupDecryptionKey;
  readonly report: Report;
  readonly reportPath: string | undefined;
  readonly bindRoomId: boolean;
}

interface Files {
  readonly backup: string;
  readonly authData: string | undefined;
  readonly output: string | undefined;
}

async function inFiles(
  { backup: path, authData, output }: Files,
  { key, report, reportPath, bindRoomId }: Move,
  json: boolean,
  terminal: Terminal,
): Promise<number> {
  if (authData !== undefined) key.expectMatch(await readAuthDataFile(authData));
  const after = noAuthenticity();
  const backup = new BackupObjects();
  const files = await openResultFiles(output, reportPath, terminal);
  const progress = new ProgressLine(terminal);
  try {
    const file = openKeysFile(path, 'rooms');
    const keys = keysInFlight(file, report, ({ room_id = '', session_id = '', value }) => ({
      room_id,
      session_id,
      key_backup_data: value,
    }));
    const options = { bindRoomId, backend: nodeBackend(), signal: terminal.signal };
    for await (const result of moveToAuthenticated(keys.inputs, key, options)) {
      const place = keys.nextPlace();
      if (result.ok) {
        after[result.authenticity]++;
        backup.add(result);
      }
      take(place, { ...result, path: place.path }, report);
      progress.update(report.ok + report.failed, file.share);
    }
    await files.commitReport(report);
    await commitBackup(backup, files, report, terminal);
  } catch (error) {
    await files.discard();
    throw error;
  } finally {
    progress.clear();
  }
  tell(report, { after }, json, terminal);
  return report.exitCode;
}

async function onHomeserver(
  values: Parameters<typeof connect>[0],
  { key, report, reportPath, bindRoomId }: Move,
  { from, into }: { readonly from: string | undefined; readonly into: string | undefined },
  json: boolean,
  terminal: Terminal,
): Promise<number> {
  const { signal } = terminal;
  const roomKeys = await connect(values, terminal);
  const info = await existingBackup(roomKeys, signal, from);
  key.expectMatch(info.auth_data);
  const reportFile = reportPath === undefined ? undefined : await openOutput(reportPath, terminal);
  const progress = new ProgressLine(terminal);
  let outcome: MoveOutcome;
  try {
    outcome = await withServer(() =>
      moveBackup(roomKeys, info, key, {
        ...{ bindRoomId, into, signal, backend: nodeBackend() },
        onNewVersion(version) {
          const how = `--from ${info.version} --into ${version}`;
          terminal.stderr(`made backup version ${version}; stopped, this goes on: ${how}\n`);
        },
        onResult(result) {
          progress.clear();
          take(result, result, report);
        },
        onProgress({ done, total }) {
          progress.update(done, total === undefined || total === 0 ? undefined : done / total);
        },
      }),
    );
    await reportFile?.write(report.json);
    await reportFile?.commit();
  } catch (error) {
    await reportFile?.discard();
    throw error;
  } finally {
    progress.clear();
  }
  const { version, uploaded, skipped, after } = outcome;
  tell(report, { after, version, uploaded, skipped }, json, terminal);
  return report.exitCode;
}

function take(place: Place, result: MoveResult, report: Report): void {
  if (result.ok) report.succeeded(place, [], result.was);
  else report.refused(place, result.error);
}

/** @param more - With `after`: what the moved keys prove. */
function tell(
  { summary, authenticity, authenticityText, codes, text }: Report,
  more: Pick<MoveOutcome, 'after'> & Readonly<Record<string, unknown>>,
  json: boolean,
  terminal: Terminal,
): void {
  if (json) {
    const numbers = { ...summary, authenticity, ...more, codes: Object.fromEntries(codes) };
    terminal.stdout(`${JSON.stringify(numbers)}\n`);
    return;
  }
  const { verified, 'declared-unauthenticated': declared } = more.after;
  terminal.stderr(
    `${text}${authenticityText}moved: ${verified} verified, ${declared} declared unauthenticated\n`,
  );
}

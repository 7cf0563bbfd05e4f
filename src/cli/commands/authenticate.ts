import { UsageError } from '../errors.js';
import {
  authenticateBackup,
  type AuthenticateBackupOptions,
  type AuthenticateOutcome,
  type AuthenticateResult,
} from '../../client/authenticate.js';
import { nodeBackend } from '../../backends/node.js';
import {
  authenticateSessions,
  type AuthenticateOptions,
  type AuthenticatedRecord,
  type Authentication,
} from '../../batch/reencrypt.js';
import { KeyBackupError } from '../../errors.js';
import type { BackupDecryptionKey } from '../../scheme/keys.js';
import { readAuthDataFile } from '../auth-data-file.js';
import { BackupObjects, commitBackup } from '../backup-objects.js';
import { expectNone, parseCommand } from '../command.js';
import { connect, existingBackup, withServer } from '../homeserver.js';
import { keysInFlight, openKeysFile } from '../input.js';
import { readKeyFile } from '../key-file.js';
import { ProgressLine } from '../progress.js';
import { openOutput } from '../output.js';
import { Report, type Place } from '../../report/report.js';
import { openResultFiles } from '../result-files.js';
import type { Terminal } from '../terminal.js';
import { readTrustedCopies, type TrustedCopies } from '../trusted-copies.js';
import { excerpt, printable } from '../../encoding/quote.js';

export const usage = `usage: megolm-backup authenticate BACKUP.json --key-file FILE --trusted EXPORT.json [options]
       megolm-backup authenticate --homeserver WHERE --key-file FILE --trusted EXPORT.json [options]

Adds a backup_mac (MSC4048) to the keys in a backup, in a file or on a server, that you have a trusted copy of: an array
of ExportedSessionData out of a client that got the keys from their senders, NOT out of a backup. A key that differs from
its copy is reported and left as it is. A key whose copy was forwarded is declared unauthenticated.

  --key-file FILE    the backup decryption key, in its text form ("recovery key") or base64; - is standard input
  --trusted FILE     the trusted copies
  --declare-rest     also write those without a trusted copy, with a backup_mac, declared unauthenticated: they stay
                     unauthenticated, but later changes to them are noticed
  --bind-room-id     add a copy of the room id to what is written, so that a moved record is noticed
  --verified         write is_verified true: the devices that gave the keys were verified. A server then takes the new
                     record for the better one
  --report FILE      write what became of every key that was refused
  --json             print the numbers as JSON, with a file when there is -o
with a file:
  --auth-data FILE   the backup's auth_data or version object: a key that does not fit is said before anything else
  --all              write every record that can be read, those without a trusted copy as they are: for a new version
                     with the same key
  -o, --output FILE  where the backup objects go, the body of PUT /room_keys/keys; without it, standard output
with a server, which keeps the old one of two equally good records; what was sent is read back and counted
  --homeserver WHERE a URL, a server name or a user id
  --token-file FILE  the access token, in one line; - is standard input. Without it, the environment variable
                     MATRIX_ACCESS_TOKEN, or a question on the terminal.
  --new-version      put everything that can be read into a new version with the same key. The old one stays until you
                     delete it
  --into VERSION     continue with a new version that an earlier run has made, from the version that --from names
  --from VERSION     read this version, not the current one

The summary also says how many keys proved where they come from when they were read (verified) and how many did not
(no-mac, wrong-mac, declared-unauthenticated).

Exit code 0 when all keys have a right backup_mac or no trusted copy; 1 when one cannot be read or contradicts its copy,
when a backup_mac is wrong, or when the server kept old records; 2 for wrong usage, unreadable input, or no way to the
server.

example:
  megolm-backup authenticate backup.json --key-file key.txt --trusted export.json -o authenticated.json
`;

/** `megolm-backup authenticate` */
export async function run(args: readonly string[], terminal: Terminal): Promise<number> {
  const options = {
    'key-file': { type: 'string' },
    trusted: { type: 'string' },
    'declare-rest': { type: 'boolean' },
    'bind-room-id': { type: 'boolean' },
    verified: { type: 'boolean' },
    report: { type: 'string' },
    json: { type: 'boolean' },
    'auth-data': { type: 'string' },
    all: { type: 'boolean' },
    output: { type: 'string', short: 'o' },
    homeserver: { type: 'string' },
    'token-file': { type: 'string' },
    'new-version': { type: 'boolean' },
    into: { type: 'string' },
    from: { type: 'string' },
  } as const;
  const { values, positionals } = parseCommand(args, options, undefined);
  const { homeserver, trusted: trustedPath, into, from } = values;
  if (trustedPath === undefined) throw new UsageError('missing option: --trusted FILE');
  const onServer = homeserver !== undefined;
  if (positionals.length !== (onServer ? 0 : 1)) {
    throw new UsageError('give either one BACKUP.json or --homeserver');
  }
  if (onServer) expectNone(values, ['auth-data', 'all', 'output'], 'a file');
  else expectNone(values, ['token-file', 'new-version', 'into', 'from'], 'a server');
  if (into !== undefined && (from === undefined || values['new-version'] === true)) {
    throw new UsageError('--into goes with --from, and not with --new-version');
  }
  const key = await readKeyFile(values['key-file'], terminal);
  const report = new Report(({ path }, { code, message }) => {
    terminal.stderr(`${path}: ${code}: ${printable(message)}\n`);
  });
  const settings = {
    bindRoomId: values['bind-room-id'] === true,
    isVerified: values.verified === true,
    declareUnknown: values['declare-rest'] === true,
  };
  try {
    if (onServer) {
      const fresh = values['new-version'] === true ? ('new' as const) : ('same' as const);
      const target = into === undefined ? fresh : { version: into };
      const work = {
        trustedPath,
        report,
        reportPath: values.report,
        from,
        settings: { ...settings, into: target },
      };
      return await onHomeserver(values, key, work, values.json === true, terminal);
    }
    const files = { backup: positionals[0], trusted: trustedPath, authData: values['auth-data'] };
    return await inFiles(files, values, key, settings, report, terminal);
  } finally {
    key.dispose();
  }
}

interface Files {
  readonly backup: string;
  readonly trusted: string;
  readonly authData: string | undefined;
}

async function inFiles(
  { backup: path, trusted: trustedPath, authData }: Files,
  values: {
    readonly all?: boolean | undefined;
    readonly json?: boolean | undefined;
    readonly output?: string | undefined;
    readonly report?: string | undefined;
  },
  key: BackupDecryptionKey,
  settings: AuthenticateOptions,
  report: Report,
  terminal: Terminal,
): Promise<number> {
  if (authData !== undefined) key.expectMatch(await readAuthDataFile(authData));
  const trusted = await readTrustedCopies(trustedPath);
  const counts = noneYet();
  const backup = new BackupObjects();
  const files = await openResultFiles(values.output, values.report, terminal);
  try {
    await walk(path, key, trusted, settings, report, terminal, (record) => {
      counts[record.authentication]++;
      if (record.changed || values.all === true) backup.add(record);
    });
    await files.commitReport(report);
    await commitBackup(backup, files, report, terminal);
  } catch (error) {
    await files.discard();
    throw error;
  }
  tell(report, counts, {}, values.json === true && values.output !== undefined, terminal);
  return report.exitCode;
}

interface ServerWork {
  readonly trustedPath: string;
  readonly report: Report;
  readonly reportPath: string | undefined;
  readonly from: string | undefined;
  readonly settings: AuthenticateBackupOptions;
}

async function onHomeserver(
  values: Parameters<typeof connect>[0],
  key: BackupDecryptionKey,
  { trustedPath, report, reportPath, from, settings }: ServerWork,
  json: boolean,
  terminal: Terminal,
): Promise<number> {
  const { signal } = terminal;
  const roomKeys = await connect(values, terminal);
  const info = await existingBackup(roomKeys, signal, from);
  key.expectMatch(info.auth_data);
  const trusted = await readTrustedCopies(trustedPath);
  const reportFile = reportPath === undefined ? undefined : await openOutput(reportPath, terminal);
  const progress = new ProgressLine(terminal);
  const options: AuthenticateBackupOptions = {
    ...settings,
    signal,
    backend: nodeBackend(),
    onNewVersion(version) {
      terminal.stderr(
        `made backup version ${excerpt(version)}; if interrupted, continue with --from ${excerpt(info.version)} --into ${excerpt(version)}\n`,
      );
    },
    onResult(result) {
      progress.clear();
      take(result, result, report);
    },
    onProgress({ done, total }) {
      progress.update(done, total === undefined || total === 0 ? undefined : done / total);
    },
  };
  let outcome: AuthenticateOutcome;
  try {
    outcome = await withServer(() =>
      authenticateBackup(roomKeys, info, key, (room, session) => trusted.get(room)?.get(session), options),
    );
    await reportFile?.write(report.json);
    await reportFile?.commit();
  } catch (error) {
    await reportFile?.discard();
    throw error;
  } finally {
    progress.clear();
  }
  const { version, uploaded, skipped, kept, counts } = outcome;
  tell(report, counts, { version, uploaded, skipped, kept }, json, terminal);
  if (kept > 0) {
    const advice =
      settings.into === 'same'
        ? '. --new-version puts everything into a new version'
        : ', written by another client';
    terminal.stderr(`the server kept ${kept} old records, which it ranks no lower${advice}\n`);
  }
  return kept === 0 ? report.exitCode : 1;
}

/** Takes a result into the report. What contradicts its trusted copy has failed. */
function take(place: Place, result: AuthenticateResult, report: Report): void {
  if (!result.ok) report.refused(place, result.error);
  else if (result.authentication !== 'conflicting') report.succeeded(place, [], result.was);
  else report.refused(place, new KeyBackupError('not-authenticated', result.reason));
}

type Counts = Readonly<Record<Authentication, number>>;

function noneYet(): Record<Authentication, number> {
  return { authenticated: 0, declared: 0, already: 0, unknown: 0, conflicting: 0 };
}

async function walk(
  path: string,
  key: BackupDecryptionKey,
  trusted: TrustedCopies,
  settings: AuthenticateOptions,
  report: Report,
  terminal: Terminal,
  onRecord: (record: AuthenticatedRecord) => void,
): Promise<void> {
  const file = openKeysFile(path, 'rooms');
  const progress = new ProgressLine(terminal);
  const keys = keysInFlight(file, report, ({ room_id = '', session_id = '', value }) => ({
    room_id,
    session_id,
    key_backup_data: value,
  }));
  const copyOf = (roomId: string, sessionId: string) => trusted.get(roomId)?.get(sessionId);
  const { signal } = terminal;
  const options = { ...settings, backend: nodeBackend(), signal };
  try {
    for await (const result of authenticateSessions(keys.inputs, key, copyOf, options)) {
      const place = keys.nextPlace();
      if (result.ok) onRecord(result);
      take(place, { ...result, path: place.path }, report);
      progress.update(report.ok + report.failed, file.share);
    }
  } finally {
    progress.clear();
  }
}

function tell(
  { summary, authenticity, authenticityText, codes }: Report,
  counts: Counts,
  more: Readonly<Record<string, string | number>>,
  json: boolean,
  terminal: Terminal,
): void {
  if (json) {
    terminal.stdout(
      `${JSON.stringify({ ...summary, authenticity, ...counts, ...more, codes: Object.fromEntries(codes) })}\n`,
    );
    return;
  }
  const { authenticated, declared, already, unknown, conflicting } = counts;
  terminal.stderr(
    `${authenticated} authenticated, ${declared} declared unauthenticated, ${already} had a right backup_mac already, ` +
      `${unknown} without a trusted copy, ${conflicting} contradict theirs, ${summary.failed - conflicting} unreadable\n${authenticityText}`,
  );
}

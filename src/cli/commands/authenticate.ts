import { nodeBackend } from '../../backends/node.js';
import {
  authenticateSessions,
  type AuthenticateOptions,
  type Authentication,
  type TrustedCopyOf,
} from '../../batch/reencrypt.js';
import { authenticateBackup, type AuthenticateResult } from '../../client/authenticate.js';
import { expectObject, expectString } from '../../encoding/json.js';
import { excerpt, printable } from '../../encoding/quote.js';
import { KeyBackupError } from '../../errors.js';
import type { ExportedSessionData } from '../../formats/room-key.js';
import { asRecord, resultsInPlace } from '../../report/in-place.js';
import { Report } from '../../report/report.js';
import type { BackupDecryptionKey } from '../../scheme/keys.js';
import { defineCommand, expectNone, type Values } from '../command.js';
import { InputError, UsageError, WRONG_KEY } from '../errors.js';
import { openKeysFile } from '../files.js';
import { connect, existingBackup, withServer } from '../homeserver.js';
import {
  AUTH_DATA,
  BIND_ROOM_ID,
  HOMESERVER,
  JSON_SUMMARY,
  KEY_FILE,
  OUTPUT,
  REPORT,
  VERIFIED,
} from '../options.js';
import { BackupObjects, withReportFile, withResultFiles } from '../outputs.js';
import { isJsonSummary, shareOf, tellReading, withProgress } from '../results.js';
import { readAuthDataFile, readKeyFile } from '../secrets.js';
import type { Terminal } from '../terminal.js';

const OPTIONS = {
  ...KEY_FILE,
  trusted: { value: 'FILE', required: true, help: 'the trusted copies' },
  'declare-rest': {
    help: `also write those without a trusted copy, with a backup_mac, declared unauthenticated: they stay
      unauthenticated, but later changes to them are noticed`,
  },
  ...BIND_ROOM_ID,
  ...VERIFIED,
  ...AUTH_DATA,
  all: {
    help: `with a file: write every record that can be read, those without a trusted copy as they are: for a new version
      with the same key`,
  },
  ...OUTPUT,
  ...HOMESERVER,
  'new-version': {
    help: `with a server: put everything that can be read into a new version with the same key. The old one stays until
      you delete it`,
  },
  into: {
    value: 'VERSION',
    help: 'continue with a new version that an earlier run has made, from the version that --from names',
  },
  from: { value: 'VERSION', help: 'with a server: read this version, not the current one' },
  ...REPORT,
  ...JSON_SUMMARY,
} as const;

export const command = defineCommand({
  name: 'authenticate',
  summary: 'vouch for the keys of a backup that you have trusted copies of',
  usage: [
    'BACKUP.json --key-file FILE --trusted EXPORT.json [options]',
    '--homeserver WHERE --key-file FILE --trusted EXPORT.json [options]',
  ],
  description: `
Adds a backup_mac (MSC4048) to the keys in a backup, in a file or on a server, that you have a trusted copy of:
an array of ExportedSessionData out of a client that got the keys from their senders, NOT out of a backup. A
key that differs from its copy is reported and left as it is. A key whose copy was forwarded is declared
unauthenticated.

A server keeps the old one of two equally good records: what was sent is read back and counted. With --verified
it takes the new record for the better one.

The summary also says how many keys proved where they come from when they were read (verified) and how many
did not (no-mac, wrong-mac, declared-unauthenticated).
`,
  arguments: ['[BACKUP.json]'],
  options: OPTIONS,
  exitCodes: `Exit code 0 when all keys have a right backup_mac or no trusted copy; 1 when one cannot be read or contradicts
    its copy, when a backup_mac is wrong, or when the server kept old records; 2 for wrong usage, unreadable input, or no
    way to the server.`,
  example:
    'megolm-backup authenticate backup.json --key-file key.txt --trusted export.json -o authenticated.json',
  async run(options, terminal, path?: string) {
    const { homeserver, tokenFile, newVersion, into, from, all, output } = options;
    if ((path === undefined) === (homeserver === undefined)) {
      throw new UsageError('give either one BACKUP.json or --homeserver');
    }
    if (path === undefined) expectNone({ 'auth-data': options.authData, all, output }, 'a file');
    else expectNone({ 'token-file': tokenFile, 'new-version': newVersion, into, from }, 'a server');
    if (into !== undefined && (from === undefined || newVersion)) {
      throw new UsageError('--into goes with --from, and not with --new-version');
    }
    const key = await readKeyFile(options.keyFile, terminal);
    const report = new Report(({ path: where }, { code, message }) => {
      terminal.stderr(`${where}: ${code}: ${printable(message)}\n`);
    });
    const settings = {
      bindRoomId: options.bindRoomId,
      isVerified: options.verified,
      declareUnknown: options.declareRest,
      backend: nodeBackend(),
      signal: terminal.signal,
    };
    const job = { options, key, report, settings, terminal };
    try {
      return await (path === undefined ? onHomeserver(job) : inFile(path, job));
    } finally {
      key.dispose();
    }
  },
});

interface Job {
  readonly options: Values<typeof OPTIONS>;
  readonly key: BackupDecryptionKey;
  readonly report: Report;
  readonly settings: AuthenticateOptions & { readonly signal: AbortSignal };
  readonly terminal: Terminal;
}

async function inFile(path: string, { options, key, report, settings, terminal }: Job): Promise<number> {
  const { authData, all } = options;
  if (authData !== undefined) key.expectMatch(await readAuthDataFile(authData, terminal));
  const copyOf = await readTrustedCopies(options.trusted, terminal);
  const counts = { authenticated: 0, declared: 0, already: 0, unknown: 0, conflicting: 0 };
  const backup = new BackupObjects();
  // As far as the records tell.
  const isOtherKey = () => report.ok === 0 && report.codes.has('mac-mismatch');
  await withResultFiles(options, terminal, async (output, commitReport) => {
    await withProgress(terminal, async (show) => {
      const file = openKeysFile(path, 'rooms', terminal);
      const results = resultsInPlace(file.items, asRecord, (records) =>
        authenticateSessions(records, key, copyOf, settings),
      );
      for await (const result of results) {
        if (result.ok) {
          counts[result.authentication]++;
          if (result.changed || all) backup.add(result);
        }
        take(result, report);
        show(report.ok + report.failed, file.share);
      }
    });
    await commitReport(report);
    if (isOtherKey()) return false;
    await backup.writeTo(output);
    return true;
  });
  if (isOtherKey()) terminal.stderr(`${WRONG_KEY}\n`);
  tell(report, counts, {}, isJsonSummary(options), terminal);
  return report.exitCode;
}

async function onHomeserver({ options, key, report, settings, terminal }: Job): Promise<number> {
  const { into, newVersion, json } = options;
  const roomKeys = await connect(options, terminal);
  const info = await existingBackup(roomKeys, terminal.signal, options.from);
  key.expectMatch(info.auth_data);
  const copyOf = await readTrustedCopies(options.trusted, terminal);
  const outcome = await withReportFile(options.report, terminal, async (commitReport) => {
    const done = await withProgress(terminal, (show) =>
      withServer(() =>
        authenticateBackup(roomKeys, info, key, copyOf, {
          ...settings,
          into: into === undefined ? (newVersion ? 'new' : 'same') : { version: into },
          onNewVersion(made) {
            terminal.stderr(
              `made backup version ${excerpt(made)}; if interrupted, continue with --from ${excerpt(info.version)} --into ${excerpt(made)}\n`,
            );
          },
          onResult(result) {
            take(result, report);
          },
          onProgress(reached) {
            show(reached.done, shareOf(reached));
          },
        }),
      ),
    );
    await commitReport(report);
    return done;
  });
  const { version, uploaded, skipped, kept, counts } = outcome;
  tell(report, counts, { version, uploaded, skipped, kept }, json && options.report !== '-', terminal);
  if (kept > 0) {
    const advice =
      into === undefined && !newVersion
        ? '. --new-version puts everything into a new version'
        : ', written by another client';
    terminal.stderr(`the server kept ${kept} old records, which it ranks no lower${advice}\n`);
  }
  return kept === 0 ? report.exitCode : 1;
}

/** Takes a result into the report. A key that contradicts its trusted copy has failed. */
function take(result: AuthenticateResult, report: Report): void {
  if (!result.ok) report.refused(result, result.error);
  else if (result.authentication !== 'conflicting') report.succeeded(result, [], result.previousAuthenticity);
  else report.refused(result, new KeyBackupError('not-authenticated', result.reason));
}

/** Finds the user's own copies by room and session. A single malformed one ends the command: they have to be right. */
async function readTrustedCopies(path: string, terminal: Terminal): Promise<TrustedCopyOf> {
  const copies = new Map<string, ExportedSessionData>();
  const idOf = (roomId: string, sessionId: string) => JSON.stringify([roomId, sessionId]);
  for await (const item of openKeysFile(path, 'array', terminal).items) {
    try {
      if (item.error) throw item.error;
      const session = expectObject(item.key_backup_data, 'session');
      const roomId = expectString(session, 'room_id', 'session');
      const sessionId = expectString(session, 'session_id', 'session');
      copies.set(idOf(roomId, sessionId), session as unknown as ExportedSessionData);
    } catch (cause) {
      if (!(cause instanceof KeyBackupError)) throw cause;
      throw new InputError(`${path}: ${item.path}: ${cause.message}`, { cause });
    }
  }
  return (roomId, sessionId) => copies.get(idOf(roomId, sessionId));
}

function tell(
  report: Report,
  counts: Readonly<Record<Authentication, number>>,
  more: Readonly<Record<string, string | number>>,
  json: boolean,
  terminal: Terminal,
): void {
  const { failed, cutText } = report;
  const { authenticated, declared, already, unknown, conflicting } = counts;
  const text =
    `${authenticated} authenticated, ${declared} declared unauthenticated, ${already} had a right backup_mac already, ` +
    `${unknown} without a trusted copy, ${conflicting} contradict theirs, ${failed - conflicting} unreadable\n`;
  tellReading(report, { json }, terminal, { ...counts, ...more }, text + cutText);
}

import { nodeBackend } from '../backends/node.js';
import {
  authenticateSessions,
  type AuthenticateOptions,
  type AuthenticatedRecord,
  type Authentication,
} from '../engine/authenticate.js';
import { KeyBackupError } from '../engine/errors.js';
import { expectObject, expectString } from '../engine/json.js';
import type { BackupDecryptionKey } from '../engine/keys.js';
import type { ExportedSessionData } from '../engine/room-key.js';
import { readAuthDataFile } from './auth-data-file.js';
import { BackupObjects } from './backup-objects.js';
import { InputError, UsageError, parseCommand } from './command.js';
import { keysInFlight, openKeysFile } from './input.js';
import { readKeyFile } from './key-file.js';
import { ProgressLine } from './progress.js';
import { Report } from './report.js';
import { openResultFiles } from './result-files.js';
import { printable, type Terminal } from './terminal.js';

export const usage = `usage: megolm-backup authenticate BACKUP.json --key-file FILE --trusted EXPORT.json [options]

Walks a backup and writes, with a backup_mac (MSC4048), the records of those keys that you have a trusted copy of: an
array of ExportedSessionData out of a client that got the keys from their senders, NOT out of a backup. A key whose
copy says something else about it is reported and not written. Upload the result with PUT /room_keys/keys. A server
keeps the old one of two records that are equally good, so see whether it took them; a new backup version takes all.

  --key-file FILE    the backup decryption key, in its text form ("recovery key") or base64; - is standard input
  --trusted FILE     the trusted copies
  --auth-data FILE   the backup's auth_data or version object: a key that does not fit is said before anything else
  --all              write every record that can be read, those without a trusted copy as they are: for a new version
                     with the same key
  --declare-rest     with a backup_mac that says so, also write those without a trusted copy: they stay
                     unauthenticated, but from now on nobody changes them unnoticed
  --bind-room-id     add a copy of the room id to what is written, so that a moved record is noticed
  --verified         write is_verified true: the devices that gave the keys were verified. A server then takes the new
                     record for the better one
  --report FILE      write what became of every key that was refused
  -o, --output FILE  where the backup objects go; without it, standard output
  --json             with -o: print the numbers as JSON

Exit code 0 when all keys are authenticated or have no trusted copy, 1 when one cannot be read or contradicts its copy.

example:
  megolm-backup authenticate backup.json --key-file key.txt --trusted export.json -o authenticated.json
`;

/** `megolm-backup authenticate` */
export async function run(args: readonly string[], terminal: Terminal): Promise<number> {
  const options = {
    'key-file': { type: 'string' },
    trusted: { type: 'string' },
    'auth-data': { type: 'string' },
    all: { type: 'boolean' },
    'declare-rest': { type: 'boolean' },
    'bind-room-id': { type: 'boolean' },
    verified: { type: 'boolean' },
    report: { type: 'string' },
    output: { type: 'string', short: 'o' },
    json: { type: 'boolean' },
  } as const;
  const { values, positionals } = parseCommand(args, options, ['BACKUP.json']);
  if (values.trusted === undefined) throw new UsageError('missing option: --trusted FILE');
  const authData =
    values['auth-data'] === undefined ? undefined : await readAuthDataFile(values['auth-data']);
  const key = await readKeyFile(values['key-file'], terminal);
  const report = new Report(({ path }, { code, message }) => {
    terminal.stderr(`${path}: ${code}: ${printable(message)}\n`);
  });
  const counts = noneYet();
  try {
    if (authData) key.expectMatch(authData);
    const trusted = await readTrusted(values.trusted);
    const settings = {
      bindRoomId: values['bind-room-id'] === true,
      isVerified: values.verified === true,
      declareUnknown: values['declare-rest'] === true,
    };
    const backup = new BackupObjects();
    const files = await openResultFiles(values.output, values.report, terminal);
    try {
      await walk(positionals[0], key, trusted, settings, report, terminal, (record) => {
        counts[record.authentication]++;
        if (record.changed || values.all === true) backup.add(record);
      });
      await files.commitReport(report);
      if (fits(report)) {
        for (const piece of backup.json()) await files.result.write(piece);
        await files.result.commit();
      } else {
        await files.discard();
        terminal.stderr(
          'the key does not fit this backup: not one of its keys was encrypted to it (wrong-key)\n',
        );
      }
    } catch (error) {
      await files.discard();
      throw error;
    }
  } finally {
    key.dispose();
  }
  tell(report, counts, values.json === true && values.output !== undefined, terminal);
  return report.failed === 0 ? 0 : 1;
}

/** Whether the key fits the backup, as far as its records tell. */
function fits({ ok, codes }: Report): boolean {
  return ok > 0 || !codes.has('mac-mismatch');
}

type Counts = Record<Authentication, number>;

function noneYet(): Counts {
  return { authenticated: 0, declared: 0, already: 0, unknown: 0, conflicting: 0 };
}

type Trusted = ReadonlyMap<string, ReadonlyMap<string, ExportedSessionData>>;

/** The trusted copies by room and session. One that is none is an error: what is trusted has to be right. */
async function readTrusted(path: string): Promise<Trusted> {
  const rooms = new Map<string, Map<string, ExportedSessionData>>();
  for await (const item of openKeysFile(path, 'array').items) {
    try {
      if (item.error) throw item.error;
      const session = expectObject(item.value, 'session');
      const roomId = expectString(session, 'room_id', 'session');
      const sessions = rooms.get(roomId) ?? new Map<string, ExportedSessionData>();
      rooms.set(roomId, sessions);
      sessions.set(expectString(session, 'session_id', 'session'), session as unknown as ExportedSessionData);
    } catch (cause) {
      if (!(cause instanceof KeyBackupError)) throw cause;
      throw new InputError(`${path}: ${item.path}: ${cause.message}`, { cause });
    }
  }
  return rooms;
}

async function walk(
  path: string,
  key: BackupDecryptionKey,
  trusted: Trusted,
  settings: AuthenticateOptions,
  report: Report,
  terminal: Terminal,
  take: (record: AuthenticatedRecord) => void,
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
      if (!result.ok) {
        report.refused(place, result.error);
      } else {
        take(result);
        if (result.authentication === 'conflicting') {
          report.refused(place, new KeyBackupError('not-authenticated', result.reason));
        } else {
          report.succeeded(place);
        }
      }
      progress.update(report.ok + report.failed, file.share);
    }
  } finally {
    progress.clear();
  }
}

function tell(report: Report, counts: Counts, json: boolean, terminal: Terminal): void {
  const { summary } = report;
  if (json) {
    const codes = Object.fromEntries(report.codes);
    terminal.stdout(`${JSON.stringify({ ...summary, ...counts, codes })}\n`);
    return;
  }
  const { authenticated, declared, already, unknown, conflicting } = counts;
  terminal.stderr(
    `${authenticated} authenticated, ${declared} declared unauthenticated, ${already} had a right backup_mac already, ` +
      `${unknown} without a trusted copy, ${conflicting} contradict theirs, ${summary.failed - conflicting} unreadable\n`,
  );
}

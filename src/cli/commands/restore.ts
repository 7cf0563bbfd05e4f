import { Restore, type RestoreOptions, type RestoredKey } from '../../client/restore.js';
import type { RoomKeys } from '../../client/api.js';
import { flagsOf, Report, type Place } from '../../report/report.js';
import type { BackupDecryptionKey } from '../../scheme/keys.js';
import type { VersionInfo } from '../../wire/types.js';
import { defineCommand } from '../command.js';
import { connect, existingBackup, withServer } from '../homeserver.js';
import { HOMESERVER, KEY_FILE, READING } from '../options.js';
import { SessionArray, expectTwoFiles, openOutput, withReportFile } from '../outputs.js';
import { PartialFile } from '../partial-file.js';
import { shareOf, tellSummary, withProgress } from '../results.js';
import { readKeyFile } from '../secrets.js';
import type { Terminal } from '../terminal.js';

/** How often the state is written, in milliseconds; it is written at the end as well. */
const SAVE_EVERY = 10_000;

export const command = defineCommand({
  name: 'restore',
  summary: 'download and decrypt a backup',
  usage: ['--homeserver WHERE --key-file FILE [options]'],
  description: `
Downloads and decrypts the keys of the current backup into an array of ExportedSessionData, while they arrive.
With -o FILE the output grows in FILE.partial. If interrupted, the same command resumes: FILE.state records
how far it is.
`,
  options: {
    ...HOMESERVER,
    ...KEY_FILE,
    room: { value: 'ID', repeatable: true, help: 'only this room; may be repeated' },
    ...READING,
  },
  exitCodes: `Exit code 0 when every key was read, 1 when some were not, when a backup_mac is wrong, or when the key is the
    wrong one, 2 when there is no way to the server.`,
  example:
    'megolm-backup restore --homeserver @alice:example.org --token-file token.txt --key-file key.txt -o sessions.json',
  async run({ keyFile, room, salvage, requireAuthenticated, ...options }, terminal) {
    const { output, report: reportPath } = options;
    expectTwoFiles(output, reportPath);
    const key = await readKeyFile(keyFile, terminal);
    const report = new Report();
    try {
      const roomKeys = await connect(options, terminal);
      const { signal } = terminal;
      const info = await existingBackup(roomKeys, signal);
      const rooms = room.length === 0 ? undefined : room;
      const settings = { rooms, salvage, requireAuthenticated, signal };
      const job = { roomKeys, info, key, settings, report, terminal };
      await withReportFile(reportPath, terminal, async (commitReport) => {
        if (output === undefined || output === '-') await restoreToStdout(job);
        else await restoreToFile(job, output);
        await commitReport(report);
      });
    } finally {
      key.dispose();
    }
    tellSummary(report, options, terminal);
    return report.exitCode;
  },
});

interface Job {
  readonly roomKeys: RoomKeys;
  readonly info: VersionInfo;
  readonly key: BackupDecryptionKey;
  readonly settings: RestoreOptions;
  readonly report: Report;
  readonly terminal: Terminal;
}

function begin({ roomKeys, info, key, settings }: Job, state?: RestoreOptions['state']): Restore {
  return new Restore(roomKeys, info, key, { ...settings, state });
}

async function restoreToStdout(job: Job): Promise<void> {
  const output = await openOutput(undefined, job.terminal);
  const sessions = new SessionArray(output);
  await run(job, begin(job), (session) => sessions.write(session));
  await sessions.end();
  await output.commit();
}

async function restoreToFile(job: Job, path: string): Promise<void> {
  const { info, settings, report, terminal } = job;
  // Before any file is made: the key may be another backup's.
  begin(job);
  const file = await PartialFile.open(path, info.version, settings.rooms, terminal);
  try {
    const restore = begin(job, file.state);
    Object.assign(report.authenticity, file.authenticity);
    for (const place of file.flagged) report.succeeded(place, place.flags);
    report.ok = restore.summary.skipped;
    let saved = Date.now();
    try {
      await run(job, restore, async (session, place, { flags: overlooked, authenticity }) => {
        await file.write(JSON.stringify(session));
        const flags = flagsOf(overlooked, authenticity);
        if (flags.length > 0) file.flagged.push({ ...place, flags });
        file.authenticity[authenticity]++;
        if (Date.now() - saved < SAVE_EVERY) return;
        await file.save(restore.state());
        saved = Date.now();
      });
    } catch (error) {
      await file.save(restore.state());
      terminal.stderr(
        `${report.ok} keys are in ${file.path}; the same command resumes there (${file.statePath})\n`,
      );
      throw error;
    }
    await file.finish();
  } finally {
    await file.close();
  }
}

type Restored = Extract<RestoredKey, { ok: true }>;

async function run(
  { info, settings, report, terminal }: Job,
  restore: Restore,
  write: (session: Restored['session'], place: Place, result: Restored) => Promise<void>,
): Promise<void> {
  const total = settings.rooms ? 0 : info.count;
  await withProgress(terminal, (progress) =>
    withServer(async () => {
      for await (const result of restore) {
        const { room_id, session_id, path } = result;
        const place = { room_id, session_id, path };
        if (result.ok) {
          await write(result.session, place, result);
          report.succeeded(place, result.flags, result.authenticity);
        } else {
          report.refused(place, result.error);
        }
        const done = report.ok + report.failed;
        progress.update(done, shareOf({ done, total }));
      }
    }),
  );
  const { missing, changed } = restore.summary;
  if (missing) terminal.stderr(`the server counts ${missing} keys more than it gave\n`);
  if (changed) terminal.stderr('the backup has changed since the restore began\n');
}

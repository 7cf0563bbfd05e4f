import { Restore, type RestoredKey, type RestoreState } from '../../client/restore.js';
import { quote } from '../../encoding/quote.js';
import { flagsOf, Report } from '../../report/report.js';
import { KeyMatchCounter } from '../../report/rescue.js';
import { defineCommand } from '../command.js';
import { WRONG_KEY } from '../errors.js';
import { connect, existingBackup, withServer } from '../homeserver.js';
import { HOMESERVER, KEY_FILE, READING } from '../options.js';
import { SessionArray, expectTwoFiles, withOutput, withReportFile } from '../outputs.js';
import { PartialFile } from '../partial-file.js';
import { isJsonSummary, shareOf, tellReading, withProgress } from '../results.js';
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
its progress.
`,
  options: {
    ...HOMESERVER,
    ...KEY_FILE,
    room: { value: 'ID', repeatable: true, help: 'only this room; may be repeated' },
    ...READING,
  },
  exitCodes: `Exit code 0 when every key was read, 1 when some were not or did not come, when a backup_mac is wrong, when
    the key is the wrong one, or when a room has no key, 2 when there is no way to the server.`,
  example:
    'megolm-backup restore --homeserver @alice:example.org --token-file token.txt --key-file key.txt -o sessions.json',
  async run({ keyFile, room, salvage, requireAuthenticated, ...options }, terminal) {
    const { output = '-' } = options;
    expectTwoFiles(output, options.report);
    const key = await readKeyFile(keyFile, terminal);
    const report = new Report();
    let count: number | undefined;
    let outcome = 'all' as Outcome;
    try {
      const roomKeys = await connect(options, terminal);
      const { signal } = terminal;
      const info = await existingBackup(roomKeys, signal);
      const rooms = room.length === 0 ? undefined : room;
      const settings = { rooms, salvage, requireAuthenticated, signal };
      const begin = (state?: RestoreState) => new Restore(roomKeys, info, key, { ...settings, state });
      // Before any file is made: the key may be another backup's.
      const restore = begin();
      await withReportFile(options.report, terminal, async (commitReport) => {
        count = rooms ? undefined : info.count;
        if (output === '-') {
          await withOutput(output, terminal, async (result) => {
            const sessions = new SessionArray(result);
            outcome = await run(restore, count, report, terminal, ({ session }) => sessions.write(session));
            if (outcome === 'nothing') return;
            await sessions.end();
            await result.commit();
          });
        } else {
          const file = await PartialFile.open(output, info.version, rooms, terminal);
          outcome = await restoreToFile(file, begin, count, report, terminal);
        }
        await commitReport(report);
      });
    } finally {
      key.dispose();
    }
    const reading = { json: isJsonSummary(options), salvage, count, isPart: room.length > 0 };
    const code = tellReading(report, reading, terminal);
    return outcome === 'all' ? code : 1;
  },
});

/** `part`: some rooms hold no key. `nothing`: they all do, or the key does not fit; no file is left then. */
type Outcome = 'all' | 'part' | 'nothing';

async function restoreToFile(
  file: PartialFile,
  begin: (state: RestoreState | undefined) => Restore,
  total: number | undefined,
  report: Report,
  terminal: Terminal,
): Promise<Outcome> {
  try {
    const restore = begin(file.state);
    Object.assign(report.authenticity, file.authenticity);
    for (const place of file.flagged) report.succeeded(place, place.flags);
    report.ok = restore.summary.skipped;
    let saved = Date.now();
    let outcome: Outcome;
    try {
      outcome = await run(restore, total, report, terminal, async (result) => {
        const { session, room_id, session_id, path, authenticity } = result;
        await file.sessions.write(session);
        const flags = flagsOf(result.flags, authenticity);
        if (flags.length > 0) file.flagged.push({ room_id, session_id, path, flags });
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
    await (outcome === 'nothing' ? file.discard() : file.finish());
    return outcome;
  } finally {
    await file.close();
  }
}

async function run(
  restore: Restore,
  total: number | undefined,
  report: Report,
  terminal: Terminal,
  write: (result: RestoredKey) => Promise<void>,
): Promise<Outcome> {
  const fit = new KeyMatchCounter();
  await withProgress(terminal, (show) =>
    withServer(async () => {
      for await (const result of restore) {
        fit.add(result);
        if (result.ok) {
          await write(result);
          report.succeeded(result, result.flags, result.authenticity);
        } else {
          report.refused(result, result.error);
        }
        const done = report.ok + report.failed;
        show(done, shareOf({ done, total }));
      }
    }),
  );
  const { changed, emptyRooms, skipped } = restore.summary;
  if (changed) terminal.stderr('the backup has changed since the restore began\n');
  for (const room of emptyRooms) {
    const hint = room.startsWith('!') ? '' : '; the id of a room starts with "!"';
    terminal.stderr(`the backup has no key of the room ${quote(room)}${hint}\n`);
  }
  // Keys of an earlier run prove the key.
  const fits = fit.fits || skipped > 0;
  if (!fits) terminal.stderr(`${WRONG_KEY}\n`);
  if (!fits || (emptyRooms.length > 0 && report.ok + report.failed === 0)) return 'nothing';
  return emptyRooms.length > 0 ? 'part' : 'all';
}

import { UsageError } from '../errors.js';
import { Report, flagsOf, type Place } from '../../report/report.js';
import { Restore, type RestoreOptions, type RestoredKey } from '../../client/restore.js';
import type { RoomKeys } from '../../client/api.js';
import type { VersionInfo } from '../../wire/types.js';
import type { BackupDecryptionKey } from '../../scheme/keys.js';
import { isSameFile, parseCommand } from '../command.js';
import {
  HOMESERVER_ARGUMENTS,
  HOMESERVER_USAGE,
  connect,
  existingBackup,
  withServer,
} from '../homeserver.js';
import { readKeyFile } from '../key-file.js';
import { PartialFile } from '../partial-file.js';
import { ProgressLine } from '../progress.js';
import { withReportFile } from '../result-files.js';
import { tellSummary } from '../summary.js';
import type { Terminal } from '../terminal.js';

export const usage = `usage: megolm-backup restore --homeserver WHERE --key-file FILE [options]

Downloads and decrypts the keys of the current backup into an array of ExportedSessionData, while they arrive. With
-o FILE the output grows in FILE.partial; stopped in the middle, it goes on where it was when the same command runs
again: how far it was stands in FILE.state.

${HOMESERVER_USAGE}  --key-file FILE    the backup decryption key, in its text form ("recovery key") or base64; - is standard input.
                     The key of the secret storage looks alike but is another one.
  --room ID          only this room; may be repeated
  --require-authenticated
                     refuse every key without a right backup_mac, and those their writer did not vouch for
  --salvage          also read keys that are malformed in ways an old client accepted; they are flagged
  --report FILE      write what became of every failed or flagged key
  -o, --output FILE  where the sessions go; without it, standard output
  --json             with -o: print the numbers as JSON

Exit code 0 when every key was read, 1 when some were not, when a backup_mac is wrong, or when the key is the wrong one,
2 when there is no way to the server.

example:
  megolm-backup restore --homeserver @alice:example.org --token-file token.txt --key-file key.txt -o sessions.json
`;

/** How often the state is written, in milliseconds; it is written at the end as well. */
const SAVE_EVERY = 10_000;

/** `megolm-backup restore` */
export async function run(args: readonly string[], terminal: Terminal): Promise<number> {
  const options = {
    ...HOMESERVER_ARGUMENTS,
    'key-file': { type: 'string' },
    room: { type: 'string', multiple: true },
    'require-authenticated': { type: 'boolean' },
    salvage: { type: 'boolean' },
    report: { type: 'string' },
    output: { type: 'string', short: 'o' },
    json: { type: 'boolean' },
  } as const;
  const { values } = parseCommand(args, options, []);
  if (isSameFile(values.output, values.report)) {
    throw new UsageError('-o and --report name the same file');
  }
  const key = await readKeyFile(values['key-file'], terminal);
  const report = new Report();
  try {
    const roomKeys = await connect(values, terminal);
    const { signal } = terminal;
    const info = await existingBackup(roomKeys, signal);
    const settings = {
      rooms: values.room,
      salvage: values.salvage === true,
      requireAuthenticated: values['require-authenticated'] === true,
      signal,
    };
    const restoring = new Restoring(roomKeys, info, key, settings, report, terminal);
    await withReportFile(values.report, report, terminal, () =>
      values.output === undefined ? restoring.toStdout() : restoring.toFile(values.output),
    );
  } finally {
    key.dispose();
  }
  tellSummary(report, values.json === true && values.output !== undefined, terminal);
  return report.exitCode;
}

/** One restore on its way to a file or to standard output. */
class Restoring {
  readonly #roomKeys: RoomKeys;
  readonly #info: VersionInfo;
  readonly #key: BackupDecryptionKey;
  readonly #options: RestoreOptions;
  readonly #report: Report;
  readonly #terminal: Terminal;

  constructor(
    roomKeys: RoomKeys,
    info: VersionInfo,
    key: BackupDecryptionKey,
    options: RestoreOptions,
    report: Report,
    terminal: Terminal,
  ) {
    this.#roomKeys = roomKeys;
    this.#info = info;
    this.#key = key;
    this.#options = options;
    this.#report = report;
    this.#terminal = terminal;
  }

  async toStdout(): Promise<void> {
    let separator = '[\n';
    let pending = '';
    await this.#run(this.#begin(undefined), async (json) => {
      pending += separator + json;
      separator = ',\n';
      if (pending.length < 1 << 16) return;
      await this.#terminal.write(pending);
      pending = '';
    });
    await this.#terminal.write(`${pending}${separator === '[\n' ? '[' : '\n'}]\n`);
  }

  async toFile(path: string): Promise<void> {
    // Before any file is made: the key may be another backup's.
    this.#begin(undefined);
    const file = await PartialFile.open(path, this.#info.version, this.#options.rooms, this.#terminal);
    try {
      const restore = this.#begin(file.state);
      Object.assign(this.#report.authenticity, file.authenticity);
      for (const place of file.flagged) this.#report.succeeded(place, place.flags);
      this.#report.ok = restore.summary.skipped;
      let saved = Date.now();
      await this.#saving(file, restore, async () => {
        await this.#run(restore, async (json, place, { flags: overlooked, authenticity }) => {
          await file.write(json);
          const flags = flagsOf(overlooked, authenticity);
          if (flags.length > 0) file.flagged.push({ ...place, flags });
          file.authenticity[authenticity]++;
          if (Date.now() - saved < SAVE_EVERY) return;
          await file.save(restore.state());
          saved = Date.now();
        });
      });
      await file.finish();
    } finally {
      await file.close();
    }
  }

  #begin(state: RestoreOptions['state']): Restore {
    const options = { ...this.#options, state };
    return new Restore(this.#roomKeys, this.#info, this.#key, options);
  }

  /** Leaves a state when the work ends early, and says how to go on. */
  async #saving(file: PartialFile, restore: Restore, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      await file.save(restore.state());
      this.#terminal.stderr(
        `${this.#report.ok} keys are in ${file.path}; the same command goes on from there (${file.statePath})\n`,
      );
      throw error;
    }
  }

  async #run(
    restore: Restore,
    write: (json: string, place: Place, result: RestoredKey) => Promise<void>,
  ): Promise<void> {
    const progress = new ProgressLine(this.#terminal);
    const { rooms } = this.#options;
    const { count } = this.#info;
    try {
      await withServer(async () => {
        for await (const result of restore) {
          const { room_id, session_id, path } = result;
          const place = { room_id, session_id, path };
          if (result.ok) {
            await write(JSON.stringify(result.session), place, result);
            this.#report.succeeded(place, result.flags, result.authenticity);
          } else {
            this.#report.refused(place, result.error);
          }
          const done = this.#report.ok + this.#report.failed;
          progress.update(done, rooms || count === 0 ? undefined : done / count);
        }
      });
    } finally {
      progress.clear();
    }
    const { missing, changed } = restore.summary;
    if (missing) this.#terminal.stderr(`the server counts ${missing} keys more than it gave\n`);
    if (changed) this.#terminal.stderr('the backup has changed since the restore began\n');
  }
}

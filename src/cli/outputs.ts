import { randomBytes } from 'node:crypto';
import { open, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { BackupRecord } from '../batch/decrypt.js';
import { isJsonObject } from '../encoding/json.js';
import type { Report } from '../report/report.js';
import { InputError, UsageError, systemError } from './errors.js';
import { isSameFile } from './files.js';
import type { Terminal } from './terminal.js';

/** Where a command's result goes: a file that appears whole or not at all, or standard output. */
export interface Output {
  write(text: string): Promise<void>;
  /** Makes the file appear under its name. */
  commit(): Promise<void>;
  /** Makes the file appear as `NAME.partial`. Returns false if a larger one stands there, which then stays. */
  commitPartial(): Promise<boolean>;
}

/** What is opened has to be given up; without a commit no trace of it is left. */
interface Target extends Output {
  discard(): Promise<void>;
}

/** Gathered before it is written: a system call for every key would cost more than the key. */
const BUFFER = 64 * 1024;

/**
 * Opens the result of a command before the work starts. What is not committed when the work ends, or after the signal
 * has aborted, leaves no trace. A file is written under a temporary name beside its own (0600), synced, and renamed at
 * the end. A device or a pipe is written to directly; of a link, what it leads to.
 */
export async function withOutput<T>(
  path: string | undefined,
  terminal: Terminal,
  work: (output: Output) => Promise<T>,
): Promise<T> {
  const target = await openTarget(path, terminal);
  let pending = '';
  const flush = async () => {
    terminal.signal.throwIfAborted();
    const text = pending;
    pending = '';
    if (text !== '') await target.write(text);
  };
  try {
    return await work({
      async write(text) {
        terminal.signal.throwIfAborted();
        pending += text;
        if (pending.length >= BUFFER) await flush();
      },
      async commit() {
        await flush();
        await target.commit();
      },
      async commitPartial() {
        await flush();
        return target.commitPartial();
      },
    });
  } finally {
    await target.discard();
  }
}

async function openTarget(path: string | undefined, terminal: Terminal): Promise<Target> {
  if (path === undefined || path === '-') return direct((text) => terminal.write(text));
  const existing = await stat(path).catch(() => undefined);
  if (existing?.isDirectory() === true) {
    throw new InputError(`cannot write to ${path}: expected a file, got a directory`);
  }
  if (existing && !existing.isFile()) {
    const device = await orUnwritable(path, open(path, 'w'));
    return direct(
      (text) => orUnwritable(path, device.writeFile(text)),
      () => device.close(),
    );
  }
  return openFile(path);
}

/** What was written is there. */
function direct(write: Target['write'], discard = () => Promise.resolve()): Target {
  return { write, commit: () => Promise.resolve(), commitPartial: () => Promise.resolve(true), discard };
}

/** A file that appears whole, on the disk, for its owner only. */
async function openFile(path: string) {
  const target = await realpath(path).catch(() => path);
  const temporary = join(dirname(target), `.${basename(target)}.${randomBytes(6).toString('hex')}.tmp`);
  const file = await orUnwritable(path, open(temporary, 'wx', 0o600));
  const commitAs = async (name: string) => {
    await orUnwritable(path, file.sync());
    await file.close();
    await orUnwritable(path, rename(temporary, name));
  };
  return {
    write: (data: string | Uint8Array) => orUnwritable(path, file.writeFile(data)),
    commit: () => commitAs(target),
    async commitPartial() {
      const partial = `${target}.partial`;
      const [{ size }, earlier] = [await file.stat(), await stat(partial).catch(() => undefined)];
      if (earlier && earlier.size > size) return false;
      await commitAs(partial);
      return true;
    },
    async discard() {
      await file.close();
      await rm(temporary, { force: true });
    },
  };
}

async function orUnwritable<T>(path: string, operation: Promise<T>): Promise<T> {
  try {
    return await operation;
  } catch (cause) {
    throw new InputError(`cannot write to ${path} (${systemError(cause)})`, { cause });
  }
}

/** The options that name what a command writes. */
export interface OutputPaths {
  /** `undefined` and `-` are standard output. */
  readonly output?: string | undefined;
  /** `undefined` for no report. */
  readonly report?: string | undefined;
}

/** Writes the report and makes it appear, where one was asked for. */
type CommitReport = (report: Report) => Promise<void>;

/** Opens result and report before the work starts, which returns whether to keep the result. */
export async function withResultFiles(
  { output, report }: OutputPaths,
  terminal: Terminal,
  work: (result: Output, commitReport: CommitReport) => Promise<boolean>,
): Promise<void> {
  expectTwoFiles(output, report);
  await withOutput(output, terminal, async (result) => {
    const isWanted = await withReportFile(report, terminal, (commitReport) => work(result, commitReport));
    if (isWanted) await result.commit();
  });
}

/** Opens the file of a report before the work that it is on. It is gone unless the work commits it. */
export async function withReportFile<T>(
  path: string | undefined,
  terminal: Terminal,
  work: (commitReport: CommitReport) => Promise<T>,
): Promise<T> {
  if (path === undefined) return work(() => Promise.resolve());
  return withOutput(path, terminal, (file) =>
    work(async ({ json }) => {
      await file.write(json);
      await file.commit();
    }),
  );
}

/** @throws {@link UsageError} when result and report name the same file. */
export function expectTwoFiles(output = '-', report: string | undefined): void {
  if (isSameFile(output, report)) throw new UsageError('-o and --report name the same file');
}

/** Writes a whole output. */
export async function writeOutput(path: string | undefined, text: string, terminal: Terminal): Promise<void> {
  await withOutput(path, terminal, async (output) => {
    await output.write(text);
    await output.commit();
  });
}

/** Writes a file whole or not at all; unlike an output, also while the command is being stopped. */
export async function writeStateFile(path: string, state: string | Uint8Array): Promise<void> {
  const file = await openFile(path);
  try {
    await file.write(state);
    await file.commit();
  } finally {
    await file.discard();
  }
}

/** A JSON array, one session a line. Nothing is written before the first session or the end. */
export class SessionArray {
  readonly #output: Pick<Output, 'write'>;
  #isEmpty: boolean;

  /** @param isEmpty - False when the output holds sessions already. */
  constructor(output: Pick<Output, 'write'>, isEmpty = true) {
    this.#output = output;
    this.#isEmpty = isEmpty;
  }

  async write(session: unknown): Promise<void> {
    const text = `${this.#isEmpty ? '[' : ','}\n${JSON.stringify(session)}`;
    this.#isEmpty = false;
    await this.#output.write(text);
  }

  /** Writes the end of the array. */
  async end(): Promise<void> {
    await this.#output.write(this.#isEmpty ? '[]\n' : '\n]\n');
  }
}

interface Stored {
  readonly index: number;
  readonly json: string;
}

/** The backup objects by room and session, as text: of a session that comes twice, the better form is kept. */
export class BackupObjects {
  duplicates = 0;
  readonly #rooms = new Map<string, Map<string, Stored>>();

  /** Takes in a record; one without a `first_message_index` loses against one that has it. */
  add({ room_id, session_id, key_backup_data }: BackupRecord): void {
    const sessions = this.#rooms.get(room_id) ?? new Map<string, Stored>();
    this.#rooms.set(room_id, sessions);
    const index = indexOf(key_backup_data);
    const stored = sessions.get(session_id);
    if (stored) this.duplicates++;
    if (!stored || index < stored.index) {
      sessions.set(session_id, { index, json: JSON.stringify(key_backup_data) });
    }
  }

  /** Writes `{"rooms": ...}`. */
  async writeTo(output: Output): Promise<void> {
    let room = '{"rooms":{\n';
    for (const [roomId, sessions] of this.#rooms) {
      let session = `${room}${JSON.stringify(roomId)}:{"sessions":{\n`;
      for (const [sessionId, { json }] of sessions) {
        await output.write(`${session}${JSON.stringify(sessionId)}:${json}`);
        session = ',\n';
      }
      await output.write('}}');
      room = ',\n';
    }
    await output.write(this.#rooms.size === 0 ? '{"rooms":{}}\n' : '}}\n');
  }
}

function indexOf(record: unknown): number {
  const index = isJsonObject(record) ? record.first_message_index : undefined;
  return typeof index === 'number' ? index : Infinity;
}

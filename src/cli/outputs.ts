import { randomBytes } from 'node:crypto';
import { open, realpath, rename, rm, stat, type FileHandle } from 'node:fs/promises';
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
  /** Leaves no trace of the file. */
  discard(): Promise<void>;
}

/** Gathered before it is written: a system call for every key would cost more than the key. */
const BUFFER = 64 * 1024;

/**
 * Opens the result of a command.
 *
 * A file is written under a temporary name beside its own, readable by its owner only (0600), synced, and renamed
 * at the end. A device or a pipe is written to directly. A link stays, and what it leads to is written.
 *
 * @param path - As given with an option; `undefined` and `-` are standard output.
 * @returns An output that takes nothing more once the terminal's signal has aborted.
 * @throws {@link InputError} when the file cannot be made: open it before the work starts.
 */
export async function openOutput(path: string | undefined, terminal: Terminal): Promise<Output> {
  return buffered(await openUnbuffered(path, terminal), terminal.signal);
}

async function openUnbuffered(path: string | undefined, terminal: Terminal): Promise<Output> {
  if (path === undefined || path === '-') {
    return {
      write: (text) => terminal.write(text),
      commit: () => Promise.resolve(),
      discard: () => Promise.resolve(),
    };
  }
  const existing = await stat(path).catch(() => undefined);
  if (existing?.isDirectory() === true) {
    throw new InputError(`cannot write to ${path}: expected a file, got a directory`);
  }
  if (existing && !existing.isFile()) {
    const device = await orUnwritable(path, open(path, 'w'));
    return {
      write: (text) => orUnwritable(path, device.writeFile(text)),
      commit: () => device.close(),
      discard: () => device.close(),
    };
  }
  const target = await realpath(path).catch(() => path);
  const temporary = join(dirname(target), `.${basename(target)}.${randomBytes(6).toString('hex')}.tmp`);
  const file: FileHandle = await orUnwritable(path, open(temporary, 'wx', 0o600));
  return {
    write: (text) => orUnwritable(path, file.writeFile(text)),
    async commit() {
      await orUnwritable(path, file.sync());
      await file.close();
      await orUnwritable(path, rename(temporary, target));
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

function buffered(output: Output, signal: AbortSignal): Output {
  let pending = '';
  const flush = async () => {
    const text = pending;
    pending = '';
    if (text !== '') await output.write(text);
  };
  return {
    async write(text) {
      signal.throwIfAborted();
      pending += text;
      if (pending.length >= BUFFER) await flush();
    },
    async commit() {
      signal.throwIfAborted();
      await flush();
      await output.commit();
    },
    discard: () => output.discard(),
  };
}

/** The options that name what a command writes. */
export interface OutputPaths {
  /** `undefined` and `-` are standard output. */
  readonly output?: string | undefined;
  /** `undefined` for no report. */
  readonly report?: string | undefined;
}

/** The files of a command: its result, and the report on it. */
export interface ResultFiles {
  readonly result: Output;
  /** Writes the report and makes it appear, where one was asked for. */
  readonly commitReport: (report: Report) => Promise<void>;
}

/**
 * Opens result and report, before the work is done in vain. They leave no trace when the work fails, except what has
 * appeared already.
 *
 * @param work - Returns whether the result is to be kept.
 * @throws {@link UsageError} when both name the same file.
 */
export async function withResultFiles(
  { output, report: reportPath }: OutputPaths,
  terminal: Terminal,
  work: (files: ResultFiles) => Promise<boolean>,
): Promise<void> {
  expectTwoFiles(output, reportPath);
  const result = await openOutput(output, terminal);
  try {
    const isWanted = await withReportFile(reportPath, terminal, (commitReport) =>
      work({ result, commitReport }),
    );
    await (isWanted ? result.commit() : result.discard());
  } catch (error) {
    await result.discard();
    throw error;
  }
}

/** Opens the file of a report before the work that it is on. It is gone when the work fails or does not commit it. */
export async function withReportFile<T>(
  path: string | undefined,
  terminal: Terminal,
  work: (commitReport: ResultFiles['commitReport']) => Promise<T>,
): Promise<T> {
  let file = path === undefined ? undefined : await openOutput(path, terminal);
  try {
    return await work(async ({ json }) => {
      await file?.write(json);
      await file?.commit();
      file = undefined;
    });
  } finally {
    await file?.discard();
  }
}

/** @throws {@link UsageError} when result and report name the same file. */
export function expectTwoFiles(output = '-', report: string | undefined): void {
  if (isSameFile(output, report)) throw new UsageError('-o and --report name the same file');
}

/** Writes a whole output. */
export async function writeOutput(path: string | undefined, text: string, terminal: Terminal): Promise<void> {
  const output = await openOutput(path, terminal);
  try {
    await output.write(text);
    await output.commit();
  } catch (error) {
    await output.discard();
    throw error;
  }
}

/**
 * Writes a file that says how far a command is: whole or not at all, on the disk when it returns, for its owner only
 * (0600). Unlike an output it is written also when the command is being stopped: that is what it is for.
 */
export async function writeStateFile(path: string, bytes: Uint8Array): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** A JSON array, one session a line. Nothing is written before the first session or the end. */
export class SessionArray {
  readonly #output: Output;
  #separator = '[\n';

  constructor(output: Output) {
    this.#output = output;
  }

  async write(session: unknown): Promise<void> {
    await this.#output.write(`${this.#separator}${JSON.stringify(session)}`);
    this.#separator = ',\n';
  }

  /** Writes the end of the array. */
  async end(): Promise<void> {
    await this.#output.write(this.#separator === ',\n' ? '\n]\n' : '[]\n');
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

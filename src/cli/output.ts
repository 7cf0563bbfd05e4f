import { InputError, systemError } from './errors.js';
import { randomBytes } from 'node:crypto';
import { open, realpath, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
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
 * @param path - As given with an option; `undefined` is standard output.
 * @returns An output that takes nothing more once the terminal's signal has aborted.
 * @throws {@link InputError} when the file cannot be made: open it before the work that it is for.
 */
export async function openOutput(path: string | undefined, terminal: Terminal): Promise<Output> {
  return buffered(await openUnbuffered(path, terminal), terminal.signal);
}

async function openUnbuffered(path: string | undefined, terminal: Terminal): Promise<Output> {
  if (path === undefined) {
    return {
      write: (text) => terminal.write(text),
      commit: () => Promise.resolve(),
      discard: () => Promise.resolve(),
    };
  }
  const existing = await stat(path).catch(() => undefined);
  if (existing?.isDirectory() === true)
    throw new InputError(`cannot write to ${path}: expected a file, got a directory`);
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

/** Writes a whole file the same way. */
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

import { randomBytes } from 'node:crypto';
import { open, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { InputError } from './command.js';
import { errorCode } from './key-file.js';
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
 * at the end. A device or a pipe is written to directly.
 *
 * @param path - As given with `-o`; `undefined` is standard output.
 * @throws {@link InputError} when the file cannot be made.
 */
export async function openOutput(path: string | undefined, terminal: Terminal): Promise<Output> {
  if (path === undefined) {
    return buffered({
      write: (text) => terminal.write(text),
      commit: () => Promise.resolve(),
      discard: () => Promise.resolve(),
    });
  }
  const existing = await stat(path).catch(() => undefined);
  if (existing?.isDirectory() === true) throw new InputError(`-o: ${path} is a directory`);
  if (existing && !existing.isFile()) {
    const device = await openOr(path, 'w');
    return buffered({
      write: (text) => device.writeFile(text),
      commit: () => device.close(),
      discard: () => device.close(),
    });
  }
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`);
  const file = await openOr(temporary, 'wx');
  return buffered({
    write: (text) => file.writeFile(text),
    async commit() {
      await file.sync();
      await file.close();
      await rename(temporary, path);
    },
    async discard() {
      await file.close();
      await rm(temporary, { force: true });
    },
  });
}

async function openOr(path: string, flags: string): Promise<FileHandle> {
  try {
    return await open(path, flags, 0o600);
  } catch (cause) {
    throw new InputError(`-o: cannot write ${path} (${errorCode(cause)})`, { cause });
  }
}

function buffered(output: Output): Output {
  let pending = '';
  const flush = async () => {
    const text = pending;
    pending = '';
    if (text !== '') await output.write(text);
  };
  return {
    async write(text) {
      pending += text;
      if (pending.length >= BUFFER) await flush();
    },
    async commit() {
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

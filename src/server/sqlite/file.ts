import { closeSync, existsSync, openSync, realpathSync, statSync } from 'node:fs';
import type { SqliteConnection } from './connection.js';

/** @throws Error when SQLite finds a fault in the file. */
export function quickCheck(reader: SqliteConnection): void {
  const [result] = reader.first('PRAGMA quick_check(1)') as [string];
  if (result !== 'ok') throw new Error(`the file is damaged: ${result}`);
}

/** @throws Error when somebody removed the log of a process that was killed, and with it the newest writes. */
export function expectLog(file: string): void {
  if (existsSync(`${file}-shm`) && !existsSync(`${file}-wal`)) {
    throw new Error(`${file}-wal is missing, and with it the newest writes; without the check it opens`);
  }
}

/**
 * Returns a function that tells whether the file and its log are still those that were opened: SQLite would go on writing
 * to a file without a name. The files are not opened for that, see {@link createPrivately}.
 */
export function watch(file: string): () => boolean {
  const names = [file, `${realpathSync(file)}-wal`];
  const identities = (): string =>
    names
      .map((name) => statSync(name, { bigint: true, throwIfNoEntry: false }))
      .map((found) => `${found?.dev}:${found?.ino}`)
      .join();
  const opened = identities();
  return () => identities() === opened;
}

/**
 * Makes the file readable by its owner only, as are then the files beside it; a file that exists keeps its mode.
 *
 * A file that exists is never opened and closed here: closing any descriptor of it would drop all locks that this
 * process holds on it, and another process would then delete the log under open connections.
 */
export function createPrivately(file: string): void {
  try {
    closeSync(openSync(file, 'wx', 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    // The name is that of a link to a file that does not exist yet.
    if (!existsSync(file)) closeSync(openSync(file, 'a', 0o600));
  }
}

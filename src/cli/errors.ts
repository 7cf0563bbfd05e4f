/** Ends a command with exit code 2: unreadable input, output that cannot be written, no way to the server. */
export class InputError extends Error {
  override readonly name: string = 'InputError';
}

/** Ends a command with exit code 2 because it was used wrongly; the message then points to the help. */
export class UsageError extends InputError {
  override readonly name = 'UsageError';
}

/** A signal of the operating system stopped the command: Ctrl-C is SIGINT. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  readonly by: NodeJS.Signals;

  constructor(by: NodeJS.Signals) {
    super(`interrupted (${by})`);
    this.by = by;
  }
}

/** The operating system's code and description of an error, such as `ENOENT: no such file or directory`. */
export function systemError(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === undefined) return 'unreadable';
  if (code === 'EISDIR') return 'EISDIR: a directory, not a file';
  // The rest of the message is the call and the path; the caller names the path itself.
  const words = /^[A-Z0-9]+: ([^,:]+)/.exec(message)?.[1];
  return words === undefined ? code : `${code}: ${words}`;
}

/** What people mistake for the key of a backup. */
export const LOOKALIKE =
  'the key of the secret storage looks alike but is another one: "rescue" takes either';

/** What to say when a key reads no record of a backup. */
export const WRONG_KEY = `the key does not fit this backup: not one of its keys was encrypted to it (wrong-key); ${LOOKALIKE}`;

/** What ends a command with exit code 2: unreadable input, output that cannot be written, no way to the server. */
export class InputError extends Error {
  override readonly name: string = 'InputError';
}

/** What ends a command with exit code 2 because it was called wrongly; the help says how to call it. */
export class UsageError extends InputError {
  override readonly name = 'UsageError';
}

/** Why a command stopped that was told to by the operating system: Ctrl-C is SIGINT. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  readonly by: NodeJS.Signals;

  constructor(by: NodeJS.Signals) {
    super(`interrupted (${by})`);
    this.by = by;
  }
}

/** The operating system's name and words for what went wrong, such as `ENOENT: no such file or directory`. */
export function systemError(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === undefined) return 'unreadable';
  if (code === 'EISDIR') return 'EISDIR: a directory, not a file';
  // The rest of the message is the call and the path, which the caller names in its own way.
  const words = /^[A-Z0-9]+: ([^,:]+)/.exec(message)?.[1];
  return words === undefined ? code : `${code}: ${words}`;
}

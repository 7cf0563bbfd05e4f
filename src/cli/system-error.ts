/** The operating system's name and words for what went wrong, such as `ENOENT: no such file or directory`. */
export function systemError(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === undefined) return 'unreadable';
  if (code === 'EISDIR') return 'EISDIR: a directory, not a file';
  // The rest of the message is the call and the path, which the caller names in its own way.
  const words = /^[A-Z0-9]+: ([^,:]+)/.exec(message)?.[1];
  return words === undefined ? code : `${code}: ${words}`;
}

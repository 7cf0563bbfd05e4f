import { KeyBackupError } from '../engine/errors.js';

/** What the server and its stores can say to those who run them. What a caller is told is a Matrix error. */
export type ServerCode =
  /** An optional package is not installed; the message holds the line that installs it. */
  | 'missing-dependency'
  /** The database refused, is full, or is gone. Nothing was stored. */
  | 'store-failed'
  /** The database was made by a newer release. */
  | 'unsupported-schema'
  | 'bad-parameters';

/**
 * Imports an optional peer.
 *
 * @param load - The dynamic import itself, so that bundlers see it.
 * @param installs - What to hand to `npm install`.
 * @throws {@link KeyBackupError} `missing-dependency`, when and only when the package is not there.
 */
export async function importPeer<Module>(load: () => Promise<Module>, installs: string): Promise<Module> {
  try {
    return await load();
  } catch (cause) {
    const code = (cause as { code?: unknown } | null)?.code;
    if (code !== 'ERR_MODULE_NOT_FOUND' && code !== 'MODULE_NOT_FOUND') throw cause;
    throw new KeyBackupError<ServerCode>(
      'missing-dependency',
      `an optional package is missing: npm install ${installs}`,
      { cause },
    );
  }
}

/** Wraps what a database's client threw. */
export function storeFailed(cause: unknown): KeyBackupError<ServerCode> {
  const reason = cause instanceof Error ? cause.message : 'unknown reason';
  return new KeyBackupError<ServerCode>('store-failed', `the database failed: ${reason}`, { cause });
}

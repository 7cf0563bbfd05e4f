import { KeyBackupError, messageOf } from '../errors.js';

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
    throw new KeyBackupError(
      'missing-dependency',
      `an optional package is missing: npm install ${installs}`,
      { cause },
    );
  }
}

/** Wraps what a database's client threw. */
export function storeFailed(cause: unknown): KeyBackupError {
  const reason = messageOf(cause) ?? 'unknown reason';
  return new KeyBackupError('store-failed', `the database failed: ${reason}`, { cause });
}

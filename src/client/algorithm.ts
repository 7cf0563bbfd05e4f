import type { VersionInfo } from '../api/types.js';
import { BACKUP_ALGORITHM } from '../engine/auth-data.js';
import type { Scheme } from '../engine/directions.js';
import { KeyBackupError } from '../engine/errors.js';
import { quote } from '../engine/quote.js';

/** An algorithm of backups, as the calls see it that can do more than one. */
export interface BackupAlgorithm {
  /** What it is called in a version; the first one is written. */
  readonly names: readonly string[];
  /** In what it differs from v1; `undefined` for v1 itself. */
  readonly scheme: Scheme | undefined;
}

/** `m.megolm_backup.v1.curve25519-aes-sha2`, which every call takes that is not told otherwise. */
export const V1: BackupAlgorithm = { names: [BACKUP_ALGORITHM], scheme: undefined };

/** How the names begin that are read only by who asks for them. */
export const EXPERIMENTAL = 'org.matrix.msc4048.';

/** @throws {@link KeyBackupError} `unsupported-algorithm` unless a version is of the algorithm. */
export function expectAlgorithm(
  { version, algorithm }: Pick<VersionInfo, 'version' | 'algorithm'>,
  { names }: BackupAlgorithm = V1,
): void {
  if (names.includes(algorithm)) return;
  const got = algorithm.startsWith(EXPERIMENTAL) ? 'the experimental one of MSC4048' : 'another algorithm';
  throw new KeyBackupError(
    'unsupported-algorithm',
    `backup version ${quote(version)}: expected ${names[0]}, got ${got}`,
  );
}

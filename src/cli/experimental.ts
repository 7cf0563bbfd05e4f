import { MSC4048 } from '../client/authenticated-backup.js';
import { V1, type BackupAlgorithm } from '../client/algorithm.js';
import { UsageError } from './command.js';

/** The part of the help about the option that asks for the second algorithm. */
export const EXPERIMENTAL_USAGE = `  --experimental-msc4048
                     EXPERIMENTAL: the second algorithm of the open proposal MSC4048, whose every record has a
                     backup_mac. Its name, ${MSC4048.names[0]}, is unstable and will change;
                     no other client reads such a backup.
`;

/** The algorithm that a command line asks for. */
export function chooseAlgorithm(experimental: boolean | undefined): BackupAlgorithm {
  return experimental === true ? MSC4048 : V1;
}

/** What old clients wrote is of v1 only. */
export function expectNoSalvage({ scheme }: BackupAlgorithm, salvage: boolean | undefined): void {
  if (scheme && salvage === true) throw new UsageError('--experimental-msc4048 has nothing to --salvage');
}

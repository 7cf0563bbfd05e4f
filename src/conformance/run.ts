import type { Check } from './check.js';
import { HTTP_CHECKS } from './http-checks.js';
import { KEY_CHECKS } from './key-checks.js';
import { REPLACEMENT_CHECKS } from './replacement-checks.js';
import { NotConforming, serverUnderTest, type ServerAddress } from './server-under-test.js';
import { VERSION_CHECKS } from './version-checks.js';

/** Every check, in the order they run. */
export const CHECKS: readonly Check[] = [
  ...VERSION_CHECKS,
  ...KEY_CHECKS,
  ...REPLACEMENT_CHECKS,
  ...HTTP_CHECKS,
];

/** How one check went. Only a `specification` check that did not pass is a violation. */
export interface CheckResult extends Omit<Check, 'run'> {
  readonly passed: boolean;
  /** Why it did not pass: what was expected, what came. */
  readonly reason?: string;
  /** Which of several right answers the server gives, or that the check was not tried. */
  readonly note?: string;
}

/** Whether one of the two users has a backup, which the checks would delete. */
export async function hasBackup(address: ServerAddress): Promise<boolean> {
  const { alice, bob } = serverUnderTest(address);
  for (const user of [alice, bob]) {
    const { status, text } = await user.call('GET', '/version');
    if (status === 200) return true;
    if (status !== 404) {
      const advice = status === 401 ? ': the server does not take an access token; see the token files' : '';
      throw new NotConforming(
        `GET /room_keys/version: expected 200 or 404, got ${status} ${text.slice(0, 200)}${advice}`,
      );
    }
  }
  return false;
}

/**
 * Runs every check against any server, by HTTP alone.
 *
 * The backups of both users are DELETED, before and after. Checks run one after another; one that does not
 * pass never stops the next.
 *
 * @param onResult - Told of each check as it ends.
 */
export async function runConformance(
  address: ServerAddress,
  onResult: (result: CheckResult) => void = () => undefined,
): Promise<readonly CheckResult[]> {
  const server = serverUnderTest(address);
  const results: CheckResult[] = [];
  await server.alice.deleteVersions();
  await server.bob.deleteVersions();
  for (const { run, ...about } of CHECKS) {
    address.signal?.throwIfAborted();
    let result: CheckResult;
    try {
      const note = await run(server);
      result = { ...about, passed: true, ...(note !== undefined && { note }) };
    } catch (error) {
      result = { ...about, passed: false, reason: error instanceof Error ? error.message : String(error) };
    }
    results.push(result);
    onResult(result);
  }
  await server.alice.deleteVersions();
  await server.bob.deleteVersions();
  return results;
}

import { hasBackup, runConformance } from '../conformance/run.js';
import { NotConforming } from '../conformance/server-under-test.js';
import { InputError, UsageError, parseCommand, parseCount } from './command.js';
import { readToken } from './homeserver.js';
import type { Terminal } from './terminal.js';

export const usage = `usage: megolm-backup conformance --homeserver URL --token-file FILE --token-file-b FILE [options]

Checks a server's key backup API against the specification, as two of its users, and prints a line a check.

  --homeserver URL             the server's base URL
  --token-file FILE            a file with the access token of the first user
  --token-file-b FILE          the same of a second, other user
  --destroy-existing-backups   goes on although a user has a backup: THE BACKUPS OF BOTH USERS ARE DELETED
  --max-body BYTES             the server's limit for bodies, to check it too
  --json                       prints the results as one line of JSON

Exit code 0 when every check passed, 1 when some did not, 2 for wrong usage, an account that has a backup, or no way to
the server.

example:
  megolm-backup conformance --homeserver http://127.0.0.1:8009 --token-file a.txt --token-file-b b.txt
`;

/** `megolm-backup conformance` */
export async function run(args: readonly string[], terminal: Terminal): Promise<number> {
  const { values } = parseCommand(
    args,
    {
      homeserver: { type: 'string' },
      'token-file': { type: 'string' },
      'token-file-b': { type: 'string' },
      'destroy-existing-backups': { type: 'boolean' },
      'max-body': { type: 'string' },
      json: { type: 'boolean' },
    },
    [],
  );
  const { homeserver, 'token-file': fileA, 'token-file-b': fileB, 'max-body': maxBody } = values;
  if (homeserver === undefined || !/^https?:\/\//.test(homeserver) || !URL.canParse(homeserver)) {
    throw new UsageError('--homeserver: expected a URL that starts with http:// or https://');
  }
  if (fileA === undefined || fileB === undefined)
    throw new UsageError('give --token-file and --token-file-b');
  const address = {
    url: homeserver,
    tokenA: await readToken(fileA, 'access token', terminal),
    tokenB: await readToken(fileB, 'second access token', terminal),
    maxBody: parseCount('--max-body', maxBody),
    signal: terminal.signal,
  };
  if (address.tokenA === address.tokenB)
    throw new UsageError('--token-file-b: expected the token of another user, got the same one');

  if (values['destroy-existing-backups'] !== true && (await reached(hasBackup(address), homeserver))) {
    throw new InputError(
      'an account has a backup, which the checks would delete; see --destroy-existing-backups',
    );
  }
  const json = values.json === true;
  const results = await reached(
    runConformance(address, ({ name, passed, reason }) => {
      if (!json) terminal.stdout(passed ? `ok    ${name}\n` : `FAIL  ${name}\n      ${reason ?? ''}\n`);
    }),
    homeserver,
  );
  const failed = results.filter(({ passed }) => !passed).length;
  terminal.stdout(
    json
      ? `${JSON.stringify({ passed: results.length - failed, failed, checks: results })}\n`
      : `${results.length - failed} passed, ${failed} failed\n`,
  );
  return failed === 0 ? 0 : 1;
}

async function reached<T>(result: Promise<T>, homeserver: string): Promise<T> {
  try {
    return await result;
  } catch (cause) {
    if (!(cause instanceof Error)) throw cause;
    // What the connection died of is the cause of what the platform throws.
    const why = cause.cause instanceof Error ? cause.cause.message : cause.message;
    throw new InputError(
      cause instanceof NotConforming ? `${homeserver}: ${why}` : `no way to ${homeserver}: ${why}`,
      { cause },
    );
  }
}

import { hasBackup, runConformance } from '../conformance/run.js';
import { InputError, UsageError, parseCommand } from './command.js';
import { readSecretLine } from './key-file.js';
import type { Terminal } from './terminal.js';

export const usage = `usage: megolm-backup conformance --homeserver URL --token-file FILE --token-file-b FILE [options]

Checks a server's key backup API against the specification, as two of its users, and prints a line a check.

  --homeserver URL             the server's base URL
  --token-file FILE            a file with the access token of the first user
  --token-file-b FILE          the same of a second, other user
  --destroy-existing-backups   goes on although a user has a backup: THE BACKUPS OF BOTH USERS ARE DELETED
  --max-body BYTES             the server's limit for bodies, to check it too
  --json                       prints the results as one line of JSON

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
  if (maxBody !== undefined && !/^[0-9]{1,15}$/.test(maxBody))
    throw new UsageError('--max-body: expected a number');
  const address = {
    url: homeserver,
    tokenA: await readSecretLine(fileA, 'access token', terminal),
    tokenB: await readSecretLine(fileB, 'second access token', terminal),
    maxBody: maxBody === undefined ? undefined : Number(maxBody),
    signal: terminal.signal,
  };
  if (address.tokenA === address.tokenB) throw new UsageError('the two tokens are of one user');

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
    throw new InputError(`no answer from ${homeserver}: ${cause instanceof Error ? cause.message : ''}`, {
      cause,
    });
  }
}

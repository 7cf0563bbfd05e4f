import { hasBackup, runConformance, type CheckResult } from '../../conformance/run.js';
import { NotConforming } from '../../conformance/server-under-test.js';
import { excerpt } from '../../encoding/quote.js';
import { defineCommand, parseCount } from '../command.js';
import { InputError, UsageError } from '../errors.js';
import { readToken } from '../homeserver.js';

export const command = defineCommand({
  name: 'conformance',
  summary: 'check a server against the specification',
  description: `
Checks a server's key backup API against the specification, as two of its users, and prints one line for each
check. Requirements of the specification are printed with their section. Recommendations of this project are
printed apart, with the reason, and do not change the exit code.
`,
  options: {
    homeserver: { value: 'URL', required: true, help: "the server's base URL" },
    'token-file': { value: 'FILE', required: true, help: 'a file with the access token of the first user' },
    'token-file-b': { value: 'FILE', required: true, help: 'the same of a second, other user' },
    'destroy-existing-backups': {
      help: 'run although a user has a backup: THE BACKUPS OF BOTH USERS ARE DELETED',
    },
    'max-body': { value: 'BYTES', help: "the server's limit for bodies, to check it too" },
    json: { help: 'print the results of both kinds as one line of JSON' },
  },
  exitCodes: `Exit code 0 when the server meets the specification, 1 when it violates it, 2 for wrong usage, an account
    that has a backup, or no way to the server.`,
  example:
    'megolm-backup conformance --homeserver http://127.0.0.1:8009 --token-file a.txt --token-file-b b.txt',
  async run({ homeserver, tokenFile, tokenFileB, destroyExistingBackups, maxBody, json }, terminal) {
    if (!/^https?:\/\//.test(homeserver) || !URL.canParse(homeserver)) {
      throw new UsageError('--homeserver: expected a URL that starts with http:// or https://');
    }
    const address = {
      url: homeserver,
      tokenA: await readToken(tokenFile, 'access token', terminal),
      tokenB: await readToken(tokenFileB, 'second access token', terminal),
      maxBody: parseCount('--max-body', maxBody),
      signal: terminal.signal,
    };
    if (address.tokenA === address.tokenB) {
      throw new UsageError('--token-file-b: expected the token of another user, got the same one');
    }
    if (!destroyExistingBackups && (await reached(hasBackup(address), homeserver))) {
      throw new InputError(
        'an account has a backup, which the checks would delete; see --destroy-existing-backups',
      );
    }
    const results = await reached(
      runConformance(address, (result) => {
        if (!json && result.kind === 'specification') terminal.stdout(lineOf(result, 'FAIL'));
      }),
      homeserver,
    );
    const required = countOf(results, 'specification');
    const recommended = countOf(results, 'recommendation');
    if (json) {
      const numbers = { ...required, recommendations: recommended, checks: results };
      terminal.stdout(`${JSON.stringify(numbers)}\n`);
    } else {
      terminal.stdout('\nnot in the specification, and recommended:\n');
      for (const result of results) {
        if (result.kind === 'recommendation') terminal.stdout(lineOf(result, 'note'));
      }
      terminal.stdout(
        `\nspecification: ${required.passed} passed, ${required.failed} failed\n` +
          `recommendations: ${recommended.passed} followed, ${recommended.failed} not followed\n`,
      );
    }
    return required.failed === 0 ? 0 : 1;
  },
});

function lineOf({ name, section, why, passed, reason, note }: CheckResult, failed: string): string {
  if (passed) return `ok    ${name}${note === undefined ? '' : `: ${note}`}\n`;
  return `${failed}  ${name}\n      ${section ?? why ?? ''}\n      ${excerpt(reason ?? '')}\n`;
}

function countOf(
  results: readonly CheckResult[],
  kind: CheckResult['kind'],
): { passed: number; failed: number } {
  const ofKind = results.filter((result) => result.kind === kind);
  const passed = ofKind.filter((result) => result.passed).length;
  return { passed, failed: ofKind.length - passed };
}

async function reached<T>(result: Promise<T>, homeserver: string): Promise<T> {
  try {
    return await result;
  } catch (cause) {
    if (!(cause instanceof Error)) throw cause;
    // fetch wraps the reason why a connection failed.
    const why = cause.cause instanceof Error ? cause.cause.message : cause.message;
    throw new InputError(
      cause instanceof NotConforming ? `${homeserver}: ${why}` : `no way to ${homeserver}: ${why}`,
      { cause },
    );
  }
}

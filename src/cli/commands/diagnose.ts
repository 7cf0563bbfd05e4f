import { diagnose, type Diagnosis } from '../../client/diagnose.js';
import { excerpt } from '../../encoding/quote.js';
import { authenticityCountsText } from '../../report/report.js';
import { defineCommand } from '../command.js';
import { LOOKALIKE } from '../errors.js';
import { withAccount } from '../homeserver.js';
import { ACCOUNT } from '../options.js';
import { shareOf, withProgress } from '../results.js';

export const command = defineCommand({
  name: 'diagnose',
  summary: 'check the backup of an account, and say what to do',
  usage: ['--homeserver WHERE [options]'],
  description: `
Checks the backup of an account, and says what to do about each thing that is wrong. With the decryption
key it tries every key of the backup, and says how many prove where they come from (verified)
and how many do not (no-mac, wrong-mac, declared-unauthenticated).
`,
  options: ACCOUNT,
  exitCodes: `Exit code 0 when nothing was found but notes, 1 when something was: also when a backup_mac is wrong; 2 when
    there is no way to the server.`,
  example: 'megolm-backup diagnose --homeserver @alice:example.org --token-file token.txt --key-file key.txt',
  async run(options, terminal) {
    const { signal } = terminal;
    const diagnosis = await withAccount(options, terminal, (roomKeys, { decryptionKey: key, ...trust }) =>
      withProgress(terminal, (show) =>
        diagnose(roomKeys, {
          ...trust,
          key,
          signal,
          onProgress: (reached) => {
            show(reached.done, shareOf(reached));
          },
        }),
      ),
    );
    terminal.stdout(options.json ? `${asJson(diagnosis)}\n` : asText(diagnosis));
    return diagnosis.findings.every(({ severity }) => severity === 'note') ? 0 : 1;
  },
});

function asJson({ state, info, wish, authData, keys, findings }: Diagnosis): string {
  const signatures = authData?.signatures;
  return JSON.stringify({ state, info, wish, trusted: authData?.trusted, signatures, keys, findings });
}

function asText({ state, info, authData, keys, findings }: Diagnosis): string {
  const lines = [`The backup is ${STATES[state]}.`];
  if (info)
    lines.push(
      `version ${excerpt(info.version)}, ${excerpt(info.algorithm)}, ${info.count ?? 'uncounted'} keys`,
    );
  for (const { keyId, state: signed, reason } of authData?.signatures ?? []) {
    lines.push(`signature ${excerpt(keyId)}: ${signed}, ${reason}`);
  }
  if (keys?.readable !== undefined) lines.push(`${keys.readable} of ${keys.total} keys can be read`);
  const counts = keys?.authenticity && authenticityCountsText(keys.authenticity);
  if (counts) lines.push(counts.trimEnd());
  for (const { code, severity, message, advice } of findings) {
    lines.push(`${severity}: ${message}.\n  ${advice}${code === 'wrong-key' ? `; ${LOOKALIKE}` : ''}.`);
  }
  return `${lines.join('\n')}\n`;
}

const STATES: Readonly<Record<Diagnosis['state'], string>> = {
  none: 'not there',
  broken: 'broken',
  damaged: 'usable, with faults',
  healthy: 'healthy, as far as was checked',
};

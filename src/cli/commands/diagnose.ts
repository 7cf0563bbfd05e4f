import { ownUserId } from '../../client/account.js';
import { diagnose, type Diagnosis } from '../../client/diagnose.js';
import { excerpt } from '../../encoding/quote.js';
import { authenticityCountsText } from '../../report/report.js';
import { defineCommand } from '../command.js';
import { connect, withServer } from '../homeserver.js';
import { HOMESERVER, KEY_FILE, TRUSTED_KEY } from '../options.js';
import { shareOf, withProgress } from '../results.js';
import { parseSigningKey, readKeyFile } from '../secrets.js';

export const command = defineCommand({
  name: 'diagnose',
  summary: 'say in what state a backup is, and what to do',
  usage: ['--homeserver WHERE [options]'],
  description: `
Says in what state the backup of an account is, and what to do about each thing that is wrong. With the
decryption key it tries every key of the backup, and says how many prove where they come from (verified)
and how many do not (no-mac, wrong-mac, declared-unauthenticated).
`,
  options: { ...HOMESERVER, ...KEY_FILE, ...TRUSTED_KEY, json: { help: 'print it as JSON' } },
  exitCodes: `Exit code 0 when nothing was found but notes, 1 when something was: also when a backup_mac is wrong; 2 when
    there is no way to the server.`,
  example: 'megolm-backup diagnose --homeserver @alice:example.org --token-file token.txt --key-file key.txt',
  async run({ keyFile, key: signers, json, ...server }, terminal) {
    const trustedKeys = signers.map(parseSigningKey);
    const key = keyFile === undefined ? undefined : await readKeyFile(keyFile, terminal);
    try {
      const roomKeys = await connect(server, terminal);
      const { signal } = terminal;
      const diagnosis = await withProgress(terminal, (progress) =>
        withServer(async () =>
          diagnose(roomKeys, {
            userId: await ownUserId(roomKeys, { signal }),
            trustedKeys,
            key,
            signal,
            onProgress: (reached) => {
              progress.update(reached.done, shareOf(reached));
            },
          }),
        ),
      );
      terminal.stdout(json ? `${asJson(diagnosis)}\n` : asText(diagnosis));
      return diagnosis.findings.every(({ severity }) => severity === 'note') ? 0 : 1;
    } finally {
      key?.dispose();
    }
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
  for (const { severity, message, advice } of findings) lines.push(`${severity}: ${message}.\n  ${advice}.`);
  return `${lines.join('\n')}\n`;
}

const STATES: Readonly<Record<Diagnosis['state'], string>> = {
  none: 'not there',
  broken: 'broken',
  damaged: 'usable, but not all right',
  healthy: 'all right as far as could be seen',
};

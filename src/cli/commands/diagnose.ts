import { authenticityCountsText } from '../../report/report.js';
import { ownUserId } from '../../client/account.js';
import { diagnose, type Diagnosis } from '../../client/diagnose.js';
import { excerpt } from '../../encoding/quote.js';
import { parseSigningKey } from '../auth-data-file.js';
import { parseCommand } from '../command.js';
import { HOMESERVER_ARGUMENTS, HOMESERVER_USAGE, connect, withServer } from '../homeserver.js';
import { readKeyFile } from '../key-file.js';
import { ProgressLine } from '../progress.js';
import type { Terminal } from '../terminal.js';

export const usage = `usage: megolm-backup diagnose --homeserver WHERE [options]

Says in what state the backup of an account is, and what to do about each thing that is not right.

${HOMESERVER_USAGE}  --key-file FILE    the backup decryption key, in its text form ("recovery key") or base64; with it every key
                     of the backup is tried. The key of the secret storage looks alike but is another one.
  --key ed25519:ID=BASE64
                     a trusted key: a verified device's, or the master key; may be repeated
  --json             print it as JSON

With the key it also says how many keys prove where they come from (verified) and how many do not (no-mac, wrong-mac,
declared-unauthenticated).

Exit code 0 when nothing was found but notes, 1 when something was: also when a backup_mac is wrong.

example:
  megolm-backup diagnose --homeserver @alice:example.org --token-file token.txt --key-file key.txt
`;

/** `megolm-backup diagnose` */
export async function run(args: readonly string[], terminal: Terminal): Promise<number> {
  const options = {
    ...HOMESERVER_ARGUMENTS,
    'key-file': { type: 'string' },
    key: { type: 'string', multiple: true },
    json: { type: 'boolean' },
  } as const;
  const { values } = parseCommand(args, options, []);
  const trustedKeys = (values.key ?? []).map(parseSigningKey);
  const key = values['key-file'] === undefined ? undefined : await readKeyFile(values['key-file'], terminal);
  const roomKeys = await connect(values, terminal);
  const { signal } = terminal;
  const progress = new ProgressLine(terminal);
  let diagnosis: Diagnosis;
  try {
    diagnosis = await withServer(async () =>
      diagnose(roomKeys, {
        userId: await ownUserId(roomKeys, { signal }),
        trustedKeys,
        key,
        signal,
        onProgress: ({ done, total }) => {
          progress.update(done, total === undefined || total === 0 ? undefined : done / total);
        },
      }),
    );
  } finally {
    progress.clear();
    key?.dispose();
  }
  terminal.stdout(values.json === true ? `${json(diagnosis)}\n` : text(diagnosis));
  return diagnosis.findings.every(({ severity }) => severity === 'note') ? 0 : 1;
}

function json({ state, info, wish, authData, keys, findings }: Diagnosis): string {
  const signatures = authData?.signatures;
  return JSON.stringify({ state, info, wish, trusted: authData?.trusted, signatures, keys, findings });
}

function text({ state, info, authData, keys, findings }: Diagnosis): string {
  const lines = [`The backup is ${STATES[state]}.`];
  if (info) lines.push(`version ${excerpt(info.version)}, ${excerpt(info.algorithm)}, ${info.count} keys`);
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

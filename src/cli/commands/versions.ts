import { checkBackupTrust } from '../../client/diagnose.js';
import { BACKUP_ALGORITHM } from '../../scheme/auth-data.js';
import { excerpt } from '../../encoding/quote.js';
import { parseSigningKey } from '../auth-data-file.js';
import { parseCommand } from '../command.js';
import { HOMESERVER_ARGUMENTS, HOMESERVER_USAGE, connect, withServer } from '../homeserver.js';
import { readKeyFile } from '../key-file.js';
import type { Terminal } from '../terminal.js';
import { ownUserId } from '../../client/account.js';

export const usage = `usage: megolm-backup versions --homeserver WHERE [options]

Shows the current backup version of an account, and what is wrong with it. The API names no others. "diagnose" looks
at its keys as well, and says what to do.

${HOMESERVER_USAGE}  --key-file FILE    compare with this backup decryption key; - is standard input
  --key ed25519:ID=BASE64
                     a trusted key: a verified device's, or the master key; may be repeated
  --json             print it as JSON

Exit code 0 when there is a backup and nothing is wrong with it, as far as the keys given can tell; 1 when not.

example:
  megolm-backup versions --homeserver @alice:example.org --token-file token.txt --key-file key.txt
`;

/** `megolm-backup versions` */
export async function run(args: readonly string[], terminal: Terminal): Promise<number> {
  const options = {
    ...HOMESERVER_ARGUMENTS,
    'key-file': { type: 'string' },
    key: { type: 'string', multiple: true },
    json: { type: 'boolean' },
  } as const;
  const { values } = parseCommand(args, options, []);
  const trustedKeys = (values.key ?? []).map(parseSigningKey);
  const decryptionKey =
    values['key-file'] === undefined ? undefined : await readKeyFile(values['key-file'], terminal);
  const roomKeys = await connect(values, terminal);
  const { signal } = terminal;
  const userId = await withServer(() => ownUserId(roomKeys, { signal }));
  const info = await withServer(() => roomKeys.currentVersion({ signal }));
  if (!info) {
    terminal.stdout(values.json === true ? '{"version":null}\n' : 'There is no backup.\n');
    return 1;
  }
  const verdict = checkBackupTrust(info, { userId, trustedKeys, ...(decryptionKey && { decryptionKey }) });
  decryptionKey?.dispose();
  const { usable = null, findings } = verdict;
  const problems = findings.map(({ message }) => message);
  if (values.json === true) {
    const signatures = verdict.authData?.signatures ?? [];
    terminal.stdout(`${JSON.stringify({ ...info, usable, problems, signatures })}\n`);
  } else {
    const known = info.algorithm === BACKUP_ALGORITHM ? '' : ' (unknown here)';
    terminal.stdout(
      `version    ${excerpt(info.version)}\nalgorithm  ${excerpt(info.algorithm)}${known}\n` +
        `public key ${verdict.authData?.publicKey?.toBase64() ?? 'none that is usable'}\n` +
        `keys       ${info.count}\netag       ${excerpt(info.etag)}\nusable     ${USABLE[String(usable)]}\n` +
        problems.map((problem) => `problem    ${problem}\n`).join(''),
    );
  }
  return findings.length === 0 ? 0 : 1;
}

const USABLE: Readonly<Record<string, string>> = {
  true: 'yes',
  false: 'no',
  null: 'unknown: give its key (--key-file) or a trusted one (--key)',
};

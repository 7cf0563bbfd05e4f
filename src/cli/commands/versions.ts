import { checkBackupTrust } from '../../client/diagnose.js';
import { excerpt } from '../../encoding/quote.js';
import { BACKUP_ALGORITHM } from '../../scheme/auth-data.js';
import { defineCommand } from '../command.js';
import { NO_BACKUP, withAccount } from '../homeserver.js';
import { ACCOUNT } from '../options.js';

export const command = defineCommand({
  name: 'versions',
  summary: 'show the current backup version of an account',
  usage: ['--homeserver WHERE [options]'],
  description: `
Shows the current backup version of an account, and what is wrong with it. The API names no others.
"diagnose" looks at its keys as well, and says what to do.
`,
  options: ACCOUNT,
  exitCodes: `Exit code 0 when there is a backup and nothing is wrong with it, as far as the keys given can tell; 1 when
    not; 2 when there is no way to the server.`,
  example: 'megolm-backup versions --homeserver @alice:example.org --token-file token.txt --key-file key.txt',
  async run(options, terminal) {
    const { json } = options;
    const looked = await withAccount(options, terminal, async (roomKeys, trust) => {
      const info = await roomKeys.currentVersion({ signal: terminal.signal });
      return info && { info, verdict: checkBackupTrust(info, trust) };
    });
    if (!looked) {
      terminal.stdout(json ? '{"version":null}\n' : `${NO_BACKUP}\n`);
      return 1;
    }
    const { info, verdict } = looked;
    const { usable = null, findings } = verdict;
    const problems = findings.map(({ message }) => message);
    if (json) {
      const signatures = verdict.authData?.signatures ?? [];
      terminal.stdout(`${JSON.stringify({ ...info, usable, problems, signatures })}\n`);
    } else {
      const known = info.algorithm === BACKUP_ALGORITHM ? '' : ' (unknown here)';
      terminal.stdout(
        `version    ${excerpt(info.version)}\nalgorithm  ${excerpt(info.algorithm)}${known}\n` +
          `public key ${verdict.authData?.publicKey?.toBase64() ?? 'none that is usable'}\n` +
          `keys       ${info.count ?? 'not counted by the server'}\netag       ${excerpt(info.etag)}\nusable     ${USABLE[String(usable)]}\n` +
          problems.map((problem) => `problem    ${problem}\n`).join(''),
      );
    }
    return findings.length === 0 ? 0 : 1;
  },
});

const USABLE: Readonly<Record<string, string>> = {
  true: 'yes',
  false: 'no',
  null: 'unknown: give its key (--key-file) or a trusted one (--key)',
};

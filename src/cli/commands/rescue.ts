import { UsageError } from '../errors.js';
import { KeyFit } from '../../report/key-match-counter.js';
import { Report } from '../../report/report.js';
import {
  UNLOCKED_BY,
  disposeRescueKeys,
  exportRescued,
  rescueKeys,
  type RescueKey,
} from '../../report/rescue.js';
import { nodeBackend } from '../../backends/node.js';
import { verifyAuthData } from '../../scheme/auth-data.js';
import type { DecryptSettings } from '../../batch/decrypt.js';
import { isJsonObject, ownValue, type JsonObject } from '../../encoding/json.js';
import type { AccountData } from '../../secret-storage/key-description.js';
import type { MasterKey } from '../../secret-storage/master-key.js';
import { unlock, type NotUnlocked } from '../../secret-storage/unlock.js';
import { parseCommand } from '../command.js';
import { HOMESERVER_ARGUMENTS, HOMESERVER_USAGE, connect } from '../homeserver.js';
import { readKeyOrPhrase, readNewPassphrase } from '../key-file.js';
import { ProgressLine } from '../progress.js';
import { openResultFiles } from '../result-files.js';
import { filesSource, serverSource, type RescueSource } from '../rescue-source.js';
import { summaryJson } from '../summary.js';
import type { Terminal } from '../terminal.js';

export const usage = `usage: megolm-backup rescue --key-file FILE --export-passphrase-file FILE SOURCE -o FILE [options]

Gets the message keys out of a backup with whatever you hold, and writes them to an encrypted export file that every
Matrix client imports. It finds out by itself which of these you hold, and says so:
  the key of the secret storage, the decryption key of the backup (both are called "recovery key" and look alike),
  the security phrase, the passphrase of an old backup.

  --key-file FILE                one line with that; - is standard input
  --export-passphrase-file FILE  one line with a passphrase of your choice: the export file is encrypted with it
SOURCE, either the current backup of an account and its secret storage:
${HOMESERVER_USAGE}or saved files:
  --version-file FILE            the answer of GET /room_keys/version
  --backup-file FILE             the answer of GET /room_keys/keys
  --account-data-file FILE       a JSON object of account data, event type to content; without it only the backup's own
                                 decryption key or passphrase fits
options:
  --correct          if exactly one key a typing mistake away from yours fits, use that one
  --require-authenticated
                     refuse every key without a right backup_mac, and those their writer did not vouch for
  --salvage          also read keys that are malformed in ways an old client accepted; they are flagged
  --report FILE      write what became of every failed or flagged key
  -o, --output FILE  the export file
  --json             print the numbers as JSON

The summary says how many keys prove where they come from (verified) and how many do not (no-mac, wrong-mac,
declared-unauthenticated). The export file itself says nothing of that.

Exit code 0 when every key came out, 1 when some did not, when a backup_mac is wrong, or when nothing fits, 2 for
wrong usage or unreadable input.

example:
  megolm-backup rescue --key-file key.txt --export-passphrase-file phrase.txt \\
    --version-file version.json --backup-file keys.json --account-data-file account.json \\
    --report report.json -o element-keys.txt
`;

/** `megolm-backup rescue` */
export async function run(args: readonly string[], terminal: Terminal): Promise<number> {
  const { values } = parseCommand(
    args,
    {
      ...HOMESERVER_ARGUMENTS,
      'key-file': { type: 'string' },
      'export-passphrase-file': { type: 'string' },
      'version-file': { type: 'string' },
      'backup-file': { type: 'string' },
      'account-data-file': { type: 'string' },
      correct: { type: 'boolean' },
      'require-authenticated': { type: 'boolean' },
      salvage: { type: 'boolean' },
      report: { type: 'string' },
      output: { type: 'string', short: 'o' },
      json: { type: 'boolean' },
    },
    [],
  );
  const { output } = values;
  if (output === undefined) throw new UsageError('missing option: -o FILE');
  const secrets = [values['key-file'], values['export-passphrase-file'], values['token-file']];
  if (secrets.filter((path) => path === '-').length > 1) {
    throw new UsageError('standard input holds one line: give the other secrets as files');
  }
  const source = await openSource(values, terminal);
  const given = await readKeyOrPhrase(values['key-file'], terminal);
  const passphrase = await readNewPassphrase(
    values['export-passphrase-file'],
    'passphrase of the export',
    terminal,
  );
  const keys = await open(given, source, values.correct === true, terminal);
  if (keys.length === 0) return 1;
  try {
    const salvage = values.salvage === true;
    const settings = { salvage, requireAuthenticated: values['require-authenticated'] === true };
    const write = (key: RescueKey, mayDiscard: boolean) =>
      writeExport(key, source, passphrase, { ...settings, ...values, output }, mayDiscard, terminal);
    let opened = keys[0];
    let outcome = await write(opened, keys.length > 1);
    if (keys.length > 1 && !outcome.fit.fits) {
      opened = keys[1];
      terminal.stderr(`that does not fit; tried as ${UNLOCKED_BY[opened.by]}\n`);
      outcome = await write(opened, false);
    }
    const { report, fit } = outcome;
    if (!fit.fits) terminal.stderr(`${KeyFit.WRONG_KEY}\n`);
    const left = salvage ? [] : report.salvageable;
    if (left.length > 0) {
      const reasons = left.map(([code, count]) => `${count} ${code}`).join(', ');
      terminal.stderr(`left behind for reasons that --salvage may overlook: ${reasons}\n`);
    }
    if (values.json === true) {
      const { by, keyMatches, masterKey } = opened;
      const facts = {
        opened_by: by,
        key_matches: keyMatches,
        master_signed: isSigned(source.authData, masterKey),
      };
      terminal.stdout(summaryJson(report, { ...facts, salvageable: Object.fromEntries(left) }));
    } else {
      terminal.stderr(report.text + report.authenticityText);
    }
    return report.exitCode;
  } finally {
    disposeRescueKeys(keys);
  }
}

/** Writes what a key reads, and the report; a key that does not fit may leave neither behind. */
async function writeExport(
  { key }: RescueKey,
  source: RescueSource,
  passphrase: string,
  options: DecryptSettings & { readonly output: string; readonly report?: string | undefined },
  mayDiscard: boolean,
  terminal: Terminal,
): Promise<{ report: Report; fit: KeyFit }> {
  const { salvage, requireAuthenticated, output } = options;
  const report = new Report();
  const fit = new KeyFit();
  const files = await openResultFiles(output, options.report, terminal);
  try {
    const progress = new ProgressLine(terminal);
    const onProgress = (share: number | undefined) => {
      progress.update(report.ok + report.failed, share);
    };
    const { signal } = terminal;
    const keys = source.restore(key, { salvage, requireAuthenticated, signal, onProgress });
    try {
      for await (const piece of exportRescued(keys, passphrase, report, fit, {
        backend: nodeBackend(),
        signal,
      }))
        await files.result.write(piece);
    } finally {
      progress.clear();
    }
    if (fit.fits || !mayDiscard) await files.commitReport(report);
    if (report.ok > 0 || report.failed === 0) await files.result.commit();
    else await files.discard();
  } catch (error) {
    await files.discard();
    throw error;
  }
  return { report, fit };
}

interface SourceOptions {
  readonly homeserver?: string | undefined;
  readonly 'token-file'?: string | undefined;
  readonly 'version-file'?: string | undefined;
  readonly 'backup-file'?: string | undefined;
  readonly 'account-data-file'?: string | undefined;
}

async function openSource(values: SourceOptions, terminal: Terminal): Promise<RescueSource> {
  const { 'version-file': version, 'backup-file': backup, 'account-data-file': accountData } = values;
  const isSaved = version !== undefined || backup !== undefined || accountData !== undefined;
  if (values.homeserver !== undefined || values['token-file'] !== undefined) {
    if (isSaved) throw new UsageError('give --homeserver or saved files, not both');
    return serverSource(await connect(values, terminal), terminal.signal);
  }
  if (version === undefined || backup === undefined) {
    throw new UsageError('missing option: --homeserver, or --version-file and --backup-file');
  }
  return filesSource({ version, backup, accountData });
}

/** Finds the way in, and tells which it was; no key when there is none, which was explained. */
async function open(
  given: string,
  source: RescueSource,
  correct: boolean,
  terminal: Terminal,
): Promise<RescueKey[]> {
  const { authData, accountData } = source;
  const options = { authData, accountData, backend: nodeBackend(), signal: terminal.signal };
  let result = await unlock(given, options);
  if (!result.ok && result.suggestion && correct) {
    terminal.stderr(`corrected what was given: ${changeOf(result.suggestion.change)}\n`);
    disposeRescueKeys(rescueKeys(result));
    result = await unlock(result.suggestion.text, options);
  }
  const keys = rescueKeys(result);
  if (keys.length === 0) {
    if (!result.ok) explain(result, accountData, terminal);
    return keys;
  }
  const [{ by, keyMatches, masterKey }] = keys;
  terminal.stderr(`${result.ok ? 'opened with' : 'tried as'} ${UNLOCKED_BY[by]}\n`);
  if (!keyMatches) {
    terminal.stderr(
      'the auth_data has no usable public key, so nothing tells in advance whether the key fits\n',
    );
  }
  const signed = isSigned(authData, masterKey);
  if (signed !== null) {
    terminal.stderr(
      `the backup is ${signed ? '' : 'not '}signed by the cross-signing master key of this account\n`,
    );
  }
  return keys;
}

function explain(
  { error, tried, suggestion }: NotUnlocked,
  accountData: AccountData,
  terminal: Terminal,
): void {
  terminal.stderr(`megolm-backup rescue: ${error.code}: ${error.message}\n`);
  for (const attempt of tried) {
    if (attempt.error !== error)
      terminal.stderr(`  not ${UNLOCKED_BY[attempt.as]}: ${attempt.error.message}\n`);
  }
  if (['wrong-key', 'missing-field'].includes(error.code) && Object.keys(accountData).length === 0) {
    terminal.stderr('it may be that of the secret storage: give the account data, where that lies\n');
  }
  if (suggestion) {
    // What was meant is a secret, and stderr may be a log: only that there is something is said.
    const what = `${UNLOCKED_BY[suggestion.by]}, ${changeOf(suggestion.change)}`;
    terminal.stderr(`something close to it does fit: ${what}. Run again with --correct to use that\n`);
  }
}

function changeOf(change: NonNullable<NotUnlocked['suggestion']>['change']): string {
  const changes = {
    substitution: 'with another character in one place',
    swap: 'with two neighbouring characters swapped',
    omission: 'with one more character',
    insertion: 'with one character less',
    NFC: 'in Unicode normalisation form NFC',
    NFKC: 'in Unicode normalisation form NFKC',
    'outer-space': 'without the space around it',
  } as const;
  return changes[change];
}

/** Whether the master key has signed the backup; null when there is no master key to ask about. */
function isSigned(authData: JsonObject, masterKey: MasterKey | undefined): boolean | null {
  if (!masterKey) return null;
  const signatures = ownValue(authData, 'signatures');
  const users = isJsonObject(signatures) ? Object.keys(signatures) : [];
  return users.some(
    (userId) => verifyAuthData(authData, { userId, trustedKeys: [masterKey.signingKey] }).by === 'signature',
  );
}

import { nodeBackend } from '../backends/node.js';
import { verifyAuthData } from '../engine/auth-data.js';
import type { DecryptSettings } from '../engine/batch.js';
import type { ExportedSessionData } from '../engine/room-key.js';
import { isJsonObject, ownValue, type JsonObject } from '../engine/json.js';
import type { AccountData } from '../engine/key-description.js';
import { writeKeyExport } from '../engine/key-export.js';
import type { MasterKey } from '../engine/master-key.js';
import { unlock, type NotUnlocked, type Unlocked } from '../engine/unlock.js';
import { UsageError, parseCommand } from './command.js';
import { HOMESERVER_ARGUMENTS, HOMESERVER_USAGE, connect } from './homeserver.js';
import { readKeyOrPhrase, readNewPassphrase } from './key-file.js';
import type { Output } from './output.js';
import { ProgressLine } from './progress.js';
import { Report, type Place } from './report.js';
import { openResultFiles } from './result-files.js';
import { filesSource, serverSource, type RescueSource, type RescuedKey } from './rescue-source.js';
import type { Terminal } from './terminal.js';

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
  if (values.output === undefined) throw new UsageError('missing option: -o FILE');
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
  const unlocked = await open(given, source, values.correct === true, terminal);
  if (!unlocked) return 1;
  const json = values.json === true;
  const salvage = values.salvage === true;
  const settings = { salvage, requireAuthenticated: values['require-authenticated'] === true };
  const report = new Report();
  try {
    const files = await openResultFiles(values.output, values.report, terminal);
    let fits: boolean;
    try {
      fits = await rescue(source, unlocked, passphrase, settings, files.result, report, terminal);
      await files.commitReport(report);
      if (report.ok > 0 || report.failed === 0) await files.result.commit();
      else await files.discard();
    } catch (error) {
      await files.discard();
      throw error;
    }
    if (!fits)
      terminal.stderr(
        'the key does not fit this backup: not one of its keys was encrypted to it (wrong-key)\n',
      );
  } finally {
    unlocked.key.dispose();
    unlocked.storageKey?.dispose();
  }
  const left = salvage ? [] : salvageable(report);
  if (left.length > 0) {
    const reasons = left.map(([code, count]) => `${count} ${code}`).join(', ');
    terminal.stderr(`left behind for reasons that --salvage may overlook: ${reasons}\n`);
  }
  if (json) {
    const { by, keyMatches, masterKey } = unlocked;
    const opened = {
      opened_by: by,
      key_matches: keyMatches,
      master_signed: isSigned(source.authData, masterKey),
    };
    const codes = Object.fromEntries(report.codes);
    const { summary, authenticity } = report;
    const numbers = { ...summary, authenticity, codes, salvageable: Object.fromEntries(left) };
    terminal.stdout(`${JSON.stringify({ ...opened, ...numbers })}\n`);
  } else {
    terminal.stderr(report.text + report.authenticityText);
  }
  return report.exitCode;
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

const NAMES = {
  'backup-decryption-key': 'the decryption key of the backup',
  'secret-storage-key': 'the key of the secret storage',
  'security-phrase': 'the security phrase',
  'backup-passphrase': 'the passphrase of the backup',
} as const;

/** Finds the way in, and tells which it was; `undefined` when there is none, which was explained. */
async function open(
  given: string,
  source: RescueSource,
  correct: boolean,
  terminal: Terminal,
): Promise<Unlocked | undefined> {
  const { authData, accountData } = source;
  const options = { authData, accountData, backend: nodeBackend(), signal: terminal.signal };
  let result = await unlock(given, options);
  if (!result.ok && result.suggestion && correct) {
    terminal.stderr(`corrected what was given: ${changeOf(result.suggestion.change)}\n`);
    result = await unlock(result.suggestion.text, options);
  }
  if (!result.ok) {
    explain(result, accountData, terminal);
    return undefined;
  }
  terminal.stderr(`opened with ${NAMES[result.by]}\n`);
  if (!result.keyMatches) {
    terminal.stderr(
      'the auth_data has no usable public key, so nothing tells in advance whether the key fits\n',
    );
  }
  const signed = isSigned(authData, result.masterKey);
  if (signed !== null) {
    terminal.stderr(
      `the backup is ${signed ? '' : 'not '}signed by the cross-signing master key of this account\n`,
    );
  }
  return result;
}

function explain(
  { error, tried, suggestion }: NotUnlocked,
  accountData: AccountData,
  terminal: Terminal,
): void {
  terminal.stderr(`megolm-backup rescue: ${error.code}: ${error.message}\n`);
  for (const attempt of tried) {
    if (attempt.error !== error) terminal.stderr(`  not ${NAMES[attempt.as]}: ${attempt.error.message}\n`);
  }
  if (error.code === 'wrong-key' && Object.keys(accountData).length === 0) {
    terminal.stderr('it may be the key of the secret storage: give the account data, where that lies\n');
  }
  if (suggestion) {
    // What was meant is a secret, and stderr may be a log: only that there is something is said.
    const what = `${NAMES[suggestion.by]}, ${changeOf(suggestion.change)}`;
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

const NOWHERE: Place = { room_id: undefined, session_id: undefined, path: '' };

/** Restores and writes. Returns whether the key fits the backup, as far as its records tell. */
async function rescue(
  source: RescueSource,
  { key }: Unlocked,
  passphrase: string,
  settings: DecryptSettings,
  output: Output,
  report: Report,
  terminal: Terminal,
): Promise<boolean> {
  const { signal } = terminal;
  const progress = new ProgressLine(terminal);
  const onProgress = (share: number | undefined) => {
    progress.update(report.ok + report.failed, share);
  };
  let wellFormed = 0;
  let mismatched = 0;
  let current: Extract<RescuedKey, { ok: true }> | undefined;
  async function* sessions(): AsyncGenerator<ExportedSessionData, void, undefined> {
    for await (const result of source.restore(key, { ...settings, signal, onProgress })) {
      if (result.ok || result.wellFormed) wellFormed++;
      if (!result.ok) {
        if (result.error.code === 'mac-mismatch') mismatched++;
        report.refused(result.place, result.error);
      } else {
        current = result;
        yield result.session;
      }
    }
  }
  const pieces = writeKeyExport(sessions(), passphrase, {
    backend: nodeBackend(),
    signal,
    // Called for the session that was yielded last.
    onResult(result) {
      const { place = NOWHERE, flags = [], authenticity } = current ?? {};
      if (result.ok) report.succeeded(place, [...flags, ...result.flags], authenticity);
      else report.refused(place, result.error);
    },
  });
  try {
    for await (const piece of pieces) await output.write(piece);
  } finally {
    progress.clear();
  }
  return mismatched === 0 || mismatched < wellFormed;
}

/** What the salvage reading overlooks, so that asking for it may be worth while. */
const SALVAGEABLE = ['bad-mac-length', 'bad-padding', 'missing-field'];

function salvageable(report: Report): [string, number][] {
  return [...report.codes].filter(([code]) => SALVAGEABLE.includes(code));
}

import { rm } from 'node:fs/promises';
import type { Progress } from '../../async.js';
import { nodeBackend } from '../../backends/node.js';
import type { DecryptSettings } from '../../batch/decrypt.js';
import { fetchSecretStorage, ownUserId } from '../../client/account.js';
import { expectAlgorithm } from '../../client/backup.js';
import { resumableDownload } from '../../client/resumable-download.js';
import { isJsonObject, ownValue, type JsonObject } from '../../encoding/json.js';
import { Report } from '../../report/report.js';
import {
  CHANGES,
  disposeRescueKeys,
  exportRescued,
  KeyMatchCounter,
  rescueEntries,
  rescueKeys,
  TWICE,
  UNLOCKED_BY,
  type RescueKey,
} from '../../report/rescue.js';
import { verifyAuthData } from '../../scheme/auth-data.js';
import type { MasterKey } from '../../secret-storage/account-secrets.js';
import { accountDataOf, secretStorageState, type AccountData } from '../../secret-storage/key-description.js';
import { unlock, type NotUnlocked } from '../../secret-storage/unlock.js';
import type { BackupItem } from '../../wire/backup-item.js';
import { defineCommand } from '../command.js';
import { DownloadFile } from '../download-file.js';
import { UsageError, WRONG_KEY } from '../errors.js';
import { openKeysFile, readJson } from '../files.js';
import { connect, existingBackup, withServer, type ServerOptions } from '../homeserver.js';
import { HOMESERVER, READING, STRICT } from '../options.js';
import { withResultFiles, type OutputPaths } from '../outputs.js';
import { isJsonSummary, shareOf, tellReading, withProgress } from '../results.js';
import { readAuthDataFile, readKeyOrPhrase, readNewPassphrase } from '../secrets.js';
import type { Terminal } from '../terminal.js';

/** Account data of many widgets and rooms reaches megabytes. */
const MAX_ACCOUNT_DATA = 16 << 20;

export const command = defineCommand({
  name: 'rescue',
  summary: 'get the keys out of a backup into an encrypted export file',
  usage: [
    '--homeserver WHERE -o FILE [options]',
    '--version-file FILE --backup-file FILE [--account-data-file FILE] -o FILE [options]',
  ],
  description: `
Gets the message keys out of a backup, the current one of an account or one in saved files, and writes them to an
encrypted export file. If the connection to a homeserver breaks for good, the keys that came are in FILE.partial,
an export file like any other, and the same command resumes: FILE.state has what was downloaded, still encrypted.
Your key or phrase may be any of these; the command finds out which, and says so:
  the key of the secret storage, the decryption key of the backup (both are called "recovery key" and look
  alike), the security phrase, the passphrase of an old backup.
It is asked for on the terminal or read from a file, and so is a new passphrase for the export file.

The summary says how many keys prove where they come from (verified) and how many do not (no-mac, wrong-mac,
declared-unauthenticated). The export file itself does not tell them apart.

Element Web and Desktop import the file; matrix-nio (weechat-matrix, pantalaimon) one written with --strict;
Element X imports no files. The other way out, which every client reads: "export decrypt" and "upload" put the
keys into the current backup of the account.
`,
  options: {
    ...HOMESERVER,
    'version-file': { value: 'FILE', help: 'instead of a homeserver: the answer of GET /room_keys/version' },
    'backup-file': { value: 'FILE', help: 'the answer of GET /room_keys/keys' },
    'account-data-file': {
      value: 'FILE',
      help: `account data: event type to content, an answer of /sync or of Synapse's admin API, or a list of events;
        without it only the backup's own decryption key or passphrase fits`,
    },
    'key-file': { value: 'FILE', help: 'your key or phrase, on one line; - is standard input' },
    'export-passphrase-file': {
      value: 'FILE',
      help: 'a new passphrase for the export file, on one line; - is standard input',
    },
    correct: { help: 'if exactly one key a typing mistake away from yours fits, use that one' },
    ...STRICT,
    ...READING,
  },
  exitCodes: `Exit code 0 when every key came out, 1 when some did not, when a backup_mac is wrong, or when nothing fits, 2
    for wrong usage, unreadable input, or no way to the server.`,
  example: `megolm-backup rescue --homeserver @alice:example.org -o element-keys.txt
  megolm-backup rescue --key-file key.txt --export-passphrase-file phrase.txt \\
    --version-file version.json --backup-file keys.json --account-data-file account.json \\
    --report report.json -o element-keys.txt`,
  async run({ keyFile, exportPassphraseFile, correct, salvage, requireAuthenticated, ...options }, terminal) {
    const { output } = options;
    if (output === undefined) throw new UsageError('missing option: -o FILE');
    const source = await openSource({ ...options, output }, terminal);
    const given = await readKeyOrPhrase(keyFile, terminal);
    const what = 'passphrase of the export';
    const passphrase = await readNewPassphrase(exportPassphraseFile, what, terminal);
    const keys = await open(given, source, correct, terminal);
    if (keys.length === 0) return 1;
    let isComplete = false;
    try {
      const write = (key: RescueKey, mayDiscard: boolean) => {
        const settings = { ...options, salvage, requireAuthenticated, mayDiscard };
        return writeExport(key, source, passphrase, settings, terminal);
      };
      let opened = keys[0];
      let outcome = await write(opened, keys.length > 1);
      if (keys.length > 1 && !outcome.fit.fits) {
        opened = keys[1];
        terminal.stderr(`that does not fit; tried as ${UNLOCKED_BY[opened.by]}\n`);
        outcome = await write(opened, false);
      }
      const { report, fit } = outcome;
      if (!fit.fits) terminal.stderr(`${WRONG_KEY}\n`);
      const { count, isRemote } = source;
      const code = tellReading(report, { json: isJsonSummary(options), salvage, count }, terminal, {
        opened_by: opened.by,
        key_matches: opened.keyMatches,
        master_signed: isSigned(source.authData, opened.masterKey),
      });
      isComplete = !isRemote || !report.cut;
      if (isComplete) return code;
      tellPartial(outcome, count, output, terminal);
      return 2;
    } finally {
      disposeRescueKeys(keys);
      await source.end(isComplete);
    }
  },
});

/** What came of a backup. */
interface Outcome {
  readonly report: Report;
  readonly fit: KeyMatchCounter;
  /** Whether the keys that came before the connection broke are in `FILE.partial`. */
  readonly isPartial: boolean;
}

/** Says where the keys are that came before the connection broke. */
function tellPartial(
  { report: { ok }, isPartial }: Outcome,
  count: number | undefined,
  output: string,
  terminal: Terminal,
): void {
  if (ok === 0) return;
  const keys = count === undefined ? `${ok} keys` : `${ok} of ${count} keys`;
  const partial = `${output}.partial`;
  const where = isPartial
    ? `are in ${output === '-' ? 'the output' : partial}, a whole export file`
    : `came; ${partial}, which has more, stays`;
  terminal.stderr(`${keys} ${where}\n`);
}

/** Writes what a key reads, and the report; a key that does not fit may leave neither behind. */
async function writeExport(
  { key }: RescueKey,
  source: RescueSource,
  passphrase: string,
  options: DecryptSettings & OutputPaths & { readonly mayDiscard: boolean; readonly strict: boolean },
  terminal: Terminal,
): Promise<Outcome> {
  const { salvage, requireAuthenticated, mayDiscard, strict } = options;
  const report = new Report();
  const fit = new KeyMatchCounter();
  const settings = { backend: nodeBackend(), signal: terminal.signal };
  let isPartial = false;
  await withResultFiles(options, terminal, async (result, commitReport) => {
    await withProgress(terminal, (show) =>
      withServer(async () => {
        const { items, shareOf } = source.read();
        const onProgress = ({ done }: Progress) => {
          show(done, shareOf(done));
        };
        const keys = rescueEntries(items, key, { ...settings, salvage, requireAuthenticated, onProgress });
        for await (const piece of exportRescued(keys, passphrase, report, fit, { ...settings, strict })) {
          await result.write(piece);
        }
      }),
    );
    // Without a report: the same command is to run again.
    if (source.isRemote && report.cut) {
      isPartial = report.ok > 0 && (await result.commitPartial());
      return false;
    }
    if (fit.fits || !mayDiscard) await commitReport(report);
    return report.ok > 0 || report.failed === 0;
  });
  return { report, fit, isPartial };
}

/** Where a rescue reads the backup: saved files, or a homeserver. */
interface RescueSource {
  readonly isRemote: boolean;
  /** How many keys it says that it has. */
  readonly count?: number | undefined;
  readonly authData: JsonObject;
  /** `undefined` if it was not given. */
  readonly accountData: AccountData | undefined;
  /** Every key of the backup, or the reason why it could not be read. */
  read(): {
    readonly items: AsyncIterable<BackupItem>;
    /** Share of the whole when some keys are done, 0 to 1; `undefined` when unknown. */
    readonly shareOf: (done: number) => number | undefined;
  };
  /** Removes what only a rescue that was not complete needs, or says where that is. */
  end(isComplete: boolean): Promise<void>;
}

interface SourceOptions extends ServerOptions {
  readonly versionFile: string | undefined;
  readonly backupFile: string | undefined;
  readonly accountDataFile: string | undefined;
  readonly output: string;
}

async function openSource(options: SourceOptions, terminal: Terminal): Promise<RescueSource> {
  const { versionFile: version, backupFile: backup, accountDataFile: accountData } = options;
  if (options.homeserver !== undefined || options.tokenFile !== undefined) {
    if ((version ?? backup ?? accountData) !== undefined) {
      throw new UsageError('give --homeserver or saved files, not both');
    }
    return serverSource(options, terminal);
  }
  if (version === undefined || backup === undefined) {
    throw new UsageError('missing option: --homeserver, or --version-file and --backup-file');
  }
  const authData = await readAuthDataFile(version, terminal);
  return {
    isRemote: false,
    authData,
    accountData: accountData === undefined ? undefined : await readAccountData(accountData, terminal),
    read() {
      const file = openKeysFile(backup, 'rooms', terminal);
      return { items: file.items, shareOf: () => file.share };
    },
    end: () => Promise.resolve(),
  };
}

async function readAccountData(path: string, terminal: Terminal): Promise<AccountData> {
  const value = await readJson(path, { what: 'account data', maxBytes: MAX_ACCOUNT_DATA }, terminal);
  const accountData = accountDataOf(value);
  if (secretStorageState(accountData) === 'none') terminal.stderr(`${path} holds no secret storage\n`);
  return accountData;
}

/** The current backup of an account. */
async function serverSource(options: SourceOptions, terminal: Terminal): Promise<RescueSource> {
  const { signal } = terminal;
  const roomKeys = await connect(options, terminal);
  return withServer(async () => {
    const info = await existingBackup(roomKeys, signal);
    expectAlgorithm(info);
    const log = await DownloadFile.open(options.output, info, terminal);
    const userId = await ownUserId(roomKeys, { signal });
    const { version, count: total } = info;
    return {
      isRemote: true,
      count: total,
      authData: info.auth_data,
      accountData: await fetchSecretStorage(roomKeys, userId, { signal }),
      read: () => ({
        items: resumableDownload(roomKeys, version, log, { signal }),
        shareOf: (done) => shareOf({ done, total }),
      }),
      async end(isComplete) {
        if (isComplete) {
          await log.remove();
          if (log.resumes) await rm(`${options.output}.partial`, { force: true });
        } else if (await log.close()) {
          terminal.stderr(`what came is in ${log.path}, still encrypted; the same command resumes there\n`);
        }
      },
    };
  });
}

/** Unlocks the backup, and says with what; where nothing fits, says why and returns no key. */
async function open(
  given: string,
  source: RescueSource,
  correct: boolean,
  terminal: Terminal,
): Promise<RescueKey[]> {
  const { authData, accountData } = source;
  let derived = 0;
  const onProgress = ({ done, total }: Progress) => {
    // A phrase may come in many forms, and each takes up to a second.
    if (done === total && ++derived > 1 && terminal.isTerminal) {
      terminal.progress(`${derived} forms of the phrase tried`);
    }
  };
  const options = { authData, accountData, backend: nodeBackend(), signal: terminal.signal, onProgress };
  let result = await unlock(given, options);
  if (!result.ok && result.suggestion && correct) {
    terminal.stderr(`corrected what was given: ${CHANGES[result.suggestion.change]}\n`);
    disposeRescueKeys(rescueKeys(result));
    result = await unlock(result.suggestion.text, options);
  }
  terminal.progress('');
  const keys = rescueKeys(result);
  if (keys.length === 0) {
    if (!result.ok) explain(result, accountData, terminal);
    return keys;
  }
  const [{ by, keyMatches, masterKey, flags }] = keys;
  terminal.stderr(`${result.ok ? 'opened with' : 'tried as'} ${UNLOCKED_BY[by]}\n`);
  if (!keyMatches) {
    terminal.stderr(
      'the auth_data has no usable public key, so whether the key fits shows only when it is tried\n',
    );
  }
  if (flags.includes('double-base64-public-key')) terminal.stderr(`the public key is ${TWICE}\n`);
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
  accountData: AccountData | undefined,
  terminal: Terminal,
): void {
  terminal.stderr(`megolm-backup rescue: ${error.code}: ${error.message}\n`);
  for (const attempt of tried) {
    if (attempt.error.code !== error.code)
      terminal.stderr(`  not ${UNLOCKED_BY[attempt.as]}: ${attempt.error.message}\n`);
  }
  if (['wrong-key', 'missing-field'].includes(error.code)) {
    terminal.stderr(
      accountData === undefined
        ? 'it may be the key of the secret storage, which is in the account data: give the account data (--account-data-file)\n'
        : 'the backup is untouched: look for another recovery key or phrase; an account that was reset has had more than one\n',
    );
  }
  if (suggestion) {
    // The right key is a secret, and stderr may be a log: only that there is one is said.
    const what = `${UNLOCKED_BY[suggestion.by]}, ${CHANGES[suggestion.change]}`;
    terminal.stderr(`something close to it fits: ${what}. Run again with --correct to use that\n`);
  }
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

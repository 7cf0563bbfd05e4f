import { throwIfAborted } from '../../async.js';
import { nodeBackend } from '../../backends/node.js';
import { utf8Of } from '../../encoding/text-file.js';
import { KeyBackupError } from '../../errors.js';
import { readExportedSession } from '../../formats/exported-session.js';
import { decryptKeyExport, writeKeyExport } from '../../formats/key-export.js';
import { Report } from '../../report/report.js';
import { PASSPHRASE_FORMS } from '../../scheme/passphrase-forms.js';
import type { BackupEntry } from '../../wire/backup-item.js';
import { readSavedKeys } from '../../wire/saved-keys.js';
import { defineCommand, expectNone } from '../command.js';
import { InputError, UsageError } from '../errors.js';
import { Beginning, openKeysFile, readUtf8 } from '../files.js';
import { JSON_SUMMARY, OUTPUT, REPORT, STRICT } from '../options.js';
import { SessionArray, withResultFiles, type Output } from '../outputs.js';
import { isJsonSummary, tellSummary, withProgress } from '../results.js';
import { readNewPassphrase, readSecretLine } from '../secrets.js';
import type { Terminal } from '../terminal.js';

export const command = defineCommand({
  name: 'export',
  summary: 'encrypted key export file <-> array of exported sessions',
  usage: ['decrypt FILE --passphrase-file FILE [options]', 'encrypt FILE --passphrase-file FILE [options]'],
  description: `
decrypt reads the encrypted export file that a Matrix client wrote ("element-keys.txt") and gives an array of
ExportedSessionData. encrypt makes such a file of that array. An entry that would make Element (vodozemac)
reject the whole file is repaired where possible, else left out and counted with its reason.

Tried importers: Element Web and Desktop take the file; matrix-nio (weechat-matrix, pantalaimon) with --strict,
and a passphrase of ASCII characters; Element X imports no files. The other way out, which every client reads:
"upload" puts the keys into the current backup of the account.
`,
  arguments: ['decrypt|encrypt', 'FILE'],
  options: {
    'passphrase-file': {
      value: 'FILE',
      help: `one line with the passphrase of the export file; - is standard input. It has nothing to do with the recovery
        key or the security phrase of the account`,
    },
    ...STRICT,
    salvage: {
      help: `with decrypt: also read a file that is cut off or damaged; nothing proves that its sessions are unaltered`,
    },
    ...REPORT,
    ...OUTPUT,
    ...JSON_SUMMARY,
  },
  exitCodes: `Exit code 0 when every entry came through, 1 when some did not or the passphrase is wrong, 2 for wrong usage
    or unreadable input.`,
  example: 'megolm-backup export decrypt element-keys.txt --passphrase-file phrase.txt -o sessions.json',
  async run({ passphraseFile, strict, salvage, ...options }, terminal, direction, path) {
    if (direction !== 'decrypt' && direction !== 'encrypt') {
      throw new UsageError('expected "decrypt" or "encrypt"');
    }
    const isDecrypt = direction === 'decrypt';
    if (isDecrypt) expectNone({ strict }, 'export encrypt');
    else expectNone({ salvage }, 'export decrypt');
    const [ask, convert] = isDecrypt ? [readSecretLine, decrypt] : [readNewPassphrase, encrypt];
    const passphrase = await ask(passphraseFile, 'passphrase of the export', terminal);
    const report = new Report();
    let doubt = '';
    await withResultFiles(options, terminal, async (result, commitReport) => {
      doubt = await convert(path, passphrase, result, report, terminal, isDecrypt ? salvage : strict);
      await commitReport(report);
      return true;
    });
    tellSummary(report, isJsonSummary(options), terminal, {}, report.text + doubt);
    return report.failed === 0 ? 0 : 1;
  },
});

/** @returns Why nothing proves the result; empty where its MAC does. */
async function decrypt(
  path: string,
  passphrase: string,
  output: Output,
  report: Report,
  terminal: Terminal,
  salvage: boolean,
): Promise<string> {
  const { signal } = terminal;
  const beginning = new Beginning();
  const chunks = beginning.of(readUtf8(path, terminal));
  let derived = 0;
  let damage: KeyBackupError | undefined;
  const plaintext = await decryptKeyExport(chunks, passphrase, {
    backend: nodeBackend(),
    signal,
    salvage,
    onDamage(error) {
      damage = error;
    },
    onProgress({ done, total }) {
      if (done === total && ++derived > 1 && terminal.isTerminal) {
        terminal.progress(`${derived} forms of the passphrase tried`);
      }
    },
    onOtherForm(form) {
      const how = form === 'Latin-1' ? 'in Latin-1, as matrix-nio encodes it' : PASSPHRASE_FORMS[form];
      terminal.stderr(`the passphrase fits ${how}\n`);
    },
  })
    .catch((cause: unknown) => {
      const other = beginning.otherThan('export');
      if (other === undefined) throw cause;
      throw new InputError(`${path}: expected an encrypted export file, got ${other}`, { cause });
    })
    .finally(() => {
      terminal.progress('');
    });
  const sessions = new SessionArray(output);
  try {
    await withProgress(terminal, async (show) => {
      for await (const item of readSavedKeys(utf8Of([plaintext], 'key export'), { form: 'array' })) {
        throwIfAborted(signal);
        show(report.ok + report.failed, undefined);
        try {
          if (item.error) throw item.error;
          const { session, flags } = readExportedSession(item.key_backup_data);
          report.succeeded(item, flags);
          await sessions.write(session);
        } catch (error) {
          if (!(error instanceof KeyBackupError)) throw error;
          report.refused(item, error);
        }
      }
    });
    if (damage && !report.cut) report.refused(WHOLE_FILE, damage);
    await sessions.end();
  } finally {
    plaintext.fill(0);
  }
  return damage ? `nothing proves that they are unaltered: ${damage.message}\n` : '';
}

const WHOLE_FILE = { room_id: undefined, session_id: undefined, path: '' };

async function encrypt(
  path: string,
  passphrase: string,
  output: Output,
  report: Report,
  terminal: Terminal,
  strict: boolean,
): Promise<string> {
  const file = openKeysFile(path, 'array', terminal);
  let current: BackupEntry | undefined;
  async function* sessions(): AsyncGenerator<unknown, void, undefined> {
    for await (const item of file.items) {
      if (item.error) {
        report.refused(item, item.error);
      } else {
        current = item;
        yield item.key_backup_data;
      }
    }
  }
  await withProgress(terminal, async (show) => {
    const pieces = writeKeyExport(sessions(), passphrase, {
      backend: nodeBackend(),
      signal: terminal.signal,
      strict,
      onResult(result) {
        // Called for the session that was yielded last.
        if (!current) return;
        if (result.ok) report.succeeded(current, result.flags);
        else report.refused(current, result.error);
        show(report.ok + report.failed, file.share);
      },
    });
    for await (const piece of pieces) await output.write(piece);
  });
  return '';
}

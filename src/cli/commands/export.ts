import { InputError, systemError, UsageError } from '../errors.js';
import { createReadStream } from 'node:fs';
import { readBackup } from '../../wire/backup-reader.js';
import { nodeBackend } from '../../backends/node.js';
import { KeyBackupError } from '../../errors.js';
import { readExportedSession } from '../../formats/exported-session.js';
import { throwIfAborted } from '../../async.js';
import { decryptKeyExport, writeKeyExport } from '../../formats/key-export.js';
import { parseCommand } from '../command.js';
import { keysInFlight, openKeysFile } from '../input.js';
import { readNewPassphrase, readSecretLine } from '../key-file.js';
import type { Output } from '../output.js';
import { ProgressLine } from '../progress.js';
import { Report } from '../../report/report.js';
import { openResultFiles } from '../result-files.js';
import { SessionArray } from '../session-array.js';
import type { Terminal } from '../terminal.js';

export const usage = `usage: megolm-backup export decrypt FILE --passphrase-file FILE [options]
       megolm-backup export encrypt FILE --passphrase-file FILE [options]

decrypt reads the encrypted export file that a Matrix client wrote ("element-keys.txt") and gives an array of
ExportedSessionData. encrypt makes such a file of that array: every client imports it. An entry that would make a
client refuse the whole file is mended where that is possible, else left out and counted with its reason.

  --passphrase-file FILE  one line with the passphrase of the export file; - is standard input. It has nothing to do
                          with the recovery key or the security phrase of the account.
  --report FILE           write what became of every failed or flagged entry
  -o, --output FILE       where the result goes; without it, standard output
  --json                  with -o: print the numbers as JSON

Exit code 0 when every entry came through, 1 when some did not or the passphrase is wrong.

example:
  megolm-backup export decrypt element-keys.txt --passphrase-file phrase.txt -o sessions.json
`;

/** `megolm-backup export` */
export async function run(args: readonly string[], terminal: Terminal): Promise<number> {
  const { values, positionals } = parseCommand(
    args,
    {
      'passphrase-file': { type: 'string' },
      report: { type: 'string' },
      output: { type: 'string', short: 'o' },
      json: { type: 'boolean' },
    },
    ['decrypt|encrypt', 'FILE'],
  );
  const [direction, input] = positionals;
  if (direction !== 'decrypt' && direction !== 'encrypt') {
    throw new UsageError('expected "decrypt" or "encrypt"');
  }
  const ask = direction === 'decrypt' ? readSecretLine : readNewPassphrase;
  const passphrase = await ask(values['passphrase-file'], 'passphrase of the export', terminal);
  const report = new Report();
  const files = await openResultFiles(values.output, values.report, terminal);
  try {
    const convert = direction === 'decrypt' ? decrypt : encrypt;
    await convert(input, passphrase, files.result, report, terminal);
    await files.commitReport(report);
    await files.result.commit();
  } catch (error) {
    await files.discard();
    throw error;
  }
  if (values.json === true && values.output !== undefined) {
    const codes = Object.fromEntries(report.codes);
    terminal.stdout(`${JSON.stringify({ ...report.summary, codes })}\n`);
  } else {
    terminal.stderr(report.text);
  }
  return report.failed === 0 ? 0 : 1;
}

async function decrypt(
  input: string,
  passphrase: string,
  output: Output,
  report: Report,
  terminal: Terminal,
): Promise<void> {
  const { signal } = terminal;
  const plaintext = await decryptKeyExport(chunksOf(input), passphrase, { backend: nodeBackend(), signal });
  const sessions = new SessionArray(output);
  const progress = new ProgressLine(terminal);
  try {
    for await (const item of readBackup([plaintext], { form: 'array' })) {
      throwIfAborted(signal);
      progress.update(report.ok + report.failed, undefined);
      if (item.error) {
        report.refused(item, item.error);
        continue;
      }
      try {
        const { session, flags } = readExportedSession(item.value);
        report.succeeded(item, flags);
        await sessions.write(session);
      } catch (error) {
        if (!(error instanceof KeyBackupError)) throw error;
        report.refused(item, error);
      }
    }
    await sessions.end();
  } finally {
    progress.clear();
    plaintext.fill(0);
  }
}

async function* chunksOf(path: string): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 18 })) yield chunk as Uint8Array;
  } catch (cause) {
    throw new InputError(`cannot read ${path} (${systemError(cause)})`, { cause });
  }
}

async function encrypt(
  input: string,
  passphrase: string,
  output: Output,
  report: Report,
  terminal: Terminal,
): Promise<void> {
  const file = openKeysFile(input, 'array');
  const keys = keysInFlight(file, report, ({ value }) => value);
  const progress = new ProgressLine(terminal);
  const pieces = writeKeyExport(keys.inputs, passphrase, {
    backend: nodeBackend(),
    signal: terminal.signal,
    onResult(result) {
      if (result.ok) report.succeeded(keys.nextPlace(), result.flags);
      else report.refused(keys.nextPlace(), result.error);
      progress.update(report.ok + report.failed, file.share);
    },
  });
  try {
    for await (const piece of pieces) await output.write(piece);
  } finally {
    progress.clear();
  }
}

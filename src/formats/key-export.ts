import { ChunkSizer, throwIfAborted, abortable } from '../async.js';
import { expectIterable, expectOptions } from '../encoding/arguments.js';
import { wipe } from '../encoding/bytes.js';
import { KeyBackupError, describe } from '../errors.js';
import {
  EXPORT_ITERATIONS,
  ExportSealer,
  PIECE,
  decryptKeyExport,
  type ExportFile,
  type ReadExportOptions,
} from './export-file.js';
import { exportEntry, readEntry, type ExportEntry } from './exported-session.js';
import { ownString } from '../encoding/json.js';
import type { DeriveOptions } from '../scheme/passphrase.js';
import { ClaimedKeys } from './sender-fields.js';
import { utf8Decode, utf8Encode } from '../encoding/utf8.js';

export { decryptKeyExport, type ExportFile, type ReadExportOptions } from './export-file.js';

/**
 * Key exports: the room keys in the encrypted file that clients write and import. What is encrypted is a JSON array
 * of `ExportedSessionData`.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#key-exports
 */

/** The result for one entry of a file. */
export type ExportResult =
  | ({ readonly ok: true; readonly index: number } & ExportEntry)
  | {
      readonly ok: false;
      /** Its position, from 0. */
      readonly index: number;
      readonly room_id: string | undefined;
      readonly session_id: string | undefined;
      readonly error: KeyBackupError;
    };

/**
 * Reads a key export file of any client. Every entry that is no whole room key comes out with its reason; the
 * others are not affected.
 *
 * @param file - Its text; pieces of bytes are decoded while they come.
 * @returns One result per entry, in order.
 * @throws {@link KeyBackupError} the codes of {@link decryptKeyExport}; `bad-utf8`, `bad-json` when what was
 * encrypted is no JSON array.
 *
 * @example
 * ```ts
 * import { readFile } from 'node:fs/promises';
 * import { readKeyExport, writeKeyExport } from 'megolm-backup';
 * import { nodeBackend } from 'megolm-backup/node';
 *
 * const sessions = JSON.parse(await readFile('export.json', 'utf8'));
 * const options = { backend: nodeBackend() };
 *
 * let file = '';
 * for await (const piece of writeKeyExport(sessions, 'a long passphrase', options)) file += piece;
 *
 * const results = await readKeyExport(file, 'a long passphrase', options);
 * console.log(results.filter(({ ok }) => ok).length); // 1000
 * ```
 */
export async function readKeyExport(
  file: ExportFile,
  passphrase: string,
  options: ReadExportOptions = {},
): Promise<ExportResult[]> {
  expectOptions(options);
  const entries = parseArray(await decryptKeyExport(file, passphrase, options));
  const sizer = new ChunkSizer(options.signal);
  const claimedKeys = new ClaimedKeys();
  const results: ExportResult[] = [];
  for (const [index, entry] of entries.entries()) {
    results.push(resultOf(index, entry, () => readEntry(entry, claimedKeys)));
    if (sizer.shouldYield) await sizer.yieldNow();
  }
  return results;
}

/** The entries in a decrypted file, which is wiped. */
function parseArray(plaintext: Uint8Array): readonly unknown[] {
  let value: unknown;
  try {
    value = JSON.parse(utf8Decode(plaintext, 'key export'));
  } catch (error) {
    if (error instanceof KeyBackupError) throw error;
    // The parser's own error is not kept as a cause, because it quotes the text.
    throw new KeyBackupError('bad-json', 'key export: expected JSON inside, got something else');
  } finally {
    wipe(plaintext);
  }
  if (!Array.isArray(value)) {
    throw new KeyBackupError('bad-json', `key export: expected an array inside, got ${describe(value)}`);
  }
  return value;
}

function resultOf(index: number, entry: unknown, check: () => ExportEntry): ExportResult {
  try {
    return { ok: true, index, ...check() };
  } catch (error) {
    if (!(error instanceof KeyBackupError)) throw error;
    const [room_id, session_id] = [ownString(entry, 'room_id'), ownString(entry, 'session_id')];
    return { ok: false, index, room_id, session_id, error };
  }
}

/** What {@link writeKeyExport} accepts. */
export interface WriteExportOptions extends DeriveOptions {
  /** Rounds of PBKDF2: 100,000 to 10,000,000; default 500,000. */
  readonly iterations?: number | undefined;
  /** Told what became of every session, in order, before the next one is taken. */
  readonly onResult?: ((result: ExportResult) => void) | undefined;
}

/**
 * Writes a key export file that every client imports.
 *
 * Every session is made fit by {@link prepareExportedSession}; one that no importer takes is left out, because it
 * would make them refuse the whole file. `onResult` tells about every one. `onProgress` counts the rounds of the
 * key derivation, which comes first.
 *
 * @param sessions - `ExportedSessionData`, in an array, an iterable or an async iterable; they are not kept.
 * @returns The text in pieces of some kilobytes. The file is whole only when the last one was taken.
 * @throws {@link KeyBackupError} `bad-parameters` for the rounds or an empty passphrase; `aborted`; `backend-failed`;
 * whatever the input itself throws.
 */
export async function* writeKeyExport(
  sessions: Iterable<unknown> | AsyncIterable<unknown>,
  passphrase: string,
  options: WriteExportOptions = {},
): AsyncGenerator<string, void, void> {
  expectIterable(sessions, 'sessions');
  expectOptions(options);
  const { iterations = EXPORT_ITERATIONS, onResult, signal } = options;
  const sealer = await ExportSealer.create(passphrase, iterations, options);
  const sizer = new ChunkSizer(signal);
  const claimedKeys = new ClaimedKeys();
  let separator = '[';
  let pending = '';
  let index = 0;
  try {
    for await (const session of abortable(sessions, signal)) {
      const result = resultOf(index++, session, () => exportEntry(session, claimedKeys));
      onResult?.(result);
      if (result.ok) {
        pending += `${separator}${JSON.stringify(result.session)}`;
        separator = ',';
      }
      if (pending.length >= PIECE) {
        yield sealer.push(utf8Encode(pending));
        pending = '';
      }
      if (sizer.shouldYield) await sizer.yieldNow();
    }
    throwIfAborted(signal);
    yield sealer.push(utf8Encode(`${pending}${separator === '[' ? '[' : ''}]`));
    yield sealer.end();
  } finally {
    sealer.dispose();
  }
}

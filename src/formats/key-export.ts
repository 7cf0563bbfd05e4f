import { type AbortSignalLike, ChunkSizer, callback, throwIfAborted, abortable } from '../async.js';
import { expectIterable, expectOptions } from '../encoding/arguments.js';
import { concatAll, equal, expectAnyBytes, isBytes, wipe } from '../encoding/bytes.js';
import { isJsonObject, ownString, ownValue, parseAny } from '../encoding/json.js';
import { utf8Decode, utf8Encode } from '../encoding/utf8.js';
import { KeyBackupError, describe } from '../errors.js';
import { pbkdf2 } from '../scheme/passphrase.js';
import { AesCtr } from './aes-ctr.js';
import { ADVICE, ArmorReader, badExportFile } from './armor.js';
import { HEADER, MAC, readHeader } from './export-header.js';
import { ExportMac } from './export-mac.js';
import { givesText, passwordsOf, type ExportPassphraseForm } from './export-passwords.js';
import { ExportSealer, type ExportOptions } from './export-sealer.js';
import { expectClaimedKey, prepareEntry, readExportedSession, type ExportEntry } from './exported-session.js';

/**
 * Key exports: the encrypted file ("element-keys.txt") that clients write and import.
 *
 * PBKDF2-HMAC-SHA-512 of the passphrase gives an AES key and an HMAC key. The file is base64 of: 0x01, salt (16 bytes),
 * IV (16), rounds (u32 big-endian), AES-256-CTR of a JSON array of `ExportedSessionData`, and HMAC-SHA-256 (32) of
 * everything before it.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#key-exports
 */

/** As Element writes. */
const EXPORT_ITERATIONS = 500_000;

/** The default limit of a file: 512 MiB hold 500,000 keys. */
export const MAX_EXPORT_BYTES = 512 * 1024 * 1024;

/** Bytes between two looks at the clock. */
const PIECE = 1 << 16;

/** Characters of entries that may wait for the keys of the file. */
const AHEAD = 1 << 20;

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
 * Reads a key export file of any client. An invalid entry comes out with its error and does not affect the others.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#key-exports
 * @param file - Its text; bytes are decoded as they arrive.
 * @returns One result per entry, in order.
 * @throws {@link KeyBackupError} the codes of {@link decryptKeyExport}; `bad-utf8`; `bad-json` unless the plaintext is a
 * JSON array.
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
  // Never what no MAC proves.
  const entries = parseArray(await decryptKeyExport(file, passphrase, { ...options, salvage: false }));
  const sizer = new ChunkSizer(options.signal);
  const results: ExportResult[] = [];
  for (const [index, entry] of entries.entries()) {
    results.push(resultOf(index, entry, () => readExportedSession(entry)));
    if (sizer.shouldYield) await sizer.yieldNow();
  }
  return results;
}

/** The entries in a decrypted file, which is wiped. */
function parseArray(plaintext: Uint8Array): readonly unknown[] {
  try {
    const parsed = parseAny(utf8Decode(plaintext, 'key export').replace(/^\ufeff/, ''), 'key export');
    const value = isJsonObject(parsed) ? (ownValue(parsed, 'sessions') ?? parsed) : parsed;
    if (Array.isArray(value)) return value;
    throw new KeyBackupError('bad-json', `key export: expected an array inside, got ${describe(value)}`);
  } finally {
    wipe(plaintext);
  }
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
export interface WriteExportOptions extends ExportOptions {
  /** Rounds of PBKDF2: 100,000 to 10,000,000; default 500,000. */
  readonly iterations?: number | undefined;
  /**
   * Leaves out, as `missing-field`, sessions without a claimed `ed25519` key: matrix-nio (weechat-matrix, pantalaimon)
   * refuses a whole file over one of them. Without this they are written with the flag `no-claimed-ed25519`.
   */
  readonly strict?: boolean | undefined;
  /** Called with the result of every session, in order, before the next one is read. */
  readonly onResult?: ((result: ExportResult) => void) | undefined;
}

/**
 * Writes a key export file for clients to import: vodozemac (Element) takes all of it, matrix-nio with `strict`. Element X
 * imports no files.
 *
 * Every session goes through `prepareExportedSession`; one that vodozemac rejects is left out, because it would reject the
 * whole file. `onResult` reports each. `onProgress` counts the rounds of the key derivation, which comes first.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#key-exports
 * @param sessions - `ExportedSessionData`, in an array, an iterable or an async iterable; they are not kept.
 * @returns The text in pieces of some kilobytes. The file is complete only after the last one.
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
  const { onResult, strict = false } = options;
  async function* entries(): AsyncGenerator<string, void, void> {
    let index = 0;
    for await (const session of abortable(sessions, options.signal)) {
      const result = resultOf(index++, session, () => {
        const entry = prepareEntry(session);
        if (strict) expectClaimedKey(entry.flags);
        return entry;
      });
      onResult?.(result);
      if (result.ok) yield JSON.stringify(result.session);
    }
  }
  yield* writeEntries(entries(), passphrase, options);
}

/**
 * {@link writeKeyExport} of entries that `prepareExportedSession` has made fit, as JSON.
 *
 * @throws {@link KeyBackupError} as {@link writeKeyExport}.
 */
export async function* writeEntries(
  entries: AsyncIterable<string>,
  passphrase: string,
  options: Omit<WriteExportOptions, 'onResult' | 'strict'>,
): AsyncGenerator<string, void, void> {
  const { iterations = EXPORT_ITERATIONS, signal } = options;
  // The first entries are read while the keys are derived.
  const creating = ExportSealer.create(passphrase, iterations, options);
  let most = AHEAD;
  const onReady = () => {
    most = PIECE;
  };
  creating.then(onReady, onReady);
  async function* seal(text: string): AsyncGenerator<string, void, void> {
    const bytes = utf8Encode(text);
    for (let start = 0; start < bytes.length; start += PIECE) {
      yield await (await creating).push(bytes.subarray(start, start + PIECE));
    }
  }
  const sizer = new ChunkSizer(signal);
  let separator = '[';
  let pending = '';
  try {
    for await (const entry of entries) {
      pending += `${separator}${entry}`;
      separator = ',';
      if (pending.length >= most) {
        yield* seal(pending);
        pending = '';
      }
      if (sizer.shouldYield) await sizer.yieldNow();
    }
    throwIfAborted(signal);
    yield* seal(`${pending}${separator === '[' ? '[' : ''}]`);
    yield await (await creating).end();
  } finally {
    creating.then(
      (sealer) => {
        sealer.dispose();
      },
      () => undefined,
    );
  }
}

/** What {@link decryptKeyExport} and {@link readKeyExport} accept. */
export interface ReadExportOptions extends ExportOptions {
  /** Most bytes of the decoded file; default {@link MAX_EXPORT_BYTES}. */
  readonly maxBytes?: number | undefined;
  /** Other forms of a passphrase that does not fit are tried, some twenty derivations, and this is told which one fits. */
  readonly onOtherForm?: ((form: ExportPassphraseForm) => void) | undefined;
}

/** What {@link decryptKeyExport} accepts. */
export interface DecryptExportOptions extends ReadExportOptions {
  /**
   * Decrypts a file that is cut off or damaged as well, if its passphrase gives text. Such a result is NOT authenticated:
   * what it holds may have been changed or replaced, session keys included, and not only by accident.
   */
  readonly salvage?: boolean | undefined;
  /** Called where `salvage` gives a result that no MAC proves, with the reason, before it is returned. */
  readonly onDamage?: ((damage: KeyBackupError) => void) | undefined;
}

/** A file in memory, or as it is read. */
export type ExportFile = string | Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/**
 * Decrypts a key export file to its JSON, once the MAC of the whole file is verified.
 *
 * The MAC is the only check. Where it is wrong although the passphrase gives text, the message says that the file is damaged;
 * otherwise a wrong passphrase and damage look the same. A file that is truncated, not base64, or of another version is
 * `bad-export-file`.
 *
 * With `salvage` the JSON may end early and hold damage. `readBackup` of `megolm-backup/client` with the form `array`
 * gives every whole session in it.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#key-exports
 * @param file - Its text; bytes are decoded as they arrive.
 * @param passphrase - As the user typed it; it is not normalised.
 * @returns UTF-8 JSON, which should be an array of `ExportedSessionData`; the caller owns and wipes it.
 * @throws {@link KeyBackupError} `bad-export-file`; `wrong-passphrase`, also when the file is damaged between its
 * lines; `too-large`; `bad-parameters` if the passphrase is not a string; `aborted`; `backend-failed`; whatever the input
 * itself throws.
 */
export async function decryptKeyExport(
  file: ExportFile,
  passphrase: string,
  options: DecryptExportOptions = {},
): Promise<Uint8Array> {
  expectOptions(options);
  if (typeof file !== 'string') expectIterable(file, 'key export');
  const passwords = passwordsOf(passphrase, options.onOtherForm !== undefined);
  try {
    const body = await readBody(file, options);
    for (const { bytes, form } of passwords) {
      const plaintext = await openBody(body, bytes, form === undefined, options);
      if (!plaintext) continue;
      if (form !== undefined) callback(() => options.onOtherForm?.(form));
      return plaintext;
    }
    throw wrongPassphrase(
      'expected the passphrase of this file, got another; or the file was damaged: nothing tells which',
    );
  } finally {
    wipe(...passwords.map(({ bytes }) => bytes));
  }
}

/** A decoded file, and why it ends before its end. */
interface ExportBody {
  readonly bytes: Uint8Array;
  readonly damage: KeyBackupError | undefined;
}

/**
 * Decrypts the body in place, if this is its password.
 *
 * @param isGiven - Whether the MAC is compared whatever the plaintext looks like: it takes long for a large file.
 */
async function openBody(
  body: ExportBody,
  password: Uint8Array,
  isGiven: boolean,
  options: DecryptExportOptions,
): Promise<Uint8Array | undefined> {
  const { signal, backend } = options;
  const { salt, iv, iterations } = readHeader(body.bytes);
  const keys = await pbkdf2(password, salt, iterations, 64, options);
  try {
    const covered = body.bytes.subarray(0, -MAC);
    let ciphertext = covered.subarray(HEADER);
    const text = await givesText(keys.subarray(0, 32), iv, ciphertext);
    if (!isGiven && text === 'no') return undefined;
    const mac = new ExportMac(keys.subarray(32), backend);
    for await (const piece of piecesOf(covered, signal)) mac.update(piece);
    if (!equal(mac.digest(), body.bytes.subarray(-MAC))) {
      if (text !== 'certain') return undefined;
      const wrong =
        'expected its MAC, got another, although the passphrase is right: the file is damaged or was changed';
      if (options.salvage !== true) throw wrongPassphrase(wrong + ADVICE);
      const { damage = badExportFile(wrong) } = body;
      callback(() => options.onDamage?.(damage));
      if (body.damage) ciphertext = body.bytes.subarray(HEADER);
    }
    const cipher = new AesCtr(keys.subarray(0, 32), iv, backend);
    return await decryptInPlace(cipher, ciphertext, signal);
  } finally {
    wipe(keys);
  }
}

function wrongPassphrase(message: string): KeyBackupError {
  return new KeyBackupError('wrong-passphrase', `key export: ${message}`);
}

async function readBody(file: ExportFile, options: DecryptExportOptions): Promise<ExportBody> {
  const { maxBytes = MAX_EXPORT_BYTES, signal } = options;
  const reader = new ArmorReader(options.salvage);
  const pace = new ChunkSizer(signal);
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of chunksOf(file, signal)) {
    expectAnyBytes(chunk, 'key export');
    for (let start = 0; start < chunk.length; start += PIECE) {
      const piece = reader.push(chunk.subarray(start, start + PIECE));
      length += piece.length;
      if (length > maxBytes) {
        throw new KeyBackupError('too-large', `key export: expected at most ${maxBytes} bytes, got more`);
      }
      pieces.push(piece);
      if (pace.shouldYield) await pace.yieldNow();
    }
  }
  pieces.push(reader.end());
  return { bytes: concatAll(pieces), damage: reader.damage };
}

async function* chunksOf(
  file: ExportFile,
  signal: AbortSignalLike | undefined,
): AsyncGenerator<Uint8Array, void, void> {
  throwIfAborted(signal);
  if (typeof file === 'string') {
    for (let start = 0; start < file.length; start += PIECE)
      yield utf8Encode(file.slice(start, start + PIECE));
  } else if (isBytes(file)) {
    yield file;
  } else {
    yield* abortable(file, signal);
  }
}

/** Pieces of bytes in memory, yielding to the event loop between them. */
async function* piecesOf(
  bytes: Uint8Array,
  signal: AbortSignalLike | undefined,
): AsyncGenerator<Uint8Array, void, void> {
  const pace = new ChunkSizer(signal);
  for (let start = 0; start < bytes.length; start += PIECE) {
    yield bytes.subarray(start, start + PIECE);
    if (pace.shouldYield) await pace.yieldNow();
  }
}

/** A large file should not be in memory twice. */
async function decryptInPlace(
  cipher: AesCtr,
  ciphertext: Uint8Array,
  signal: AbortSignalLike | undefined,
): Promise<Uint8Array> {
  try {
    for await (const piece of piecesOf(ciphertext, signal)) piece.set(await cipher.update(piece));
    const last = await cipher.final();
    ciphertext.set(last, ciphertext.length - last.length);
    return ciphertext;
  } catch (error) {
    cipher.dispose();
    wipe(ciphertext);
    throw error;
  }
}

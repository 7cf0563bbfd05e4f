import { InputError, systemError, UsageError } from './errors.js';
import type { Stats } from 'node:fs';
import { open } from 'node:fs/promises';
import { KeyBackupError } from '../errors.js';
import { BackupDecryptionKey } from '../scheme/keys.js';
import type { Terminal } from './terminal.js';

/** A line with a key or a passphrase is short; what is longer is another file given by mistake. */
const MAX_BYTES = 4096;

/**
 * Reads a file that holds one secret in one line.
 *
 * @param path - A file, or `-` for standard input; `undefined` asks on the terminal, without echo.
 * @param what - What the secret is, for the question and the errors.
 * @throws {@link UsageError} when there is nothing to read, or no single line in it.
 */
export async function readSecretLine(
  path: string | undefined,
  what: string,
  terminal: Terminal,
): Promise<string> {
  return onlyLine(await readText(path, what, terminal), what);
}

function onlyLine(text: string, what: string): string {
  const line = text.replace(/\r?\n$/, '');
  if (line === '') throw new InputError(`${what}: expected one line, got nothing`);
  if (/[\r\n]/.test(line.trim())) throw new InputError(`${what}: expected one line, got several`);
  return line;
}

async function readText(path: string | undefined, what: string, terminal: Terminal): Promise<string> {
  if (path === undefined || (path === '-' && terminal.isTyped)) return terminal.askSecret(`${what}: `);
  if (path === '-') return new TextDecoder().decode(await firstBytes(terminal.stdin, what));
  try {
    const file = await open(path, 'r');
    try {
      warnIfReadable(path, await file.stat(), terminal);
      return new TextDecoder().decode(await firstBytes(file.createReadStream({ autoClose: false }), what));
    } finally {
      await file.close();
    }
  } catch (cause) {
    if (cause instanceof InputError) throw cause;
    if (looksLikeKey(path)) {
      // Its own name would be the secret.
      throw new UsageError(`${what}: expected the name of a file, got what looks like a key`, { cause });
    }
    throw new InputError(`${what}: cannot read ${path} (${systemError(cause)})`, { cause });
  }
}

async function firstBytes(chunks: AsyncIterable<Uint8Array>, what: string): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of chunks) {
    parts.push(chunk);
    length += chunk.length;
    if (length > MAX_BYTES)
      throw new InputError(`${what}: expected one line, got more than ${MAX_BYTES} bytes`);
  }
  return Buffer.concat(parts);
}

/** Says so when others can read a file that holds a secret. */
export function warnIfReadable(path: string, stats: Stats, terminal: Terminal): void {
  // Windows has no such modes and reports everything as readable.
  if (process.platform !== 'win32' && stats.isFile() && (stats.mode & 0o077) !== 0) {
    terminal.stderr(`warning: ${path} holds a secret and others can read it; chmod 600 ${path}\n`);
  }
}

/**
 * Reads a backup decryption key: its text form ("recovery key"), or base64 of 32 bytes; also the file that
 * `keygen -o` writes.
 *
 * @throws {@link InputError} when the file is unreadable or holds something else. The message says which check
 * failed and never what stood there.
 */
export async function readKeyFile(
  path: string | undefined,
  terminal: Terminal,
): Promise<BackupDecryptionKey> {
  const what = 'backup decryption key';
  const text = await readText(path, what, terminal);
  try {
    return parseKey(generatedKey(text) ?? onlyLine(text, what), terminal);
  } catch (cause) {
    if (!(cause instanceof KeyBackupError)) throw cause;
    throw new InputError(
      `${what}: expected its text form (48 characters that start with "Es") or base64 of 32 bytes: ${cause.code}: ${cause.message}`,
      { cause },
    );
  }
}

/**
 * Reads what a user holds, whatever it is: a key in its text form or base64, the file that `keygen -o` writes, or a
 * phrase. Only the end of the line is taken away from it.
 *
 * @throws {@link InputError} when the file is unreadable or holds no single line.
 */
export async function readKeyOrPhrase(path: string | undefined, terminal: Terminal): Promise<string> {
  const what = 'key or phrase';
  const text = await readText(path, what, terminal);
  return generatedKey(text) ?? onlyLine(text, what);
}

/**
 * Reads the passphrase of a file to be written. On the terminal it is asked for twice: nobody could read the file
 * after a slip of the finger.
 *
 * @throws {@link InputError} when the file is unreadable or holds no single line, or the two differ.
 */
export async function readNewPassphrase(
  path: string | undefined,
  what: string,
  terminal: Terminal,
): Promise<string> {
  const passphrase = await readSecretLine(path, what, terminal);
  if (path === undefined && (await readSecretLine(path, `${what}, again`, terminal)) !== passphrase) {
    throw new InputError(`${what}: the two are not the same`);
  }
  return passphrase;
}

/** The key in what `keygen` wrote. */
function generatedKey(text: string): string | undefined {
  if (!text.startsWith('{')) return undefined;
  try {
    const { private_key } = JSON.parse(text) as Record<string, unknown>;
    return typeof private_key === 'string' ? private_key : undefined;
  } catch {
    return undefined;
  }
}

/** 43 symbols, or 44 with padding, are base64 of 32 bytes; a text form has 48. */
const BASE64_KEY = /^[A-Za-z0-9+/]{43}=?$/;

function parseKey(line: string, terminal: Terminal): BackupDecryptionKey {
  const symbols = line.replace(/\s+/g, '');
  if (!BASE64_KEY.test(symbols) && !/^[0-9,]+$/.test(symbols))
    return BackupDecryptionKey.fromRecoveryKey(line);
  const { key, flags } = BackupDecryptionKey.fromSecret(symbols);
  if (flags.length > 0) {
    terminal.stderr('warning: the key is a list of byte values, as an old client stored it, not base64\n');
  }
  return key;
}

function looksLikeKey(text: string): boolean {
  const symbols = text.replace(/\s+/g, '');
  return BASE64_KEY.test(symbols) || /^Es[1-9A-Za-z]{40,50}$/.test(symbols);
}

/** Whether a file is there and holds a backup decryption key in a form that {@link readKeyFile} takes. */
export async function holdsKey(path: string, terminal: Terminal): Promise<boolean> {
  try {
    const file = await open(path, 'r');
    try {
      // Only a file can be overwritten; reading a device or a pipe might never end.
      const stats = await file.stat();
      if (!stats.isFile() || stats.size > MAX_BYTES) return false;
      const text = await file.readFile('utf8');
      parseKey(generatedKey(text) ?? text.trim(), terminal);
      return true;
    } finally {
      await file.close();
    }
  } catch {
    return false;
  }
}

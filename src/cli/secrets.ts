import { existsSync, readFileSync, statSync, type Stats } from 'node:fs';
import { KeyBackupError } from '../errors.js';
import { isJsonObject, ownValue, type JsonObject } from '../encoding/json.js';
import { pastedBase64, pastedText } from '../encoding/pasted-text.js';
import { BACKUP_ALGORITHM, type SigningKey } from '../scheme/auth-data.js';
import { BackupMacKey } from '../scheme/backup-mac.js';
import { BackupDecryptionKey, BackupPublicKey } from '../scheme/keys.js';
import { PASTED_CHANGES, pastedKey } from '../scheme/pasted-key.js';
import { InputError, UsageError } from './errors.js';
import { isFile, readJsonObject, readText } from './files.js';
import type { Terminal } from './terminal.js';

/** A key or a passphrase is short; a larger file was given by mistake. */
const MAX_BYTES = 4096;

/** Reads a secret on one line from a file or standard input (`-`); `undefined` asks on the terminal, without echo. */
export async function readSecretLine(
  path: string | undefined,
  what: string,
  terminal: Terminal,
): Promise<string> {
  return onlyLine(await readSecret(path, what, terminal), what);
}

function onlyLine(text: string, what: string): string {
  const line = text.replace(/^[\r\n]+|[\r\n]+$/g, '');
  if (line === '') throw new InputError(`${what}: expected one line, got nothing`);
  if (/[\r\n]/.test(line)) throw new InputError(`${what}: expected one line, got several`);
  return line;
}

/** {@link readSecretLine} of a text of any lines. */
export async function readSecret(
  path: string | undefined,
  what: string,
  terminal: Terminal,
): Promise<string> {
  if (isAsked(path, terminal)) return terminal.askSecret(`${what}: `);
  if (looksLikeKey(path) && !existsSync(path)) {
    // The message must not name it: it is the secret itself.
    throw new UsageError(`${what}: expected the name of a file, got what looks like a key`);
  }
  const look = (stats: Stats) => {
    warnIfReadable(path, stats, terminal);
  };
  return readText(path, { what: 'one line', maxBytes: MAX_BYTES, name: what, look }, terminal);
}

/** Whether a secret is typed at a question, not read. */
function isAsked(path: string | undefined, { isTyped }: Terminal): path is '-' | undefined {
  return path === undefined || (path === '-' && isTyped);
}

/** Warns when others can read a file that holds a secret. */
export function warnIfReadable(path: string, stats: Stats, terminal: Terminal): void {
  // Windows has no such modes and reports everything as readable.
  if (process.platform !== 'win32' && stats.isFile() && (stats.mode & 0o077) !== 0) {
    terminal.stderr(`warning: ${path} holds a secret and others can read it; chmod 600 ${path}\n`);
  }
}

/**
 * Reads the passphrase of a file to be written. On the terminal it is asked for until the same comes twice: a slip of
 * the finger would make a file that cannot be read.
 */
export async function readNewPassphrase(
  path: string | undefined,
  what: string,
  terminal: Terminal,
): Promise<string> {
  for (;;) {
    const passphrase = await readSecretLine(path, what, terminal);
    if (!isAsked(path, terminal)) return passphrase;
    if ((await readSecretLine(path, `${what}, again`, terminal)) === passphrase) return passphrase;
    terminal.stderr(`${what}: the two entries differ\n`);
  }
}

/**
 * Reads a backup decryption key: its text form ("recovery key"), base64, or what `keygen -o` writes. No message quotes
 * it.
 */
export async function readKeyFile(
  path: string | undefined,
  terminal: Terminal,
): Promise<BackupDecryptionKey> {
  const what = 'backup decryption key';
  const line = await readKeyOrPhrase(path, terminal, what);
  return orUnreadable(
    `${what}: expected its text form (48 characters that start with "Es") or base64 of 32 bytes`,
    () => parseKey(line, terminal),
  );
}

/**
 * Reads what a user holds: a key in its text form or base64, as it was pasted, the file that `keygen -o` writes, or a
 * phrase, of which only the end of the line is removed.
 */
export async function readKeyOrPhrase(
  path: string | undefined,
  terminal: Terminal,
  what = 'key or phrase',
): Promise<string> {
  const text = await readSecret(path, what, terminal);
  const generated = generatedKey(text);
  if (generated !== undefined) return generated;
  const pasted = pastedKey(text);
  if (!pasted) return onlyLine(text, what);
  if (pasted.change) terminal.stderr(`the ${what} was read ${PASTED_CHANGES[pasted.change]}\n`);
  // A parity proves a text form, but base64 may be a phrase.
  return pasted.form === 'recovery-key' || /[\r\n]/.test(text.trim()) ? pasted.text : onlyLine(text, what);
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

function parseKey(text: string, terminal: Terminal): BackupDecryptionKey {
  const pasted = pastedKey(text);
  if (pasted?.form === 'base64') return BackupDecryptionKey.fromBase64(pasted.text);
  const symbols = text.replace(/\s+/g, '');
  if (!/^[0-9,]+$/.test(symbols)) return BackupDecryptionKey.fromRecoveryKey(pasted?.text ?? text);
  const { key, flags } = BackupDecryptionKey.fromSecret(symbols);
  if (flags.length > 0) {
    terminal.stderr('warning: the key is a list of byte values, as an old client stored it, not base64\n');
  }
  return key;
}

function looksLikeKey(text: string): boolean {
  return pastedKey(text) !== undefined || /^Es[1-9A-Za-z]{40,50}$/.test(text.replace(/\s+/g, ''));
}

/** @throws {@link InputError} when the output is a file that holds a key: not even `--force` overwrites that. */
export function expectNoKeyIn(output: string | undefined, terminal: Terminal): void {
  // Only a file can be overwritten; reading a device or a pipe might never end.
  if (output === undefined || !isFile(output) || statSync(output).size > MAX_BYTES) return;
  try {
    const text = readFileSync(output, 'utf8');
    parseKey(generatedKey(text) ?? text.trim(), terminal);
  } catch {
    return;
  }
  throw new InputError(`-o: ${output} holds a key already, maybe the only copy of it; give another name`);
}

/** Whether records get a `backup_mac`; something has to give its key. */
export function wantsMac(
  options: {
    readonly backupMac: boolean;
    readonly macKeyFile: string | undefined;
    readonly bindRoomId: boolean;
  },
  hasKey: boolean,
): boolean {
  const { backupMac, macKeyFile, bindRoomId } = options;
  const isWanted = backupMac || macKeyFile !== undefined;
  if (!isWanted && bindRoomId) {
    throw new UsageError('--bind-room-id needs --backup-mac or --mac-key-file');
  }
  if (isWanted && macKeyFile === undefined && !hasKey) {
    throw new UsageError('a backup_mac needs --key-file, from which its key is derived, or --mac-key-file');
  }
  return isWanted;
}

/**
 * The MAC key to write with, if one is wanted: out of a file, or derived from the decryption key, which that of a file
 * must fit.
 */
export async function chooseMacKey(
  path: string | undefined,
  wanted: boolean,
  publicKey: BackupPublicKey,
  key: BackupDecryptionKey | undefined,
  terminal: Terminal,
): Promise<BackupMacKey | undefined> {
  if (path === undefined && !wanted) return undefined;
  const own = key && BackupMacKey.fromDecryptionKey(key);
  if (path === undefined) return own;
  let chosen: BackupMacKey | undefined;
  let given: BackupMacKey | undefined;
  try {
    const what = 'backup MAC key';
    const line = await readKeyOrPhrase(path, terminal, what);
    given = orUnreadable(what, () => BackupMacKey.fromBase64(pastedKey(line)?.text ?? line));
    given.expectMatch(publicKey);
    if (own && !given.equals(own)) {
      throw new KeyBackupError(
        'wrong-key',
        'backup MAC key: expected the one derived from the decryption key, got another backup’s',
      );
    }
    // The derived one, because it knows which backup it is of.
    chosen = own ?? given;
    return chosen;
  } finally {
    for (const one of [own, given]) if (one !== chosen) one?.dispose();
  }
}

function orUnreadable<T>(expectation: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    if (!(cause instanceof KeyBackupError)) throw cause;
    throw new InputError(`${expectation}: ${cause.code}: ${cause.message}`, { cause });
  }
}

/** Reads a file with an `auth_data`, bare or inside a version object, whose algorithm it checks. */
export async function readAuthDataFile(path: string, terminal: Terminal): Promise<JsonObject> {
  const object = await readJsonObject(path, { what: 'an auth_data', maxBytes: 1 << 20 }, terminal);
  const authData = ownValue(object, 'auth_data');
  if (!isJsonObject(authData)) return object;
  const algorithm = ownValue(object, 'algorithm');
  if (algorithm !== undefined && algorithm !== BACKUP_ALGORITHM) {
    throw new KeyBackupError(
      'unsupported-algorithm',
      `${path}: algorithm: expected ${BACKUP_ALGORITHM}, got another`,
    );
  }
  return authData;
}

/** `"ed25519:ID": "BASE64"` out of JSON too, and the key in groups of letters as clients show it. */
const SIGNING_KEY = /^["']?(ed25519:[^\s"'=]+)["']?\s*[=:]\s*["']?([\w+/\-\s]{43,}=?)["']?,?$/;

/**
 * Reads `ed25519:ID=BASE64` as given with `--key`.
 *
 * @throws {@link UsageError} when it has another form.
 */
export function parseSigningKey(text: string): SigningKey {
  const match = SIGNING_KEY.exec(pastedText(text));
  const publicKey = match ? pastedBase64(match[2]) : '';
  if (!match || !/^[A-Za-z0-9+/]{43}=?$/.test(publicKey)) {
    throw new UsageError('a key is given as ed25519:ID=BASE64 (43 characters of base64)');
  }
  // The id of a master key is the key itself.
  const own = `ed25519:${publicKey.slice(0, 43)}`;
  return { keyId: pastedBase64(match[1]) === own ? own : match[1], publicKey };
}

/**
 * Reads the base64 of a public key as given with `--public-key`.
 *
 * @throws {@link UsageError} when it has another form; {@link KeyBackupError} `low-order-key`.
 */
export function parsePublicKey(text: string): BackupPublicKey {
  if (pastedKey(text)?.form === 'recovery-key') {
    throw new UsageError(
      '--public-key: expected a public key, got the text form of a decryption key; give that with --key-file',
    );
  }
  try {
    return BackupPublicKey.fromBase64(pastedBase64(text));
  } catch (cause) {
    if (!(cause instanceof KeyBackupError) || cause.code === 'low-order-key') throw cause;
    throw new UsageError(`--public-key: ${cause.message}`, { cause });
  }
}

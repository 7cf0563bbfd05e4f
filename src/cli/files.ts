import { statSync, type Stats } from 'node:fs';
import { open } from 'node:fs/promises';
import { resolve } from 'node:path';
import { KeyBackupError } from '../errors.js';
import { parseObject, parseShallow, type JsonObject } from '../encoding/json.js';
import { decodeTextFile, utf8Of } from '../encoding/text-file.js';
import type { BackupForm, BackupItem } from '../wire/backup-item.js';
import { readSavedKeys } from '../wire/saved-keys.js';
import { InputError, systemError } from './errors.js';
import type { Terminal } from './terminal.js';

/** A JSON file of keys that is read while it is worked on; it never has to fit into memory. */
export interface KeysFile {
  readonly items: AsyncGenerator<BackupItem, void, undefined>;
  /** Share of the file that was read, 0 to 1; unknown of standard input. */
  readonly share: number | undefined;
}

/** What a file should be, for people who gave another. */
const FORMS = {
  rooms: 'a backup, {"rooms": ...}, as GET /room_keys/keys gives it',
  array: 'an array of ExportedSessionData, or {"sessions": [...]}',
} as const;

type KeysForm = keyof typeof FORMS | 'export';

/** What people give instead, by what stands at its beginning. */
const OTHER_FILES: readonly (readonly [RegExp, string, form?: KeysForm])[] = [
  [
    /^-----BEGIN MEGOLM SESSION DATA/,
    'an encrypted export file; "megolm-backup export decrypt" opens it',
    'export',
  ],
  [
    /^\{(?:[^{}]*,)?\s*"errcode"\s*:/,
    'an error that a homeserver answered; save the backup again ("megolm-backup save")',
  ],
  [/"auth_data"\s*:/, 'the version of a backup; its keys are another file (keys.json)'],
  [
    /"m\.(?:secret_storage|megolm_backup|cross_signing)\b/,
    'account data; the keys are another file (keys.json)',
  ],
  [/^\{\s*"rooms"/, 'a backup, which is encrypted; "megolm-backup decrypt" opens it', 'rooms'],
  [
    /^(?:\{\s*"sessions"\s*:\s*)?\[/,
    'exported sessions, which need no key; "megolm-backup export encrypt" makes a file to import of them',
    'array',
  ],
];

/** The beginning of a text, which tells what it is. */
export class Beginning {
  #text = '';

  /** Passes the text on. */
  async *of(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of chunks) {
      if (this.#text.length < 4096) this.#text += Buffer.from(chunk.subarray(0, 4096)).toString('latin1');
      yield chunk;
    }
  }

  /** What it is instead of this, as far as its beginning tells. */
  otherThan(wanted: KeysForm): string | undefined {
    const text = this.#text.trimStart();
    return OTHER_FILES.find(([pattern, , form]) => form !== wanted && pattern.test(text))?.[1];
  }
}

/** Opens a file of keys, or standard input (`-`): a backup (`rooms`) or an export (`array`). */
export function openKeysFile(
  path: string,
  form: Extract<BackupForm, 'rooms' | 'array'>,
  terminal: Terminal,
): KeysFile {
  let size: number | undefined;
  let read = 0;
  const beginning = new Beginning();
  async function* chunks() {
    const look = (stats: Stats) => {
      size = stats.size;
    };
    for await (const chunk of readChunks(path, terminal, look)) {
      read += chunk.length;
      yield chunk;
    }
  }
  async function* items() {
    try {
      yield* readSavedKeys(beginning.of(utf8Of(chunks(), 'the file')), { form });
    } catch (cause) {
      if (!(cause instanceof KeyBackupError)) throw cause;
      const other = beginning.otherThan(form);
      if (other !== undefined)
        throw new InputError(`${path}: expected ${FORMS[form]}, got ${other}`, { cause });
      const reason = cause.message.replace(/^the body\b/, 'the file');
      const why = read === 0 ? 'the file is empty' : `${cause.code}: ${reason}`;
      throw new InputError(`${path}: expected ${FORMS[form]}: ${why}`, { cause });
    }
  }
  return {
    items: items(),
    get share() {
      return size ? read / size : undefined;
    },
  };
}

/** The bytes of a file, or of standard input (`-`). `look` is told what kind of file it is before it is read. */
export async function* readChunks(
  path: string,
  { stdin }: Terminal,
  look: (stats: Stats) => void = () => undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (path === '-') {
    yield* stdin;
    return;
  }
  try {
    const file = await open(path, 'r');
    try {
      look(await file.stat());
      yield* file.createReadStream({ autoClose: false, highWaterMark: 1 << 18 }) as AsyncIterable<Uint8Array>;
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw new InputError(`cannot read ${path} (${systemError(cause)})`, { cause });
  }
}

/** The bytes of a text file as UTF-8, or of standard input (`-`). */
export async function* readUtf8(
  path: string,
  terminal: Terminal,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* utf8Of(readChunks(path, terminal), path);
  } catch (cause) {
    throw asInputError(cause);
  }
}

/** What a small file should be. */
export interface SmallFile {
  readonly what: string;
  /** A larger file was given by mistake. */
  readonly maxBytes: number;
  /** How errors name it, when not by its path. */
  readonly name?: string;
  /** Told what kind of file it is before it is read. */
  readonly look?: (stats: Stats) => void;
}

/** Reads a small text file, or standard input (`-`). */
export async function readText(
  path: string,
  { what, maxBytes, name = path, look }: SmallFile,
  terminal: Terminal,
): Promise<string> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of readChunks(path, terminal, look)) {
    parts.push(chunk);
    length += chunk.length;
    if (length > maxBytes) {
      throw new InputError(`${name}: expected ${what}, got more than ${maxBytes} bytes`);
    }
  }
  return orInputError(() => decodeTextFile(Buffer.concat(parts), name));
}

function orInputError<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw asInputError(cause);
  }
}

function asInputError(cause: unknown): unknown {
  return cause instanceof KeyBackupError ? new InputError(cause.message, { cause }) : cause;
}

/** Reads a small file that holds one JSON object. */
export async function readJsonObject(path: string, file: SmallFile, terminal: Terminal): Promise<JsonObject> {
  return (await readJson(path, file, terminal, parseObject)) as JsonObject;
}

/** {@link readJsonObject} of any JSON value. */
export async function readJson(
  path: string,
  file: SmallFile,
  terminal: Terminal,
  parse: (text: string, field: string) => unknown = parseShallow,
): Promise<unknown> {
  const text = await readText(path, file, terminal);
  if (text.trim() === '') throw new InputError(`${path}: expected ${file.what}, got an empty file`);
  return orInputError(() => parse(text, path));
}

/** Whether there is a plain file under this name, or one that a link leads to. */
export function isFile(path: string): boolean {
  return fileAt(path)?.isFile() === true;
}

/** Whether there is a plain file with something in it. */
export function isFilled(path: string): boolean {
  const stats = fileAt(path);
  return stats?.isFile() === true && stats.size > 0;
}

/** Whether two options name the same file, through links as well. */
export function isSameFile(a: string | undefined, b: string | undefined): boolean {
  if (a === undefined || b === undefined) return false;
  const [one, other] = [fileAt(a), fileAt(b)];
  if (one && other) return one.isFile() && one.dev === other.dev && one.ino === other.ino;
  return resolve(a) === resolve(b);
}

function fileAt(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
}

/** The JSON object that a text holds; `undefined` for anything else. */
export function objectIn(text: string): JsonObject | undefined {
  try {
    return parseObject(text, 'text');
  } catch {
    return undefined;
  }
}

import { expectIterable, expectOptions } from '../encoding/arguments.js';
import { isBytes } from '../encoding/bytes.js';
import { KeyBackupError, describe, type ErrorCode } from '../errors.js';
import { utf8Decode } from '../encoding/utf8.js';
import { SessionIdSet } from './session-id-set.js';
import { jsonPath, ownString } from '../encoding/json.js';
import type { BackupFault, BackupItem } from './backup-item.js';
import { JSON_BYTES, JsonExtent, isSpace } from './json-extent.js';

const { QUOTE, COMMA, COLON, OPEN_BRACKET, CLOSE_BRACKET, OPEN_BRACE, CLOSE_BRACE } = JSON_BYTES;

/**
 * What the body holds:
 * - `rooms`: `{"rooms":{ROOM:{"sessions":{SESSION:KeyBackupData}}}}`, the answer of `GET /room_keys/keys`;
 * - `sessions`: `{"sessions":{SESSION:KeyBackupData}}`, the answer for one room;
 * - `array`: `[{"room_id":...,"session_id":...}, ...]`, what an export file holds, or `{"sessions":[...]}`.
 */
export type BackupForm = 'rooms' | 'sessions' | 'array';

/** Which body it is, and how much memory it may take. */
export interface BackupReaderOptions {
  /** Default `rooms`. */
  readonly form?: BackupForm | undefined;
  /** The room of the form `sessions`, which the body does not name. */
  readonly roomId?: string | undefined;
  /** Most bytes of one record or id; default 2 MiB. A larger one is skipped and comes out as `too-large`. */
  readonly maxRecordBytes?: number | undefined;
  /** Most levels of nesting inside a record; default 64. */
  readonly maxDepth?: number | undefined;
}

/** More than the largest plaintext of the engine takes in base64. */
const DEFAULT_RECORD_BYTES = 1 << 21;
/** Fields beside the keys that are kept: a body with more of them must not fill the memory. */
const MAX_FIELDS = 16;
/** Larger chunks are cut, so that only few records are in memory at a time. */
const SLICE_BYTES = 1 << 16;

/**
 * Reads a backup while it arrives.
 *
 * @param chunks - The body in pieces of any size. They are not kept, so they may be reused.
 * @returns Every record in the order of the body. A record that is no JSON, too large, or there twice comes out
 * with its `error` and does not affect the others. The values are not checked any further.
 * @throws {@link KeyBackupError} after the last readable record: `truncated` when the body ends early;
 * `bad-json` when it is not JSON between the records, continues after its end, or has another shape.
 *
 * @example
 * ```ts
 * import { readBackup } from 'megolm-backup/client';
 *
 * const body = new TextEncoder().encode('{"rooms":{"!r:example.org":{"sessions":{"a":{},"b":oops}}}}');
 * const read = [];
 * for await (const { path, error } of readBackup([body])) read.push(error?.code ?? path);
 * console.log(read.join(' ')); // rooms["!r:example.org"].sessions.a bad-json
 * ```
 */
export async function* readBackup(
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  options: BackupReaderOptions = {},
): AsyncGenerator<BackupItem, void, undefined> {
  expectIterable(chunks, 'chunks');
  expectOptions(options);
  const reader = new BackupReader(options);
  for await (const chunk of chunks) {
    if (!isBytes(chunk))
      throw new KeyBackupError('bad-parameters', `chunks: expected bytes, got ${describe(chunk)}`);
    for (const items of reader.read(chunk)) yield* items;
  }
  reader.end();
}

/** What may come next between two values. `first`: a member, or the end of a container that was just opened. */
type Expected = 'first' | 'key' | 'colon' | 'value' | 'next' | 'end';

/** The containers that the reader enters; everything below them is a value. */
type Level = 'body' | 'rooms' | 'room' | 'sessions' | 'array';

/** The synchronous reader of {@link readBackup}. */
export class BackupReader {
  /** The fields beside `rooms` or `sessions` at the top of the body, as far as they were read; the first 16. */
  readonly fields = new Map<string, unknown>();
  readonly #form: BackupForm;
  /** The field of an object that holds the keys. */
  readonly #field: string;
  readonly #extent: JsonExtent;
  readonly #levels: { readonly level: Level; readonly path: string }[] = [];
  #expected: Expected = 'value';
  /** What the extent is in the middle of. */
  #inside: 'key' | 'value' | undefined;
  /** The key of the value; `undefined` if it could not be read, and then `#keyFault` is the reason. */
  #key: string | undefined;
  #keyFault: KeyBackupError | undefined;
  /** The path of the value that comes next or is being read. */
  #path = '';
  #roomId: string | undefined;
  #roomHasSessions = false;
  #hasKeys = false;
  #index = 0;
  #length = 0;
  #failure: KeyBackupError | undefined;
  #items: BackupItem[] = [];
  readonly #rooms = new SessionIdSet();
  readonly #seen = new SessionIdSet();

  constructor(options: BackupReaderOptions = {}) {
    const { form = 'rooms', roomId, maxRecordBytes = DEFAULT_RECORD_BYTES, maxDepth = 64 } = options;
    this.#form = form;
    this.#field = form === 'array' ? 'sessions' : form;
    if (form === 'sessions') this.#roomId = roomId;
    this.#extent = new JsonExtent({ bytes: maxRecordBytes, depth: maxDepth });
  }

  /** Reads a chunk of any size; gives its records some dozens at a time. Throws as {@link BackupReader.push}. */
  *read(chunk: Uint8Array): Generator<BackupItem[], void, undefined> {
    for (let start = 0; start < chunk.length; start += SLICE_BYTES) {
      const items = this.push(chunk.subarray(start, start + SLICE_BYTES));
      if (items.length > 0) yield items;
    }
  }

  /**
   * Reads the next piece of the body.
   *
   * @returns The records that ended in it.
   * @throws {@link KeyBackupError} as {@link readBackup}, but never together with records: those come first.
   */
  push(chunk: Uint8Array): BackupItem[] {
    if (this.#failure) throw this.#failure;
    this.#items = [];
    try {
      this.#scan(chunk);
    } catch (error) {
      if (!(error instanceof KeyBackupError)) throw error;
      this.#failure = error;
      if (this.#items.length === 0) throw error;
    }
    this.#length += chunk.length;
    return this.#items;
  }

  /**
   * Ends the body.
   *
   * @throws {@link KeyBackupError} `truncated` if it is not complete; `missing-field` if it has no object of keys,
   * not even an empty one.
   */
  end(): void {
    if (this.#failure) throw this.#failure;
    if (this.#expected !== 'end') {
      const message = `the body ended after ${this.#length} bytes, before its last bracket`;
      throw (this.#failure = this.#error('truncated', message));
    }
    if (!this.#hasKeys) {
      if (this.#form === 'array') throw this.#unlikeForm();
      throw new KeyBackupError('missing-field', `${this.#form}: expected an object, got nothing`);
    }
  }

  /** What made the reader give up, as a fault of the place that it had reached; its `cause` is what was thrown. */
  get damage(): BackupFault | undefined {
    const cause = this.#failure;
    if (!cause) return undefined;
    const message =
      cause.code === 'truncated' ? 'the file ends early' : `the file is damaged at ${cause.message}`;
    const error = new KeyBackupError('truncated', message, { cause });
    return { room_id: this.#roomId, session_id: undefined, path: this.#path, error };
  }

  #scan(chunk: Uint8Array): void {
    let i = 0;
    while (i < chunk.length) {
      if (this.#inside) {
        i = this.#extent.feed(chunk, i);
        if (i < 0) return;
        if (this.#inside === 'key') this.#endKey();
        else this.#endValue();
        this.#inside = undefined;
      } else if (isSpace(chunk[i]) || this.#step(chunk[i], this.#length + i)) {
        i++;
      }
    }
  }

  /** The level that is open; by its index, since `at` is younger than some engines in use. */
  get #top(): { readonly level: Level; readonly path: string } | undefined {
    return this.#levels[this.#levels.length - 1];
  }

  /** Takes one byte between two values. Returns false if it is the first of a key or a value. */
  #step(byte: number, offset: number): boolean {
    const level = this.#top?.level;
    const isArray = level === 'array';
    const mayClose = this.#expected === 'first' || this.#expected === 'next';
    if (mayClose && byte === (isArray ? CLOSE_BRACKET : CLOSE_BRACE)) return this.#leave();
    switch (this.#expected) {
      case 'first':
      case 'key':
        if (isArray) return this.#startValue(level, byte, offset);
        if (byte !== QUOTE) this.#reject(offset);
        return this.#begin('key', byte);
      case 'colon':
        if (byte !== COLON) this.#reject(offset);
        this.#expected = 'value';
        return true;
      case 'value':
        return this.#startValue(level, byte, offset);
      case 'next':
        if (byte !== COMMA) this.#reject(offset);
        this.#expected = isArray ? 'value' : 'key';
        if (isArray) this.#path = jsonPath(this.#top?.path ?? '', ++this.#index);
        return true;
      case 'end':
        return this.#reject(offset);
    }
  }

  #startValue(level: Level | undefined, byte: number, offset: number): boolean {
    if (byte === COMMA || byte === COLON || byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
      this.#reject(offset);
    }
    return this.#enter(level, byte) || this.#begin('value', byte);
  }

  #begin(what: 'key' | 'value', byte: number): false {
    this.#extent.begin(byte, this.#place);
    this.#inside = what;
    return false;
  }

  #endKey(): void {
    const parent = this.#top?.path ?? '';
    // An error names this key as "?", and not by the path of the previous one.
    this.#path = jsonPath(parent, '?');
    const read = this.#parse();
    // Every parsed key is a string: it began with a quotation mark.
    this.#key = read.error ? undefined : String(read.value);
    this.#keyFault = read.error;
    if (this.#key !== undefined) this.#path = jsonPath(parent, this.#key);
    this.#expected = 'colon';
  }

  /** Opens a container that the reader enters. Returns false for everything else. */
  #enter(level: Level | undefined, byte: number): boolean {
    const isArray = this.#form === 'array';
    if (level === undefined) {
      if (byte !== OPEN_BRACE && !(isArray && byte === OPEN_BRACKET)) throw this.#unlikeForm();
      this.#open(byte === OPEN_BRACE ? 'body' : 'array');
      return true;
    }
    if (byte !== (isArray ? OPEN_BRACKET : OPEN_BRACE) || this.#key === undefined) return false;
    let isRepeated: boolean;
    if (level === 'body' && this.#key === this.#field) {
      isRepeated = this.#hasKeys;
      this.#hasKeys = true;
    } else if (level === 'rooms') {
      this.#roomId = this.#key;
      isRepeated = !this.#rooms.add(this.#key, '');
      this.#roomHasSessions = false;
    } else if (level === 'room' && this.#key === 'sessions') {
      isRepeated = this.#roomHasSessions;
      this.#roomHasSessions = true;
    } else {
      return false;
    }
    if (isRepeated) this.#fault('expected once, got again; its keys follow as well');
    this.#open(level === 'body' ? this.#form : level === 'rooms' ? 'room' : 'sessions');
    return true;
  }

  #open(level: Level): void {
    this.#levels.push({ level, path: this.#path });
    this.#expected = 'first';
    if (level !== 'array') return;
    this.#hasKeys = true;
    this.#path = jsonPath(this.#path, (this.#index = 0));
  }

  #leave(): true {
    const left = this.#levels.pop();
    this.#path = left?.path ?? '';
    if (left?.level === 'room') {
      if (!this.#roomHasSessions) {
        this.#fault(this.#error('missing-field', 'expected the field "sessions", got nothing'));
      }
      this.#roomId = undefined;
    }
    this.#expected = this.#levels.length === 0 ? 'end' : 'next';
    return true;
  }

  #endValue(): void {
    this.#expected = 'next';
    const read = this.#parse();
    // Of an unknown member only this matters: it may have been meant as a known one.
    const badJson = [this.#keyFault, read.error].find((error) => error?.code === 'bad-json');
    switch (this.#top?.level) {
      case 'sessions':
        this.#endRecord(read);
        break;
      case 'array':
        this.#endElement(read);
        break;
      case 'rooms':
        this.#roomId = this.#key;
        this.#fault(this.#keyFault ?? 'expected an object');
        this.#roomId = undefined;
        break;
      case 'room':
        if (this.#key === 'sessions') {
          this.#roomHasSessions = true;
          this.#fault('expected an object');
        } else if (badJson) {
          this.#fault(badJson);
        }
        break;
      case 'body':
        if (this.#key === this.#field) throw this.#unlikeForm();
        if (badJson) throw badJson;
        if (!read.error && this.#key !== undefined && this.fields.size < MAX_FIELDS) {
          this.fields.set(this.#key, read.value);
        }
        break;
      case undefined:
    }
  }

  #endRecord(read: Parsed): void {
    const session_id = this.#key;
    const error = this.#keyFault ?? read.error;
    if (error) {
      this.#fault(error, session_id);
    } else if (session_id !== undefined && this.#seen.add(this.#roomId ?? '', session_id)) {
      const key_backup_data = read.value;
      this.#items.push({ room_id: this.#roomId, session_id, path: this.#path, key_backup_data });
    } else {
      this.#fault('expected once, got again; this copy is not used', session_id);
    }
  }

  #endElement({ value, error }: Parsed): void {
    if (error) {
      this.#fault(error);
      return;
    }
    const [room_id, session_id] = [ownString(value, 'room_id'), ownString(value, 'session_id')];
    this.#items.push({ room_id, session_id, path: this.#path, key_backup_data: value });
  }

  #parse(): Parsed {
    const { bytes, tooLarge } = this.#extent.take();
    if (!bytes) return { error: this.#error('too-large', tooLarge) };
    try {
      return { value: JSON.parse(utf8Decode(bytes, this.#place)) as unknown };
    } catch (error) {
      // The platform's own message is not kept: it quotes the text.
      const isOwn = error instanceof KeyBackupError;
      return { error: isOwn ? error : this.#error('bad-json', 'expected JSON, got something else') };
    }
  }

  /** Adds a fault at the current path; a text is the message of a `bad-json`. */
  #fault(reason: KeyBackupError | string, session_id?: string): void {
    const error = typeof reason === 'string' ? this.#error('bad-json', reason) : reason;
    this.#items.push({ room_id: this.#roomId, session_id, path: this.#path, error });
  }

  #error(code: ErrorCode, message: string): KeyBackupError {
    return new KeyBackupError(code, `${this.#place}: ${message}`);
  }

  #unlikeForm(): KeyBackupError {
    return this.#error('bad-json', `expected ${this.#form === 'array' ? 'an array' : 'an object'}`);
  }

  /** The path in messages. */
  get #place(): string {
    return this.#path === '' ? 'the body' : this.#path;
  }

  #reject(offset: number): never {
    const expected = (this.#top?.level === 'array' ? EXPECTED_IN_ARRAY : EXPECTED)[this.#expected];
    throw this.#error('bad-json', `expected ${expected} at byte ${offset}, got something else`);
  }
}

type Parsed =
  | { readonly value: unknown; readonly error?: undefined }
  | { readonly value?: undefined; readonly error: KeyBackupError };

const EXPECTED = {
  first: 'a key or "}"',
  key: 'a key',
  colon: '":"',
  value: 'a value',
  next: '"," or "}"',
  end: 'nothing more',
};

const EXPECTED_IN_ARRAY = { ...EXPECTED, first: 'a value or "]"', next: '"," or "]"' };

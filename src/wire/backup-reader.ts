import { concatAll } from '../encoding/bytes.js';
import { KeyBackupError, type ErrorCode } from '../errors.js';
import { utf8Encode } from '../encoding/utf8.js';
import { SessionIdSet } from './session-id-set.js';
import { isJsonObject, jsonPath, ownString } from '../encoding/json.js';
import type { BackupFault, BackupForm, BackupItem, BackupReaderOptions } from './backup-item.js';
import { IN_ARRAY, IN_OBJECT, type Expected } from './expected.js';
import { JSON_BYTES, JsonExtent, isSpace, parseExtent, type Parsed } from './json-extent.js';
import { RecordSearch, hasMoreObjects, holdsRecord } from './record-search.js';

const { QUOTE, COMMA, COLON, OPEN_BRACKET, CLOSE_BRACKET, OPEN_BRACE, CLOSE_BRACE } = JSON_BYTES;

/** More than the largest plaintext of the engine takes in base64. */
const DEFAULT_RECORD_BYTES = 1 << 21;
/** Fields beside the keys that are kept: a body with more of them must not fill the memory. */
const MAX_FIELDS = 16;
/** Larger chunks are cut, so that only few records are in memory at a time. */
const SLICE_BYTES = 1 << 16;

const REPEATED = 'expected once, got again; this copy is not used';

/** The containers that the reader enters; everything below them is a value. */
type Level = 'body' | 'rooms' | 'room' | 'sessions' | 'array';

/** The synchronous reader of `readBackup`. */
export class BackupReader {
  /** The fields beside `rooms` or `sessions` at the top of the body, as far as they were read; the first 16. */
  readonly fields = new Map<string, unknown>();
  /** What made the reader give up, as a fault of the place that it had reached; its `cause` is what was thrown. */
  damage: BackupFault | undefined;
  readonly #form: BackupForm;
  /** The field of an object that holds the keys. */
  readonly #field: string;
  readonly #extent: JsonExtent;
  readonly #salvages: boolean;
  #search: RecordSearch | undefined;
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
  /** Where the key or value that is being read begins in the chunk, or goes on. */
  #start = 0;
  #items: BackupItem[] = [];
  readonly #rooms = new SessionIdSet();
  readonly #seen = new SessionIdSet();

  /** @param salvages - Finds the records behind damage; `rest` then gives the last ones, and `end` throws the error. */
  constructor(options: BackupReaderOptions = {}, salvages = false) {
    const { form = 'rooms', roomId, maxRecordBytes = DEFAULT_RECORD_BYTES, maxDepth = 64 } = options;
    this.#form = form;
    this.#field = form === 'array' ? 'sessions' : form;
    if (form === 'sessions') this.#roomId = roomId;
    this.#extent = new JsonExtent({ bytes: maxRecordBytes, depth: maxDepth });
    this.#salvages = salvages && form !== 'sessions';
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
   * @throws {@link KeyBackupError} as `readBackup`, but never together with records: those come first.
   */
  push(chunk: Uint8Array): BackupItem[] {
    if (this.#failure && !this.#search) throw this.#failure;
    this.#items = [];
    try {
      if (this.#search) this.#addFound(this.#search.push(chunk));
      else this.#scan(chunk);
    } catch (error) {
      if (!(error instanceof KeyBackupError)) throw error;
      this.#fail(error);
      if (this.#salvages) this.#searchFrom(chunk.subarray(this.#start));
      else if (this.#items.length === 0) throw error;
    }
    this.#length += chunk.length;
    return this.#items;
  }

  /** The records that only the end of the body lets find. */
  rest(): BackupItem[] {
    this.#items = [];
    if (this.#salvages && !this.#failure && this.#inside === 'value') {
      // An empty piece: now all of it is of earlier chunks.
      this.#extent.feed(new Uint8Array(0), 0);
      try {
        this.#expectNoRecord(this.#extent.kept);
      } catch (error) {
        this.#fail(error as KeyBackupError);
        this.#searchFrom(new Uint8Array(0));
      }
    }
    if (this.#search) this.#addFound(this.#search.push(new Uint8Array(0), true));
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
      throw this.#fail(this.#error('truncated', message));
    }
    if (!this.#hasKeys) {
      if (this.#form === 'array') throw this.#unlikeForm();
      throw new KeyBackupError('missing-field', `${this.#form}: expected an object, got nothing`);
    }
  }

  #fail(cause: KeyBackupError): KeyBackupError {
    const message =
      cause.code === 'truncated' ? 'the file ends early' : `the file is damaged at ${cause.message}`;
    const error = new KeyBackupError('truncated', message, { cause });
    this.damage = { room_id: this.#roomId, session_id: undefined, path: this.#path, error };
    return (this.#failure = cause);
  }

  /** @param rest - The chunk from where the failure began. */
  #searchFrom(rest: Uint8Array): void {
    const level = this.#top?.level;
    const roomId = level === 'room' || level === 'sessions' ? this.#roomId : undefined;
    const path = level === 'array' ? (this.#top?.path ?? '') : '';
    this.#search = new RecordSearch(this.#form, this.#extent.limits, { roomId, path, index: this.#index });
    const bytes = this.#inside === 'value' ? concatAll([this.#extent.kept, rest]) : rest;
    this.#addFound(this.#search.push(this.#behindKey(bytes)));
  }

  /** The bytes from a value on, as they are searched: behind its key, or without the beginning of a damaged record. */
  #behindKey(bytes: Uint8Array): Uint8Array {
    const level = this.#top?.level;
    const isRecord = level === 'array' || (level === 'sessions' && this.#key?.startsWith('!') !== true);
    if (isRecord && this.#inside === 'value') return bytes.subarray(1);
    const isOpen = this.#inside === 'value' || this.#expected === 'colon' || this.#expected === 'value';
    return isOpen && this.#key !== undefined
      ? concatAll([utf8Encode(`${JSON.stringify(this.#key)}:`), bytes])
      : bytes;
  }

  #addFound(found: readonly BackupItem[]): void {
    for (const item of found) {
      const { room_id, session_id, path, error } = item;
      if (error || this.#form === 'array' || this.#seen.add(room_id ?? '', session_id ?? '')) {
        this.#items.push(item);
      } else {
        [this.#roomId, this.#path] = [room_id, path];
        this.#fault(REPEATED, session_id);
      }
    }
  }

  /** @throws {@link KeyBackupError} `bad-json` where a value goes on over the records behind it. */
  #expectNoRecord(bytes: Uint8Array): void {
    if (!this.#salvages) return;
    if (!holdsRecord(this.#behindKey(bytes), this.#form, this.#top?.level === 'body')) return;
    throw this.#error('bad-json', 'expected its end before the next record, got none');
  }

  #scan(chunk: Uint8Array): void {
    let i = 0;
    while (i < chunk.length) {
      this.#start = i;
      if (this.#inside) {
        const wasTooLarge = this.#extent.isTooLarge;
        i = this.#extent.feed(chunk, i);
        if (this.#salvages && this.#extent.isTooLarge && !wasTooLarge) {
          const head = concatAll([this.#extent.kept, chunk.subarray(this.#start)]);
          this.#expectNoRecord(head.subarray(0, this.#extent.limits.bytes));
        }
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
    const read = parseExtent(this.#extent.take(), this.#place);
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
    const extent = this.#extent.take();
    const read = parseExtent(extent, this.#place);
    const level = this.#top?.level;
    // Almost all records are whole, and need not be searched.
    const isWhole =
      level === 'array' ? isJsonObject(read.value) : level === 'sessions' && !hasMoreObjects(read.value);
    if (this.#salvages && (read.error || !isWhole) && extent.bytes) {
      // Before a bracket that something else hides, the fields of the record would pass for records.
      if (level === 'sessions' && read.error && extent.bytes[0] !== OPEN_BRACE) throw read.error;
      this.#expectNoRecord(extent.bytes);
    }
    this.#expected = 'next';
    // Of an unknown member only this matters: it may have been meant as a known one.
    const badJson = [this.#keyFault, read.error].find((error) => error?.code === 'bad-json');
    switch (level) {
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
      this.#fault(REPEATED, session_id);
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
    const expected = (this.#top?.level === 'array' ? IN_ARRAY : IN_OBJECT)[this.#expected];
    throw this.#error('bad-json', `expected ${expected} at byte ${offset}, got something else`);
  }
}

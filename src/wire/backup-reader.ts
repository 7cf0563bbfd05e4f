import { KeyBackupError, type ErrorCode } from '../errors.js';
import { utf8Decode } from '../encoding/utf8.js';
import { SessionIdSet } from './session-id-set.js';
import { jsonPath } from '../encoding/strict-json.js';
import { JsonExtent } from './json-extent.js';

/**
 * What the body holds:
 * - `rooms`: `{"rooms":{ROOM:{"sessions":{SESSION:KeyBackupData}}}}`, the answer of `GET /room_keys/keys`;
 * - `sessions`: `{"sessions":{SESSION:KeyBackupData}}`, the answer for one room;
 * - `array`: `[{"room_id":...,"session_id":...}, ...]`, what an export file holds.
 */
export type BackupForm = 'rooms' | 'sessions' | 'array';

/** A record that was read, not yet checked: `value` is any JSON value. */
export interface BackupEntry {
  /** From the map key; in an array the field of the record, `undefined` when it is no string. */
  readonly room_id: string | undefined;
  readonly session_id: string | undefined;
  /** The JSON path in the body. */
  readonly path: string;
  readonly value: unknown;
  readonly error?: undefined;
}

/** A place in the body that gives no record, and why. The others are not affected. */
export interface BackupFault {
  readonly room_id: string | undefined;
  readonly session_id: string | undefined;
  readonly path: string;
  readonly error: KeyBackupError;
}

/** What {@link readBackup} yields. */
export type BackupItem = BackupEntry | BackupFault;

/** The bounds of what a body may do to the reader's memory, and which body it is. */
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

/** More than the engine's largest plaintext is in base64. */
const DEFAULT_RECORD_BYTES = 1 << 21;
const DEFAULT_DEPTH = 64;
/** No answer has so many fields beside its keys; a body that does must not fill the memory with them. */
const MAX_FIELDS = 16;
/** More of a body at once would be as many records in memory at once. */
const SLICE_BYTES = 1 << 16;

/**
 * Reads a backup while it arrives.
 *
 * @param chunks - The body in pieces of any size. They are not kept, so they may be reused.
 * @returns Every record in the order of the body. A record that is no JSON, too large, or there twice comes out
 * with its `error`; the others are not affected. The values are not checked any further.
 * @throws {@link KeyBackupError} after the last readable record: `truncated` when the body ends early;
 * `bad-json` when it is no JSON between the records, goes on after its end, or has another shape.
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
  const reader = new BackupReader(options);
  for await (const chunk of chunks) {
    for (let start = 0; start < chunk.length; start += SLICE_BYTES) {
      yield* reader.push(chunk.subarray(start, start + SLICE_BYTES));
    }
  }
  reader.end();
}

/** What may come next between two values. `first`: a member or the end of a container that was just opened. */
type Expected = 'first' | 'key' | 'colon' | 'value' | 'next' | 'end';

/** The containers that have a meaning; everything below them is a value. */
type Level = 'body' | 'rooms' | 'room' | 'sessions' | 'array';

/** The synchronous reader beneath {@link readBackup}: chunks are pushed, records come back. */
export class BackupReader {
  /** The fields beside `rooms` or `sessions` at the top of the body, as far as they were read; the first 16. */
  readonly fields = new Map<string, unknown>();
  readonly #form: BackupForm;
  readonly #extent: JsonExtent;
  readonly #levels: { readonly level: Level; readonly path: string }[] = [];
  #expected: Expected = 'value';
  /** What the extent is in the middle of. */
  #inside: 'key' | 'value' | undefined;
  /** The key in front of the value; `undefined` when it could not be read, and then `#keyFault` says why. */
  #key: string | undefined;
  #keyFault: KeyBackupError | undefined;
  /** The path of the value that comes next or is being read. */
  #path = '';
  #roomId: string | undefined;
  #roomHasSessions = false;
  #hasKeys = false;
  #index = 0;
  #length = 0;
  #failure: { readonly error: unknown } | undefined;
  #items: BackupItem[] = [];
  readonly #rooms = new SessionIdSet();
  readonly #seen = new SessionIdSet();

  constructor(options: BackupReaderOptions = {}) {
    this.#form = options.form ?? 'rooms';
    if (this.#form === 'sessions') this.#roomId = options.roomId;
    this.#extent = new JsonExtent({
      bytes: options.maxRecordBytes ?? DEFAULT_RECORD_BYTES,
      depth: options.maxDepth ?? DEFAULT_DEPTH,
    });
  }

  /**
   * Reads the next piece of the body.
   *
   * @returns The records that ended in it.
   * @throws {@link KeyBackupError} as {@link readBackup}, but never together with records: those come first.
   */
  push(chunk: Uint8Array): BackupItem[] {
    if (this.#failure) throw this.#failure.error;
    this.#items = [];
    try {
      this.#read(chunk);
    } catch (error) {
      this.#failure = { error };
      if (this.#items.length === 0) throw error;
    }
    this.#length += chunk.length;
    return this.#items;
  }

  /**
   * Says that the body is over.
   *
   * @throws {@link KeyBackupError} `truncated` when it is not complete; `missing-field` when it holds no keys
   * at all, not even an empty object of them.
   */
  end(): void {
    if (this.#failure) throw this.#failure.error;
    if (this.#expected !== 'end') {
      throw new KeyBackupError(
        'truncated',
        `${this.#place}: the body ended after ${this.#length} bytes, before its last bracket`,
      );
    }
    if (!this.#hasKeys) {
      throw new KeyBackupError('missing-field', `${this.#form}: expected an object, got nothing`);
    }
  }

  #read(chunk: Uint8Array): void {
    let i = 0;
    while (i < chunk.length) {
      if (this.#inside) {
        i = this.#extent.feed(chunk, i);
        if (i < 0) return;
        if (this.#inside === 'key') this.#endKey();
        else this.#endValue();
        this.#inside = undefined;
        continue;
      }
      const byte = chunk[i];
      if (isSpace(byte)) {
        i++;
      } else if (this.#step(byte, this.#length + i)) {
        i++;
      }
    }
  }

  /** The level that is open; by its index, since `at` is younger than some engines in use. */
  get #top(): { readonly level: Level; readonly path: string } | undefined {
    return this.#levels[this.#levels.length - 1];
  }

  /** Takes one byte between two values. Returns false when it is the first of a key or a value. */
  #step(byte: number, offset: number): boolean {
    const level = this.#top?.level;
    const isArray = level === 'array';
    const close = isArray ? CLOSE_BRACKET : CLOSE_BRACE;
    if (this.#expected === 'first' && byte === close) {
      this.#leave();
      return true;
    }
    switch (this.#expected) {
      case 'first':
      case 'key':
        if (isArray) return this.#startValue(level, byte, offset);
        if (byte !== QUOTE) this.#refuse(offset);
        return this.#begin('key', byte);
      case 'colon':
        if (byte !== COLON) this.#refuse(offset);
        this.#expected = 'value';
        return true;
      case 'value':
        return this.#startValue(level, byte, offset);
      case 'next':
        if (byte === close) {
          this.#leave();
        } else {
          if (byte !== COMMA) this.#refuse(offset);
          this.#expected = isArray ? 'value' : 'key';
          if (isArray) this.#path = jsonPath('', ++this.#index);
        }
        return true;
      case 'end':
        return this.#refuse(offset);
    }
  }

  #startValue(level: Level | undefined, byte: number, offset: number): boolean {
    if (byte === COMMA || byte === COLON || byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
      this.#refuse(offset);
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
    // What is wrong with a key is not the matter of the one before it.
    this.#path = jsonPath(parent, '?');
    const read = this.#parse();
    // Every parsed key is a string: it began with a quotation mark.
    this.#key = read.error ? undefined : String(read.value);
    this.#keyFault = read.error;
    if (this.#key !== undefined) this.#path = jsonPath(parent, this.#key);
    this.#expected = 'colon';
  }

  /** Opens a container that has a meaning. Returns false for everything else. */
  #enter(level: Level | undefined, byte: number): boolean {
    if (level === undefined) {
      const isArray = this.#form === 'array';
      if (byte !== (isArray ? OPEN_BRACKET : OPEN_BRACE)) {
        throw new KeyBackupError('bad-json', `the body: expected ${isArray ? 'an array' : 'an object'}`);
      }
      this.#open(isArray ? 'array' : 'body');
      if (isArray) {
        this.#hasKeys = true;
        this.#path = jsonPath('', 0);
      }
      return true;
    }
    if (byte !== OPEN_BRACE) return false;
    if (level === 'body' && this.#key === this.#form) {
      if (this.#hasKeys) this.#fault('bad-json', 'expected once, got again; its keys follow as well');
      this.#hasKeys = true;
      this.#open(this.#form === 'sessions' ? 'sessions' : 'rooms');
      return true;
    }
    if (level === 'rooms' && this.#key !== undefined) {
      this.#roomId = this.#key;
      if (!this.#rooms.add(this.#key, ''))
        this.#fault('bad-json', 'expected once, got again; its keys follow as well');
      this.#roomHasSessions = false;
      this.#open('room');
      return true;
    }
    if (level === 'room' && this.#key === 'sessions') {
      if (this.#roomHasSessions) this.#fault('bad-json', 'expected once, got again; its keys follow as well');
      this.#roomHasSessions = true;
      this.#open('sessions');
      return true;
    }
    return false;
  }

  #open(level: Level): void {
    this.#levels.push({ level, path: this.#path });
    this.#expected = 'first';
  }

  #leave(): void {
    const left = this.#levels.pop();
    this.#path = left?.path ?? '';
    if (left?.level === 'room') {
      if (!this.#roomHasSessions) this.#fault('missing-field', 'expected the field "sessions", got nothing');
      this.#roomId = undefined;
    }
    this.#expected = this.#levels.length === 0 ? 'end' : 'next';
  }

  #endValue(): void {
    this.#expected = 'next';
    const read = this.#parse();
    switch (this.#top?.level) {
      case 'sessions':
        this.#endRecord(read);
        break;
      case 'array':
        this.#endElement(read);
        break;
      case 'rooms':
        this.#roomId = this.#key;
        if (this.#keyFault) this.#items.push(this.#faultOf(this.#keyFault));
        else this.#fault('bad-json', 'expected an object');
        this.#roomId = undefined;
        break;
      case 'room':
        if (this.#key === 'sessions') {
          this.#roomHasSessions = true;
          this.#fault('bad-json', 'expected an object');
        } else {
          const error = this.#badJson(read);
          if (error) this.#items.push(this.#faultOf(error));
        }
        break;
      case 'body': {
        if (this.#key === this.#form) {
          throw new KeyBackupError('bad-json', `${this.#place}: expected an object`);
        }
        const error = this.#badJson(read);
        if (error) throw error;
        if (!read.error && this.#key !== undefined && this.fields.size < MAX_FIELDS)
          this.fields.set(this.#key, read.value);
        break;
      }
      case undefined:
    }
  }

  /** What of a member is no JSON. Nobody needs that member, but it may have been meant as something else. */
  #badJson(read: Parsed): KeyBackupError | undefined {
    return [this.#keyFault, read.error].find((error) => error?.code === 'bad-json');
  }

  #endRecord(read: Parsed): void {
    const session_id = this.#key;
    if (session_id === undefined || read.error) {
      const error = this.#keyFault ?? read.error;
      if (error) this.#items.push(this.#faultOf(error, session_id));
    } else if (!this.#seen.add(this.#roomId ?? '', session_id)) {
      this.#fault('bad-json', 'expected once, got again; this copy is not used', session_id);
    } else {
      this.#items.push({ room_id: this.#roomId, session_id, path: this.#path, value: read.value });
    }
  }

  #endElement(read: Parsed): void {
    if (read.error) {
      this.#items.push(this.#faultOf(read.error));
    } else {
      const { value } = read;
      const record = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>;
      const room_id = typeof record.room_id === 'string' ? record.room_id : undefined;
      const session_id = typeof record.session_id === 'string' ? record.session_id : undefined;
      this.#items.push({ room_id, session_id, path: this.#path, value });
    }
  }

  #parse(): Parsed {
    const { bytes, tooLarge } = this.#extent.take();
    if (!bytes) return { error: new KeyBackupError('too-large', `${this.#place}: ${tooLarge}`) };
    try {
      return { value: JSON.parse(utf8Decode(bytes, this.#place)) as unknown };
    } catch (error) {
      if (error instanceof KeyBackupError) return { error };
      // The platform's own message is not kept: it quotes the text.
      const message = `${this.#place}: expected JSON, got something else`;
      return { error: new KeyBackupError('bad-json', message) };
    }
  }

  #fault(code: ErrorCode, message: string, session_id?: string): void {
    this.#items.push(this.#faultOf(new KeyBackupError(code, `${this.#place}: ${message}`), session_id));
  }

  /** The path as messages name it. */
  get #place(): string {
    return this.#path === '' ? 'the body' : this.#path;
  }

  #faultOf(error: KeyBackupError, session_id?: string): BackupFault {
    return { room_id: this.#roomId, session_id, path: this.#path, error };
  }

  #refuse(offset: number): never {
    const expected = (this.#top?.level === 'array' ? EXPECTED_IN_ARRAY : EXPECTED)[this.#expected];
    throw new KeyBackupError(
      'bad-json',
      `${this.#place}: expected ${expected} at byte ${offset}, got something else`,
    );
  }
}

type Parsed =
  | { readonly value: unknown; readonly error?: undefined }
  | { readonly value?: undefined; readonly error: KeyBackupError };

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

const EXPECTED = {
  first: 'a key or "}"',
  key: 'a key',
  colon: '":"',
  value: 'a value',
  next: '"," or "}"',
  end: 'nothing more',
};

const EXPECTED_IN_ARRAY = { ...EXPECTED, first: 'a value or "]"', next: '"," or "]"' };

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

import { concatAll } from '../encoding/bytes.js';
import { utf8Decode } from '../encoding/utf8.js';
import { isJsonObject, jsonPath, ownString } from '../encoding/json.js';
import { KeyBackupError } from '../errors.js';
import type { BackupForm, BackupItem } from './backup-item.js';
import { JsonExtent, parseExtent, type ExtentLimits, type Parsed } from './json-extent.js';

/** Where a search begins. */
export interface SearchPlace {
  /** `undefined` where damage hides it. */
  readonly roomId: string | undefined;
  /** The path of an array, and the last index in it. */
  readonly path: string;
  readonly index: number;
}

/** As much is gathered before it is searched. */
const GATHERED = 1 << 16;

/** More than the beginning of a record or a room takes: a longer id is not recognised. */
const MAX_BEGINNING = 4096;

const SPACE = '[ \\t\\r\\n]{0,64}';
const KEY = `"((?:[^"{}\\\\]|\\\\.){0,2048})"${SPACE}:${SPACE}`;
const RECORD_FIELDS = 'first_message_index|forwarded_count|is_verified|session_data';
const SESSION_FIELDS =
  'algorithm|forwarding_curve25519_key_chain|room_id|sender_claimed_keys|sender_key|session_id|session_key';

/** Where a record or a room begins; behind its first character, which is no part of it. */
const BEGINNINGS = {
  object: `(^|[^\\\\])${KEY}\\{${SPACE}"(${RECORD_FIELDS}|sessions)"${SPACE}:`,
  array: `()\\{${SPACE}"()(${SESSION_FIELDS})"${SPACE}:`,
};

/** The next record, right behind another or a bracket. */
const NEXT = { member: `${SPACE}[,{]?${SPACE}${KEY}(?=\\{)`, element: `${SPACE},?${SPACE}()(?=\\{)` };

/** Whether a record begins in these bytes; with `roomsOnly`, a room. */
export function holdsRecord(bytes: Uint8Array, form: BackupForm, roomsOnly = false): boolean {
  const beginnings = new RegExp(BEGINNINGS[form === 'array' ? 'array' : 'object'], 'gs');
  const text = latin1(bytes);
  for (let match = beginnings.exec(text); match; match = beginnings.exec(text)) {
    if (!roomsOnly || match[3] === 'sessions') return true;
  }
  return false;
}

/** Whether a record has an object beside its `session_data`: other records perhaps. */
export function hasMoreObjects(record: unknown): boolean {
  if (!isJsonObject(record)) return false;
  return Object.keys(record).some((name) => name !== 'session_data' && isJsonObject(record[name]));
}

/**
 * Finds the records behind a lost quotation mark or bracket, where a parser no longer knows how deep it is: by the fields
 * with which records and rooms begin. Every byte is part of one record at most; time is linear, memory is bounded by
 * the largest record.
 */
export class RecordSearch {
  readonly #form: BackupForm;
  readonly #limit: number;
  readonly #extent: JsonExtent;
  readonly #beginnings: RegExp;
  readonly #next: RegExp;
  readonly #path: string;
  #roomId: string | undefined;
  #index: number;
  #pieces: Uint8Array[] = [];
  #length = 0;
  #enough = GATHERED;

  constructor(form: BackupForm, limits: ExtentLimits, { roomId, path, index }: SearchPlace) {
    this.#form = form;
    this.#limit = limits.bytes;
    this.#extent = new JsonExtent(limits);
    this.#roomId = roomId;
    this.#path = path;
    this.#index = index;
    this.#beginnings = new RegExp(BEGINNINGS[form === 'array' ? 'array' : 'object'], 'gs');
    this.#next = new RegExp(form === 'array' ? NEXT.element : NEXT.member, 'sy');
  }

  /** Searches the next piece. Records come out once it is certain where they end, the last ones with `isLast`. */
  push(piece: Uint8Array, isLast = false): BackupItem[] {
    // A copy, because the owner may use the piece again.
    this.#pieces.push(piece.slice());
    this.#length += piece.length;
    if (!isLast && this.#length < this.#enough) return [];
    const bytes = concatAll(this.#pieces);
    const text = latin1(bytes);
    const found: BackupItem[] = [];
    let begun: number | undefined;
    this.#beginnings.lastIndex = 0;
    for (let match = this.#beginnings.exec(text); match; match = this.#beginnings.exec(text)) {
      const at = match.index + match[1].length;
      if (begun !== undefined) this.#read(bytes, text, begun, at, found);
      begun = at;
    }
    let rest = begun ?? Math.max(0, bytes.length - MAX_BEGINNING);
    if (begun !== undefined && (isLast || bytes.length - begun > this.#limit)) {
      this.#read(bytes, text, begun, bytes.length, found);
      rest = Math.max(begun + 1, bytes.length - MAX_BEGINNING);
    }
    this.#pieces = [bytes.subarray(rest)];
    this.#length = bytes.length - rest;
    this.#enough = 2 * this.#length + GATHERED;
    return found;
  }

  /** Reads what begins at `start`, up to where the next record or room begins. */
  #read(bytes: Uint8Array, text: string, start: number, stop: number, found: BackupItem[]): void {
    const end = Math.min(stop, start + this.#limit);
    const segment = bytes.subarray(0, end);
    let at = start;
    const room = this.#form !== 'array' ? ROOM.exec(text.slice(start, start + MAX_BEGINNING)) : null;
    if (room) {
      this.#roomId = keyOf(room[1]);
      at += room[0].length;
    }
    for (;;) {
      this.#next.lastIndex = at;
      const next = this.#next.exec(text);
      if (!next || this.#next.lastIndex >= end) break;
      at = this.#next.lastIndex;
      const valueEnd = this.#endOf(segment, at);
      found.push(this.#itemOf(next[1], valueEnd < 0 ? undefined : bytes.subarray(at, valueEnd)));
      if (valueEnd < 0) break;
      at = valueEnd;
    }
    // Another room began here, but its name was not recognised.
    if (end < stop || text.slice(at, stop).includes('"sessions"')) this.#roomId = undefined;
  }

  /** @param bytes - The value; `undefined` if its end is missing. */
  #itemOf(rawKey: string, bytes: Uint8Array | undefined): BackupItem {
    const read = (path: string): Parsed =>
      bytes ? parseExtent({ bytes }, path) : { error: badJson(path, 'expected its end, got another record') };
    if (this.#form === 'array') {
      const path = jsonPath(this.#path, ++this.#index);
      const { value, error } = read(path);
      const [room_id, session_id] = [ownString(value, 'room_id'), ownString(value, 'session_id')];
      return error
        ? { room_id, session_id, path, error }
        : { room_id, session_id, path, key_backup_data: value };
    }
    const [room_id, session_id] = [this.#roomId, keyOf(rawKey)];
    const path = ['rooms', room_id ?? '?', 'sessions', session_id ?? '?'].reduce(jsonPath, '');
    const { value, error } = read(path);
    if (error) return { room_id, session_id, path, error };
    if (session_id !== undefined && room_id !== undefined) {
      return { room_id, session_id, path, key_backup_data: value };
    }
    const missing =
      session_id === undefined ? 'expected its id, got no JSON' : 'expected its room, got damage';
    return { room_id, session_id, path, error: badJson(path, missing) };
  }

  /** Where the value at `start` ends; -1 if its end is missing. */
  #endOf(bytes: Uint8Array, start: number): number {
    this.#extent.begin(bytes[start], '');
    try {
      return this.#extent.feed(bytes, start);
    } catch {
      return -1;
    }
  }
}

function badJson(path: string, message: string): KeyBackupError {
  return new KeyBackupError('bad-json', `${path}: ${message}`);
}

const ROOM = new RegExp(`^${KEY}\\{${SPACE}"sessions"${SPACE}:`, 's');

/** One character a byte, so that an index into the text is one into the bytes. */
function latin1(bytes: Uint8Array): string {
  let text = '';
  for (let start = 0; start < bytes.length; start += 4096) {
    text += String.fromCharCode(...bytes.subarray(start, start + 4096));
  }
  return text;
}

/** The text of a key out of {@link latin1}; `undefined` if it is no JSON. */
function keyOf(raw: string): string | undefined {
  try {
    const bytes = Uint8Array.from(raw, (character) => character.charCodeAt(0));
    return String(JSON.parse(`"${utf8Decode(bytes, 'key')}"`));
  } catch {
    return undefined;
  }
}

import { Buffer } from 'node:buffer';
import { now, yieldToEventLoop } from '../async.js';
import { MAX_JSON_DEPTH, expectObject, jsonPath, parseJsonBytes } from '../encoding/json.js';
import { utf8Encode } from '../encoding/utf8.js';
import { KeyBackupError } from '../errors.js';
import { JSON_BYTES } from '../wire/json-extent.js';
import { checkKeyBackupData } from '../wire/validate.js';
import { NONE, endOfString, isPlain, readRecord } from './compact-record.js';
import { recordTooLarge } from './matrix-error.js';
import { longId, type KeyToWrite } from './store.js';

/**
 * The keys of a body of `PUT /room_keys/keys`. Their data is equal to what came as JSON, unknown members included: a
 * number that would change is rejected. Of names that are there twice the last one counts, if all are valid.
 *
 * The event loop runs every few milliseconds meanwhile, so that a large body does not hold up other requests.
 *
 * @param maxRecord - Bytes of one record at most.
 * @throws KeyBackupError `not-json`, `bad-json`, `missing-field`; MatrixError 413 for a record that is too large.
 */
export function keysOfRooms(body: Uint8Array, maxRecord: number): Promise<KeyToWrite[]> {
  return inSlices(readRooms(new BodyReader(body, maxRecord)));
}

/** {@link keysOfRooms} of a body of `PUT /room_keys/keys/{roomId}`. */
export function keysOfRoom(body: Uint8Array, roomId: string, maxRecord: number): Promise<KeyToWrite[]> {
  return inSlices(readOneRoom(new BodyReader(body, maxRecord), roomId));
}

/** {@link keysOfRooms} of a body of `PUT /room_keys/keys/{roomId}/{sessionId}`. */
export function keyOfSession(
  body: Uint8Array,
  roomId: string,
  sessionId: string,
  maxRecord: number,
): KeyToWrite {
  const reader = new BodyReader(body, maxRecord);
  const key = reader.key(roomId, sessionId);
  reader.end();
  return key;
}

/** How long a body may be read before the event loop runs. */
const SLICE_MILLISECONDS = 5;

/** Runs a computation to its end; the event loop may run wherever it yields. */
async function inSlices<T>(steps: Generator<void, T>): Promise<T> {
  let pause = now() + SLICE_MILLISECONDS;
  for (let step = steps.next(); ; step = steps.next()) {
    if (step.done) return step.value;
    if (now() < pause) continue;
    await yieldToEventLoop();
    pause = now() + SLICE_MILLISECONDS;
  }
}

function* readRooms(reader: BodyReader): Generator<void, KeyToWrite[]> {
  let rooms: Map<string, Map<string, KeyToWrite>> | undefined;
  for (const member of reader.members(() => '')) {
    if (member !== 'rooms') {
      reader.value(jsonPath('', member));
      yield;
      continue;
    }
    rooms = new Map();
    for (const roomId of reader.members(() => 'rooms')) {
      expectShort(longId(roomId));
      const sessions = yield* readSessions(reader, roomId);
      // Empty rooms take no memory.
      if (sessions.size === 0) rooms.delete(roomId);
      else rooms.set(roomId, sessions);
      yield;
    }
  }
  reader.end();
  if (!rooms) throw missing('rooms');
  return [...rooms.values()].flatMap((sessions) => [...sessions.values()]);
}

function* readOneRoom(reader: BodyReader, roomId: string): Generator<void, KeyToWrite[]> {
  const sessions = yield* readSessions(reader, roomId);
  reader.end();
  return [...sessions.values()];
}

function* readSessions(reader: BodyReader, roomId: string): Generator<void, Map<string, KeyToWrite>> {
  const room = (): string => jsonPath('rooms', roomId);
  const path = (): string => jsonPath(room(), 'sessions');
  let sessions: Map<string, KeyToWrite> | undefined;
  for (const member of reader.members(room)) {
    if (member !== 'sessions') {
      reader.value(jsonPath(room(), member));
      yield;
      continue;
    }
    sessions = new Map();
    for (const sessionId of reader.members(path)) {
      expectShort(longId(roomId, sessionId));
      sessions.set(sessionId, reader.key(roomId, sessionId));
      yield;
    }
  }
  if (!sessions) throw missing(path());
  return sessions;
}

function expectShort(fault: string | undefined): void {
  if (fault !== undefined) throw new KeyBackupError('bad-json', fault);
}

function missing(path: string): KeyBackupError {
  return new KeyBackupError('missing-field', `${path}: expected a value, got nothing`);
}

function notJson(): KeyBackupError {
  return new KeyBackupError('not-json', 'the body: expected JSON, got text that does not parse');
}

const { QUOTE, COMMA, COLON, OPEN_BRACKET, CLOSE_BRACKET, OPEN_BRACE, CLOSE_BRACE } = JSON_BYTES;

/** Reads a body from its start to its end; never more than one record becomes text or objects at a time. */
class BodyReader {
  readonly #bytes: Buffer;
  readonly #maxRecord: number;
  readonly #isPlain: boolean;
  #at = 0;

  constructor(body: Uint8Array, maxRecord: number) {
    this.#bytes = Buffer.from(body.buffer, body.byteOffset, body.length);
    this.#maxRecord = maxRecord;
    this.#isPlain = isPlain(this.#bytes);
  }

  /** Goes through the members of an object: gives a name, after which the caller reads the value. */
  *members(path: () => string): Generator<string, void> {
    if (this.#next() !== OPEN_BRACE) expectObject(this.value(path()), path() || 'the body');
    this.#at++;
    if (this.#next() === CLOSE_BRACE) {
      this.#at++;
      return;
    }
    for (;;) {
      const name = this.#name(path);
      if (this.#next() !== COLON) throw notJson();
      this.#at++;
      yield name;
      const next = this.#next();
      this.#at++;
      if (next === CLOSE_BRACE) return;
      if (next !== COMMA) throw notJson();
    }
  }

  /** The record here. */
  key(room_id: string, session_id: string): KeyToWrite {
    this.#next();
    const compact = this.#isPlain ? readRecord(this.#bytes, this.#at, room_id, session_id) : undefined;
    // Built only where it is needed.
    const path = (): string => jsonPath(jsonPath(jsonPath('rooms', room_id), 'sessions'), session_id);
    if (compact) {
      this.#at += compact.data.length;
      if (compact.data.length > this.#maxRecord) throw recordTooLarge(path(), this.#maxRecord);
      return compact;
    }
    const record = checkKeyBackupData(this.value(path()), path());
    const { is_verified, first_message_index, forwarded_count } = record;
    const data = utf8Encode(JSON.stringify(record));
    // A number may be written shorter than it is stored.
    if (data.length > this.#maxRecord) throw recordTooLarge(path(), this.#maxRecord);
    return { room_id, session_id, is_verified, first_message_index, forwarded_count, data };
  }

  /** Any value, parsed. */
  value(path: string): unknown {
    this.#next();
    const start = this.#at;
    const limit = start + this.#maxRecord;
    this.#at = endOfValue(this.#bytes, start, limit, path);
    if (this.#at > limit) throw recordTooLarge(path, this.#maxRecord);
    return parseJsonBytes(this.#bytes.subarray(start, this.#at), path);
  }

  /** @throws KeyBackupError `not-json` when anything follows. */
  end(): void {
    this.#next();
    if (this.#at < this.#bytes.length) throw notJson();
  }

  #name(path: () => string): string {
    this.#next();
    const start = this.#at;
    const end = endOfString(this.#bytes, start);
    if (end === NONE) throw notJson();
    this.#at = end + 1;
    if (this.#isPlain) return this.#bytes.toString('latin1', start + 1, end);
    return parseJsonBytes(this.#bytes.subarray(start, end + 1), jsonPath(path(), '?')) as string;
  }

  /** Goes to the next byte that is not white space, and gives it. */
  #next(): number {
    while (isSpace(this.#bytes[this.#at])) this.#at++;
    return this.#bytes[this.#at];
  }
}

/** Where a value ends, or anywhere beyond the limit. The value is not checked: parsing it does that. */
function endOfValue(bytes: Buffer, start: number, limit: number, path: string): number {
  let depth = 0;
  for (let i = start; i < bytes.length && i <= limit;) {
    const byte = bytes[i];
    if (byte === QUOTE) {
      i = endOfString(bytes, i) + 1;
      if (i === 0) throw notJson();
      if (depth === 0) return i;
      continue;
    }
    if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
      // That of an object around a number.
      if (depth === 0) return i;
      depth--;
      if (depth === 0) return i + 1;
    } else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
      if (++depth > MAX_JSON_DEPTH) {
        throw new KeyBackupError('bad-json', `${path}: expected at most ${MAX_JSON_DEPTH} levels, got more`);
      }
    } else if (depth === 0 && (byte === COMMA || isSpace(byte))) {
      return i;
    }
    i++;
  }
  return Math.min(bytes.length, limit + 1);
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

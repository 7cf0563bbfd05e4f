import { KeyBackupError, describe, numberOr } from '../errors.js';
import { expectObject as expectJsonObject, isJsonObject, jsonPath } from '../encoding/json.js';
import type {
  ErrorBody,
  KeyBackupData,
  KeyBackups,
  KeysChanged,
  NewVersion,
  OpaqueObject,
  RoomKeyBackup,
  VersionInfo,
} from './types.js';

/**
 * Validators of the wire shapes: requests that a server gets, answers that a client gets.
 *
 * Each takes a parsed JSON value and its path, and returns the same object under its type. It throws
 * {@link KeyBackupError} `bad-json` or `missing-field`; the message begins with the path, and names a value by its
 * type, a number out of range by itself. Unknown fields stay.
 *
 * Maps of ids lose their prototype (in place): any string is a legal id, also `__proto__`.
 */

/**
 * Keys of many rooms: the body of `PUT` and the answer of `GET /room_keys/keys`.
 *
 * @param path - The path of the value; empty for a whole body.
 *
 * @example
 * ```ts
 * checkKeyBackups({ rooms: { '!a:b': { sessions: { x: { first_message_index: -1 } } } } });
 * // throws bad-json: rooms["!a:b"].sessions.x.first_message_index: expected an integer of 0 to 2^53-1, …
 * ```
 */
export function checkKeyBackups(value: unknown, path = ''): KeyBackups {
  const body = expectObject(value, path);
  const at = jsonPath(path, 'rooms');
  const rooms = expectMap(field(body, 'rooms', path), at);
  for (const roomId of Object.keys(rooms)) checkRoomKeyBackup(rooms[roomId], jsonPath(at, roomId));
  return body as unknown as KeyBackups;
}

/** The keys of one room: the body of `PUT` and the answer of `GET /room_keys/keys/{roomId}`. */
export function checkRoomKeyBackup(value: unknown, path = ''): RoomKeyBackup {
  const room = expectObject(value, path);
  const at = jsonPath(path, 'sessions');
  const sessions = expectMap(field(room, 'sessions', path), at);
  for (const sessionId of Object.keys(sessions)) {
    if (!isKeyBackupData(sessions[sessionId])) {
      checkKeyBackupData(sessions[sessionId], jsonPath(at, sessionId));
    }
  }
  return room as unknown as RoomKeyBackup;
}

/** One key: the body of `PUT` and the answer of `GET /room_keys/keys/{roomId}/{sessionId}`. */
export function checkKeyBackupData(value: unknown, path = ''): KeyBackupData {
  const key = expectObject(value, path);
  expectIndex(field(key, 'first_message_index', path), jsonPath(path, 'first_message_index'));
  expectIndex(field(key, 'forwarded_count', path), jsonPath(path, 'forwarded_count'));
  const verified = field(key, 'is_verified', path);
  if (typeof verified !== 'boolean')
    throw wrong(jsonPath(path, 'is_verified'), 'true or false', describe(verified));
  expectObject(field(key, 'session_data', path), jsonPath(path, 'session_data'));
  return key as unknown as KeyBackupData;
}

/** The body of `POST /room_keys/version`. Any algorithm is accepted. */
export function checkNewVersion(value: unknown, path = ''): NewVersion {
  const body = expectObject(value, path);
  expectString(field(body, 'algorithm', path), jsonPath(path, 'algorithm'));
  expectObject(field(body, 'auth_data', path), jsonPath(path, 'auth_data'));
  return body as unknown as NewVersion;
}

/** The body of `PUT /room_keys/version/{version}`; `version` is optional there. */
export function checkVersionUpdate(value: unknown, path = ''): NewVersion & { readonly version?: string } {
  const body = checkNewVersion(value, path) as NewVersion & { readonly version?: string };
  if (Object.hasOwn(body, 'version')) expectString(body.version, jsonPath(path, 'version'));
  return body;
}

/** The answer of `POST /room_keys/version`. A number becomes its text: some servers count their versions. */
export function checkVersionCreated(value: unknown, path = ''): { readonly version: string } {
  const body = expectObject(value, path);
  const version = field(body, 'version', path);
  const text = textOf(version);
  if (text === undefined) throw wrong(jsonPath(path, 'version'), 'a string', numberOr(version));
  return { ...body, version: text };
}

/**
 * The answer of `GET /room_keys/version` and `GET /room_keys/version/{version}`. A backup can be read without `etag`
 * and `count`, which servers have left out or sent in other types: then the etag is empty, the count `undefined`.
 */
export function checkVersionInfo(value: unknown, path = ''): VersionInfo {
  const body = checkNewVersion(value, path) as NewVersion & { etag?: unknown; count?: unknown };
  const count = isIndex(body.count) ? body.count : undefined;
  return { ...body, ...checkVersionCreated(body, path), etag: textOf(body.etag) ?? '', count };
}

/** The answer of every write and delete of keys. Without a count it acknowledges nothing; the etag may be missing. */
export function checkKeysChanged(value: unknown, path = ''): KeysChanged {
  const body = expectObject(value, path);
  const count = field(body, 'count', path);
  expectIndex(count, jsonPath(path, 'count'));
  return { ...body, etag: textOf(body.etag) ?? '', count };
}

/** A Matrix error body. An optional field of a wrong type is dropped, so that the rest can still be reported. */
export function checkErrorBody(value: unknown, path = ''): ErrorBody {
  const body = expectObject(value, path);
  const errcode = field(body, 'errcode', path);
  expectString(errcode, jsonPath(path, 'errcode'));
  const own = (name: string): unknown => (Object.hasOwn(body, name) ? body[name] : undefined);
  const [error, current, retry] = [own('error'), own('current_version'), own('retry_after_ms')];
  return {
    errcode: errcode as string,
    error: typeof error === 'string' ? error : '',
    ...(textOf(current) !== undefined && { current_version: textOf(current) }),
    ...(isIndex(retry) ? { retry_after_ms: retry } : {}),
  };
}

/** {@link checkKeyBackupData} without building paths: most keys are right. */
function isKeyBackupData(value: unknown): value is KeyBackupData {
  if (!isJsonObject(value)) return false;
  const key = value as Partial<KeyBackupData>;
  return (
    isIndex(key.first_message_index) &&
    isIndex(key.forwarded_count) &&
    typeof key.is_verified === 'boolean' &&
    isJsonObject(key.session_data)
  );
}

function isIndex(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function wrong(path: string, expected: string, got: string): KeyBackupError {
  return new KeyBackupError('bad-json', `${top(path)}: expected ${expected}, got ${got}`);
}

function top(path: string): string {
  return path === '' ? 'the body' : path;
}

function expectObject(value: unknown, path: string): OpaqueObject {
  return expectJsonObject(value, top(path));
}

function expectMap(value: unknown, path: string): OpaqueObject {
  return Object.setPrototypeOf(expectObject(value, path), null) as OpaqueObject;
}

/** A string, or the text of a number that servers send in its place; `undefined` for any other value. */
function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : isIndex(value) ? String(value) : undefined;
}

function expectString(value: unknown, path: string): void {
  if (typeof value !== 'string') throw wrong(path, 'a string', describe(value));
}

function expectIndex(value: unknown, path: string): asserts value is number {
  if (!isIndex(value)) throw wrong(path, 'an integer of 0 to 2^53-1', numberOr(value));
}

function field(object: OpaqueObject, name: string, path: string): unknown {
  if (!Object.hasOwn(object, name)) {
    throw new KeyBackupError('missing-field', `${top(jsonPath(path, name))}: expected a value, got nothing`);
  }
  return object[name];
}

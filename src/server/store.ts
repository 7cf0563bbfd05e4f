import { Buffer } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import { jsonPath } from '../encoding/json.js';
import { utf8Decode } from '../encoding/utf8.js';
import { KeyBackupError, messageOf } from '../errors.js';
import type { KeyRank } from '../formats/replacement.js';
import type { KeysChanged } from '../wire/types.js';

/**
 * The database of a key backup server.
 *
 * Key data and `auth_data` go in and out as JSON text and are never parsed on the way. Ids are any string of
 * well-formed Unicode, U+0000 included; they are compared and ordered by their UTF-8 bytes. Every write is one
 * transaction, durable once its promise resolves. No method holds a lock in the process: several servers may
 * share one database where the database allows it.
 *
 * Expected results come back as an `outcome`; methods reject with `store-failed` when the database fails.
 */
export interface BackupStore {
  /** Makes a new current version. Its id cannot be guessed and was never used before. */
  createVersion(userId: string, content: VersionContent, quota: Quota): Promise<Created | OverQuota>;

  /** A version that is not deleted; without an id the current one. */
  readVersion(userId: string, version?: string): Promise<StoredVersion | undefined>;

  /** Sets `auth_data` of a version of the same algorithm. Neither etag nor keys change. */
  updateVersion(
    userId: string,
    version: string,
    content: VersionContent,
    quota: Quota,
  ): Promise<Done | UnknownVersion | OtherAlgorithm | OverQuota>;

  /** Deletes a version and its keys: `done` also if it was deleted before, unknown if it never existed. */
  deleteVersion(userId: string, version: string): Promise<Done | UnknownVersion>;

  /**
   * Stores the keys that win by the replacement rule: all of them or, for any outcome but `changed`, none. No two keys
   * may have the same room and session.
   *
   * @param writer - The device that writes, for the audit trail.
   */
  writeKeys(
    userId: string,
    version: string,
    keys: readonly KeyToWrite[],
    quota: Quota,
    writer: string | undefined,
  ): Promise<Changed | UnknownVersion | WrongVersion | OverQuota>;

  /** Deletes the keys in scope, of any version; in PostgreSQL 50,000 in a transaction. */
  deleteKeys(userId: string, version: string, scope: KeyScope): Promise<Changed | UnknownVersion>;

  /** One key's JSON text. */
  readKey(
    userId: string,
    version: string,
    roomId: string,
    sessionId: string,
  ): Promise<FoundKey | UnknownKey | UnknownVersion>;

  /**
   * The next keys in scope after a position, ordered by room and session: at most `limit`, and fewer when they
   * are large. No rooms come back when there are no more.
   */
  readKeys(
    userId: string,
    version: string,
    scope: KeyScope,
    after: KeyPosition | undefined,
    limit: number,
  ): Promise<KeyPage | UnknownVersion>;

  /** The audit trail of a user, oldest first, after an entry's id. At most `limit` entries. */
  readReplacements(userId: string, after: number, limit: number): Promise<readonly Replacement[]>;

  /** Forgets replacements made before a time, in milliseconds since 1970. */
  pruneReplacements(before: number): Promise<void>;

  /**
   * Removes everything about a user, the audit trail included. Returns whether there was anything. Once it rejects, call
   * it again. SQLite writes the whole file anew at the end, for which other writes wait: do it in a process of its own.
   */
  eraseUser(userId: string): Promise<boolean>;

  /** Rejects when the database cannot answer. */
  ping(): Promise<void>;

  /**
   * What is wrong with a database that still answers, such as failed writes or a file that was removed; undefined while
   * nothing is. `GET /health` answers 503 with this text, which therefore names no user and no id.
   */
  fault?(): string | undefined;

  /** Waits for running operations and closes the database. */
  close(): Promise<void>;
}

/** The two texts of a version. */
export interface VersionContent {
  readonly algorithm: string;
  /** JSON text. */
  readonly auth_data: string;
}

/** A version as stored. */
export interface StoredVersion extends VersionContent, KeysChanged {
  readonly version: string;
}

/** A key on its way into a store. */
export interface KeyToWrite extends KeyRank {
  readonly room_id: string;
  readonly session_id: string;
  /** The whole record as JSON text in UTF-8. */
  readonly data: Uint8Array;
}

/** All keys, those of a room, or one. */
export interface KeyScope {
  readonly room_id?: string | undefined;
  readonly session_id?: string | undefined;
}

/** A place in the order of keys. */
export interface KeyPosition {
  readonly room_id: string;
  readonly session_id: string;
}

/** Keys that follow each other, by room. */
export interface KeyPage {
  readonly outcome: 'page';
  readonly rooms: readonly RoomPage[];
}

/** Some keys of one room. */
export interface RoomPage {
  readonly room_id: string;
  /** The members of a `sessions` object, joined by commas, as JSON text or its UTF-8 bytes: `"id":{…},"id":{…}`. */
  readonly members: string | Uint8Array;
  readonly count: number;
  readonly last_session_id: string;
}

/** An entry of the audit trail: which device's key replaced which. Never key data. */
export interface Replacement {
  readonly id: number;
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly user_id: string;
  readonly version: string;
  readonly room_id: string;
  readonly session_id: string;
  readonly before: KeyOrigin;
  readonly after: KeyOrigin;
}

/** A stored key's rank and the device that wrote it. */
export interface KeyOrigin extends KeyRank {
  readonly device_id?: string | undefined;
}

/** What a user may hold; undefined is unlimited. */
export interface Quota {
  /** Versions not deleted. */
  readonly versions?: number | undefined;
  /** Keys in all versions. */
  readonly keys?: number | undefined;
  /** UTF-8 bytes of keys, see {@link keyBytes}, of `auth_data`, and of the audit trail, that of deleted versions too. */
  readonly bytes?: number | undefined;
}

/** Success. */
export interface Done {
  readonly outcome: 'done';
}
/** The version was made. */
export interface Created {
  readonly outcome: 'created';
  readonly version: string;
}
/** The keys are written or deleted; etag and count of the version after that. */
export interface Changed extends KeysChanged {
  readonly outcome: 'changed';
}
/** The key, as JSON text. */
export interface FoundKey {
  readonly outcome: 'key';
  readonly data: string;
}
/** The version has no such key. */
export interface UnknownKey {
  readonly outcome: 'unknown-key';
}
/** The user has no such version. */
export interface UnknownVersion {
  readonly outcome: 'unknown-version';
}
/** The version exists and is not the current one. */
export interface WrongVersion {
  readonly outcome: 'wrong-version';
  readonly current_version: string;
}
/** The version is of another algorithm. */
export interface OtherAlgorithm {
  readonly outcome: 'other-algorithm';
}
/** Nothing was stored, because the user would hold more than this limit. */
export interface OverQuota {
  readonly outcome: 'over-quota';
  readonly of: keyof Quota;
}

/** A version id: 144 random bits in 24 characters of a path's plain alphabet. */
export function newVersionId(): string {
  return randomBytes(18).toString('base64url');
}

/** UTF-8 bytes of a room id or a user id at most: the specification's limit (Appendices, Identifier Grammar). */
export const MAX_ID = 255;

/**
 * UTF-8 bytes of a session id at most. The specification has no limit; all known ids have 43 bytes. A row in an index of
 * PostgreSQL takes about 2,700, with the user and the room.
 */
const MAX_SESSION_ID = 1_024;

/** What to tell a caller when an id of a key is too long for a store; undefined when none is. */
export function longId(roomId: string, sessionId = ''): string | undefined {
  if (!isLonger(roomId, MAX_ID) && !isLonger(sessionId, MAX_SESSION_ID)) return undefined;
  const room = jsonPath('rooms', roomId);
  if (isLonger(roomId, MAX_ID))
    return `${room}: expected a room id of at most ${MAX_ID} bytes, got a longer one`;
  const place = jsonPath(jsonPath(room, 'sessions'), sessionId);
  return `${place}: expected a session id of at most ${MAX_SESSION_ID} bytes, got a longer one`;
}

/** Whether a text takes more bytes in UTF-8. */
export function isLonger(text: string, bytes: number): boolean {
  // A UTF-16 unit takes at most three.
  return text.length * 3 > bytes && Buffer.byteLength(text) > bytes;
}

/** What a key counts in a quota: UTF-8 bytes of its ids and its data. */
export function keyBytes({ room_id, session_id, data }: KeyToWrite): number {
  return Buffer.byteLength(room_id) + Buffer.byteLength(session_id) + data.length;
}

/** UTF-8 bytes of ids. */
export function idBytes(...ids: readonly string[]): number {
  return ids.reduce((sum, id) => sum + Buffer.byteLength(id), 0);
}

/** The same of a row, in the SQL of both databases. */
export const KEY_BYTES = 'octet_length(room_id) + octet_length(session_id) + octet_length(data)';

/** What an entry of the audit trail counts beside its ids: about what the row and its places in the indexes take. */
export const ENTRY_BYTES = 128;

/** What a row of the audit trail counts in a quota: UTF-8 bytes of its ids and {@link ENTRY_BYTES}. */
export const REPLACEMENT_BYTES = `octet_length(room_id) + octet_length(session_id)
  + coalesce(octet_length(old_device_id), 0) + coalesce(octet_length(new_device_id), 0) + ${ENTRY_BYTES}`;

/** Wraps what a database's client threw. */
export function storeFailed(cause: unknown): KeyBackupError {
  const reason = messageOf(cause) ?? 'unknown reason';
  return new KeyBackupError('store-failed', `the database failed: ${reason}`, { cause });
}

/** Thrown inside a transaction to undo it; `result` becomes its result. */
export class Rollback extends Error {
  readonly result: unknown;

  constructor(result: unknown) {
    super('rolled back');
    this.result = result;
  }
}

/** Whether there is any limit to check. */
export function isLimited(quota: Quota): boolean {
  return Object.values(quota).some((limit) => limit !== undefined);
}

/** Undoes the transaction when a user now holds more than allowed. */
export function checkQuota(quota: Quota, held: Readonly<Record<keyof Quota, number>>): void {
  for (const of of ['versions', 'keys', 'bytes'] as const) {
    if (held[of] > (quota[of] ?? Infinity))
      throw new Rollback({ outcome: 'over-quota', of } satisfies OverQuota);
  }
}

/** An id that was read as bytes, as both databases order it. */
export function textOf(bytes: unknown): string {
  return utf8Decode(bytes as Uint8Array, 'id');
}

/** The name of a `sessions` member in JSON without its quotes where it differs from the id itself, else null. */
export function escapedName(sessionId: string): string | null {
  // Most ids are base64 and need no escaping: spare them the second copy.
  if (/^[A-Za-z0-9+/=_-]*$/.test(sessionId)) return null;
  return JSON.stringify(sessionId).slice(1, -1);
}

/** How many keys of a version may be held in memory at once, all as large as the largest it has had. */
export function pageLimit(limit: number, largest: number): number {
  return Math.max(1, Math.min(limit, Math.floor(PAGE_BYTES / Math.max(1, largest))));
}

/** Bytes of keys that a store returns at once, apart from one key that is larger. */
export const PAGE_BYTES = 2 ** 18;

import { base64DecodeInto, base64Encode } from '../encoding/base64.js';
import { wipe } from '../encoding/bytes.js';
import { KeyBackupError, describe } from '../errors.js';
import {
  expectObject,
  expectShallow,
  expectString,
  isJsonObject,
  ownValue,
  parseObject,
  type JsonObject,
} from '../encoding/json.js';
import type { ReadOptions, SessionData, SessionDataFlag } from '../scheme/session-data.js';
import { utf8Decode, utf8Encode } from '../encoding/utf8.js';

/**
 * A room key as people hold it (`ExportedSessionData`), as it is encrypted (`BackedUpSessionData`), and as it
 * stands in a backup (`KeyBackupData`).
 *
 * The room id and the session id are NOT inside the encrypted part: they come from the place where the server
 * keeps the record, so the server controls them. The session id can be checked, because it is the Ed25519 key
 * inside the session key; the room id cannot.
 */

/** The one algorithm of room keys there is. */
export const MEGOLM_ALGORITHM = 'm.megolm.v1.aes-sha2';

const SESSION_KEY_LENGTH = 165;
const SESSION_KEY_VERSION = 1;

/** A room key outside a backup, as key exports hold it. Unknown fields travel along. */
export interface ExportedSessionData {
  /** `m.megolm.v1.aes-sha2`. */
  readonly algorithm: string;
  /** Curve25519 keys of those who forwarded the key, oldest first. */
  readonly forwarding_curve25519_key_chain: readonly string[];
  readonly room_id: string;
  /** Usually `{ ed25519 }`; `{}` happens. Absent only on a key that salvage let pass without. */
  readonly sender_claimed_keys?: Readonly<Record<string, string>>;
  /** The sending device's Curve25519 key. Absent only on a key that salvage let pass without. */
  readonly sender_key?: string;
  /** Unpadded base64 of the session's Ed25519 key: the last 32 bytes of `session_key`. */
  readonly session_id: string;
  /** Unpadded base64 of 165 bytes: version 1, index, ratchet, Ed25519 key. */
  readonly session_key: string;
  /** Whether the key may be given to people invited later. */
  readonly shared_history?: boolean;
  readonly [unknown: string]: unknown;
}

/** One record of a backup, with the encrypted part this algorithm makes. */
export interface KeyBackupData {
  /** The first message the key reads; taken from the session key itself. */
  readonly first_message_index: number;
  /** How often the key was forwarded; the length of its forwarding chain. */
  readonly forwarded_count: number;
  /** Whether the device that gave the key was verified. */
  readonly is_verified: boolean;
  readonly session_data: SessionData;
}

/** What salvage had to overlook in the plaintext, besides what {@link SessionDataFlag} names. */
export type RoomKeyFlag =
  | SessionDataFlag
  | 'missing-sender-key'
  | 'missing-sender-claimed-keys'
  /** `shared_history` was no boolean and was left out; also without salvage. */
  | 'bad-shared-history';

/** What a session key says about itself. */
export interface SessionKeyFacts {
  /** Unpadded base64 of the Ed25519 key inside. */
  readonly session_id: string;
  /** 0 to 2^32 − 1. */
  readonly first_message_index: number;
}

/**
 * Reads a megolm session export.
 *
 * @see https://gitlab.matrix.org/matrix-org/olm/blob/master/docs/megolm.md#session-export-format
 * @param sessionKey - Base64 of 165 bytes: 0x01, u32 big-endian index, 128 bytes ratchet, 32 bytes Ed25519 key.
 * @throws {@link KeyBackupError} `bad-session-key`.
 *
 * @example
 * ```ts
 * import { readFile } from 'node:fs/promises';
 * import { readSessionKey } from 'megolm-backup/engine';
 *
 * const [session] = JSON.parse(await readFile('export.json', 'utf8'));
 * console.log(readSessionKey(session.session_key).session_id === session.session_id); // true
 * ```
 */
export function readSessionKey(sessionKey: unknown): SessionKeyFacts {
  if (typeof sessionKey !== 'string' || sessionKey.length > 2 * SESSION_KEY_LENGTH) {
    const got = typeof sessionKey === 'string' ? `${sessionKey.length} characters` : describe(sessionKey);
    throw badSessionKey(`base64 of ${SESSION_KEY_LENGTH} bytes`, got);
  }
  const bytes = (scratch ??= new Uint8Array(SESSION_KEY_LENGTH));
  try {
    const length = decodeInto(bytes, sessionKey);
    if (length !== SESSION_KEY_LENGTH) throw badSessionKey(`${SESSION_KEY_LENGTH} bytes`, String(length));
    if (bytes[0] !== SESSION_KEY_VERSION) throw badSessionKey('export version 1', `version ${bytes[0]}`);
    return {
      session_id: base64Encode(bytes.subarray(SESSION_KEY_LENGTH - 32)),
      first_message_index: ((bytes[1] << 24) | (bytes[2] << 16) | (bytes[3] << 8) | bytes[4]) >>> 0,
    };
  } finally {
    wipe(bytes);
  }
}

/** Where session keys are looked at, one after the other. */
let scratch: Uint8Array | undefined;

function decodeInto(bytes: Uint8Array, sessionKey: string): number {
  try {
    return base64DecodeInto(sessionKey, 'session_key', bytes);
  } catch (cause) {
    throw badSessionKey('standard base64', 'other characters', cause);
  }
}

function badSessionKey(expected: string, got: string, cause?: unknown): KeyBackupError {
  return new KeyBackupError('bad-session-key', `session_key: expected ${expected}, got ${got}`, { cause });
}

/** A room key made ready for encryption. */
export interface PreparedRoomKey {
  readonly room_id: string;
  readonly session_id: string;
  /** The UTF-8 JSON of the `BackedUpSessionData`. */
  readonly plaintext: Uint8Array;
  readonly first_message_index: number;
  readonly forwarded_count: number;
}

/**
 * Checks an exported session and writes the plaintext that a backup holds of it.
 *
 * `room_id` and `session_id` are left out. Unknown fields are kept. `shared_history` is written under its
 * specified name and as `m.shared_history`, which one deployed reader looks for; never under the third name,
 * because that reader refuses a key that has both.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#backup-algorithm-mmegolm_backupv1curve25519-aes-sha2
 * @param session - An `ExportedSessionData`; nothing about it is assumed, and it is not changed.
 * @returns What to encrypt, and what stands beside it; the caller owns the plaintext.
 * @throws {@link KeyBackupError} `missing-field`, `bad-json`, `unsupported-algorithm`, `bad-session-key`,
 * `session-id-mismatch`.
 *
 * @example
 * ```ts
 * import { readFile } from 'node:fs/promises';
 * import { prepareRoomKey, readRoomKey } from 'megolm-backup/engine';
 *
 * const [session] = JSON.parse(await readFile('export.json', 'utf8'));
 * const { plaintext, room_id, session_id } = prepareRoomKey(session);
 * console.log(readRoomKey(plaintext, room_id, session_id).session.session_key === session.session_key); // true
 * ```
 */
export function prepareRoomKey(session: unknown): PreparedRoomKey {
  const object = expectObject(session, 'session');
  const room_id = expectString(object, 'room_id', 'session');
  const session_id = expectString(object, 'session_id', 'session');
  const { fields, facts, flags } = checkRoomKey(object, session_id, 'session', false);
  if (flags.length > 0) {
    throw new KeyBackupError('bad-json', 'session.shared_history: expected true or false, got another value');
  }
  let json: string;
  try {
    json = JSON.stringify(fields);
  } catch {
    throw new KeyBackupError(
      'bad-json',
      'session: expected JSON, got nesting or values that cannot be written',
    );
  }
  expectShallow(fields, json, 'session');
  return {
    room_id,
    session_id,
    plaintext: utf8Encode(json),
    first_message_index: facts.first_message_index,
    forwarded_count: fields.forwarding_curve25519_key_chain.length,
  };
}

/** A room key out of a backup. */
export interface RestoredRoomKey {
  readonly session: ExportedSessionData;
  readonly flags: readonly RoomKeyFlag[];
}

/**
 * Reads the plaintext of a backup record and checks that it is the key of this session.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#backup-algorithm-mmegolm_backupv1curve25519-aes-sha2
 * @param plaintext - UTF-8 JSON of a `BackedUpSessionData`; the caller's to wipe.
 * @param roomId - Where the server keeps the record; nothing proves it.
 * @param sessionId - Where the server keeps the record; it has to be the one inside the session key.
 * @returns A new session with the two ids in it, and what had to be overlooked.
 * @throws {@link KeyBackupError} `bad-utf8`, `bad-json`, `missing-field`, `unsupported-algorithm`,
 * `bad-session-key`, `session-id-mismatch`.
 */
export function readRoomKey(
  plaintext: Uint8Array,
  roomId: string,
  sessionId: string,
  options: ReadOptions = {},
): RestoredRoomKey {
  const object = parseObject(utf8Decode(plaintext, 'plaintext'), 'plaintext');
  const { fields, flags } = checkRoomKey(object, sessionId, 'plaintext', options.salvage === true);
  return { session: Object.assign(fields, { room_id: roomId, session_id: sessionId }), flags };
}

/** What is encrypted of a room key. */
export interface BackedUpSessionData {
  readonly algorithm: string;
  readonly forwarding_curve25519_key_chain: readonly string[];
  readonly sender_claimed_keys?: Readonly<Record<string, string>>;
  readonly sender_key?: string;
  readonly session_key: string;
  readonly [unknown: string]: unknown;
}

/** A room key whose fields were checked. */
export interface CheckedRoomKey {
  readonly fields: BackedUpSessionData;
  readonly facts: SessionKeyFacts;
  readonly flags: RoomKeyFlag[];
}

/** What holds of a room key on its way in and out: the same checks, the same fields. */
export function checkRoomKey(
  object: JsonObject,
  sessionId: string,
  field: string,
  salvage: boolean,
): CheckedRoomKey {
  const algorithm = expectString(object, 'algorithm', field);
  if (algorithm !== MEGOLM_ALGORITHM) {
    throw new KeyBackupError(
      'unsupported-algorithm',
      `${field}.algorithm: expected ${MEGOLM_ALGORITHM}, got another`,
    );
  }
  const session_key = expectString(object, 'session_key', field);
  const facts = readSessionKey(session_key);
  if (facts.session_id !== sessionId) {
    throw new KeyBackupError(
      'session-id-mismatch',
      'session_id: expected the one inside the session_key, got another: the record stands in the wrong place',
    );
  }
  const flags: RoomKeyFlag[] = [];
  // Field by field and in this order, which is the one that is written: spreading costs more than all the checks.
  const fields: Record<string, unknown> = { algorithm };
  fields.forwarding_curve25519_key_chain = forwardingChain(object, field);
  if (mayLack(object, 'sender_key', salvage)) flags.push('missing-sender-key');
  else fields.sender_key = expectString(object, 'sender_key', field);
  if (mayLack(object, 'sender_claimed_keys', salvage)) flags.push('missing-sender-claimed-keys');
  else fields.sender_claimed_keys = claimedKeys(object, field);
  fields.session_key = session_key;
  const sharedHistory = readSharedHistory(object);
  if (sharedHistory === 'bad') flags.push('bad-shared-history');
  else if (sharedHistory !== undefined) {
    fields.shared_history = sharedHistory;
    fields['m.shared_history'] = sharedHistory;
  }
  takeUnknownFields(object, fields);
  return { fields: fields as unknown as BackedUpSessionData, facts, flags };
}

/** Whether a field is absent and may stay so. */
function mayLack(object: JsonObject, name: string, salvage: boolean): boolean {
  return salvage && ownValue(object, name) === undefined;
}

function claimedKeys(object: JsonObject, field: string): Readonly<Record<string, string>> {
  const value = ownValue(object, 'sender_claimed_keys');
  const name = `${field}.sender_claimed_keys`;
  if (value === undefined)
    throw new KeyBackupError('missing-field', `${name}: expected an object, got nothing`);
  if (!isJsonObject(value) || !Object.values(value).every((key) => typeof key === 'string')) {
    const got = isJsonObject(value) ? 'other values in it' : describe(value);
    throw new KeyBackupError('bad-json', `${name}: expected an object of strings, got ${got}`);
  }
  return value as Readonly<Record<string, string>>;
}

/** A missing chain reads as empty: early clients left it out. */
function forwardingChain(object: JsonObject, field: string): readonly string[] {
  const value = ownValue(object, 'forwarding_curve25519_key_chain') ?? [];
  if (!Array.isArray(value) || !value.every((key) => typeof key === 'string')) {
    const name = `${field}.forwarding_curve25519_key_chain`;
    const got = Array.isArray(value) ? 'other values in it' : describe(value);
    throw new KeyBackupError('bad-json', `${name}: expected an array of strings, got ${got}`);
  }
  return value;
}

/** The spellings in the wild, the specification's own first: it decides where they disagree. */
const SHARED_HISTORY = ['shared_history', 'm.shared_history', 'org.matrix.msc3061.shared_history'] as const;

function readSharedHistory(object: JsonObject): boolean | 'bad' | undefined {
  const name = SHARED_HISTORY.find((spelling) => ownValue(object, spelling) !== undefined);
  if (name === undefined) return undefined;
  const value = object[name];
  return typeof value === 'boolean' ? value : 'bad';
}

/** The fields of a room key that have a meaning here; all others travel along. */
export const KNOWN_FIELDS: ReadonlySet<string> = new Set([
  'algorithm',
  'forwarding_curve25519_key_chain',
  'room_id',
  'sender_claimed_keys',
  'sender_key',
  'session_id',
  'session_key',
  ...SHARED_HISTORY,
]);

function takeUnknownFields(object: JsonObject, fields: Record<string, unknown>): void {
  for (const name of Object.keys(object)) {
    if (KNOWN_FIELDS.has(name)) continue;
    // Defined, not assigned, so a field named __proto__ stays a field.
    Object.defineProperty(fields, name, {
      value: object[name],
      configurable: true,
      enumerable: true,
      writable: true,
    });
  }
}

import { expectOptions, expectText } from '../encoding/arguments.js';
import { expectAnyBytes } from '../encoding/bytes.js';
import { KeyBackupError } from '../errors.js';
import {
  defineField,
  expectObject,
  expectShallow,
  expectString,
  ownValue,
  parseObject,
  plainJson,
  type JsonObject,
} from '../encoding/json.js';
import {
  hasLoneSurrogate,
  mendSender,
  readSender,
  type SenderFields,
  type SenderFlag,
} from './sender-fields.js';
import { readSessionKey, type SessionKeyFacts } from './session-key.js';
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

/** A room key outside a backup, as key exports hold it. Unknown fields travel along. */
export interface ExportedSessionData {
  /** `m.megolm.v1.aes-sha2`. */
  readonly algorithm: string;
  /** Curve25519 keys of those who forwarded the key, oldest first. */
  readonly forwarding_curve25519_key_chain: readonly string[];
  readonly room_id: string;
  /** Usually `{ ed25519 }`; `{}` happens, and is what an absent field is taken as. */
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

/** What a key has that is not as it should be: overlooked when it was read, or mended when it was written. */
export type RoomKeyFlag =
  | SessionDataFlag
  | SenderFlag
  /** A spelling of `shared_history` is not a boolean, or two stand together of which other implementations take one. */
  | 'bad-shared-history'
  /**
   * The room id does not start with `!`, or is not Unicode: other implementations take no key of such a room. Told on
   * writing only.
   */
  | 'unusable-room-id'
  /** Unknown fields hold text that is not Unicode. They are not written. */
  | 'unknown-fields-dropped'
  /**
   * Stands beside an `unusable-` flag when nothing was mended: the record, as it is, has what is unusable. Other
   * implementations drop it in silence.
   */
  | 'unreadable-by-others';

/** A room key made ready for encryption. */
export interface PreparedRoomKey {
  readonly room_id: string;
  readonly session_id: string;
  /** The UTF-8 JSON of the `BackedUpSessionData`. */
  readonly plaintext: Uint8Array;
  readonly first_message_index: number;
  readonly forwarded_count: number;
  /** What was mended; with `unreadable-by-others`, what could not be. */
  readonly flags: readonly RoomKeyFlag[];
}

/**
 * Checks an exported session and writes the plaintext that a backup holds of it.
 *
 * `room_id` and `session_id` are left out. Unknown fields are kept. `shared_history` is written under its
 * specified name and as `m.shared_history`, which one deployed reader looks for; never under the third name,
 * because that reader refuses a key that has both. What other implementations would drop the record for is mended
 * and flagged. What cannot be mended, the `sender_key` or the room id, is kept and flagged `unreadable-by-others`.
 * That the Ed25519 key in the session key is a point of the curve is not checked: no message was signed without one.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#backup-algorithm-mmegolm_backupv1curve25519-aes-sha2
 * @param session - An `ExportedSessionData`; nothing about it is assumed, and it is not changed. Its methods, such as
 * `toJSON`, have no say in what is written.
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
  const { fields, faults, flags, ...rest } = mendRoomKey(session);
  const { room_id, session_id, first_message_index, forwarded_count } = rest;
  return {
    room_id,
    session_id,
    plaintext: utf8Encode(JSON.stringify(fields)),
    first_message_index,
    forwarded_count,
    flags: faults.length > 0 ? [...flags, 'unreadable-by-others'] : flags,
  };
}

/** A room key with every field as the strictest implementation takes it. */
export interface MendedRoomKey {
  readonly room_id: string;
  readonly session_id: string;
  /** A new object. */
  readonly fields: BackedUpSessionData;
  readonly first_message_index: number;
  readonly forwarded_count: number;
  readonly flags: readonly RoomKeyFlag[];
  /** What cannot be mended, and makes other implementations refuse the key. */
  readonly faults: readonly KeyBackupError[];
}

/**
 * The one step before a session is written, to a backup or an export. Errors as {@link prepareRoomKey} names them.
 *
 * @param wasRead - It is a session that {@link readSession} gave: its key is not read again, nor its index.
 */
export function mendRoomKey(session: unknown, wasRead = false): MendedRoomKey {
  const object = expectObject(session, 'session');
  const room_id = expectString(object, 'room_id', 'session');
  const session_id = expectString(object, 'session_id', 'session');
  const { session_key, first_message_index } = wasRead
    ? { session_key: expectString(object, 'session_key', 'session'), first_message_index: 0 }
    : expectSession(object, session_id, 'session');
  const sender = mendSender(object, 'session');
  const shared = readSharedHistory(object);
  const flags: RoomKeyFlag[] = sender.flags;
  if (shared.isLost) flags.push('bad-shared-history');
  const faults = sender.fault ? [sender.fault] : [];
  if (!isUsableRoomId(room_id)) {
    flags.push('unusable-room-id');
    faults.push(badRoomId());
  }
  let fields = knownFields(session_key, sender.fields, shared.value);
  if (takeUnknownFields(object, fields)) {
    const json = JSON.stringify(fields);
    expectShallow(fields, json, 'session');
    if (holdsLoneSurrogate(json)) {
      flags.push('unknown-fields-dropped');
      fields = knownFields(session_key, sender.fields, shared.value);
    }
  }
  const { forwardedCount: forwarded_count } = sender;
  return { room_id, session_id, fields, first_message_index, forwarded_count, flags, faults };
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
 * @returns A new session with the two ids in it, and flags for what had to be overlooked and for what other
 * implementations refuse.
 * @throws {@link KeyBackupError} `bad-utf8`, `bad-json`, `missing-field`, `unsupported-algorithm`,
 * `bad-session-key`, `session-id-mismatch`.
 */
export function readRoomKey(
  plaintext: Uint8Array,
  roomId: string,
  sessionId: string,
  options: ReadOptions = {},
): RestoredRoomKey {
  expectAnyBytes(plaintext, 'plaintext');
  expectText(roomId, 'roomId');
  expectOptions(options);
  const object = parseObject(utf8Decode(plaintext, 'plaintext'), 'plaintext');
  const place = { room_id: roomId, session_id: sessionId };
  return readSession(object, place, 'plaintext', options.salvage === true);
}

/** Reads a session that was parsed, from a backup or an export. Errors as {@link readRoomKey} names them. */
export function readSession(
  object: JsonObject,
  { room_id, session_id }: { readonly room_id: string; readonly session_id: string },
  field: string,
  salvage: boolean,
): RestoredRoomKey {
  const { session_key } = expectSession(object, session_id, field);
  const sender = readSender(object, field, salvage);
  const shared = readSharedHistory(object);
  const fields = knownFields(session_key, sender.fields, shared.value);
  takeUnknownFields(object, fields);
  const flags: RoomKeyFlag[] = sender.flags;
  if (!shared.asGiven) flags.push('bad-shared-history');
  if (flags.some((flag) => flag.startsWith('unusable-'))) flags.push('unreadable-by-others');
  return { session: Object.assign(fields, { room_id, session_id }), flags };
}

/** What is encrypted of a room key. */
export interface BackedUpSessionData extends SenderFields {
  readonly algorithm: string;
  readonly session_key: string;
  readonly [unknown: string]: unknown;
}

/** Checks what has to be right of a room key on its way in and out: nothing can be overlooked in it, or mended. */
function expectSession(
  object: JsonObject,
  sessionId: string,
  field: string,
): Pick<BackedUpSessionData, 'session_key'> & SessionKeyFacts {
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
  return { session_key, session_id: facts.session_id, first_message_index: facts.first_message_index };
}

/** The fields that have a meaning here, in the order in which they are written. */
function knownFields(
  session_key: string,
  { forwarding_curve25519_key_chain, sender_key, sender_claimed_keys }: SenderFields,
  sharedHistory: boolean | undefined,
): BackedUpSessionData {
  // Field by field: spreading costs more than all the checks.
  const fields: Record<string, unknown> = { algorithm: MEGOLM_ALGORITHM, forwarding_curve25519_key_chain };
  if (sender_key !== undefined) fields.sender_key = sender_key;
  fields.sender_claimed_keys = sender_claimed_keys;
  fields.session_key = session_key;
  if (sharedHistory !== undefined) {
    fields.shared_history = sharedHistory;
    fields['m.shared_history'] = sharedHistory;
  }
  return fields as unknown as BackedUpSessionData;
}

/** Whether other implementations take keys of this room: it starts with "!", and is Unicode without U+0000. */
function isUsableRoomId(roomId: string): boolean {
  // In Unicode mode a surrogate matches only where it has no partner.
  return /^![^\0\ud800-\udfff]*$/u.test(roomId);
}

function badRoomId(): KeyBackupError {
  return new KeyBackupError(
    'bad-json',
    'session.room_id: expected Unicode text that starts with "!", got another text',
  );
}

/** The spellings in the wild, the specification's own first: it decides where they disagree. */
const SHARED_HISTORY = ['shared_history', 'm.shared_history', 'org.matrix.msc3061.shared_history'] as const;

interface SharedHistory {
  readonly value: boolean | undefined;
  /** Whether what it said cannot be kept. */
  readonly isLost: boolean;
  /** Whether other implementations take it as it was given. */
  readonly asGiven: boolean;
}

const NOT_SHARED: SharedHistory = { value: undefined, isLost: false, asGiven: true };

function readSharedHistory(object: JsonObject): SharedHistory {
  if (!SHARED_HISTORY.some((spelling) => Object.hasOwn(object, spelling))) return NOT_SHARED;
  const values = SHARED_HISTORY.map((spelling) => ownValue(object, spelling));
  const given = values.filter((value) => value !== undefined);
  const value = typeof given[0] === 'boolean' ? given[0] : undefined;
  // They read the second and the third as two names of one field, and refuse that twice.
  const isTwice = values[1] !== undefined && values[2] !== undefined;
  const asGiven = !isTwice && given.every((one) => typeof one === 'boolean');
  return { value, isLost: given.length > 0 && value === undefined, asGiven };
}

/** The fields of a room key that have a meaning here; all others travel along. */
const KNOWN_FIELDS: ReadonlySet<string> = new Set([
  'algorithm',
  'forwarding_curve25519_key_chain',
  'room_id',
  'sender_claimed_keys',
  'sender_key',
  'session_id',
  'session_key',
  ...SHARED_HISTORY,
]);

/** Copies the unknown fields as JSON holds them. Returns whether there are any. */
function takeUnknownFields(object: JsonObject, fields: object): boolean {
  let any = false;
  for (const name of Object.keys(object)) {
    if (KNOWN_FIELDS.has(name)) continue;
    const value = plainJson(object[name], 'session');
    if (value === undefined) continue;
    defineField(fields, name, value);
    any = true;
  }
  return any;
}

/** Whether a text in JSON is not Unicode. JSON.stringify escapes lone surrogates; older engines leave them alone. */
function holdsLoneSurrogate(json: string): boolean {
  return (json.includes('\\ud') && /[^\\](?:\\\\)*\\ud/.test(json)) || hasLoneSurrogate(json);
}

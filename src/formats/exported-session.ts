import { base64Decode, base64Encode } from '../encoding/base64.js';
import { wipe } from '../encoding/bytes.js';
import { isCurvePoint } from '../curve25519/edwards.js';
import { KeyBackupError } from '../errors.js';
import { expectObject, expectString, isJsonObject, ownValue, type JsonObject } from '../encoding/json.js';
import { KNOWN_FIELDS, checkRoomKey, type ExportedSessionData, type RoomKeyFlag } from './room-key.js';

/**
 * One entry of a key export, checked as the strictest importer checks it. Importers are brittle: one entry that
 * they cannot parse makes some of them refuse the whole file, so such an entry must not get in.
 */

/** What had to be changed so that every importer takes the entry, or overlooked when reading it. */
export type ExportFlag =
  | RoomKeyFlag
  /** The sender's claimed Ed25519 key is no point of the curve, or the field was no object: it was left out. */
  | 'unusable-claimed-key'
  /** A key in the forwarding chain is not 32 bytes: it was left out. */
  | 'unusable-forwarding-chain'
  /** Unknown fields hold text that is not Unicode: they were left out. */
  | 'unknown-fields-dropped';

/** An entry, and what was done to it. */
export interface ExportEntry {
  readonly session: ExportedSessionData;
  readonly flags: readonly ExportFlag[];
}

/**
 * Makes a session fit for a key export, so that the strictest importer takes it.
 *
 * An unusable claimed key becomes `{}`, and base64 is written in its one canonical form. What cannot be mended is
 * refused: leave that entry out of the file.
 *
 * @throws {@link KeyBackupError} `missing-field`, `bad-json` (also for a room id without `!`),
 * `unsupported-algorithm`, `bad-session-key` (also when its Ed25519 key is no point of the curve),
 * `session-id-mismatch`, and `bad-base64` or `bad-length` for the sender's key.
 *
 * @example
 * ```ts
 * import { KeyBackupError, prepareExportedSession } from 'megolm-backup';
 *
 * try {
 *   prepareExportedSession({ algorithm: 'm.megolm.v1.aes-sha2', room_id: 'no-room' });
 * } catch (error) {
 *   if (error instanceof KeyBackupError) console.log(error.code); // bad-json
 * }
 * ```
 */
export function prepareExportedSession(session: unknown): ExportEntry {
  const object = expectObject(session, 'session');
  const roomId = expectString(object, 'room_id', 'session');
  if (!/^![^\0]*$/s.test(roomId)) {
    throw new KeyBackupError(
      'bad-json',
      'session.room_id: expected a room id that starts with "!", got another text',
    );
  }
  const sessionId = expectString(object, 'session_id', 'session');
  const claimed = usableClaimedKeys(ownValue(object, 'sender_claimed_keys'));
  const chain = usableChain(ownValue(object, 'forwarding_curve25519_key_chain'));
  const mended = {
    ...object,
    sender_claimed_keys: claimed.keys,
    forwarding_curve25519_key_chain: chain.keys,
    sender_key: canonicalKey(expectString(object, 'sender_key', 'session'), 'session.sender_key'),
  };
  const { fields, flags } = checkRoomKey(mended, sessionId, 'session', false);
  const sessionKey = base64Decode(fields.session_key, 'session.session_key');
  const hasPoint = isCurvePoint(sessionKey.subarray(sessionKey.length - 32));
  const session_key = base64Encode(sessionKey);
  wipe(sessionKey);
  if (!hasPoint) {
    throw new KeyBackupError(
      'bad-session-key',
      'session_key: expected an Ed25519 key inside, got no point of the curve',
    );
  }
  const entry = { ...fields, session_key, room_id: roomId, session_id: sessionId };
  const text = withUnicodeOnly(entry);
  return {
    session: text.session,
    flags: [...flags, ...claimed.flags, ...chain.flags, ...text.flags],
  };
}

/**
 * Reads an entry of a key export that may come from any client. Absent sender fields pass with a flag; the session
 * key and the session id have to be right.
 *
 * @throws {@link KeyBackupError} `missing-field`, `bad-json`, `unsupported-algorithm`, `bad-session-key`,
 * `session-id-mismatch`.
 */
export function readExportedSession(entry: unknown): ExportEntry {
  const object = expectObject(entry, 'session');
  const room_id = expectString(object, 'room_id', 'session');
  const session_id = expectString(object, 'session_id', 'session');
  const { fields, flags } = checkRoomKey(object, session_id, 'session', true);
  return { session: { ...fields, room_id, session_id }, flags };
}

interface Mended<Keys> {
  readonly keys: Keys;
  readonly flags: readonly ExportFlag[];
}

function usableClaimedKeys(value: unknown): Mended<JsonObject> {
  if (isJsonObject(value)) {
    const ed25519 = ownValue(value, 'ed25519');
    const others = Object.values(value).every((key) => typeof key === 'string');
    if (ed25519 === undefined && others) return { keys: value, flags: [] };
    const point = typeof ed25519 === 'string' && others ? pointOf(ed25519) : undefined;
    if (point !== undefined) return { keys: { ...value, ed25519: point }, flags: [] };
  }
  return { keys: {}, flags: [value === undefined ? 'missing-sender-claimed-keys' : 'unusable-claimed-key'] };
}

/** The canonical base64 of a claimed key, `undefined` when it is none. */
function pointOf(text: string): string | undefined {
  try {
    const key = canonicalKey(text, 'claimed key');
    return isCurvePoint(base64Decode(key, 'claimed key')) ? key : undefined;
  } catch {
    return undefined;
  }
}

function usableChain(value: unknown): Mended<readonly string[]> {
  if (value === undefined) return { keys: [], flags: [] };
  const keys = (Array.isArray(value) ? value : [undefined]).map((key: unknown) => {
    try {
      return canonicalKey(key, 'forwarding key');
    } catch {
      return undefined;
    }
  });
  const usable = keys.filter((key) => key !== undefined);
  return { keys: usable, flags: usable.length < keys.length ? ['unusable-forwarding-chain'] : [] };
}

/** Base64 of 32 bytes in its one canonical form: an importer refuses set bits behind the last byte. */
function canonicalKey(text: unknown, field: string): string {
  const bytes = typeof text === 'string' && text.length > 64 ? undefined : base64Decode(text, field);
  if (bytes?.length !== 32) {
    const got = bytes ? `${bytes.length} bytes` : 'more';
    throw new KeyBackupError('bad-length', `${field}: expected base64 of 32 bytes, got ${got}`);
  }
  return base64Encode(bytes);
}

/** A lone surrogate is no text; a parser that meets its escape gives up on the whole file. */
function withUnicodeOnly(session: ExportedSessionData): ExportEntry {
  if (!mayHoldLoneSurrogate(session)) return { session, flags: [] };
  const named = Object.fromEntries(Object.entries(session).filter(([name]) => KNOWN_FIELDS.has(name)));
  if (mayHoldLoneSurrogate(named)) {
    throw new KeyBackupError('bad-json', 'session: expected Unicode text, got a lone surrogate');
  }
  return { session: named as unknown as ExportedSessionData, flags: ['unknown-fields-dropped'] };
}

/**
 * JSON.stringify escapes lone surrogates, and nothing else with these letters but a backslash before "ud". Older
 * engines leave them as they are.
 */
function mayHoldLoneSurrogate(value: object): boolean {
  let json: string;
  try {
    json = JSON.stringify(value);
  } catch {
    throw new KeyBackupError(
      'bad-json',
      'session: expected JSON, got nesting or values that cannot be written',
    );
  }
  return json.includes('\\ud') || /[\ud800-\udfff]/u.test(json);
}

import { base64Decode } from '../encoding/base64.js';
import { isCurvePoint } from '../curve25519/edwards.js';
import { KeyBackupError } from '../errors.js';
import { expectObject, expectString } from '../encoding/json.js';
import {
  mendRoomKey,
  readSession,
  type ExportedSessionData,
  type MendedRoomKey,
  type RoomKeyFlag,
} from './room-key.js';

/**
 * One entry of a key export, checked as the strictest importer checks it. Importers are brittle: one entry that
 * they cannot parse makes some of them refuse the whole file, so such an entry must not get in.
 */

/** An entry, and what was mended so that every importer takes it, or overlooked when reading it. */
export interface ExportEntry {
  readonly session: ExportedSessionData;
  readonly flags: readonly RoomKeyFlag[];
}

/**
 * Makes a session fit for a key export, so that the strictest importer takes it.
 *
 * It is mended as it is for a backup. What cannot be mended is refused: leave that entry out of the file.
 *
 * @throws {@link KeyBackupError} `missing-field`, `bad-json` (also for a room id without `!`),
 * `unsupported-algorithm`, `bad-session-key` (also when its Ed25519 key is not a point of the curve),
 * `session-id-mismatch`, and `bad-base64` or `bad-length` for the sender's key.
 *
 * @example
 * ```ts
 * import { KeyBackupError } from 'megolm-backup';
 * import { prepareExportedSession } from 'megolm-backup/engine';
 *
 * try {
 *   prepareExportedSession({ algorithm: 'm.megolm.v1.aes-sha2' });
 * } catch (error) {
 *   if (error instanceof KeyBackupError) console.log(error.code); // missing-field
 * }
 * ```
 */
export function prepareExportedSession(session: unknown): ExportEntry {
  return entryOf(mendRoomKey(session));
}

function entryOf({ room_id, session_id, fields, flags, faults }: MendedRoomKey): ExportEntry {
  if (faults.length > 0) throw faults[0];
  if (!isCurvePoint(base64Decode(session_id, 'session_id'))) {
    throw new KeyBackupError(
      'bad-session-key',
      'session_key: expected an Ed25519 key inside, got bytes that are not a point of the curve',
    );
  }
  return { session: Object.assign(fields, { room_id, session_id }), flags };
}

/**
 * {@link prepareExportedSession}, with the flag `no-claimed-ed25519` where matrix-nio would refuse the whole file.
 *
 * @param wasRead - See {@link mendRoomKey}.
 */
export function prepareEntry(session: unknown, wasRead?: boolean): ExportEntry {
  const entry = entryOf(mendRoomKey(session, wasRead));
  if (Object.hasOwn(entry.session.sender_claimed_keys ?? {}, 'ed25519')) return entry;
  return { session: entry.session, flags: [...entry.flags, 'no-claimed-ed25519'] };
}

/** @throws {@link KeyBackupError} `missing-field` for an entry with that flag. */
export function expectClaimedKey(flags: readonly string[]): void {
  if (!flags.includes('no-claimed-ed25519')) return;
  throw new KeyBackupError(
    'missing-field',
    'sender_claimed_keys.ed25519: expected a key, without which matrix-nio refuses the whole file, got nothing',
  );
}

/**
 * Reads an entry of a key export that may come from any client. Absent fields of the sender pass with a flag; the session
 * key and the session id have to be right.
 *
 * @throws {@link KeyBackupError} `missing-field`, `bad-json`, `unsupported-algorithm`, `bad-session-key`,
 * `session-id-mismatch`.
 */
export function readExportedSession(entry: unknown): ExportEntry {
  const object = expectObject(entry, 'session');
  const room_id = expectString(object, 'room_id', 'session');
  const session_id = expectString(object, 'session_id', 'session');
  return readSession(object, { room_id, session_id }, 'session', true);
}

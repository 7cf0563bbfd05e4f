import { InputError } from './errors.js';
import { KeyBackupError } from '../errors.js';
import { expectObject, expectString } from '../encoding/json.js';
import type { ExportedSessionData } from '../formats/room-key.js';
import { openKeysFile } from './input.js';

/** The user's own copies of sessions, by room and session. */
export type TrustedCopies = ReadonlyMap<string, ReadonlyMap<string, ExportedSessionData>>;

/**
 * Reads trusted copies out of an array of `ExportedSessionData`.
 *
 * @throws {@link InputError} also when a single one is none: what is trusted has to be right.
 */
export async function readTrustedCopies(path: string): Promise<TrustedCopies> {
  const rooms = new Map<string, Map<string, ExportedSessionData>>();
  for await (const item of openKeysFile(path, 'array').items) {
    try {
      if (item.error) throw item.error;
      const session = expectObject(item.value, 'session');
      const roomId = expectString(session, 'room_id', 'session');
      const sessions = rooms.get(roomId) ?? new Map<string, ExportedSessionData>();
      rooms.set(roomId, sessions);
      sessions.set(expectString(session, 'session_id', 'session'), session as unknown as ExportedSessionData);
    } catch (cause) {
      if (!(cause instanceof KeyBackupError)) throw cause;
      throw new InputError(`${path}: ${item.path}: ${cause.message}`, { cause });
    }
  }
  return rooms;
}

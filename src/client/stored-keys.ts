import type { AbortSignalLike } from '../async.js';
import { isJsonObject, ownValue } from '../encoding/json.js';
import { KeyBackupError } from '../errors.js';
import { replaces, type KeyRank } from '../formats/replacement.js';
import type { ExportedSessionData } from '../formats/room-key.js';
import { readSessionKey } from '../formats/session-key.js';
import type { RoomKeys } from './api.js';
import { downloadKeys } from './download.js';

/** The metadata of all keys in a backup, about 150 bytes of memory a key, to compare with local keys. */
export class StoredKeys {
  readonly #rooms = new Map<string, Map<string, KeyRank>>();

  /** Downloads the whole backup. A record without usable metadata counts as absent. */
  static async download(
    roomKeys: RoomKeys,
    version: string,
    signal: AbortSignalLike | undefined,
  ): Promise<StoredKeys> {
    const stored = new StoredKeys();
    for await (const batch of downloadKeys(roomKeys, version, { signal })) {
      for (const item of batch) {
        const rank = item.error ? undefined : rankOfRecord(item.key_backup_data);
        if (item.error || !rank) continue;
        const sessions = stored.#rooms.get(item.room_id) ?? new Map<string, KeyRank>();
        stored.#rooms.set(item.room_id, sessions.set(item.session_id, rank));
      }
    }
    return stored;
  }

  /** Whether the backup holds an equal or better copy of the session, by its metadata. */
  covers(session: ExportedSessionData, isVerified: boolean): boolean {
    if (!isJsonObject(session)) return false;
    const stored = this.#rooms.get(session.room_id)?.get(session.session_id);
    const rank = stored && rankOfSession(session, isVerified);
    return stored !== undefined && rank !== undefined && !replaces(rank, stored);
  }
}

/** The metadata that a session would have in a backup; `undefined` if its session key cannot be read. */
export function rankOfSession(session: ExportedSessionData, is_verified: boolean): KeyRank | undefined {
  const chain: unknown = session.forwarding_curve25519_key_chain;
  try {
    const { first_message_index } = readSessionKey(session.session_key);
    return { is_verified, first_message_index, forwarded_count: Array.isArray(chain) ? chain.length : 0 };
  } catch (error) {
    if (error instanceof KeyBackupError) return undefined;
    throw error;
  }
}

/** The metadata of a record from the server; `undefined` if it is not usable. */
export function rankOfRecord(record: unknown): KeyRank | undefined {
  if (!isJsonObject(record)) return undefined;
  const rank = {
    is_verified: ownValue(record, 'is_verified'),
    first_message_index: ownValue(record, 'first_message_index'),
    forwarded_count: ownValue(record, 'forwarded_count'),
  };
  const isUsable =
    typeof rank.is_verified === 'boolean' &&
    Number.isSafeInteger(rank.first_message_index) &&
    Number.isSafeInteger(rank.forwarded_count);
  return isUsable ? (rank as KeyRank) : undefined;
}

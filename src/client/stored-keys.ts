import type { SessionIdSet } from '../wire/session-id-set.js';
import { replaces, type KeyRank } from '../formats/replacement.js';
import { checkBackupMac, type BackupMacKey } from '../scheme/backup-mac.js';
import { KeyBackupError } from '../errors.js';
import { isJsonObject, ownValue } from '../encoding/json.js';
import type { ExportedSessionData } from '../formats/room-key.js';
import { readSessionKey } from '../formats/session-key.js';
import { downloadKeys } from './download.js';
import type { CallOptions, RoomKeys } from './api.js';

interface Stored extends KeyRank {
  /** Whether it has a right `backup_mac`; false without a MAC key. */
  readonly hasRightMac: boolean;
}

/** The metadata of all keys in a backup, about 150 bytes of memory a key, to compare with local keys. */
export class StoredKeys {
  readonly #rooms = new Map<string, Map<string, Stored>>();
  readonly #macKey: BackupMacKey | undefined;

  private constructor(macKey?: BackupMacKey) {
    this.#macKey = macKey;
  }

  /**
   * Downloads the whole backup. A record without usable metadata counts as absent.
   *
   * @param macKey - With it, only records with a right `backup_mac` count as equal or better.
   */
  static async download(
    roomKeys: RoomKeys,
    version: string,
    macKey: BackupMacKey | undefined,
    options: CallOptions = {},
  ): Promise<StoredKeys> {
    const stored = new StoredKeys(macKey);
    for await (const batch of downloadKeys(roomKeys, version, options)) {
      for (const item of batch)
        if (!item.error) stored.#add(item.room_id, item.session_id, item.key_backup_data);
    }
    return stored;
  }

  #add(roomId: string, sessionId: string, record: unknown): void {
    const rank = rankOfRecord(record);
    if (!rank) return;
    const sessions = this.#rooms.get(roomId) ?? new Map<string, Stored>();
    const hasRightMac = this.#macKey !== undefined && isRight(record, this.#macKey);
    this.#rooms.set(roomId, sessions.set(sessionId, { ...rank, hasRightMac }));
  }

  /**
   * Whether the backup holds an equal or better copy of the session, by its metadata; `unauthenticated` if that copy
   * lacks a right `backup_mac`.
   */
  covers(session: ExportedSessionData, isVerified: boolean): boolean | 'unauthenticated' {
    if (!isJsonObject(session)) return false;
    const stored = this.#rooms.get(session.room_id)?.get(session.session_id);
    const rank = stored && rankOfSession(session, isVerified);
    if (!rank || replaces(rank, stored)) return false;
    return this.#macKey === undefined || stored.hasRightMac || 'unauthenticated';
  }
}

/**
 * Counts the keys that a backup lacks with a right `backup_mac`.
 *
 * @param sets - The keys to count.
 * @returns One count for each set.
 */
export async function countWithoutRightMac(
  roomKeys: RoomKeys,
  version: string,
  macKey: BackupMacKey,
  sets: readonly SessionIdSet[],
  { signal }: CallOptions,
): Promise<number[]> {
  const right = sets.map(() => 0);
  for await (const batch of downloadKeys(roomKeys, version, { signal })) {
    for (const item of batch) {
      if (item.error) continue;
      const at = sets.findIndex((ids) => ids.has(item.room_id, item.session_id));
      if (at !== -1 && isRight(item.key_backup_data, macKey)) right[at]++;
    }
  }
  return sets.map(({ size }, i) => size - right[i]);
}

function isRight(record: unknown, macKey: BackupMacKey): boolean {
  const data = isJsonObject(record) ? ownValue(record, 'session_data') : undefined;
  return isJsonObject(data) && checkBackupMac(data, macKey) === 'right';
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
  const is_verified = ownValue(record, 'is_verified');
  const first_message_index = ownValue(record, 'first_message_index');
  const forwarded_count = ownValue(record, 'forwarded_count');
  const isUsable =
    typeof is_verified === 'boolean' && isCount(first_message_index) && isCount(forwarded_count);
  if (!isUsable) return undefined;
  return { is_verified, first_message_index, forwarded_count };
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value);
}

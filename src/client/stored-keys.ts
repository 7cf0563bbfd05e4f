import type { SessionIdSet } from '../wire/session-id-set.js';
import type { KeyRank } from '../wire/replacement.js';
import { replaces } from '../wire/replacement.js';
import { checkBackupMac, type BackupMacKey } from '../scheme/backup-mac.js';
import { KeyBackupError } from '../errors.js';
import { isJsonObject, ownValue } from '../encoding/json.js';
import { readSessionKey, type ExportedSessionData } from '../formats/room-key.js';
import { downloadKeys } from './download.js';
import type { CallOptions, RoomKeys } from './api.js';

/** How good a stored record is. */
interface Stored extends KeyRank {
  /** Whether it has a right `backup_mac`; false without a MAC key. */
  readonly hasRightMac: boolean;
}

/**
 * What a backup says about the keys it holds, without what is in them: to compare with keys held locally.
 *
 * It takes the whole download and some 150 bytes of memory a key.
 */
export class StoredKeys {
  readonly #rooms = new Map<string, Map<string, Stored>>();
  readonly #macKey: BackupMacKey | undefined;

  /** @param macKey - With it, only records with a right `backup_mac` are taken for equal or better. */
  constructor(macKey?: BackupMacKey) {
    this.#macKey = macKey;
  }

  /** Reads it from the server. */
  static async download(
    roomKeys: RoomKeys,
    version: string,
    macKey: BackupMacKey | undefined,
    options: CallOptions = {},
  ): Promise<StoredKeys> {
    const stored = new StoredKeys(macKey);
    for await (const item of downloadKeys(roomKeys, version, options)) {
      if (!item.error) stored.add(item.room_id, item.session_id, item.value);
    }
    return stored;
  }

  /** Takes in a record. One without usable metadata counts as not there. */
  add(roomId: string, sessionId: string, record: unknown): void {
    const rank = rankOfRecord(record);
    if (!rank) return;
    const sessions = this.#rooms.get(roomId) ?? new Map<string, Stored>();
    const hasRightMac = this.#macKey !== undefined && isRight(record, this.#macKey);
    this.#rooms.set(roomId, sessions.set(sessionId, { ...rank, hasRightMac }));
  }

  /** The metadata of a key; `undefined` when the backup does not have it. */
  get(roomId: string, sessionId: string): KeyRank | undefined {
    return this.#rooms.get(roomId)?.get(sessionId);
  }

  /**
   * Whether the backup holds an equal or better copy of the session, by its metadata; `unauthenticated` when it does
   * and the copy has no right `backup_mac`.
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
 * Counts the records without a right `backup_mac` in a backup, absent ones among them.
 *
 * @param sets - The records to look at.
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
  for await (const item of downloadKeys(roomKeys, version, { signal })) {
    if (item.error) continue;
    const at = sets.findIndex((ids) => ids.has(item.room_id, item.session_id));
    if (at !== -1 && isRight(item.value, macKey)) right[at]++;
  }
  return sets.map(({ size }, i) => size - right[i]);
}

function isRight(record: unknown, macKey: BackupMacKey): boolean {
  const data = isJsonObject(record) ? ownValue(record, 'session_data') : undefined;
  return isJsonObject(data) && checkBackupMac(data, macKey) === 'right';
}

/** The metadata that a session would have in a backup; `undefined` when its session key cannot be read. */
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

/** The metadata of a record as it came from the server; `undefined` when it has none that is usable. */
export function rankOfRecord(record: unknown): KeyRank | undefined {
  if (!isJsonObject(record)) return undefined;
  const is_verified = ownValue(record, 'is_verified');
  const first_message_index = ownValue(record, 'first_message_index');
  const forwarded_count = ownValue(record, 'forwarded_count');
  if (typeof is_verified !== 'boolean' || !isCount(first_message_index) || !isCount(forwarded_count)) {
    return undefined;
  }
  return { is_verified, first_message_index, forwarded_count };
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value);
}

import { expectIterable, expectOptions, expectText } from '../encoding/arguments.js';
import { expectObject, jsonPath, ownValue } from '../encoding/json.js';
import type { BackupRecord } from './decrypt.js';
import { replaces, type KeyRank } from '../formats/replacement.js';

/** The records of a backup by room and session: the body of `PUT` and `GET /room_keys/keys`. */

/** What {@link groupByRoom} takes: successful results of `encryptSessions`, for example. */
export interface RankedRecord<Data extends KeyRank> {
  readonly room_id: string;
  readonly session_id: string;
  readonly key_backup_data: Data;
}

/** Records by room id and session id. The maps have a null prototype: any string is a legal id. */
export interface RecordsByRoom<Data> {
  readonly rooms: Readonly<Record<string, { readonly sessions: Readonly<Record<string, Data>> }>>;
}

/**
 * Groups records by room and session. Of a session that comes twice the better copy is kept, as a server keeps it.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3room_keyskeys
 * @param records - Each `key_backup_data` is taken as it is, not copied.
 * @returns A new object, with which `RoomKeys.putKeys` makes the request.
 * @throws {@link KeyBackupError} `bad-parameters`, also for a failed result.
 *
 * @example
 * ```ts
 * import { readFile } from 'node:fs/promises';
 * import { BackupDecryptionKey, encryptSessionsSync, groupByRoom, recordsIn } from 'megolm-backup';
 *
 * const sessions = JSON.parse(await readFile('export.json', 'utf8'));
 * const { publicKey } = BackupDecryptionKey.generate();
 * const backup = groupByRoom(encryptSessionsSync(sessions, publicKey).filter((result) => result.ok));
 * console.log(Object.keys(backup.rooms).length, [...recordsIn(backup)].length); // 50 1000
 * ```
 */
export function groupByRoom<Data extends KeyRank>(
  records: Iterable<RankedRecord<Data>>,
): RecordsByRoom<Data> {
  expectIterable(records, 'records');
  const rooms: Record<string, { readonly sessions: Record<string, Data> }> = emptyMap();
  for (const record of records) {
    expectOptions(record, 'record');
    const { room_id, session_id, key_backup_data } = record;
    expectText(room_id, 'room_id');
    expectText(session_id, 'session_id');
    expectOptions(key_backup_data, 'key_backup_data');
    const { sessions } = (rooms[room_id] ??= { sessions: emptyMap() });
    if (!(session_id in sessions) || replaces(key_backup_data, sessions[session_id])) {
      sessions[session_id] = key_backup_data;
    }
  }
  return { rooms };
}

/**
 * The records of a backup that is in memory, such as the answer of `GET /room_keys/keys`, as `decryptSessions` takes
 * them. `readBackup` reads one while it arrives.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3room_keyskeys
 * @param backup - `{ rooms }`, unchecked.
 * @returns The records in their order, each `key_backup_data` as it is.
 * @throws {@link KeyBackupError} `bad-json` where there is no object of rooms, of a room, or of its sessions.
 */
export function* recordsIn(backup: unknown): Generator<BackupRecord, void, undefined> {
  const rooms = expectObject(ownValue(expectObject(backup, 'backup'), 'rooms'), 'rooms');
  for (const [room_id, room] of Object.entries(rooms)) {
    const path = jsonPath('rooms', room_id);
    const sessions = expectObject(ownValue(expectObject(room, path), 'sessions'), `${path}.sessions`);
    for (const [session_id, key_backup_data] of Object.entries(sessions)) {
      yield { room_id, session_id, key_backup_data };
    }
  }
}

/** The type of a null prototype, whatever it will hold. */
function emptyMap<Value>(): Record<string, Value> {
  return Object.create(null) as Record<string, Value>;
}

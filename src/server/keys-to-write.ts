import { utf8Encode } from '../engine/utf8.js';
import { countMembers, eachMember, jsonSpan } from '../api/json-members.js';
import type { KeyBackupData, KeyBackups, RoomKeyBackup } from '../api/types.js';
import type { KeyToWrite } from './store.js';

/**
 * The keys of a checked body of `PUT /room_keys/keys`.
 *
 * @param text - What the body was parsed from.
 */
export function keysOfRooms(text: string, { rooms }: KeyBackups): KeyToWrite[] {
  const written: KeyToWrite[] = [];
  eachMember(text, 0, (name, at) =>
    name === 'rooms'
      ? eachMember(text, at, (roomId, start) => takeRoom(written, text, start, roomId, rooms[roomId]))
      : jsonSpan(text, at).end,
  );
  const keys = Object.keys(rooms).flatMap((roomId) => Object.keys(rooms[roomId].sessions)).length;
  if (written.length === keys) return written;
  return Object.keys(rooms).flatMap((roomId) => keysOf(roomId, rooms[roomId]));
}

/** The keys of a checked body of `PUT /room_keys/keys/{roomId}`. */
export function keysOfRoom(text: string, roomId: string, room: RoomKeyBackup): KeyToWrite[] {
  const written: KeyToWrite[] = [];
  takeRoom(written, text, 0, roomId, room);
  return written.length === Object.keys(room.sessions).length ? written : keysOf(roomId, room);
}

/**
 * A key as it is handed to a store.
 *
 * @param data - Its JSON text.
 */
export function keyToWrite(
  room_id: string,
  session_id: string,
  key: KeyBackupData,
  data: string,
): KeyToWrite {
  const { is_verified, first_message_index, forwarded_count } = key;
  return {
    room_id,
    session_id,
    is_verified,
    first_message_index,
    forwarded_count,
    data: utf8Encode(data),
  };
}

function keysOf(roomId: string, { sessions }: RoomKeyBackup): KeyToWrite[] {
  return Object.keys(sessions).map((sessionId) =>
    keyToWrite(roomId, sessionId, sessions[sessionId], JSON.stringify(sessions[sessionId])),
  );
}

/**
 * Takes the keys of a room as they are written, which is several times faster than writing each of them again.
 *
 * Only what says the same: of a name that stands twice the last value counts, so a text with such a name gives more
 * keys, or a record more members, than were parsed. Then, and where a record is not written plainly, it is written
 * again.
 *
 * @returns Where the room ends.
 */
function takeRoom(
  into: KeyToWrite[],
  text: string,
  start: number,
  roomId: string,
  room: RoomKeyBackup | undefined,
): number {
  return eachMember(text, start, (name, at) =>
    name === 'sessions'
      ? eachMember(text, at, (sessionId, from) => {
          const key = room?.sessions[sessionId];
          const { end, plain, members } = jsonSpan(text, from);
          if (key) {
            const same = plain && members === countMembers(key);
            into.push(keyToWrite(roomId, sessionId, key, same ? text.slice(from, end) : JSON.stringify(key)));
          }
          return end;
        })
      : jsonSpan(text, at).end,
  );
}

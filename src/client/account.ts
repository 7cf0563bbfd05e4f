import { expectObject, expectString } from '../engine/json.js';
import type { CallOptions, RoomKeys } from './room-keys.js';

/** The user id that the access token belongs to. */
export function ownUserId(roomKeys: RoomKeys, options: CallOptions = {}): Promise<string> {
  const path = '/_matrix/client/v3/account/whoami';
  return roomKeys.homeserver.request({ method: 'GET', path, signal: options.signal }, (value) =>
    expectString(expectObject(value, 'the body'), 'user_id', 'the body'),
  );
}

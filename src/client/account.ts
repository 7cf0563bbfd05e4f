import { expectObject, expectString, type JsonObject } from '../encoding/json.js';
import { isRequestError } from './http-error.js';
import { path } from './http.js';
import type { CallOptions, RoomKeys } from './api.js';

/** The user id that the access token belongs to. */
export function ownUserId(roomKeys: RoomKeys, options: CallOptions = {}): Promise<string> {
  const whoami = '/_matrix/client/v3/account/whoami';
  return roomKeys.homeserver.request({ method: 'GET', path: whoami, signal: options.signal }, (value) =>
    expectString(expectObject(value, 'the body'), 'user_id', 'the body'),
  );
}

/** `GET /user/{userId}/account_data/{type}`; `undefined` when there is none. */
export async function accountData(
  roomKeys: RoomKeys,
  userId: string,
  type: string,
  options: CallOptions = {},
): Promise<JsonObject | undefined> {
  const request = { method: 'GET', path: accountDataPath(userId, type), signal: options.signal } as const;
  try {
    return await roomKeys.homeserver.request(request, (value) => expectObject(value, 'the body'));
  } catch (error) {
    if (isRequestError(error) && error.code === 'not-found') return undefined;
    throw error;
  }
}

/** `PUT /user/{userId}/account_data/{type}`. */
export async function setAccountData(
  roomKeys: RoomKeys,
  userId: string,
  type: string,
  content: JsonObject,
  options: CallOptions = {},
): Promise<void> {
  const request = { method: 'PUT', path: accountDataPath(userId, type), body: content } as const;
  await roomKeys.homeserver.request({ ...request, signal: options.signal }, (value) =>
    expectObject(value, 'the body'),
  );
}

function accountDataPath(userId: string, type: string): string {
  return path`/_matrix/client/v3/user/${userId}/account_data/${type}`;
}

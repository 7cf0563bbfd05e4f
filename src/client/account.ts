import { expectInstance } from '../encoding/arguments.js';
import { expectObject, expectString, type JsonObject } from '../encoding/json.js';
import { isRequestError } from './http-error.js';
import { path } from './http.js';
import { RoomKeys, signalOf, type CallOptions } from './api.js';

/** The user id that the access token belongs to. */
export async function ownUserId(roomKeys: RoomKeys, options: CallOptions = {}): Promise<string> {
  const whoami = '/_matrix/client/v3/account/whoami';
  return expectInstance(roomKeys, RoomKeys, 'roomKeys').homeserver.request(
    { method: 'GET', path: whoami, signal: signalOf(options) },
    (value) => expectString(expectObject(value, 'the body'), 'user_id', 'the body'),
  );
}

/** `GET /user/{userId}/account_data/{type}`; `undefined` when there is none. */
export async function accountData(
  roomKeys: RoomKeys,
  userId: string,
  type: string,
  options: CallOptions = {},
): Promise<JsonObject | undefined> {
  const request = { method: 'GET', path: accountDataPath(userId, type), signal: signalOf(options) } as const;
  try {
    return await expectInstance(roomKeys, RoomKeys, 'roomKeys').homeserver.request(request, (value) =>
      expectObject(value, 'the body'),
    );
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
  await expectInstance(roomKeys, RoomKeys, 'roomKeys').homeserver.request(
    { ...request, signal: signalOf(options) },
    (value) => expectObject(value, 'the body'),
  );
}

function accountDataPath(userId: string, type: string): string {
  return path`/_matrix/client/v3/user/${userId}/account_data/${type}`;
}

import type { Call } from './request-context.js';
import { MatrixError, jsonResponse } from './http.js';
import { readPosition, streamKeys, type Paging } from './stream-keys.js';
import { keyOfSession, keysOfRoom, keysOfRooms } from './put-body.js';
import type { KeyScope, KeyToWrite } from './store.js';
import { overQuota, unknownVersion } from './versions.js';

/** `PUT /room_keys/keys` */
export async function putKeys(call: Call): Promise<Response> {
  const version = requiredVersion(call);
  return write(call, version, keysOfRooms(await call.body()));
}

/** `PUT /room_keys/keys/{roomId}` */
export async function putRoomKeys(call: Call): Promise<Response> {
  const version = requiredVersion(call);
  const roomId = call.pathParameter('roomId');
  return write(call, version, keysOfRoom(await call.body(), roomId));
}

/** `PUT /room_keys/keys/{roomId}/{sessionId}` */
export async function putSessionKey(call: Call): Promise<Response> {
  const version = requiredVersion(call);
  const [roomId, sessionId] = [call.pathParameter('roomId'), call.pathParameter('sessionId')];
  return write(call, version, [keyOfSession(await call.body(), roomId, sessionId)]);
}

/** `GET /room_keys/keys`: of the current version when none is given. */
export async function getKeys(call: Call): Promise<Response> {
  const paging = readPaging(call);
  let version = call.query('version');
  if (version === undefined) {
    version = (await call.store.readVersion(call.userId))?.version;
    if (version === undefined) throw new MatrixError(404, 'M_NOT_FOUND', 'No current backup version');
  }
  return streamKeys(call, version, undefined, paging);
}

/** `GET /room_keys/keys/{roomId}` */
export function getRoomKeys(call: Call): Promise<Response> {
  return streamKeys(call, requiredVersion(call), call.pathParameter('roomId'));
}

/** `GET /room_keys/keys/{roomId}/{sessionId}` */
export async function getSessionKey(call: Call): Promise<Response> {
  const found = await call.store.readKey(
    call.userId,
    requiredVersion(call),
    call.pathParameter('roomId'),
    call.pathParameter('sessionId'),
  );
  if (found.outcome === 'unknown-version') throw unknownVersion();
  if (found.outcome === 'unknown-key')
    throw new MatrixError(404, 'M_NOT_FOUND', 'No such key in this backup');
  return jsonResponse(found.data);
}

/** `DELETE /room_keys/keys` */
export function deleteKeys(call: Call): Promise<Response> {
  return remove(call, {});
}

/** `DELETE /room_keys/keys/{roomId}` */
export function deleteRoomKeys(call: Call): Promise<Response> {
  return remove(call, { room_id: call.pathParameter('roomId') });
}

/** `DELETE /room_keys/keys/{roomId}/{sessionId}` */
export function deleteSessionKey(call: Call): Promise<Response> {
  return remove(call, { room_id: call.pathParameter('roomId'), session_id: call.pathParameter('sessionId') });
}

async function write(call: Call, version: string, keys: readonly KeyToWrite[]): Promise<Response> {
  const written = await call.store.writeKeys(call.userId, version, keys, call.quota, call.deviceId);
  switch (written.outcome) {
    case 'changed':
      return jsonResponse(JSON.stringify({ etag: written.etag, count: written.count }));
    case 'unknown-version':
      throw unknownVersion();
    case 'wrong-version':
      throw new MatrixError(403, 'M_WRONG_ROOM_KEYS_VERSION', 'Not the current backup version', {
        fields: { current_version: written.current_version },
      });
    case 'over-quota':
      throw overQuota(written.of);
  }
}

async function remove(call: Call, scope: KeyScope): Promise<Response> {
  const removed = await call.store.deleteKeys(call.userId, requiredVersion(call), scope);
  if (removed.outcome === 'unknown-version') throw unknownVersion();
  return jsonResponse(JSON.stringify({ etag: removed.etag, count: removed.count }));
}

function requiredVersion(call: Call): string {
  const version = call.query('version');
  if (version === undefined)
    throw new MatrixError(400, 'M_MISSING_PARAM', 'version: expected it in the query, got nothing');
  return version;
}

/** Keys in one answer when paging is asked for without a number, and at most. */
const MAX_PAGE = 10_000;

function readPaging(call: Call): Paging | undefined {
  const limit = call.query('org.megolm-backup.limit');
  const from = call.query('org.megolm-backup.from');
  if (limit === undefined && from === undefined) return undefined;
  if (limit !== undefined && !/^[1-9][0-9]{0,15}$/.test(limit)) {
    throw new MatrixError(400, 'M_INVALID_PARAM', `org.megolm-backup.limit: expected a number from 1`);
  }
  return {
    limit: Math.min(Number(limit ?? MAX_PAGE), MAX_PAGE),
    from: from === undefined ? undefined : readPosition(from),
  };
}

import { jsonResponse, textResponse, type RequestContext } from './http.js';
import { MatrixError } from './matrix-error.js';
import { readPosition, streamKeys, type Paging } from './stream-keys.js';
import { keyOfSession, keysOfRoom, keysOfRooms } from './put-body.js';
import type { KeyScope, KeyToWrite } from './store.js';
import { overQuota, unknownVersion } from './versions.js';

/** `PUT /room_keys/keys` */
export async function putKeys(context: RequestContext): Promise<Response> {
  const version = requiredVersion(context);
  return write(context, version, await keysOfRooms(await context.body(), context.maxRecord));
}

/** `PUT /room_keys/keys/{roomId}` */
export async function putRoomKeys(context: RequestContext): Promise<Response> {
  const version = requiredVersion(context);
  const roomId = context.pathParameter('roomId');
  return write(context, version, await keysOfRoom(await context.body(), roomId, context.maxRecord));
}

/** `PUT /room_keys/keys/{roomId}/{sessionId}` */
export async function putSessionKey(context: RequestContext): Promise<Response> {
  const version = requiredVersion(context);
  const [roomId, sessionId] = [context.pathParameter('roomId'), context.pathParameter('sessionId')];
  return write(context, version, [keyOfSession(await context.body(), roomId, sessionId, context.maxRecord)]);
}

/** `GET /room_keys/keys`: of the current version when none is given. */
export async function getKeys(context: RequestContext): Promise<Response> {
  const paging = readPaging(context);
  let version = context.query('version');
  if (version === undefined) {
    version = (await context.store.readVersion(context.userId))?.version;
    if (version === undefined) throw new MatrixError(404, 'M_NOT_FOUND', 'No current backup version');
  }
  return streamKeys(context, version, undefined, paging);
}

/** `GET /room_keys/keys/{roomId}` */
export function getRoomKeys(context: RequestContext): Promise<Response> {
  return streamKeys(context, requiredVersion(context), context.pathParameter('roomId'));
}

/** `GET /room_keys/keys/{roomId}/{sessionId}` */
export async function getSessionKey(context: RequestContext): Promise<Response> {
  const found = await context.store.readKey(
    context.userId,
    requiredVersion(context),
    context.pathParameter('roomId'),
    context.pathParameter('sessionId'),
  );
  if (found.outcome === 'unknown-version') throw unknownVersion();
  if (found.outcome === 'unknown-key')
    throw new MatrixError(404, 'M_NOT_FOUND', 'No such key in this backup');
  return textResponse(context, found.data);
}

/** `DELETE /room_keys/keys` */
export function deleteKeys(context: RequestContext): Promise<Response> {
  return remove(context, {});
}

/** `DELETE /room_keys/keys/{roomId}` */
export function deleteRoomKeys(context: RequestContext): Promise<Response> {
  return remove(context, { room_id: context.pathParameter('roomId') });
}

/** `DELETE /room_keys/keys/{roomId}/{sessionId}` */
export function deleteSessionKey(context: RequestContext): Promise<Response> {
  return remove(context, {
    room_id: context.pathParameter('roomId'),
    session_id: context.pathParameter('sessionId'),
  });
}

async function write(
  context: RequestContext,
  version: string,
  keys: readonly KeyToWrite[],
): Promise<Response> {
  const written = await context.store.writeKeys(
    context.userId,
    version,
    keys,
    context.quota,
    context.deviceId,
  );
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

async function remove(context: RequestContext, scope: KeyScope): Promise<Response> {
  const removed = await context.store.deleteKeys(context.userId, requiredVersion(context), scope);
  if (removed.outcome === 'unknown-version') throw unknownVersion();
  return jsonResponse(JSON.stringify({ etag: removed.etag, count: removed.count }));
}

function requiredVersion(context: RequestContext): string {
  const version = context.query('version');
  if (version === undefined)
    throw new MatrixError(400, 'M_MISSING_PARAM', 'version: expected it in the query, got nothing');
  return version;
}

/** Keys in a page, at most and by default. */
const MAX_PAGE = 10_000;

function readPaging(context: RequestContext): Paging | undefined {
  const limit = context.query('org.megolm-backup.limit');
  const from = context.query('org.megolm-backup.from');
  if (limit === undefined && from === undefined) return undefined;
  if (limit !== undefined && !/^[1-9][0-9]{0,15}$/.test(limit)) {
    throw new MatrixError(400, 'M_INVALID_PARAM', `org.megolm-backup.limit: expected a number from 1`);
  }
  return {
    limit: Math.min(Number(limit ?? MAX_PAGE), MAX_PAGE),
    from: from === undefined ? undefined : readPosition(from),
  };
}

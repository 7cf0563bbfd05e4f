import { checkNewVersion, checkVersionUpdate } from '../wire/validate.js';
import { parseJsonBytes } from '../encoding/json.js';
import type { Call } from './request-context.js';
import { MatrixError, jsonResponse } from './http.js';
import type { Quota, StoredVersion } from './store.js';

/** `POST /room_keys/version` */
export async function createVersion(call: Call): Promise<Response> {
  const body = checkNewVersion(parseJsonBytes(await call.body()));
  const content = { algorithm: body.algorithm, auth_data: JSON.stringify(body.auth_data) };
  const created = await call.store.createVersion(call.userId, content, call.quota);
  if (created.outcome === 'over-quota') throw overQuota(created.of);
  return jsonResponse(JSON.stringify({ version: created.version }));
}

/** `GET /room_keys/version` */
export async function readCurrentVersion(call: Call): Promise<Response> {
  const version = await call.store.readVersion(call.userId);
  if (!version) throw new MatrixError(404, 'M_NOT_FOUND', 'No current backup version');
  return versionResponse(version);
}

/** `GET /room_keys/version/{version}` */
export async function readVersion(call: Call): Promise<Response> {
  const version = await call.store.readVersion(call.userId, call.pathParameter('version'));
  if (!version) throw unknownVersion();
  return versionResponse(version);
}

/** `PUT /room_keys/version/{version}` */
export async function updateVersion(call: Call): Promise<Response> {
  const version = call.pathParameter('version');
  const body = checkVersionUpdate(parseJsonBytes(await call.body()));
  if (body.version !== undefined && body.version !== version) {
    throw new MatrixError(400, 'M_INVALID_PARAM', 'version: not the version in the path');
  }
  const content = { algorithm: body.algorithm, auth_data: JSON.stringify(body.auth_data) };
  const updated = await call.store.updateVersion(call.userId, version, content, call.quota);
  switch (updated.outcome) {
    case 'done':
      return jsonResponse('{}');
    case 'unknown-version':
      throw unknownVersion();
    case 'other-algorithm':
      throw new MatrixError(400, 'M_INVALID_PARAM', 'algorithm: not the algorithm of this version');
    case 'over-quota':
      throw overQuota(updated.of);
  }
}

/** `DELETE /room_keys/version/{version}` */
export async function deleteVersion(call: Call): Promise<Response> {
  const deleted = await call.store.deleteVersion(call.userId, call.pathParameter('version'));
  if (deleted.outcome === 'unknown-version') throw unknownVersion();
  return jsonResponse('{}');
}

/** The error for a version that is not there, or is somebody else's. */
export function unknownVersion(): MatrixError {
  return new MatrixError(404, 'M_NOT_FOUND', 'Unknown backup version');
}

/** The error for a user who holds as much as allowed. */
export function overQuota(of: keyof Quota): MatrixError {
  return new MatrixError(
    403,
    'M_RESOURCE_LIMIT_EXCEEDED',
    `This would exceed the limit of ${of} that a user's backups may hold on this server; nothing was stored.`,
  );
}

function versionResponse({ algorithm, auth_data, count, etag, version }: StoredVersion): Response {
  const name = JSON.stringify(algorithm);
  // auth_data is JSON text already.
  return jsonResponse(
    `{"algorithm":${name},"auth_data":${auth_data},"count":${count},"etag":"${etag}","version":"${version}"}`,
  );
}

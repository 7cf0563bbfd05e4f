import { checkNewVersion, checkVersionUpdate } from '../wire/validate.js';
import { parseJsonBytes } from '../encoding/json.js';
import { jsonResponse, textResponse, type RequestContext } from './http.js';
import { MatrixError } from './matrix-error.js';
import type { Quota, StoredVersion } from './store.js';

/** `POST /room_keys/version` */
export async function createVersion(context: RequestContext): Promise<Response> {
  const body = checkNewVersion(parseJsonBytes(await context.body(context.maxRecord)));
  const content = { algorithm: body.algorithm, auth_data: JSON.stringify(body.auth_data) };
  const created = await context.store.createVersion(context.userId, content, context.quota);
  if (created.outcome === 'over-quota') throw overQuota(created.of);
  return jsonResponse(JSON.stringify({ version: created.version }));
}

/** `GET /room_keys/version` */
export async function readCurrentVersion(context: RequestContext): Promise<Response> {
  const version = await context.store.readVersion(context.userId);
  if (!version) throw new MatrixError(404, 'M_NOT_FOUND', 'No current backup version');
  return versionResponse(context, version);
}

/** `GET /room_keys/version/{version}` */
export async function readVersion(context: RequestContext): Promise<Response> {
  const version = await context.store.readVersion(context.userId, context.pathParameter('version'));
  if (!version) throw unknownVersion();
  return versionResponse(context, version);
}

/** `PUT /room_keys/version/{version}` */
export async function updateVersion(context: RequestContext): Promise<Response> {
  const version = context.pathParameter('version');
  const body = checkVersionUpdate(parseJsonBytes(await context.body(context.maxRecord)));
  if (body.version !== undefined && body.version !== version) {
    throw new MatrixError(400, 'M_INVALID_PARAM', 'version: not the version in the path');
  }
  const content = { algorithm: body.algorithm, auth_data: JSON.stringify(body.auth_data) };
  const updated = await context.store.updateVersion(context.userId, version, content, context.quota);
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
export async function deleteVersion(context: RequestContext): Promise<Response> {
  const deleted = await context.store.deleteVersion(context.userId, context.pathParameter('version'));
  if (deleted.outcome === 'unknown-version') throw unknownVersion();
  return jsonResponse('{}');
}

/** The error for a version that does not exist, or belongs to another user. */
export function unknownVersion(): MatrixError {
  return new MatrixError(404, 'M_NOT_FOUND', 'Unknown backup version');
}

/** The error for a user who would hold more than allowed. */
export function overQuota(of: keyof Quota): MatrixError {
  return new MatrixError(
    403,
    'M_RESOURCE_LIMIT_EXCEEDED',
    `This would exceed the limit of ${of} that a user's backups may hold on this server; nothing was stored.`,
  );
}

function versionResponse(
  context: RequestContext,
  { algorithm, auth_data, count, etag, version }: StoredVersion,
): Response {
  const name = JSON.stringify(algorithm);
  // auth_data is JSON text already.
  return textResponse(
    context,
    `{"algorithm":${name},"auth_data":${auth_data},"count":${count},"etag":"${etag}","version":"${version}"}`,
  );
}

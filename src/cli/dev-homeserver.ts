import type { IdentifyCaller } from '../server/identify.js';
import type { Handler } from '../server/handler.js';

/**
 * Puts before the handler of `serve --dev` what clients ask of a homeserver before they come to the backup: whether it
 * is one, whose an access token is, and for account data, of which there is none. In earnest a proxy sends all of that
 * to the homeserver.
 */
export function asDevHomeserver(handler: Handler, identify: IdentifyCaller): Handler {
  return async (request, env) => {
    const { pathname } = new URL(request.url);
    if (request.method !== 'GET') return handler(request, env);
    if (pathname === '/_matrix/client/versions') return json({ versions: ['v1.11'] });
    if (pathname === '/_matrix/client/v3/account/whoami') {
      try {
        const { user_id, device_id } = await identify(request);
        return json({ user_id, device_id });
      } catch {
        return json({ errcode: 'M_UNKNOWN_TOKEN', error: 'Unrecognised access token' }, 401);
      }
    }
    if (/^\/_matrix\/client\/v3\/user\/[^/]+\/account_data\/[^/]+$/.test(pathname)) {
      return json({ errcode: 'M_NOT_FOUND', error: 'Account data not found' }, 404);
    }
    return handler(request, env);
  };
}

function json(body: unknown, status = 200): Response {
  return Response.json(body, { status, headers: { 'access-control-allow-origin': '*' } });
}

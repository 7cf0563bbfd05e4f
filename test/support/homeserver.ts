import { createHandler, type Handler } from '../../src/server/handler.js';
import { errorResponse, jsonResponse, preflightResponse, readBody } from '../../src/server/http.js';
import { MatrixError } from '../../src/server/matrix-error.js';
import { listen } from '../../src/server/listen.js';
import { identify, temporarySqlite } from './serving.js';

/** A request as it came, without its body. */
export interface SeenRequest {
  readonly method: string;
  /** With the query. */
  readonly path: string;
  readonly authorization: string | null;
}

/** A homeserver as far as somebody who rescues keys sees one. */
export interface Homeserver {
  /** `http://localhost:PORT`, as the page may contact it. */
  readonly url: string;
  readonly seen: SeenRequest[];
  stop(): Promise<void>;
}

/**
 * This package's own key backup server on SQLite, and around it what the rest of a homeserver gives to a rescue:
 * the versions, who a token belongs to, and account data.
 */
export async function startHomeserver(): Promise<Homeserver> {
  const { store, remove } = await temporarySqlite();
  const roomKeys = await createHandler({ store, identify });
  const accountData = new Map<string, unknown>();
  const seen: SeenRequest[] = [];
  const handler: Handler = async (request) => {
    const { pathname, search } = new URL(request.url);
    const authorization = request.headers.get('authorization');
    seen.push({ method: request.method, path: pathname + search, authorization });
    if (pathname.startsWith('/_matrix/client/v3/room_keys/')) return roomKeys(request);
    if (request.method === 'OPTIONS') return preflightResponse();
    try {
      return jsonResponse(JSON.stringify(await answer(request, pathname, accountData)));
    } catch (error) {
      return errorResponse(error);
    }
  };
  const listening = await listen(handler);
  return {
    url: listening.url.replace('127.0.0.1', 'localhost'),
    seen,
    async stop() {
      await listening.stop(0);
      await remove();
    },
  };
}

async function answer(request: Request, path: string, accountData: Map<string, unknown>): Promise<unknown> {
  const segments = path.split('/').slice(1).map(decodeURIComponent);
  if (path === '/_matrix/client/versions') return { versions: ['v1.11'] };
  const { user_id } = await identify(request);
  if (path === '/_matrix/client/v3/account/whoami') return { user_id };
  const [, , , user, owner, what, type] = segments;
  if (user !== 'user' || what !== 'account_data' || segments.length !== 7) {
    throw new MatrixError(404, 'M_UNRECOGNIZED', 'no such endpoint');
  }
  if (owner !== user_id) throw new MatrixError(403, 'M_FORBIDDEN', 'the account data of another user');
  const name = JSON.stringify([owner, type]);
  if (request.method === 'PUT') {
    accountData.set(
      name,
      JSON.parse(new TextDecoder().decode(await readBody(request, 65_536, () => undefined))),
    );
    return {};
  }
  const content = accountData.get(name);
  if (content === undefined) throw new MatrixError(404, 'M_NOT_FOUND', 'no such account data');
  return content;
}

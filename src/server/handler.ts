import { expectFunction, expectOptions } from '../encoding/arguments.js';
import type { Context, Hono } from 'hono';
import type { IdentifyCaller } from './identify.js';
import { importPeer } from '../errors.js';
import { errorResponse, preflightResponse, readBody, type Holding, type RequestContext } from './http.js';
import { MatrixError } from './matrix-error.js';
import * as keys from './keys.js';
import { createInFlight, type InFlightLimits } from './in-flight.js';
import { createRateLimit, type RateLimit } from './rate-limit.js';
import { longId, type BackupStore, type Quota } from './store.js';
import * as versions from './versions.js';

/** The parts and limits of a key backup server. */
export interface HandlerOptions {
  readonly store: BackupStore;
  readonly identify: IdentifyCaller;
  /** Bytes of a body at most; default 10 MiB. */
  readonly maxBody?: number;
  /** Bytes of one key's record, or of one version, at most; default 64 KiB. */
  readonly maxRecord?: number;
  /** Bytes of bodies and responses in memory at once; default 32 MiB of one user, 128 MiB of all, or 2 and 4 bodies. */
  readonly inFlight?: InFlightLimits;
  /** What a user may hold; default unlimited. */
  readonly quota?: Quota;
  /** How often a user may call; default unlimited. */
  readonly rateLimit?: RateLimit;
  /** Called for every request when its response begins, for logs and metrics. */
  readonly onRequest?: (record: RequestRecord) => void;
  /** Called for failures of the store and of this code, which the caller is not told. */
  readonly onError?: (error: unknown) => void;
}

/** A request, with nothing secret in it. */
export interface RequestRecord {
  readonly method: string;
  /** The operation's path as the specification writes it; empty for an unknown one. */
  readonly route: string;
  readonly status: number;
  readonly milliseconds: number;
  readonly userId: string | undefined;
}

/**
 * Answers a request; never rejects.
 *
 * @param env - What `@hono/node-server` passes beside a request. Its `incoming` has the path as it was sent, which a
 * `Request` has not: `/keys/%2E/!r:x` becomes `/keys/!r:x` there.
 */
export type Handler = (request: Request, env?: object) => Promise<Response>;

/**
 * Makes the key backup API as a web-standard function: the fourteen operations of the specification under
 * `/_matrix/client/` with `v3`, `r0` and `unstable`.
 *
 * A response of keys is a stream; a server has to destroy the connection when it fails.
 *
 * @throws KeyBackupError `missing-dependency` when hono is not installed.
 *
 * @example
 * ```ts
 * const store = await openSqliteStore('backup.db');
 * const handler = await createHandler({ store, identify: identifyByHomeserver('https://matrix.org') });
 * Deno.serve(handler);
 * Bun.serve({ fetch: handler });
 * new Hono().all('/_matrix/client/*', (context) => handler(context.req.raw));
 * createServer(getRequestListener(handler)); // node:http and @hono/node-server
 * ```
 */
export async function createHandler(options: HandlerOptions): Promise<Handler> {
  const app = await createApp(options);
  return async (request, env) => app.fetch(request, env);
}

type Operation = (context: RequestContext) => Promise<Response>;

const ROUTES: Readonly<Record<string, Readonly<Record<string, Operation>>>> = {
  '/room_keys/version': { GET: versions.readCurrentVersion, POST: versions.createVersion },
  '/room_keys/version/:version': {
    GET: versions.readVersion,
    PUT: versions.updateVersion,
    DELETE: versions.deleteVersion,
  },
  '/room_keys/keys': { GET: keys.getKeys, PUT: keys.putKeys, DELETE: keys.deleteKeys },
  '/room_keys/keys/:roomId': { GET: keys.getRoomKeys, PUT: keys.putRoomKeys, DELETE: keys.deleteRoomKeys },
  '/room_keys/keys/:roomId/:sessionId': {
    GET: keys.getSessionKey,
    PUT: keys.putSessionKey,
    DELETE: keys.deleteSessionKey,
  },
};

const MAX_BODY = 10 * 2 ** 20;
const MAX_RECORD = 2 ** 16;
const IN_FLIGHT: InFlightLimits = { perUser: 32 * 2 ** 20, total: 128 * 2 ** 20 };

/** {@link createHandler}, as a hono application to mount with `app.route('/', …)`. */
export async function createApp(options: HandlerOptions): Promise<Hono> {
  expectOptions(options);
  expectOptions(options.store, 'store');
  expectFunction(options.identify, 'identify');
  const { Hono } = await importPeer(() => import('hono'), 'hono@4');
  // The path as it was sent: hono's own decodes a part of it before the parameters are decoded.
  const app = new Hono({ getPath: (request, context) => rawPath(request, context?.env) });
  const limit = options.rateLimit ? createRateLimit(options.rateLimit) : undefined;
  const { maxBody = MAX_BODY, maxRecord = MAX_RECORD, quota = {}, store } = options;
  const hold = createInFlight(
    options.inFlight ?? {
      perUser: Math.max(IN_FLIGHT.perUser, 2 * maxBody),
      total: Math.max(IN_FLIGHT.total, 4 * maxBody),
    },
  );

  for (const [path, operations] of Object.entries(ROUTES)) {
    app.all(`/_matrix/client/:api{v3|r0|unstable}${path}`, async (context) => {
      const started = performance.now();
      // Not `context.req.method`: hono calls HEAD GET.
      const { raw } = context.req;
      let userId: string | undefined;
      let body: Holding | undefined;
      let response: Response;
      try {
        if (raw.method === 'OPTIONS') {
          response = preflightResponse();
        } else {
          const operation = Object.hasOwn(operations, raw.method) ? operations[raw.method] : undefined;
          if (!operation) throw unknownMethod(Object.keys(operations));
          const parameters = decodedParameters(context);
          const caller = await options.identify(raw);
          userId = caller.user_id;
          limit?.(userId);
          const user = caller.user_id;
          const held = (body = hold(user));
          // A user who has taken the whole share is refused before anything is read.
          held.resize(1);
          response = await operation({
            store,
            quota,
            userId: user,
            deviceId: caller.device_id,
            maxRecord,
            body: (most = maxBody) => readBody(raw, Math.min(most, maxBody), held.resize),
            hold: () => hold(user),
            failed: (error) => options.onError?.(error),
            pathParameter: (name) => parameters[name],
            query: (name) => context.req.query(name),
          });
        }
      } catch (error) {
        response = errorResponse(error);
        if (response.status >= 500) options.onError?.(error);
      } finally {
        body?.release();
      }
      options.onRequest?.({
        method: raw.method,
        route: path,
        status: response.status,
        milliseconds: performance.now() - started,
        userId,
      });
      return response;
    });
  }
  app.notFound((context) => {
    const { method } = context.req.raw;
    if (method === 'OPTIONS') return preflightResponse();
    options.onRequest?.({ method, route: '', status: 404, milliseconds: 0, userId: undefined });
    return errorResponse(new MatrixError(404, 'M_UNRECOGNIZED', 'Unknown path'));
  });
  app.onError((error) => {
    options.onError?.(error);
    return errorResponse(error);
  });
  return app;
}

function unknownMethod(known: readonly string[]): MatrixError {
  return new MatrixError(405, 'M_UNRECOGNIZED', 'Unknown method for this path', {
    headers: { allow: [...known, 'OPTIONS'].join(', ') },
  });
}

/** The path of a request, still percent-encoded, and under Node with its dot segments. */
function rawPath(request: Request, env: unknown): string {
  const { incoming } = (env ?? {}) as { incoming?: { url?: string } };
  const url = incoming?.url ?? request.url;
  const path = url.replace(/^[a-z]+:\/\/[^/?#]*/i, '').replace(/[?#].*$/s, '');
  return path === '' ? '/' : path;
}

/**
 * The parameters of the path, percent-decoded once.
 *
 * @throws {@link MatrixError} 400 `M_INVALID_PARAM` for anything but percent-encoded UTF-8, for an id that is too long, and
 * for dot segments: clients and proxies remove them, so the request may be meant for another path.
 */
function decodedParameters(context: Context): Record<string, string> {
  const parts = rawPath(context.req.raw, context.env).split('/');
  if (parts.some((part) => /^(?:\.|%2e){1,2}$/i.test(part))) {
    throw invalidPath('the path: expected no dot segments');
  }
  // '', _matrix, client, v3, room_keys, keys or version, …
  const rest = parts.slice(6);
  let decoded: string[];
  try {
    decoded = rest.map((part) => decodeURIComponent(part));
  } catch {
    throw invalidPath('the path: expected percent-encoded UTF-8');
  }
  if (parts[5] === 'version') return { version: decoded[0] };
  const [roomId = '', sessionId = ''] = decoded;
  const fault = longId(roomId, sessionId);
  if (fault !== undefined) throw invalidPath(fault);
  return { roomId, sessionId };
}

function invalidPath(message: string): MatrixError {
  return new MatrixError(400, 'M_INVALID_PARAM', message);
}

/**
 * A handler, listening on a port of Node.
 *
 * @packageDocumentation
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expectFunction } from '../encoding/arguments.js';
import { importPeer } from '../errors.js';
import type { Handler } from './handler.js';

/** Address and timeouts of a server. */
export interface ListenOptions {
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Default 0: a free port. */
  readonly port?: number;
  /** How long the headers of a request may take, in milliseconds. Default 10,000. */
  readonly headersTimeout?: number;
  /** How long a whole request may take to arrive, in milliseconds. Default 120,000. */
  readonly requestTimeout?: number;
  /**
   * How long a connection may be idle, also while a response is made or sent, in milliseconds. Default 90,000: a database
   * may take 60,000 to fail.
   */
  readonly idleTimeout?: number;
  /**
   * Lets `@hono/node-server` put its lighter Request and Response in place of the global ones of this process.
   * Faster; default false, because other code may run in this process.
   */
  readonly overrideGlobalObjects?: boolean;
}

/** A server that listens. */
export interface Listening {
  /** `http://HOST:PORT` */
  readonly url: string;
  /**
   * Takes no new connections, waits for the requests in progress, and cuts off those that take too long.
   *
   * @param graceMilliseconds - How long they may take. Default 10,000.
   */
  stop(graceMilliseconds?: number): Promise<void>;
}

/**
 * Serves a handler by `node:http`.
 *
 * Requests slower than the timeouts get 408 and are cut off; a response that fails half-way destroys its connection.
 *
 * @throws KeyBackupError `missing-dependency`; the operating system's error when the address is not available.
 *
 * @example
 * ```ts
 * const server = await listen(handler, { port: 8009 });
 * process.once('SIGTERM', () => void server.stop());
 * ```
 */
export async function listen(handler: Handler, options: ListenOptions = {}): Promise<Listening> {
  const listener = await listenerOf(handler, options.overrideGlobalObjects ?? false);
  const { headersTimeout = 10_000, requestTimeout = 120_000, idleTimeout = 90_000 } = options;
  const serverOptions = {
    headersTimeout,
    requestTimeout,
    keepAliveTimeout: idleTimeout,
    // How often Node looks for requests that took too long.
    connectionsCheckingInterval: Math.min(1000, headersTimeout, requestTimeout),
  };
  const server = createServer(serverOptions, (request, response) => void listener(request, response));
  server.setTimeout(idleTimeout);
  await started(server, options.host ?? '127.0.0.1', options.port ?? 0);
  const { address, family, port } = server.address() as AddressInfo;
  return {
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`,
    stop: (graceMilliseconds = 10_000) => stopped(server, graceMilliseconds),
  };
}

/** Answers a request of `node:http`; never rejects. */
export type NodeListener = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

/**
 * Makes a handler a listener of `node:http`, for a server or a framework that has routes of its own: Express, Koa, Fastify.
 *
 * The path may begin with a prefix that the framework removes: `originalUrl`, where a framework sets it, is used instead
 * when it is a path of Matrix. A request whose body something else has read, such as a body parser, gets 500 and the
 * reason.
 *
 * @throws KeyBackupError `missing-dependency` when `@hono/node-server` is not installed.
 *
 * @example
 * ```ts
 * const listener = await nodeListener(handler);
 * createServer(listener); // node:http
 * express().use('/_matrix/client', listener); // before any body parser
 * ```
 */
export async function nodeListener(handler: Handler): Promise<NodeListener> {
  expectFunction(handler, 'handler');
  const listener = await listenerOf(handler, false);
  return async (request: IncomingMessage & { originalUrl?: string }, response) => {
    if (request.readableDidRead) {
      response.writeHead(500, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ errcode: 'M_UNKNOWN', error: BODY_WAS_READ }));
      return;
    }
    if (request.originalUrl?.startsWith('/_matrix/')) request.url = request.originalUrl;
    await listener(request, response);
  };
}

const BODY_WAS_READ =
  'The body of this request was read before it came to the key backup: mount nodeListener() before any body parser';

async function listenerOf(handler: Handler, overrideGlobalObjects: boolean): Promise<NodeListener> {
  const { getRequestListener } = await importPeer(
    () => import('@hono/node-server'),
    'hono@4 @hono/node-server@2',
  );
  return getRequestListener(handler, { overrideGlobalObjects });
}

function started(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

function stopped(server: Server, graceMilliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    // A connection that finishes its request now would be kept for another one.
    const idle = setInterval(() => {
      server.closeIdleConnections();
    }, 50);
    const grace = setTimeout(() => {
      server.closeAllConnections();
    }, graceMilliseconds);
    server.close(() => {
      clearInterval(idle);
      clearTimeout(grace);
      resolve();
    });
  });
}

/**
 * A handler, listening on a port of Node.
 *
 * @packageDocumentation
 */

import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
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
  const { createAdaptorServer } = await importPeer(
    () => import('@hono/node-server'),
    'hono@4 @hono/node-server@2',
  );
  const { headersTimeout = 10_000, requestTimeout = 120_000, idleTimeout = 90_000 } = options;
  const server = createAdaptorServer({
    fetch: handler,
    overrideGlobalObjects: options.overrideGlobalObjects ?? false,
    createServer,
    serverOptions: {
      headersTimeout,
      requestTimeout,
      keepAliveTimeout: idleTimeout,
      // How often Node looks for requests that took too long.
      connectionsCheckingInterval: Math.min(1000, headersTimeout, requestTimeout),
    },
  }) as Server;
  server.setTimeout(idleTimeout);
  await started(server, options.host ?? '127.0.0.1', options.port ?? 0);
  const { address, family, port } = server.address() as AddressInfo;
  return {
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`,
    stop: (graceMilliseconds = 10_000) => stopped(server, graceMilliseconds),
  };
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

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { importPeer } from './errors.js';
import type { RequestRecord } from './handler.js';
import { started } from './listen.js';

/** Prometheus metrics of one process. */
export interface Metrics {
  /** Counts a request in. */
  observe(record: RequestRecord): void;
  /** All metrics in Prometheus' text format. */
  text(): Promise<string>;
  /** Serves them at `/metrics` on a port of their own. Returns the URL and what stops it. */
  listen(
    host: string,
    port: number,
  ): Promise<{
    readonly url: string;
    /** Serves them no more. */
    stop(): Promise<void>;
  }>;
}

/**
 * Makes the metrics: requests and their duration by operation, method and status, and Node's own.
 *
 * @throws KeyBackupError `missing-dependency` when prom-client is not installed.
 */
export async function createMetrics(): Promise<Metrics> {
  const { Histogram, Registry, collectDefaultMetrics } = await importPeer(
    () => import('prom-client'),
    'prom-client@15',
  );
  const register = new Registry();
  collectDefaultMetrics({ register });
  const seconds = new Histogram({
    name: 'megolm_backup_request_seconds',
    help: 'Time until an answer began',
    labelNames: ['route', 'method', 'status'] as const,
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
    registers: [register],
  });
  return {
    observe: ({ route, method, status, milliseconds }) => {
      // Any other method is a caller's text, and every new label value is a new series.
      const known = /^(GET|PUT|POST|DELETE|OPTIONS|HEAD)$/.test(method) ? method : 'other';
      seconds.observe({ route, method: known, status: String(status) }, milliseconds / 1000);
    },
    text: () => register.metrics(),
    listen: async (host, port) => {
      const server = createServer((request, response) => {
        if (request.url !== '/metrics') {
          response.writeHead(404).end();
          return;
        }
        register.metrics().then(
          (text) => response.writeHead(200, { 'content-type': register.contentType }).end(text),
          () => response.writeHead(500).end(),
        );
      });
      await started(server, host, port);
      const address = server.address() as AddressInfo;
      return {
        url: `http://${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}/metrics`,
        stop: () =>
          new Promise((resolve) => {
            server.close(() => {
              resolve();
            });
            server.closeAllConnections();
          }),
      };
    },
  };
}

import { expectFunction, expectOptions, expectText } from '../encoding/arguments.js';
import { KeyBackupError, describe, importPeer, messageOf } from '../errors.js';
import type { Handler, RequestRecord } from './handler.js';
import type { BackupStore } from './store.js';

/**
 * Puts `GET /health` before a handler: 200 while the store answers and reports no fault, else 503. Without
 * authentication.
 */
export function withHealth(handler: Handler, store: BackupStore): Handler {
  expectFunction(handler, 'handler');
  expectOptions(store, 'store');
  return async (request, env) => {
    if (request.method !== 'GET' || new URL(request.url).pathname !== '/health') return handler(request, env);
    const answers = await store.ping().then(
      () => true,
      () => false,
    );
    const fault = answers ? store.fault?.() : 'the database does not answer';
    return fault === undefined
      ? Response.json({ status: 'ok' })
      : Response.json({ status: 'store-failed', error: fault }, { status: 503 });
  };
}

/** Structured logs: one JSON object a line, with no tokens, ids of keys or key data in it. */
export interface Log {
  /** An answered request. */
  request(record: RequestRecord): void;
  /** A failure that the caller was not told of. */
  error(error: unknown): void;
  /** What an administrator should look at. */
  warn(message: string): void;
  /** Anything else, such as the start. */
  note(message: string, fields?: Readonly<Record<string, string | number>>): void;
}

/** What a log writes: this level and those above it. Requests are `info`, or `error` from status 500 on. */
export type LogLevel = 'info' | 'warn' | 'error';

/** From the most verbose to the least. */
const LEVELS: readonly LogLevel[] = ['info', 'warn', 'error'];

/** Whether a text is a {@link LogLevel}. */
export function isLogLevel(text: unknown): text is LogLevel {
  return LEVELS.some((level) => level === text);
}

/**
 * Makes a log.
 *
 * @param write - Takes one line or several, each with its newline. Lines of one turn of the event loop are written
 * together after it, so that no answer waits for the log.
 * @param now - Default: the time.
 * @param least - The lowest level that is written; default `info`, everything.
 * @throws KeyBackupError `bad-parameters` for another level.
 */
export function createLog(
  write: (lines: string) => void,
  now: () => Date = () => new Date(),
  least: LogLevel = 'info',
): Log {
  expectFunction(write, 'write');
  expectFunction(now, 'now');
  if (!isLogLevel(least)) {
    throw new KeyBackupError('bad-parameters', `least: expected info, warn or error, got ${describe(least)}`);
  }
  let lines = '';
  const line = (level: LogLevel, fields: object): void => {
    if (LEVELS.indexOf(level) < LEVELS.indexOf(least)) return;
    if (lines === '') {
      setImmediate(() => {
        const written = lines;
        lines = '';
        write(written);
      });
    }
    lines += `${JSON.stringify({ time: now().toISOString(), level, ...fields })}\n`;
  };
  return {
    request: ({ method, route, status, milliseconds, userId }) => {
      line(status >= 500 ? 'error' : 'info', {
        message: 'request',
        method: /^[A-Z]{1,10}$/.test(method) ? method : 'other',
        route,
        status,
        milliseconds: Math.round(milliseconds * 10) / 10,
        user_id: userId,
      });
    },
    error: (error) => {
      const code = error instanceof KeyBackupError ? error.code : undefined;
      // The cause stays out: errors of a database may quote the parameters of a statement.
      line('error', { message: messageOf(error) ?? 'unknown error', code });
    },
    warn: (message) => {
      expectText(message, 'message');
      line('warn', { message });
    },
    note: (message, fields = {}) => {
      expectText(message, 'message');
      expectOptions(fields, 'fields');
      line('info', { message, ...fields });
    },
  };
}

/** Prometheus metrics of one process. */
export interface Metrics {
  /** Counts a request. */
  observe(record: RequestRecord): void;
  /** Serves all metrics in Prometheus' text format at `/metrics`, to listen on a port of its own. */
  readonly handler: Handler;
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
      // Any other method is the caller's text, and every new label value is a new series.
      const known = /^(GET|PUT|POST|DELETE|OPTIONS|HEAD)$/.test(method) ? method : 'other';
      seconds.observe({ route, method: known, status: String(status) }, milliseconds / 1000);
    },
    handler: async (request) =>
      new URL(request.url).pathname === '/metrics'
        ? new Response(await register.metrics(), { headers: { 'content-type': register.contentType } })
        : new Response(null, { status: 404 }),
  };
}

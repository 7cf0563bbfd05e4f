import { expectFunction, expectOptions, expectText } from '../encoding/arguments.js';
import { KeyBackupError, messageOf } from '../errors.js';
import type { RequestRecord } from './handler.js';

/** Structured logs: one JSON object a line, with no tokens, ids of keys or key data in it. */
export interface Log {
  /** An answered request. */
  request(record: RequestRecord): void;
  /** A failure that the caller was not told of. */
  error(error: unknown): void;
  /** Anything else, such as the start. */
  note(message: string, fields?: Readonly<Record<string, string | number>>): void;
}

/**
 * Makes a log.
 *
 * @param write - Takes one line or several, each with its end: those of one turn of the event loop come together, after
 * it, so that no answer waits until its line is written.
 * @param now - Default: the time.
 */
export function createLog(write: (lines: string) => void, now: () => Date = () => new Date()): Log {
  expectFunction(write, 'write');
  expectFunction(now, 'now');
  let lines = '';
  const line = (level: string, fields: object): void => {
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
      // Errors of a database may quote what was bound to a statement: the cause stays out.
      line('error', { message: messageOf(error) ?? 'unknown error', code });
    },
    note: (message, fields = {}) => {
      expectText(message, 'message');
      expectOptions(fields, 'fields');
      line('info', { message, ...fields });
    },
  };
}

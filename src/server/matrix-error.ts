import type { ErrorBody } from '../wire/types.js';

/** An error response, thrown from anywhere below the handler. */
export class MatrixError extends Error {
  readonly status: number;
  readonly body: ErrorBody;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    status: number,
    errcode: string,
    error: string,
    more: { fields?: Partial<ErrorBody>; headers?: Readonly<Record<string, string>> } = {},
  ) {
    super(error);
    this.name = 'MatrixError';
    this.status = status;
    this.body = { errcode, error, ...more.fields };
    this.headers = more.headers ?? {};
  }
}

/** The error for a caller who has to wait, both as `Retry-After` and as the deprecated `retry_after_ms`. */
export function limitExceeded(status: 429 | 503, milliseconds: number): MatrixError {
  return new MatrixError(
    status,
    'M_LIMIT_EXCEEDED',
    status === 429 ? 'Too many requests' : 'The server is busy',
    {
      fields: { retry_after_ms: Math.ceil(milliseconds) },
      headers: { 'retry-after': String(Math.ceil(milliseconds / 1000)) },
    },
  );
}

/** The error for a record that is too large. */
export function recordTooLarge(path: string, limit: number): MatrixError {
  return new MatrixError(413, 'M_TOO_LARGE', `${path}: expected at most ${limit} bytes, got more`);
}

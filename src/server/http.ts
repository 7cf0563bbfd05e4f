import { KeyBackupError } from '../errors.js';
import { concatAll } from '../encoding/bytes.js';
import type { ErrorBody } from '../wire/types.js';
import type { BackupStore, Quota } from './store.js';

/** One authenticated request, as the operations see it. */
export interface RequestContext {
  readonly store: BackupStore;
  readonly quota: Quota;
  readonly userId: string;
  readonly deviceId: string | undefined;
  /** The bytes of the body; rejects with 413 when there are too many. */
  body(): Promise<Uint8Array>;
  /** Tells of a failure after the answer began. */
  failed(error: unknown): void;
  /** A part of the path, percent-decoded once. */
  pathParameter(name: 'version' | 'roomId' | 'sessionId'): string;
  /** The first value of that name in the query. */
  query(name: string): string | undefined;
}

/** Every response has these, so that clients in browsers may read it. */
const CORS = {
  'access-control-allow-origin': '*',
  'access-control-allow-methods': 'GET, POST, PUT, DELETE, OPTIONS',
  'access-control-allow-headers': 'X-Requested-With, Content-Type, Authorization',
} as const;

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

/** A response of JSON: text, its UTF-8 bytes, or a stream of them. */
export function jsonResponse(
  body: string | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>,
  status = 200,
  headers: Readonly<Record<string, string>> = {},
): Response {
  return new Response(body, {
    status,
    headers: { 'content-type': 'application/json', 'cache-control': 'no-store', ...CORS, ...headers },
  });
}

/** The response to a preflight. */
export function preflightResponse(): Response {
  return new Response(null, { status: 204, headers: { ...CORS, 'access-control-max-age': '86400' } });
}

/** The response to an error; its cause is never told. */
export function errorResponse(error: unknown): Response {
  const told = toMatrixError(error);
  return jsonResponse(JSON.stringify(told.body), told.status, told.headers);
}

function toMatrixError(error: unknown): MatrixError {
  if (error instanceof MatrixError) return error;
  if (error instanceof KeyBackupError) {
    switch (error.code) {
      case 'not-json':
        return new MatrixError(400, 'M_NOT_JSON', error.message);
      case 'bad-json':
      case 'missing-field':
        return new MatrixError(400, 'M_BAD_JSON', error.message);
      case 'store-failed':
        return new MatrixError(503, 'M_UNKNOWN', 'The backup cannot be reached now; nothing was stored.', {
          headers: { 'retry-after': '5' },
        });
    }
  }
  return new MatrixError(500, 'M_UNKNOWN', 'Internal server error');
}

/**
 * Reads a request's body, at most `limit` bytes of it.
 *
 * @throws {@link MatrixError} 413 `M_TOO_LARGE`: before the first byte is read where the length is announced.
 */
export async function readBody(request: Request, limit: number): Promise<Uint8Array> {
  const tooLarge = (): MatrixError =>
    new MatrixError(413, 'M_TOO_LARGE', `The body is larger than ${limit} bytes.`, {
      // The rest of it is not read.
      headers: { connection: 'close' },
    });
  const announced = request.headers.get('content-length');
  if (announced !== null && Number(announced) > limit) throw tooLarge();
  if (announced !== null) {
    // HTTP itself ends such a body at its announced length.
    const bytes = new Uint8Array(await request.arrayBuffer().catch(interrupted));
    if (bytes.length > limit) throw tooLarge();
    return bytes;
  }
  const chunks: Uint8Array[] = [];
  let length = 0;
  if (request.body) {
    const reader = (request.body as ReadableStream<Uint8Array>).getReader();
    for (;;) {
      const { done, value } = await reader.read().catch(interrupted);
      if (done) break;
      length += value.length;
      if (length > limit) {
        reader.cancel().catch(() => undefined);
        throw tooLarge();
      }
      chunks.push(value);
    }
  }
  return concatAll(chunks);
}

function interrupted(): never {
  throw new MatrixError(400, 'M_NOT_JSON', 'Request body was truncated.');
}

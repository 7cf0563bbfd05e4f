import { KeyBackupError } from '../errors.js';
import type { ErrorBody } from '../wire/types.js';

/** What every answer carries, so that clients in browsers may read it. */
const CORS = {
  'access-control-allow-origin': '*',
  'access-control-allow-methods': 'GET, POST, PUT, DELETE, OPTIONS',
  'access-control-allow-headers': 'X-Requested-With, Content-Type, Authorization',
} as const;

/** An answer that is no success, thrown from anywhere below the handler. */
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

/** An answer of JSON text, bytes of it, or a stream of those bytes. */
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

/** The answer to a preflight. */
export function preflightResponse(): Response {
  return new Response(null, { status: 204, headers: { ...CORS, 'access-control-max-age': '86400' } });
}

/** What a caller is told of an error: never more than a Matrix error says. */
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
      // What is left of it is not read.
      headers: { connection: 'close' },
    });
  const announced = request.headers.get('content-length');
  if (announced !== null && Number(announced) > limit) throw tooLarge();
  if (announced !== null) {
    // HTTP itself ends such a body where it was announced to end.
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
  return joined(chunks, length);
}

function interrupted(): never {
  throw new MatrixError(400, 'M_NOT_JSON', 'The body ended before its end.');
}

/** Joins byte arrays of known total length. */
export function joined(chunks: readonly Uint8Array[], length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}

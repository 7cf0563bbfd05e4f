import { KeyBackupError } from '../errors.js';
import { concatAll } from '../encoding/bytes.js';
import { utf8Encode } from '../encoding/utf8.js';
import { MatrixError } from './matrix-error.js';
import type { BackupStore, Quota } from './store.js';

/** One authenticated request, as the operations see it. */
export interface RequestContext {
  readonly store: BackupStore;
  readonly quota: Quota;
  readonly userId: string;
  readonly deviceId: string | undefined;
  /** Bytes of one record, or of one version, at most. */
  readonly maxRecord: number;
  /**
   * The bytes of the body; rejects with 413 when there are too many, with 429 or 503 when too many are in memory.
   *
   * @param limit - Default: the server's limit for bodies.
   */
  body(limit?: number): Promise<Uint8Array>;
  /** Begins to count what a response has in memory. */
  hold(): Holding;
  /** Tells of a failure after the answer began. */
  failed(error: unknown): void;
  /** A part of the path, percent-decoded once. */
  pathParameter(name: 'version' | 'roomId' | 'sessionId'): string;
  /** The first value of that name in the query. */
  query(name: string): string | undefined;
}

/** What one request has in memory. */
export interface Holding {
  /**
   * Says how much it is now.
   *
   * @throws {@link MatrixError} 429 `M_LIMIT_EXCEEDED` beyond the user's share, 503 `M_LIMIT_EXCEEDED` beyond the total,
   * each with `Retry-After`. A request that is alone is never refused, or what is larger than a limit could not be had.
   */
  readonly resize: (bytes: number) => void;
  /** Nothing any more. */
  readonly release: () => void;
}

/** Every response has these, so that clients in browsers may read it. */
const CORS = {
  'access-control-allow-origin': '*',
  'access-control-allow-methods': 'GET, POST, PUT, DELETE, OPTIONS',
  'access-control-allow-headers': 'X-Requested-With, Content-Type, Authorization',
} as const;

/** A response of JSON text, or a stream of its bytes. */
export function jsonResponse(
  body: string | ReadableStream<Uint8Array>,
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

/** Larger texts are held by the server until the client has read them, so they count. */
const LARGE_TEXT = 16_384;

/**
 * A response of JSON text, which counts as in memory until it is sent.
 *
 * @throws {@link MatrixError} 429 or 503 when too much is in memory.
 */
export function textResponse(context: RequestContext, text: string): Response {
  if (text.length <= LARGE_TEXT) return jsonResponse(text);
  const holding = context.hold();
  // Before there are two of it; mostly ASCII.
  holding.resize(text.length);
  let next: Uint8Array | undefined = utf8Encode(text);
  return jsonResponse(
    streamOf(() => {
      const piece = next;
      next = undefined;
      return piece;
    }, holding.release),
  );
}

/** What is handed on at once: a server may take two or three of them before it waits for the client. */
const SLICE = 65_536;

/**
 * A stream that takes the next piece only when the client has taken the last one.
 *
 * @param next - Gives a piece, or undefined at the end. What it throws ends the stream as failed.
 * @param end - Called when the stream has ended in any way, maybe twice.
 */
export function streamOf(
  next: () => Uint8Array | undefined | Promise<Uint8Array | undefined>,
  end: () => void,
): ReadableStream<Uint8Array> {
  let piece: Uint8Array | undefined = new Uint8Array();
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        try {
          if (piece?.length === 0) piece = await next();
          if (piece) {
            controller.enqueue(piece.subarray(0, SLICE));
            piece = piece.subarray(SLICE);
            return;
          }
          controller.close();
        } catch {
          // The server of this handler may print this.
          controller.error(new Error('a response of keys was cut off'));
        }
        end();
      },
      cancel: end,
    },
    { highWaterMark: 0 },
  );
}

/**
 * Reads a request's body, at most `limit` bytes of it.
 *
 * @param hold - Told how many bytes are in memory, or will be, before they are; may throw.
 * @throws {@link MatrixError} 413 `M_TOO_LARGE`: before the first byte is read where the length is announced.
 */
export async function readBody(
  request: Request,
  limit: number,
  hold: (bytes: number) => void,
): Promise<Uint8Array> {
  // The rest of it is not read.
  const headers = { connection: 'close' };
  const expectAtMost = (length: number): void => {
    if (length > limit) {
      throw new MatrixError(413, 'M_TOO_LARGE', `The body is larger than ${limit} bytes.`, { headers });
    }
    hold(length);
  };
  const announced = request.headers.get('content-length');
  if (announced !== null) {
    expectAtMost(Number(announced));
    // HTTP itself ends such a body at its announced length.
    const bytes = new Uint8Array(await request.arrayBuffer().catch(interrupted));
    expectAtMost(bytes.length);
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
      try {
        expectAtMost(length);
      } catch (error) {
        reader.cancel().catch(() => undefined);
        throw error;
      }
      chunks.push(value);
    }
  }
  return concatAll(chunks);
}

function interrupted(): never {
  throw new MatrixError(400, 'M_NOT_JSON', 'Request body was truncated.');
}

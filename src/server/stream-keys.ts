import { Buffer } from 'node:buffer';
import { yieldToEventLoop } from '../async.js';
import { concatAll } from '../encoding/bytes.js';
import { parseJson } from '../encoding/json.js';
import { utf8Encode } from '../encoding/utf8.js';
import { jsonResponse, streamOf, type RequestContext } from './http.js';
import { MatrixError } from './matrix-error.js';
import { PAGE_BYTES, type KeyPage, type KeyPosition } from './store.js';
import { unknownVersion } from './versions.js';

/** The parameters of the paging extension. */
export interface Paging {
  /** Keys in the response at most. */
  readonly limit: number;
  readonly from: KeyPosition | undefined;
}

/** Keys read at a time. */
const PIECE = 128;
/** Parts of at least this many bytes are sent as they are; smaller ones are joined. */
const LARGE = 16_384;

/**
 * Responds with the keys of a version or of one of its rooms, read from the store as the client reads the response.
 *
 * Not a snapshot: a key that exists throughout comes exactly once. Rooms are whole and in byte order. When the store
 * fails half-way, the stream and with it the connection fails, so that no client takes a part for the whole.
 *
 * @throws {@link MatrixError} 404, 429 or 503 before anything is sent.
 */
export async function streamKeys(
  context: RequestContext,
  version: string,
  roomId?: string,
  paging?: Paging,
): Promise<Response> {
  const pieces = keysAsJson(context, version, roomId, paging);
  const holding = context.hold();
  let held = PAGE_BYTES;
  holding.resize(held);
  const hold = (piece: Uint8Array | undefined): Uint8Array | undefined => {
    // One that is larger than a page is a single record.
    held = Math.max(held, piece?.length ?? 0);
    holding.resize(held);
    return piece;
  };
  const next = async (): Promise<Uint8Array | undefined> => {
    await turn();
    return hold((await pieces.next()).value ?? undefined);
  };
  try {
    // Until the first keys are read, the response may still be an error.
    let first = await next();
    return jsonResponse(
      streamOf(
        () => {
          const piece = first;
          first = undefined;
          return piece ?? next().catch(failed);
        },
        () => {
          holding.release();
          void pieces.return();
        },
      ),
    );
  } catch (error) {
    holding.release();
    throw error;
  }

  function failed(error: unknown): never {
    context.failed(error);
    throw error;
  }
}

/** Downloads that wait to read their next keys, in order. */
const waiting: (() => void)[] = [];

/**
 * Waits for a download's turn. Between two turns the event loop goes round: neither a client that reads fast nor many
 * that begin at once, for each of which the operating system takes megabytes, keep it from others.
 */
function turn(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve);
    if (waiting.length === 1) void giveTurns();
  });
}

async function giveTurns(): Promise<void> {
  while (waiting.length > 0) {
    await yieldToEventLoop();
    waiting[0]();
    waiting.shift();
  }
}

async function* keysAsJson(
  context: RequestContext,
  version: string,
  roomId: string | undefined,
  paging: Paging | undefined,
): AsyncGenerator<Uint8Array, void> {
  const read = async (from: KeyPosition | undefined, limit: number): Promise<KeyPage['rooms']> => {
    const page = await context.store.readKeys(context.userId, version, { room_id: roomId }, from, limit);
    if (page.outcome === 'unknown-version') throw unknownVersion();
    return page.rooms;
  };
  let after = paging?.from;
  let left = paging?.limit ?? Infinity;
  let open: string | undefined;
  let parts: Uint8Array[] = [];
  const add = (...added: readonly (string | Uint8Array)[]): void => {
    for (const part of added) parts.push(typeof part === 'string' ? utf8Encode(part) : part);
  };
  const taken = (): Uint8Array => {
    const bytes = concatAll(parts);
    parts = [];
    return bytes;
  };
  add(roomId === undefined ? '{"rooms":{' : '{"sessions":{');
  while (left > 0) {
    const rooms = await read(after, Math.min(PIECE, left));
    if (rooms.length === 0) break;
    for (const room of rooms) {
      if (roomId === undefined && room.room_id !== open) {
        add(open === undefined ? '' : '}},', JSON.stringify(room.room_id), ':{"sessions":{');
      } else if (open !== undefined) {
        add(',');
      }
      open = room.room_id;
      if (typeof room.members !== 'string' && room.members.length >= LARGE) {
        // Not copied, to leave half the garbage.
        yield taken();
        yield room.members;
      } else {
        add(room.members);
      }
      left -= room.count;
      after = { room_id: room.room_id, session_id: room.last_session_id };
    }
    if (parts.length > 0) yield taken();
  }
  if (roomId === undefined && open !== undefined) add('}}');
  add('}');
  if (after && left <= 0 && (await read(after, 1)).length > 0) {
    add(`,"org.megolm-backup.next_batch":"${writePosition(after)}"`);
  }
  add('}');
  yield taken();
}

/** A position as `next_batch` carries it; opaque to clients. */
function writePosition({ room_id, session_id }: KeyPosition): string {
  return Buffer.from(JSON.stringify([room_id, session_id])).toString('base64url');
}

/**
 * Reads what {@link writePosition} wrote.
 *
 * @throws {@link MatrixError} 400 `M_INVALID_PARAM` for anything else.
 */
export function readPosition(token: string): KeyPosition {
  try {
    const text = Buffer.from(token, 'base64url').toString('utf8');
    const [room_id, session_id] = parseJson(text) as [unknown, unknown];
    if (typeof room_id !== 'string' || typeof session_id !== 'string') throw new Error('not two ids');
    const position = { room_id, session_id };
    // Decoding is lenient, so that several tokens lead here.
    if (writePosition(position) !== token) throw new Error('another spelling');
    return position;
  } catch {
    throw new MatrixError(400, 'M_INVALID_PARAM', 'org.megolm-backup.from: not a next_batch of this server');
  }
}

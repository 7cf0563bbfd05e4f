import { parseJson } from '../encoding/json.js';
import type { Call } from './request-context.js';
import { MatrixError, joined, jsonResponse } from './http.js';
import type { KeyPage, KeyPosition } from './store.js';
import { unknownVersion } from './versions.js';

/** What a client that knows the paging extension asked for. */
export interface Paging {
  /** Keys in the answer, at most. */
  readonly limit: number;
  readonly from: KeyPosition | undefined;
}

/** Keys read at once. */
const PIECE = 128;
/** A part of so many bytes goes out as it is; smaller ones are joined. */
const LARGE = 16_384;

/**
 * Answers with the keys of a version or of one of its rooms, read from the store while the client takes them.
 *
 * Not a snapshot: a key that is there throughout comes exactly once. Rooms come together and in byte order.
 * When the store fails half-way the stream fails and with it the connection, so that nobody takes a part for
 * the whole.
 *
 * @throws {@link MatrixError} 404 before anything is sent.
 */
export async function streamKeys(
  call: Call,
  version: string,
  roomId?: string,
  paging?: Paging,
): Promise<Response> {
  const pieces = keysAsJson(call, version, roomId, paging);
  // Waits for the first keys: until then the answer may still be an error.
  let first: IteratorResult<Uint8Array, void> | undefined = await pieces.next();
  const stream = new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        try {
          const next = first ?? (await pieces.next());
          first = undefined;
          if (next.done) controller.close();
          else controller.enqueue(next.value);
        } catch (error) {
          call.failed(error);
          // What the server of this handler may print; the cause is told above.
          controller.error(new Error('an answer of keys broke off'));
        }
      },
      cancel: async () => {
        await pieces.return();
      },
    },
    { highWaterMark: 0 },
  );
  return jsonResponse(stream);
}

async function* keysAsJson(
  call: Call,
  version: string,
  roomId: string | undefined,
  paging: Paging | undefined,
): AsyncGenerator<Uint8Array, void> {
  const read = async (from: KeyPosition | undefined, limit: number): Promise<KeyPage['rooms']> => {
    const page = await call.store.readKeys(call.userId, version, { room_id: roomId }, from, limit);
    if (page.outcome === 'unknown-version') throw unknownVersion();
    return page.rooms;
  };
  let after = paging?.from;
  let left = paging?.limit ?? Infinity;
  let open: string | undefined;
  let piece = createPiece();
  piece.add(roomId === undefined ? '{"rooms":{' : '{"sessions":{');
  while (left > 0) {
    const rooms = await read(after, Math.min(PIECE, left));
    if (rooms.length === 0) break;
    for (const room of rooms) {
      if (roomId === undefined && room.room_id !== open) {
        piece.add(open === undefined ? '' : '}},', JSON.stringify(room.room_id), ':{"sessions":{');
      } else if (open !== undefined) {
        piece.add(',');
      }
      open = room.room_id;
      if (typeof room.members !== 'string' && room.members.length >= LARGE) {
        // Not copied: what is copied waits for the garbage collector twice.
        yield piece.bytes();
        piece = createPiece();
        yield room.members;
      } else {
        piece.add(room.members);
      }
      left -= room.count;
      after = { room_id: room.room_id, session_id: room.last_session_id };
    }
    if (!piece.isEmpty()) yield piece.bytes();
    piece = createPiece();
  }
  if (roomId === undefined && open !== undefined) piece.add('}}');
  piece.add('}');
  if (after && left <= 0 && (await read(after, 1)).length > 0) {
    piece.add(`,"org.megolm-backup.next_batch":"${writePosition(after)}"`);
  }
  piece.add('}');
  yield piece.bytes();
}

interface Piece {
  add(...parts: readonly (string | Uint8Array)[]): void;
  isEmpty(): boolean;
  bytes(): Uint8Array<ArrayBuffer>;
}

function createPiece(): Piece {
  const encoder = new TextEncoder();
  const chunks: Uint8Array[] = [];
  let length = 0;
  return {
    add: (...parts) => {
      for (const part of parts) {
        const chunk = typeof part === 'string' ? encoder.encode(part) : part;
        chunks.push(chunk);
        length += chunk.length;
      }
    },
    isEmpty: () => length === 0,
    bytes: () => joined(chunks, length),
  };
}

/** A position as `next_batch` carries it; opaque to clients. */
function writePosition({ room_id, session_id }: KeyPosition): string {
  const bytes = new TextEncoder().encode(JSON.stringify([room_id, session_id]));
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '');
}

/**
 * Reads what {@link writePosition} wrote.
 *
 * @throws {@link MatrixError} 400 `M_INVALID_PARAM` for anything else.
 */
export function readPosition(token: string): KeyPosition {
  try {
    if (!/^[A-Za-z0-9_-]+$/.test(token)) throw new Error('not of the alphabet');
    const bytes = Uint8Array.from(atob(token.replaceAll('-', '+').replaceAll('_', '/')), (c) =>
      c.charCodeAt(0),
    );
    const position = parseJson(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as [string, string];
    const [room_id, session_id] = position;
    const canonical = writePosition({ room_id, session_id });
    if (typeof room_id !== 'string' || typeof session_id !== 'string' || canonical !== token) {
      throw new Error('not a position');
    }
    return { room_id, session_id };
  } catch {
    throw new MatrixError(400, 'M_INVALID_PARAM', 'org.megolm-backup.from: not a next_batch of this server');
  }
}

import { utf8Encode } from '../encoding/utf8.js';
import type { EncryptedSession } from '../batch/encrypt.js';
import type { KeyBackupError } from '../errors.js';
import { replaces } from '../formats/replacement.js';
import type { KeysChanged } from '../wire/types.js';
import type { CallOptions, RoomKeys } from './api.js';
import { isAboutKeys, isRequestError } from './http-error.js';

/** A key that was not stored, and why. */
export interface FailedUpload {
  readonly room_id: string | undefined;
  readonly session_id: string | undefined;
  readonly error: KeyBackupError;
}

/** How large a request may be. */
export interface BatchLimits {
  /** Most keys of one request; default 200. */
  readonly batchKeys?: number | undefined;
  /** Most bytes of one request; default 800,000, since many proxies allow 1 MB. A 413 halves it. */
  readonly batchBytes?: number | undefined;
}

interface BatchSenderOptions extends CallOptions, BatchLimits {
  /** Sending ends when this many keys of a request were rejected one by one and none accepted; default 32. */
  readonly maxConsecutiveRejections?: number;
  /** Called for every acknowledged request, with the keys in it. */
  readonly onSent: (answer: KeysChanged, keys: readonly SealedKey[]) => void;
  /** Called for every key that the server rejected by itself. */
  readonly onFailed: (failure: FailedUpload) => void;
}

/** Records are about 1.2 KB: a server that finds one of up to this many bytes too large allows none. */
const USUAL_BYTES = 16_384;

/** Sends keys to one version of a backup, in as few requests as the server allows. */
export class BatchSender {
  readonly #roomKeys: RoomKeys;
  readonly #version: string;
  readonly #options: BatchSenderOptions;
  #limits: { readonly keys: number; readonly bytes: number };
  #failed = 0;

  constructor(roomKeys: RoomKeys, version: string, options: BatchSenderOptions) {
    this.#roomKeys = roomKeys;
    this.#version = version;
    this.#options = options;
    this.#limits = { keys: options.batchKeys ?? 200, bytes: options.batchBytes ?? 800_000 };
  }

  /** Groups items into batches. The last one comes in any case, and may be empty. */
  async *batches<Item extends SealedItem>(
    items: AsyncIterable<Item>,
  ): AsyncGenerator<Batch<Item>, void, undefined> {
    let batch = new Batch<Item>();
    for await (const item of items) {
      const { keys, bytes } = this.#limits;
      if (item.key && !batch.hasSpace(item.key, keys, bytes)) {
        yield batch;
        batch = new Batch();
      }
      batch.add(item);
    }
    yield batch;
  }

  /** Sends keys. A request that is rejected because of its keys is halved until the bad key is alone; others throw. */
  async send(keys: readonly SealedKey[]): Promise<void> {
    if (keys.length === 0) return;
    if (keys.length > this.#limits.keys) return this.#sendHalves(keys);
    try {
      const { signal } = this.#options;
      const answer = await this.#roomKeys.putKeys(this.#version, batchBody(keys), { signal });
      this.#options.onSent(answer, keys);
    } catch (error) {
      if (!isRequestError(error) || !isAboutKeys(error)) throw error;
      const tooLarge = error.code === 'too-large';
      if (keys.length === 1) {
        const [{ room_id, session_id, bytes }] = keys;
        if (tooLarge && bytes <= USUAL_BYTES) throw error;
        this.#failed++;
        this.#options.onFailed({ room_id, session_id, error });
        return;
      }
      const before = this.#failed;
      const limits = this.#limits;
      if (tooLarge) this.#shrink(keys);
      await this.#sendHalves(keys);
      const failed = this.#failed - before;
      // The cause was a key, not the size of the request.
      if (failed > 0) this.#limits = limits;
      // With no success at all, the keys are not the cause.
      const { maxConsecutiveRejections = 32 } = this.#options;
      if (failed === keys.length && failed >= maxConsecutiveRejections) throw error;
    }
  }

  async #sendHalves(keys: readonly SealedKey[]): Promise<void> {
    const middle = Math.ceil(keys.length / 2);
    await this.send(keys.slice(0, middle));
    await this.send(keys.slice(middle));
  }

  #shrink(keys: readonly SealedKey[]): void {
    const bytes = keys.reduce((sum, key) => sum + key.bytes, 0);
    this.#limits = {
      keys: Math.min(this.#limits.keys, Math.ceil(keys.length / 2)),
      bytes: Math.min(this.#limits.bytes, Math.ceil(bytes / 2)),
    };
  }
}

/** A record to send; `flags` where it was encrypted here. */
export type Sealable = Omit<EncryptedSession, 'flags'> & Partial<Pick<EncryptedSession, 'flags'>>;

/** A key ready to be sent. Its JSON is made once, however often its batch is cut. */
export interface SealedKey extends Sealable {
  readonly json: string;
  readonly bytes: number;
}

/** The JSON of one key. */
export function sealKey(session: Sealable): SealedKey {
  const json = JSON.stringify(session.key_backup_data);
  // A generous estimate for the ids and the punctuation.
  const bytes = utf8Encode(json).length + 3 * session.room_id.length + 3 * session.session_id.length + 32;
  return { ...session, json, bytes };
}

/** Whether a text has no lone surrogate. A server rejects a whole request over one. */
export function isUnicode(text: string): boolean {
  // In Unicode mode this matches a surrogate only where it has no partner.
  return !/[\ud800-\udfff]/u.test(text);
}

/** A key to send, or an item without one that only goes along. */
export interface SealedItem {
  readonly key?: SealedKey | undefined;
}

/** Items, and the keys of one request in them: each session once. */
class Batch<Item extends SealedItem> {
  readonly items: Item[] = [];
  /** Copies left out because the batch has a better one of the same session. */
  superseded = 0;
  readonly #keys = new Map<string, SealedKey>();
  #bytes = 0;

  /** The keys, in the order in which their sessions came first. */
  get keys(): SealedKey[] {
    return [...this.#keys.values()];
  }

  /** Whether a key fits. One key alone always does: only the server can reject it. */
  hasSpace(key: SealedKey, maxKeys: number, maxBytes: number): boolean {
    const { size } = this.#keys;
    return size === 0 || (size < maxKeys && this.#bytes + key.bytes <= maxBytes);
  }

  /** Adds an item. Of two copies of a session only the better one stays: a request holds one. */
  add(item: Item): void {
    this.items.push(item);
    const { key } = item;
    if (!key) return;
    const id = JSON.stringify([key.room_id, key.session_id]);
    const present = this.#keys.get(id);
    if (present) {
      this.superseded++;
      if (!replaces(key.key_backup_data, present.key_backup_data)) return;
      this.#bytes -= present.bytes;
    }
    this.#keys.set(id, key);
    this.#bytes += key.bytes;
  }
}

/** The body of `PUT /room_keys/keys`, as text: an object cannot hold every id. */
function batchBody(keys: readonly SealedKey[]): string {
  const rooms = new Map<string, string[]>();
  for (const { room_id, session_id, json } of keys) {
    const sessions = rooms.get(room_id) ?? [];
    rooms.set(room_id, sessions);
    sessions.push(`${JSON.stringify(session_id)}:${json}`);
  }
  const texts = [...rooms].map(
    ([roomId, sessions]) => `${JSON.stringify(roomId)}:{"sessions":{${sessions.join()}}}`,
  );
  return `{"rooms":{${texts.join()}}}`;
}

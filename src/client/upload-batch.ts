import { replaces } from '../wire/replacement.js';
import type { EncryptedSession } from '../batch/encrypt.js';
import { utf8Encode } from '../encoding/utf8.js';

/** How large a request may be. */
export interface BatchLimits {
  readonly keys: number;
  readonly bytes: number;
}

/** A record to send; `flags` where it was encrypted here. */
export type Sealable = Omit<EncryptedSession, 'flags'> & Partial<Pick<EncryptedSession, 'flags'>>;

/** A key ready to be sent: its JSON is made once, however often its batch is cut. */
export interface SealedKey extends Sealable {
  readonly json: string;
  readonly bytes: number;
}

/** The JSON of one key. */
export function sealKey(session: Sealable): SealedKey {
  const json = JSON.stringify(session.key_backup_data);
  // The ids and the punctuation around them, generously.
  const bytes = utf8Encode(json).length + 3 * session.room_id.length + 3 * session.session_id.length + 32;
  return { ...session, json, bytes };
}

/** Whether a text is Unicode. Servers refuse a whole request over a lone surrogate, some as no JSON at all. */
export function isUnicode(text: string): boolean {
  // In Unicode mode this matches a surrogate only where it has no partner.
  return !/[\ud800-\udfff]/u.test(text);
}

/** The keys of one request: bounded in number and in bytes, each session once. */
export class UploadBatch {
  /** Copies left out because the batch has a better one of the same session. */
  superseded = 0;
  readonly #keys = new Map<string, SealedKey>();
  #bytes = 0;

  /** How many keys are in it. */
  get size(): number {
    return this.#keys.size;
  }

  /** The keys, in the order in which their sessions came first. */
  get keys(): SealedKey[] {
    return [...this.#keys.values()];
  }

  /** Whether a key fits. One alone always does: it has to be sent or be refused. */
  fits(key: SealedKey, limits: BatchLimits): boolean {
    return this.size === 0 || (this.size < limits.keys && this.#bytes + key.bytes <= limits.bytes);
  }

  /** Adds a key. Of two copies of a session the better one stays, since a request can hold one only. */
  add(key: SealedKey): void {
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

/** The body of `PUT /room_keys/keys`. It is text: an object could not hold every id. */
export function batchBody(keys: readonly SealedKey[]): string {
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

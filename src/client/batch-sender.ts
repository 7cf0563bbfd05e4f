import type { KeysChanged } from '../api/types.js';
import type { KeyBackupError } from '../engine/errors.js';
import { RequestError } from './errors.js';
import type { CallOptions, RoomKeys } from './room-keys.js';
import { batchBody, type BatchLimits, type SealedKey } from './upload-batch.js';

/** A key that was not stored, and why. */
export interface FailedUpload {
  readonly room_id: string | undefined;
  readonly session_id: string | undefined;
  readonly error: KeyBackupError;
}

/** Where batches go, and who hears of them. */
export interface BatchSenderOptions extends CallOptions {
  readonly limits: BatchLimits;
  /** So many keys in a row that the server refuses one by one are not the keys' fault, and end it. */
  readonly hopeless: number;
  /** Hears of every acknowledged request and of the keys that were in it. */
  readonly onSent: (answer: KeysChanged, keys: readonly SealedKey[]) => void;
  /** Hears of every key that the server refused by itself. */
  readonly onFailed: (failure: FailedUpload) => void;
}

/** Sends keys to one version of a backup, in as few requests as the server allows. */
export class BatchSender {
  readonly #roomKeys: RoomKeys;
  readonly #version: string;
  readonly #options: BatchSenderOptions;
  #limits: BatchLimits;
  #failed = 0;

  constructor(roomKeys: RoomKeys, version: string, options: BatchSenderOptions) {
    this.#roomKeys = roomKeys;
    this.#version = version;
    this.#options = options;
    this.#limits = options.limits;
  }

  /** What a request may hold, as far as the server has shown. */
  get limits(): BatchLimits {
    return this.#limits;
  }

  /**
   * Sends keys. What the server refuses as a whole is cut in half until the key that is to blame stands alone.
   *
   * @throws {@link RequestError} for every refusal but 400 and 413, which speak of the keys.
   */
  async send(keys: readonly SealedKey[]): Promise<void> {
    if (keys.length === 0) return;
    if (keys.length > this.#limits.keys) return this.#sendHalves(keys);
    try {
      const { signal } = this.#options;
      const answer = await this.#roomKeys.putKeys(this.#version, batchBody(keys), { signal });
      this.#options.onSent(answer, keys);
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      const tooLarge = error.code === 'too-large';
      if (!tooLarge && error.status !== 400) throw error;
      if (keys.length === 1) {
        const [{ room_id, session_id }] = keys;
        this.#failed++;
        this.#options.onFailed({ room_id, session_id, error });
        return;
      }
      const before = this.#failed;
      const limits = this.#limits;
      if (tooLarge) this.#shrink(keys);
      await this.#sendHalves(keys);
      const failed = this.#failed - before;
      // One key was to blame, not the size of the request.
      if (failed > 0) this.#limits = limits;
      // Not one of many keys is to the server's liking: then it is not the keys.
      if (failed === keys.length && failed >= this.#options.hopeless) throw error;
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

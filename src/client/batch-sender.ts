import type { KeysChanged } from '../wire/types.js';
import type { KeyBackupError } from '../errors.js';
import { isRequestError } from './http-error.js';
import { isAboutKeys } from './http-error.js';
import type { CallOptions, RoomKeys } from './api.js';
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
  /** This many keys refused one by one, and none accepted: the keys are not to blame, and sending ends. */
  readonly maxConsecutiveRejections: number;
  /** Called for every acknowledged request, with the keys in it. */
  readonly onSent: (answer: KeysChanged, keys: readonly SealedKey[]) => void;
  /** Called for every key that the server refused on its own. */
  readonly onFailed: (failure: FailedUpload) => void;
}

/** Records are about 1.2 KB: a server or proxy that finds one of up to this many bytes too large allows none. */
const USUAL_BYTES = 16_384;

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
   * Sends keys. A request that is refused because of its keys is halved until the key to blame is alone.
   *
   * @throws {@link RequestError} for every refusal that is not about a key.
   */
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
      // One key was to blame, not the size of the request.
      if (failed > 0) this.#limits = limits;
      if (failed === keys.length && failed >= this.#options.maxConsecutiveRejections) throw error;
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

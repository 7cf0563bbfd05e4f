import { callback, isFromCallback } from '../async.js';
import { expectInstance, expectOptions } from '../encoding/arguments.js';
import type { VersionInfo } from '../wire/types.js';
import type { ExportedSessionData } from '../formats/room-key.js';
import { trustedPublicKey } from './backup.js';
import { KeyBackupError } from '../errors.js';
import { isRequestError, mayPassLater } from './http-error.js';
import { RoomKeys } from './api.js';
import { uploadSessions, type UploadOptions, type UploadOutcome } from './upload.js';

/** How a queue uploads. */
export interface UploadQueueOptions extends Omit<
  UploadOptions,
  'state' | 'onState' | 'skipStored' | 'total' | 'onProgress' | 'signal'
> {
  /** Milliseconds from the first waiting session to its upload; default 5 s. After failures it doubles, up to 5 min. */
  readonly delay?: number | undefined;
  /** Called with the outcome of every upload. After `replaced` or `deleted` the queue has stopped. */
  readonly onOutcome?: ((outcome: UploadOutcome) => void) | undefined;
  /**
   * Called with the error of a failed upload; sessions that were not acknowledged stay in the queue. They are tried
   * again after an error that may pass. Any other stops the queue: a rejection that is not about a single key, such as
   * a 400 from a proxy or an invalid access token, or an error thrown by a callback.
   */
  readonly onError?: ((error: unknown) => void) | undefined;
  /**
   * Called whenever {@link UploadQueue.waiting} has changed, with the sessions that wait now. Store them, and add them
   * to the next queue: then no session is lost when the client ends.
   */
  readonly onChange?: ((waiting: readonly ExportedSessionData[]) => void) | undefined;
}

/** The longest delay after failures, in milliseconds. */
const MAX_DELAY = 300_000;

/**
 * Uploads the keys of a live client shortly after they come, and at once when a whole batch waits.
 *
 * @example
 * ```ts
 * import type { BackupDecryptionKey, ExportedSessionData } from 'megolm-backup';
 * import { UploadQueue, type RoomKeys, type VersionInfo } from 'megolm-backup/client';
 *
 * async function live(roomKeys: RoomKeys, info: VersionInfo, key: BackupDecryptionKey, session: ExportedSessionData) {
 *   const trust = { userId: '@a:example.org', decryptionKey: key };
 *   const queue = new UploadQueue(roomKeys, info, { trust, onError: console.error });
 *   queue.add(session);
 *   await queue.close(); // uploads what still waits
 * }
 * ```
 */
export class UploadQueue {
  readonly #roomKeys: RoomKeys;
  readonly #info: VersionInfo;
  readonly #options: UploadQueueOptions;
  readonly #controller = new AbortController();
  #waiting: ExportedSessionData[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #running: Promise<void> | undefined;
  #failures = 0;
  #stopped = false;

  /** @throws {@link KeyBackupError} `untrusted-backup`, and what {@link trustedPublicKey} throws. */
  constructor(roomKeys: RoomKeys, info: VersionInfo, options: UploadQueueOptions) {
    expectInstance(roomKeys, RoomKeys, 'roomKeys');
    expectOptions(options);
    trustedPublicKey(info, options.trust);
    this.#roomKeys = roomKeys;
    this.#info = info;
    this.#options = options;
  }

  /** The sessions that are not acknowledged yet. Once the queue has stopped, they are left to the caller. */
  get waiting(): readonly ExportedSessionData[] {
    return this.#waiting;
  }

  /** Whether the queue was closed, or can no longer write to the backup. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** Adds sessions. They are uploaded soon, or kept if the queue has stopped. */
  add(...sessions: readonly ExportedSessionData[]): void {
    for (const session of sessions) this.#waiting.push(session);
    if (this.#waiting.length >= (this.#options.batchKeys ?? 200) && this.#failures === 0) void this.flush();
    else this.#schedule();
    this.#changed();
  }

  /**
   * Uploads the waiting sessions now. Errors go to `onError`, and the sessions stay.
   *
   * @throws What `onError` throws; without `onError`, what another callback threw. In an upload that the queue starts,
   * that is an unhandled rejection.
   */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    // One upload at a time, then the sessions that came during it. Its error goes to the caller that started it.
    while (this.#running) await this.#running.catch(() => undefined);
    if (this.#stopped || this.#waiting.length === 0) return;
    this.#running = this.#upload([...this.#waiting]);
    await this.#running;
  }

  /** Uploads the waiting sessions and stops. What fails stays in {@link UploadQueue.waiting}. */
  async close(): Promise<void> {
    try {
      await this.flush();
    } finally {
      this.#stop();
    }
  }

  /** Stops at once, even during a request. */
  abort(): void {
    this.#stop();
    this.#controller.abort();
  }

  async #upload(sessions: readonly ExportedSessionData[]): Promise<void> {
    const { onOutcome, onError } = this.#options;
    const { signal } = this.#controller;
    let acknowledged = 0;
    try {
      const outcome = await uploadSessions(this.#roomKeys, this.#info, sessions, {
        ...this.#options,
        signal,
        onState: ({ position }) => {
          if (position === acknowledged) return;
          this.#waiting = this.#waiting.slice(position - acknowledged);
          acknowledged = position;
          this.#changed();
        },
      });
      this.#failures = 0;
      if (outcome.outcome !== 'complete') this.#stop();
      callback(() => onOutcome?.(outcome));
    } catch (error) {
      if (signal.aborted && !isFromCallback(error)) return;
      this.#failures++;
      if (!mayPass(error)) this.#stop();
      if (onError) onError(error);
      else if (isFromCallback(error)) throw error;
    } finally {
      this.#running = undefined;
      this.#schedule();
    }
  }

  #schedule(): void {
    if (this.#stopped || this.#running || this.#timer !== undefined || this.#waiting.length === 0) return;
    const { delay = 5_000 } = this.#options;
    this.#timer = setTimeout(() => void this.flush(), Math.min(MAX_DELAY, delay * 2 ** this.#failures));
  }

  #changed(): void {
    const { onChange } = this.#options;
    callback(() => onChange?.([...this.#waiting]));
  }

  #stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

/** Whether the same upload may succeed later. */
function mayPass(error: unknown): boolean {
  if (isRequestError(error)) return mayPassLater(error);
  return error instanceof KeyBackupError && !isFromCallback(error) && error.code === 'backend-failed';
}

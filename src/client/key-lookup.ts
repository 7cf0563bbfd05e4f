import { expectText } from '../encoding/arguments.js';
import type { VersionInfo } from '../wire/types.js';
import { decryptSession, type DecryptSettings, type DecryptedSession } from '../batch/decrypt.js';
import type { BackupDecryptionKey } from '../scheme/keys.js';
import { raceAbort } from '../async.js';
import { expectReadable } from './backup.js';
import { isRequestError } from './http-error.js';
import { sleep } from './retry.js';
import { signalOf, type RoomKeys, type CallOptions } from './api.js';

/** How keys are looked up. */
export type KeyLookupOptions = DecryptSettings;

/** A missing key is not asked for again for this many milliseconds. */
const MISSING_FOR = 600_000;
/** How many missing keys are remembered. */
const MAX_MISSING = 10_000;
/** Milliseconds of silence after a final 429 that names no time. */
const PAUSE = 30_000;
/** The longest silence that a server may ask for. */
const MAX_PAUSE = 300_000;

/**
 * Fetches single keys on demand, for messages that cannot be read yet.
 *
 * It sends one request at a time, so that a server that asks to slow down is obeyed; callers for the same key share a
 * request; and a key that the backup does not have is not asked for again for 10 minutes.
 *
 * @example
 * ```ts
 * import type { BackupDecryptionKey } from 'megolm-backup';
 * import { KeyLookup, type RoomKeys, type VersionInfo } from 'megolm-backup/client';
 *
 * async function readOne(roomKeys: RoomKeys, info: VersionInfo, key: BackupDecryptionKey) {
 *   const lookup = new KeyLookup(roomKeys, info, key);
 *   const found = await lookup.get('!room:example.org', 'session id');
 *   console.log(found ? found.session.session_key : 'the backup does not have it');
 * }
 * ```
 */
export class KeyLookup {
  readonly #roomKeys: RoomKeys;
  readonly #info: VersionInfo;
  readonly #key: BackupDecryptionKey;
  readonly #options: KeyLookupOptions;
  readonly #controller = new AbortController();
  readonly #running = new Map<string, Promise<DecryptedSession | undefined>>();
  /** When it will be asked for again, by id, in the order of insertion. */
  readonly #missing = new Map<string, number>();
  #last: Promise<unknown> = Promise.resolve();
  #pausedUntil = 0;

  /** @throws {@link KeyBackupError} `wrong-key`, `unsupported-algorithm`. */
  constructor(
    roomKeys: RoomKeys,
    info: VersionInfo,
    key: BackupDecryptionKey,
    options: KeyLookupOptions = {},
  ) {
    expectReadable(roomKeys, info, key, options);
    this.#roomKeys = roomKeys;
    this.#info = info;
    this.#key = key;
    this.#options = options;
  }

  /**
   * Fetches and decrypts a key.
   *
   * @param options - The signal ends the wait of this caller, not the request.
   * @returns `undefined` if the backup does not have it.
   * @throws {@link KeyBackupError} with the reason if it cannot be read; {@link RequestError}; `aborted`.
   */
  async get(
    roomId: string,
    sessionId: string,
    options: CallOptions = {},
  ): Promise<DecryptedSession | undefined> {
    const signal = signalOf(options);
    const id = JSON.stringify([expectText(roomId, 'roomId'), expectText(sessionId, 'sessionId')]);
    const again = this.#missing.get(id);
    if (again !== undefined) {
      if (again > Date.now()) return Promise.resolve(undefined);
      this.#missing.delete(id);
    }
    let running = this.#running.get(id);
    if (!running) {
      running = this.#enqueue(id, roomId, sessionId);
      this.#running.set(id, running);
    }
    return raceAbort(running, signal);
  }

  /** Forgets which keys are missing, for example after the etag has changed. */
  forget(): void {
    this.#missing.clear();
  }

  /** Ends all requests with `aborted`. */
  abort(): void {
    this.#controller.abort();
  }

  #enqueue(id: string, roomId: string, sessionId: string): Promise<DecryptedSession | undefined> {
    const result = this.#last.then(() => this.#fetch(id, roomId, sessionId));
    // The next one waits for this one, even if it fails.
    this.#last = result.catch(() => undefined);
    return result.finally(() => this.#running.delete(id));
  }

  async #fetch(id: string, room_id: string, session_id: string): Promise<DecryptedSession | undefined> {
    const { signal } = this.#controller;
    const { salvage, requireAuthenticated } = this.#options;
    const silence = this.#pausedUntil - Date.now();
    if (silence > 0) await sleep(silence, signal);
    try {
      const key_backup_data = await this.#roomKeys.key(this.#info.version, room_id, session_id, { signal });
      if (key_backup_data) {
        const record = { room_id, session_id, key_backup_data };
        return decryptSession(record, this.#key, { salvage, requireAuthenticated });
      }
      this.#rememberMissing(id);
      return undefined;
    } catch (error) {
      if (isRequestError(error) && error.code === 'rate-limited') {
        this.#pausedUntil = Date.now() + Math.min(MAX_PAUSE, error.retry_after_ms ?? PAUSE);
      }
      throw error;
    }
  }

  #rememberMissing(id: string): void {
    this.#missing.set(id, Date.now() + MISSING_FOR);
    if (this.#missing.size <= MAX_MISSING) return;
    const [oldest] = this.#missing.keys();
    this.#missing.delete(oldest);
  }
}

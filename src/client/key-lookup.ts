import { expectInstance, expectMethod, expectOptions, expectText } from '../encoding/arguments.js';
import type { VersionInfo } from '../wire/types.js';
import type { DecryptedSession } from '../batch/decrypt.js';
import type { BackupDecryptionKey } from '../scheme/keys.js';
import { raceAbort } from '../async.js';
import { expectAlgorithm } from './backup.js';
import { isRequestError } from './http-error.js';
import { restoreKey } from './restore.js';
import { sleep } from './retry.js';
import { RoomKeys, signalOf, type CallOptions } from './api.js';

/** How keys are looked up. */
export interface KeyLookupOptions {
  readonly salvage?: boolean | undefined;
  /** Refuse every key that is not authenticated, with `not-authenticated`. */
  readonly requireAuthenticated?: boolean | undefined;
  /** Milliseconds for which a key that the backup does not have is not asked for again; default 10 min. */
  readonly missingFor?: number | undefined;
  /** Milliseconds of silence after a 429 that outlasted its repetitions and named no time; default 30 s. */
  readonly pause?: number | undefined;
  /** For tests. */
  readonly now?: (() => number) | undefined;
}

/** More absences than this are not remembered: the oldest are forgotten. */
const MAX_MISSING = 10_000;
/** A server may ask for any silence; this is the longest we keep. */
const MAX_PAUSE = 300_000;

/**
 * Fetches single keys on demand, for messages that cannot be read yet.
 *
 * One request at a time, so that a server that asks us to slow down slows down all of them; the same key is never
 * asked for twice at once; and what the backup does not have is remembered for a while.
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

  /** @throws {@link KeyBackupError} `wrong-key`, `unsupported-algorithm`, `bad-auth-data`, `low-order-key`. */
  constructor(
    roomKeys: RoomKeys,
    info: VersionInfo,
    key: BackupDecryptionKey,
    options: KeyLookupOptions = {},
  ) {
    expectInstance(roomKeys, RoomKeys, 'roomKeys');
    expectAlgorithm(info);
    expectOptions(options);
    expectMethod(key, 'matches', 'key').expectMatch(info.auth_data);
    this.#roomKeys = roomKeys;
    this.#info = info;
    this.#key = key;
    this.#options = options;
  }

  /**
   * Fetches and decrypts a key.
   *
   * @param options - The signal ends the waiting; the request goes on when somebody else waits for it, too.
   * @returns `undefined` when the backup does not have it.
   * @throws {@link KeyBackupError} why it cannot be read; {@link RequestError}; `aborted`.
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
      if (again > this.#now()) return Promise.resolve(undefined);
      this.#missing.delete(id);
    }
    let running = this.#running.get(id);
    if (!running) {
      running = this.#enqueue(id, roomId, sessionId);
      this.#running.set(id, running);
    }
    return raceAbort(running, signal);
  }

  /** Forgets what the backup did not have: when its etag has changed, say. */
  forget(): void {
    this.#missing.clear();
  }

  /** Ends all requests; whoever waits gets `aborted`. */
  abort(): void {
    this.#controller.abort();
  }

  #enqueue(id: string, roomId: string, sessionId: string): Promise<DecryptedSession | undefined> {
    const result = this.#last.then(() => this.#fetch(id, roomId, sessionId));
    // The next one waits for this one whatever becomes of it.
    this.#last = result.catch(() => undefined);
    return result.finally(() => this.#running.delete(id));
  }

  async #fetch(id: string, room_id: string, session_id: string): Promise<DecryptedSession | undefined> {
    const { signal } = this.#controller;
    const { salvage, requireAuthenticated, pause = 30_000 } = this.#options;
    const silence = this.#pausedUntil - this.#now();
    if (silence > 0) await sleep(silence, signal);
    try {
      const ids = { room_id, session_id };
      const found = await restoreKey(this.#roomKeys, this.#info, this.#key, ids, {
        salvage,
        requireAuthenticated,
        signal,
      });
      if (!found) this.#rememberMissing(id);
      return found;
    } catch (error) {
      if (isRequestError(error) && error.code === 'rate-limited') {
        this.#pausedUntil = this.#now() + Math.min(MAX_PAUSE, error.retry_after_ms ?? pause);
      }
      throw error;
    }
  }

  #rememberMissing(id: string): void {
    this.#missing.set(id, this.#now() + (this.#options.missingFor ?? 600_000));
    if (this.#missing.size <= MAX_MISSING) return;
    const [oldest] = this.#missing.keys();
    this.#missing.delete(oldest);
  }

  #now(): number {
    return (this.#options.now ?? Date.now)();
  }
}

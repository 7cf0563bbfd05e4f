import { sha256 } from '@noble/hashes/sha2.js';
import { callback, isFromCallback, prefetch, abortable, type AbortSignalLike } from '../async.js';
import { encryptSessions } from '../backends/auto.js';
import type { EncryptSettings, EncryptedSession } from '../batch/encrypt.js';
import type { BatchOptions } from '../batch/run.js';
import { expectInstance, expectIterable, expectOptions } from '../encoding/arguments.js';
import { base64Encode } from '../encoding/base64.js';
import { isJsonObject } from '../encoding/json.js';
import { utf8Encode } from '../encoding/utf8.js';
import { KeyBackupError } from '../errors.js';
import type { ExportedSessionData } from '../formats/room-key.js';
import type { BackupPublicKey } from '../scheme/keys.js';
import type { KeysChanged, VersionInfo } from '../wire/types.js';
import { RoomKeys } from './api.js';
import { expectStateOf, trustedPublicKey, type Trust } from './backup.js';
import {
  BatchSender,
  isUnicode,
  sealKey,
  type BatchLimits,
  type FailedUpload,
  type SealedItem,
  type SealedKey,
} from './batch-sender.js';
import { isRequestError, type RequestError } from './http-error.js';
import { StoredKeys } from './stored-keys.js';

/** A position in the input. */
export interface Checkpoint {
  /** How many sessions precede it. */
  readonly position: number;
  /** Unpadded base64 of a SHA-256 chain over room id, session id and session key of each. */
  readonly input_hash: string;
}

/** What an upload needs to resume another one. */
export interface UploadState extends Checkpoint {
  readonly version: string;
  /** Of the last answer. */
  readonly etag: string;
}

/** How to upload. What a callback throws ends the upload and is thrown by {@link uploadSessions}. */
export interface UploadOptions extends BatchOptions, EncryptSettings, BatchLimits {
  /** What makes the backup trusted. */
  readonly trust: Trust;
  /** Where to resume, with the same input. */
  readonly state?: UploadState | undefined;
  /** Called with the state after every acknowledged request. */
  readonly onState?: ((state: UploadState) => void | Promise<void>) | undefined;
  /** Called for every failure, before the state that includes it. */
  readonly onFailed?: ((failure: FailedUpload) => void) | undefined;
  /**
   * Downloads the backup first, and leaves out the sessions that it holds in an equal or better form, by their
   * metadata. Default false.
   */
  readonly skipStored?: boolean | undefined;
}

/** A session that was uploaded, and what is to be said about it. */
export type FlaggedUpload = Pick<EncryptedSession, 'room_id' | 'session_id' | 'flags'>;

/** How an upload ended. */
export interface UploadOutcome {
  /**
   * `complete`: everything was sent; `replaced`: the version is no longer the current one; `deleted`: the version is
   * gone.
   */
  readonly outcome: 'complete' | 'replaced' | 'deleted';
  /** The current version, if there is one. */
  readonly currentVersion: string | undefined;
  /** Sessions acknowledged by this run. */
  readonly uploaded: number;
  /** Sessions that the backup, or the same request, has in an equal or better form. */
  readonly skipped: number;
  readonly failures: readonly FailedUpload[];
  /** Acknowledged sessions that were mended, or that other implementations cannot read. */
  readonly flagged: readonly FlaggedUpload[];
  /** From the last answer, or from the version if nothing was sent. */
  readonly etag: string;
  /** The same; `undefined` if nothing was sent and the server does not count. */
  readonly count: number | undefined;
  /** Whether the numbers show that another client changes the backup too. */
  readonly changedElsewhere: boolean;
  readonly state: UploadState;
}

/** How many batches are encrypted while one is being sent. */
const PREFETCHED_BATCHES = 2;

/**
 * Encrypts sessions and uploads them.
 *
 * The next batches are encrypted while one is being sent. Requests are retried; a bad session is an entry of
 * `failures` and does not stop the others.
 *
 * @param info - The version to write to, as the server gave it.
 * @param sessions - In an array, an iterable or an async iterable.
 * @returns How it ended. A version that is no longer current, or gone, is an outcome and not an error.
 * @throws {@link KeyBackupError} `untrusted-backup` and what {@link trustedPublicKey} throws, before anything is
 * sent; `wrong-key` for another backup's `macKey`; `bad-parameters` when the state is of another version or input, or a
 * `macKey` is missing; `aborted`; {@link RequestError}. After an error, resume from the state that `onState` got last.
 *
 * @example
 * ```ts
 * import type { ExportedSessionData } from 'megolm-backup';
 * import { uploadSessions, type RoomKeys } from 'megolm-backup/client';
 *
 * async function backUp(roomKeys: RoomKeys, sessions: ExportedSessionData[], masterKey: string) {
 *   const info = await roomKeys.currentVersion();
 *   if (!info) return;
 *   const trustedKeys = [{ keyId: `ed25519:${masterKey}`, publicKey: masterKey }];
 *   const trust = { userId: '@a:example.org', trustedKeys };
 *   const { outcome, uploaded, failures } = await uploadSessions(roomKeys, info, sessions, { trust });
 *   console.log(outcome, uploaded, failures.length);
 * }
 * ```
 */
export async function uploadSessions(
  roomKeys: RoomKeys,
  info: VersionInfo,
  sessions: Iterable<ExportedSessionData> | AsyncIterable<ExportedSessionData>,
  options: UploadOptions,
): Promise<UploadOutcome> {
  expectInstance(roomKeys, RoomKeys, 'roomKeys');
  expectIterable(sessions, 'sessions');
  expectOptions(options);
  const publicKey = trustedPublicKey(info, options.trust);
  const { state, skipStored, macKey, signal } = options;
  macKey?.expectMatch(publicKey);
  expectStateOf(info, state);
  const stored = skipStored ? await StoredKeys.download(roomKeys, info.version, signal) : undefined;
  return new Upload(roomKeys, info, publicKey, options, stored).run(sessions);
}

/** What ended an upload early. */
type Ended = Pick<UploadOutcome, 'outcome' | 'currentVersion'>;

/** What became of a session of the input. */
interface UploadItem extends SealedItem {
  readonly failure?: FailedUpload;
  /** The position after it. */
  readonly checkpoint: Checkpoint;
}

/** One upload in progress. */
class Upload {
  readonly #roomKeys: RoomKeys;
  readonly #info: VersionInfo;
  readonly #publicKey: BackupPublicKey;
  readonly #options: UploadOptions;
  readonly #input: UploadInput;
  readonly #failures: FailedUpload[] = [];
  readonly #flagged: FlaggedUpload[] = [];
  readonly #sender: BatchSender;
  #uploaded = 0;
  #answer: Pick<VersionInfo, 'etag' | 'count'>;
  #changedElsewhere: boolean;
  #state: UploadState;

  constructor(
    roomKeys: RoomKeys,
    info: VersionInfo,
    publicKey: BackupPublicKey,
    options: UploadOptions,
    stored: StoredKeys | undefined,
  ) {
    this.#roomKeys = roomKeys;
    this.#info = info;
    this.#publicKey = publicKey;
    this.#options = options;
    const { batchKeys, batchBytes, signal } = options;
    this.#sender = new BatchSender(roomKeys, info.version, {
      ...{ batchKeys, batchBytes, signal },
      onSent: (answer, keys) => {
        this.#acknowledge(answer, keys);
      },
      onFailed: (failure) => {
        this.#fail(failure);
      },
    });
    this.#input = new UploadInput(options.state, (session) => this.#isStored(session, stored));
    this.#answer = { etag: info.etag, count: info.count };
    this.#changedElsewhere = options.state !== undefined && options.state.etag !== info.etag;
    this.#state = { ...(options.state ?? this.#input.end), version: info.version, etag: info.etag };
  }

  async run(
    sessions: Iterable<ExportedSessionData> | AsyncIterable<ExportedSessionData>,
  ): Promise<UploadOutcome> {
    const batches = prefetch(
      (signal) => this.#sender.batches(this.#items(sessions, signal)),
      PREFETCHED_BATCHES,
      this.#options.signal,
    );
    for await (const { keys, items, superseded } of batches) {
      try {
        await this.#sender.send(keys);
      } catch (error) {
        const ended = isRequestError(error) ? await this.#endedBy(error) : undefined;
        if (!ended) throw error;
        return this.#outcome(ended.outcome, ended.currentVersion);
      }
      for (const { failure } of items) if (failure) this.#fail(failure);
      this.#input.skipped += superseded;
      await this.#advance(items[items.length - 1].checkpoint);
    }
    return this.#outcome('complete', this.#info.version);
  }

  /** What an error tells about the version; `undefined` for any other error. */
  async #endedBy({ code, errcode, current_version }: RequestError): Promise<Ended | undefined> {
    const { signal } = this.#options;
    const ask = async () => (await this.#roomKeys.currentVersion({ signal }))?.version;
    if (code === 'wrong-version')
      return { outcome: 'replaced', currentVersion: current_version ?? (await ask()) };
    if (code === 'not-found') return { outcome: 'deleted', currentVersion: await ask() };
    // Servers of the Conduit family answer this for a version that is not the current one.
    if (errcode !== 'M_INVALID_PARAM') return undefined;
    const currentVersion = await ask();
    return currentVersion === this.#info.version ? undefined : { outcome: 'replaced', currentVersion };
  }

  /** The sessions, encrypted; at the end an item without a session, with the end of the input. */
  async *#items(
    sessions: Iterable<ExportedSessionData> | AsyncIterable<ExportedSessionData>,
    signal: AbortSignalLike,
  ): AsyncGenerator<UploadItem, void, undefined> {
    const input = this.#input.sessions(sessions, signal);
    const settings = { ...this.#options, signal, onProgress: undefined };
    for await (const result of encryptSessions(input, this.#publicKey, settings)) {
      const checkpoint = this.#input.next();
      const { room_id, session_id } = result;
      if (!result.ok) {
        // What a callback throws is not a failure of the session.
        if (isFromCallback(result.error)) throw result.error;
        yield { failure: { room_id, session_id, error: result.error }, checkpoint };
      } else if (!isUnicode(result.room_id) || !isUnicode(result.session_id)) {
        const message = 'room_id, session_id: expected Unicode text, got a lone surrogate';
        yield {
          failure: { room_id, session_id, error: new KeyBackupError('bad-json', message) },
          checkpoint,
        };
      } else {
        yield { key: sealKey(result), checkpoint };
      }
    }
    yield { checkpoint: this.#input.end };
  }

  #fail(failure: FailedUpload): void {
    this.#failures.push(failure);
    callback(() => this.#options.onFailed?.(failure));
  }

  #acknowledge(answer: KeysChanged, keys: readonly SealedKey[]): void {
    this.#uploaded += keys.length;
    for (const { room_id, session_id, flags = [] } of keys) {
      if (flags.length > 0) this.#flagged.push({ room_id, session_id, flags });
    }
    // Only the numbers show the keys of other clients: more new ones than were sent, or fewer than before.
    const { count = answer.count } = this.#answer;
    if (answer.count < count || answer.count > count + keys.length) this.#changedElsewhere = true;
    this.#answer = answer;
  }

  async #advance({ position, input_hash }: Checkpoint): Promise<void> {
    const { onState, onProgress, total } = this.#options;
    this.#state = { version: this.#info.version, etag: this.#answer.etag, position, input_hash };
    callback(() => onProgress?.({ done: position, total, failed: this.#failures.length }));
    await callback(() => onState?.(this.#state));
  }

  #isStored(session: ExportedSessionData, stored: StoredKeys | undefined): boolean {
    if (!stored) return false;
    const { isVerified = false } = this.#options;
    const verified = typeof isVerified === 'function' ? callback(() => isVerified(session)) : isVerified;
    return stored.covers(session, verified);
  }

  #outcome(outcome: UploadOutcome['outcome'], currentVersion: string | undefined): UploadOutcome {
    return {
      outcome,
      currentVersion,
      uploaded: this.#uploaded,
      skipped: this.#input.skipped,
      failures: this.#failures,
      flagged: this.#flagged,
      etag: this.#answer.etag,
      count: this.#answer.count,
      changedElsewhere: this.#changedElsewhere,
      state: this.#state,
    };
  }
}

/** The input of an upload, counted and hashed: a state tells how much is acknowledged, and of which input. */
class UploadInput {
  /** Sessions left out because the backup, or their request, has them in an equal or better form. */
  skipped = 0;
  readonly #start: Checkpoint | undefined;
  readonly #isStored: (session: ExportedSessionData) => boolean;
  readonly #checkpoints: Checkpoint[] = [];
  #position = 0;
  #hash: Uint8Array = new Uint8Array(32);

  /** @param start - Where an earlier run stopped; the sessions before it are read, compared and left out. */
  constructor(start: Checkpoint | undefined, isStored: (session: ExportedSessionData) => boolean) {
    this.#start = start;
    this.#isStored = isStored;
  }

  /** The sessions to encrypt; throws if the input differs from that of the earlier run. */
  async *sessions(
    input: Iterable<ExportedSessionData> | AsyncIterable<ExportedSessionData>,
    signal: AbortSignalLike,
  ): AsyncGenerator<ExportedSessionData, void, undefined> {
    const from = this.#start?.position ?? 0;
    for await (const session of abortable(input, signal)) {
      this.#hash = sha256.create().update(this.#hash).update(identity(session)).digest();
      this.#position++;
      if (this.#position === from) this.#expectStart();
      if (this.#position <= from) continue;
      if (this.#isStored(session)) {
        this.skipped++;
        continue;
      }
      this.#checkpoints.push(this.end);
      yield session;
    }
    if (this.#position < from) this.#expectStart();
  }

  /** The checkpoint after the session of the next result. */
  next(): Checkpoint {
    return this.#checkpoints.shift() ?? this.end;
  }

  /** The checkpoint after what was read; after the last session, the end. */
  get end(): Checkpoint {
    return { position: this.#position, input_hash: base64Encode(this.#hash) };
  }

  #expectStart(): void {
    if (this.#start?.position === this.#position && this.#start.input_hash === this.end.input_hash) return;
    throw new KeyBackupError(
      'bad-parameters',
      'state.input_hash: expected the input that the state was made with, got another',
    );
  }
}

function identity(session: unknown): Uint8Array {
  const { room_id, session_id, session_key } = isJsonObject(session) ? session : {};
  return utf8Encode(JSON.stringify([room_id, session_id, session_key].map(String)));
}

import { type AbortSignalLike, callback, isFromCallback, prefetch, type Progress } from '../async.js';
import { expectInstance, expectIterable, expectOptions } from '../encoding/arguments.js';
import { SessionIdSet } from '../wire/session-id-set.js';
import { encryptSessions } from '../backends/auto.js';
import type { KeysChanged, VersionInfo } from '../wire/types.js';
import type { Backend } from '../batch/backend.js';
import type { EncryptSettings, EncryptedSession } from '../batch/encrypt.js';
import { KeyBackupError } from '../errors.js';
import type { BackupPublicKey } from '../scheme/keys.js';
import type { ExportedSessionData } from '../formats/room-key.js';
import { trustedPublicKey, type Trust } from './backup.js';
import { BatchSender, type FailedUpload } from './batch-sender.js';
import { isRequestError, type RequestError } from './http-error.js';
import { RoomKeys, type CallOptions } from './api.js';
import { StoredKeys, countWithoutRightMac } from './stored-keys.js';
import { UploadBatch, isUnicode, sealKey, type SealedKey } from './upload-batch.js';
import { UploadInput, type Checkpoint } from './upload-input.js';
import { quote } from '../encoding/quote.js';

/** What an upload needs to go on where another one stopped. */
export interface UploadState extends Checkpoint {
  readonly version: string;
  /** Of the last answer. */
  readonly etag: string;
}

/** How to upload. What a callback throws ends the upload, and is what {@link uploadSessions} throws. */
export interface UploadOptions extends CallOptions, EncryptSettings {
  /** Whom to believe about the backup. */
  readonly trust: Trust;
  /** Most keys of one request; default 200. */
  readonly batchKeys?: number | undefined;
  /** Most bytes of one request; default 800,000, since many a proxy allows 1 MB. A 413 halves it. */
  readonly batchBytes?: number | undefined;
  /** Where to go on, with the same input. */
  readonly state?: UploadState | undefined;
  /** Gets the state after every acknowledged request. */
  readonly onState?: ((state: UploadState) => void | Promise<void>) | undefined;
  /** Gets every failure, before the state that has passed it: what an error ends has its failures as well. */
  readonly onFailed?: ((failure: FailedUpload) => void) | undefined;
  /**
   * Ask the backup first what it has, and leave out what it has in an equal or better form, by its metadata. With
   * `authenticated` only what also has a right `backup_mac` is left out, which needs the `macKey`; a server keeps the
   * old one of two records that are equally good, so what it did keep is counted in `kept`. Default false.
   */
  readonly skipStored?: boolean | 'authenticated' | undefined;
  /** How many sessions will come, for the progress. */
  readonly total?: number | undefined;
  /** Is told how far it is, now and then and at the end. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  /** Does the expensive operations by other means. */
  readonly backend?: Backend | undefined;
}

/** A session that was uploaded, and what is to be said about it. */
export type FlaggedUpload = Pick<EncryptedSession, 'room_id' | 'session_id' | 'flags'>;

/** How an upload ended. */
export interface UploadOutcome {
  /**
   * `complete`: everything was sent; `replaced`: the version is not the current one any more; `deleted`: the
   * version is gone.
   */
  readonly outcome: 'complete' | 'replaced' | 'deleted';
  /** The version that is current instead, when there is one. */
  readonly currentVersion: string | undefined;
  /** Sessions acknowledged by this run. */
  readonly uploaded: number;
  /** Sessions that the backup, or the same request, has in an equal or better form. */
  readonly skipped: number;
  /**
   * With `skipStored: 'authenticated'`: sessions that the backup had in an equal or better form without a right
   * `backup_mac`, and, asked again after the upload, still has so. Delete those keys first, or let `authenticateBackup`
   * put everything into a new version.
   */
  readonly kept: number;
  readonly failures: readonly FailedUpload[];
  /** Acknowledged sessions that were mended, or that other implementations cannot read. */
  readonly flagged: readonly FlaggedUpload[];
  /** What the last answer said; what the version said when nothing was sent. */
  readonly etag: string;
  readonly count: number;
  /** Whether the numbers show that somebody else changes the backup, too. */
  readonly changedElsewhere: boolean;
  readonly state: UploadState;
}

/** Requests' worth of keys that are encrypted while one is on its way. */
const PREFETCHED_BATCHES = 2;
/** This many keys refused one by one, and none accepted: the keys are not to blame. */
const MAX_CONSECUTIVE_REJECTIONS = 32;

/**
 * Encrypts sessions and uploads them.
 *
 * The next batches are encrypted while one is on its way. What fails in passing is repeated; one bad session is
 * one entry of `failures` and never stops the others.
 *
 * @param info - The version to write to, as the server gave it.
 * @param sessions - In an array, an iterable or an async iterable.
 * @returns How it ended. A version that is not the current one any more, or gone, is an outcome and no error.
 * @throws {@link KeyBackupError} `untrusted-backup` and what {@link trustedPublicKey} says, before anything is
 * sent; `wrong-key` for another backup's `macKey`; `bad-parameters` when the state is of another version or input, or a
 * `macKey` is missing; `aborted`; {@link RequestError}. After an error the state that `onState` got last is where to
 * go on.
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
  if (skipStored === 'authenticated' && !macKey) {
    throw new KeyBackupError(
      'bad-parameters',
      'skipStored: expected a macKey too, got none: nothing else tells what is authenticated',
    );
  }
  macKey?.expectMatch(publicKey);
  if (state && state.version !== info.version) {
    throw new KeyBackupError(
      'bad-parameters',
      `state.version: expected ${quote(info.version)}, got another: this state is of another backup`,
    );
  }
  const judge = skipStored === 'authenticated' ? macKey : undefined;
  const stored = skipStored
    ? await StoredKeys.download(roomKeys, info.version, judge, { signal })
    : undefined;
  return new Upload(roomKeys, info, publicKey, options, stored).run(sessions);
}

/** What ended an upload early. */
type Ended = Pick<UploadOutcome, 'currentVersion'> & { readonly outcome: 'replaced' | 'deleted' };

interface PendingBatch {
  readonly keys: readonly SealedKey[];
  /** Failures up to the end of the batch. */
  readonly failures: readonly FailedUpload[];
  readonly superseded: number;
  readonly checkpoint: Checkpoint;
}

/** One upload on its way. */
class Upload {
  readonly #roomKeys: RoomKeys;
  readonly #info: VersionInfo;
  readonly #publicKey: BackupPublicKey;
  readonly #options: UploadOptions;
  /** Sent, by this run or an earlier one, although the backup has them: it has them without a right `backup_mac`. */
  readonly #contested = new SessionIdSet();
  readonly #input: UploadInput;
  readonly #failures: FailedUpload[] = [];
  readonly #flagged: FlaggedUpload[] = [];
  readonly #sender: BatchSender;
  #uploaded = 0;
  #superseded = 0;
  #answer: KeysChanged;
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
    this.#sender = new BatchSender(roomKeys, info.version, {
      limits: { keys: options.batchKeys ?? 200, bytes: options.batchBytes ?? 800_000 },
      maxConsecutiveRejections: MAX_CONSECUTIVE_REJECTIONS,
      signal: options.signal,
      onSent: (answer, keys) => {
        this.#uploaded += keys.length;
        for (const { room_id, session_id, flags = [] } of keys) {
          if (flags.length > 0) this.#flagged.push({ room_id, session_id, flags });
        }
        this.#follow(answer, keys.length);
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
      (signal) => this.#batches(sessions, signal),
      PREFETCHED_BATCHES,
      this.#options.signal,
    );
    for await (const batch of batches) {
      const ended = await this.#send(batch.keys);
      if (ended) return this.#outcome(ended.outcome, ended.currentVersion);
      for (const failure of batch.failures) this.#fail(failure);
      this.#superseded += batch.superseded;
      await this.#advance(batch.checkpoint);
    }
    return this.#outcome('complete', this.#info.version, await this.#kept());
  }

  /** Sends keys. What the server says about the version is an outcome and no error. */
  async #send(keys: readonly SealedKey[]): Promise<Ended | undefined> {
    try {
      await this.#sender.send(keys);
      return undefined;
    } catch (error) {
      const ended = isRequestError(error) ? await this.#endedBy(error) : undefined;
      if (!ended) throw error;
      return ended;
    }
  }

  async #endedBy({ code, errcode, current_version }: RequestError): Promise<Ended | undefined> {
    const { signal } = this.#options;
    const ask = async () => (await this.#roomKeys.currentVersion({ signal }))?.version;
    if (code === 'wrong-version')
      return { outcome: 'replaced', currentVersion: current_version ?? (await ask()) };
    if (code === 'not-found') return { outcome: 'deleted', currentVersion: await ask() };
    // What servers of the Conduit family say of a version that is not the current one.
    if (errcode !== 'M_INVALID_PARAM') return undefined;
    const currentVersion = await ask();
    return currentVersion === this.#info.version ? undefined : { outcome: 'replaced', currentVersion };
  }

  async #kept(): Promise<number> {
    const { macKey, signal } = this.#options;
    if (!macKey || this.#contested.size === 0) return 0;
    const { version } = this.#info;
    const [kept] = await countWithoutRightMac(this.#roomKeys, version, macKey, [this.#contested], { signal });
    return kept;
  }

  /** The encrypted batches. The last one may be empty: it marks the end of the input. */
  async *#batches(
    sessions: Iterable<ExportedSessionData> | AsyncIterable<ExportedSessionData>,
    signal: AbortSignalLike,
  ): AsyncGenerator<PendingBatch, void, undefined> {
    const { isVerified, macKey, macNames, bindRoomId, unauthenticated, backend, total } = this.#options;
    const results = encryptSessions(this.#input.sessions(sessions, signal), this.#publicKey, {
      signal,
      ...(isVerified !== undefined && { isVerified: marked(isVerified) }),
      ...{ macKey, macNames, bindRoomId, unauthenticated },
      backend,
      total,
    });
    let batch = new UploadBatch();
    let failures: FailedUpload[] = [];
    let checkpoint: Checkpoint = this.#state;
    for await (const result of results) {
      const after = this.#input.next();
      // Not a failure of the session.
      if (!result.ok && isFromCallback(result.error)) throw result.error;
      if (!result.ok) {
        const { room_id, session_id, error } = result;
        failures.push({ room_id, session_id, error });
      } else if (!isUnicode(result.room_id) || !isUnicode(result.session_id)) {
        const { room_id, session_id } = result;
        const message = 'room_id, session_id: expected Unicode text, got a lone surrogate';
        failures.push({ room_id, session_id, error: new KeyBackupError('bad-json', message) });
      } else {
        const key = sealKey(result);
        if (!batch.fits(key, this.#sender.limits)) {
          yield { keys: batch.keys, failures, superseded: batch.superseded, checkpoint };
          batch = new UploadBatch();
          failures = [];
        }
        batch.add(key);
      }
      checkpoint = after;
    }
    yield { keys: batch.keys, failures, superseded: batch.superseded, checkpoint: this.#input.end };
  }

  #fail(failure: FailedUpload): void {
    this.#failures.push(failure);
    callback(() => this.#options.onFailed?.(failure));
  }

  /** Other keys than ours can only show in the numbers: more new ones than we sent, or fewer than there were. */
  #follow(answer: KeysChanged, sent: number): void {
    const { count } = this.#answer;
    if (answer.count < count || answer.count > count + sent) this.#changedElsewhere = true;
    this.#answer = answer;
  }

  async #advance(checkpoint: Checkpoint): Promise<void> {
    const { onState, onProgress, total } = this.#options;
    const { position, input_hash } = checkpoint;
    this.#state = { version: this.#info.version, etag: this.#answer.etag, position, input_hash };
    callback(() => onProgress?.({ done: position, total, failed: this.#failures.length }));
    await callback(() => onState?.(this.#state));
  }

  #isStored(session: ExportedSessionData, stored: StoredKeys | undefined): boolean {
    if (!stored) return false;
    const { isVerified = false } = this.#options;
    const covered = stored.covers(
      session,
      typeof isVerified === 'function' ? isVerified(session) : isVerified,
    );
    if (covered === 'unauthenticated') this.#contested.add(session.room_id, session.session_id);
    return covered === true;
  }

  #outcome(outcome: UploadOutcome['outcome'], currentVersion: string | undefined, kept = 0): UploadOutcome {
    return {
      outcome,
      currentVersion,
      uploaded: this.#uploaded,
      skipped: this.#input.skipped + this.#superseded,
      kept,
      failures: this.#failures,
      flagged: this.#flagged,
      etag: this.#answer.etag,
      count: this.#answer.count,
      changedElsewhere: this.#changedElsewhere,
      state: this.#state,
    };
  }
}

function marked(isVerified: NonNullable<UploadOptions['isVerified']>): typeof isVerified {
  return typeof isVerified === 'function' ? (session) => callback(() => isVerified(session)) : isVerified;
}

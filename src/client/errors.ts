import { KeyBackupError, type EngineCode } from '../engine/errors.js';

/** What the client can say about a server, a network and a backup it refuses. */
export type ClientCode =
  /** A refusal that fits nothing below; see `status` and `errcode`. */
  | 'http'
  | 'network'
  | 'timeout'
  /** `M_LIMIT_EXCEEDED`, or status 429. */
  | 'rate-limited'
  /** The access token is missing, wrong or expired: `M_MISSING_TOKEN`, `M_UNKNOWN_TOKEN`, or status 401. */
  | 'unauthorized'
  /** `M_NOT_FOUND`. A 404 without it is `http`: a proxy's page says nothing about a backup. */
  | 'not-found'
  /** `M_WRONG_ROOM_KEYS_VERSION`: the backup version is no longer the current one; see `current_version`. */
  | 'wrong-version'
  /** Nobody we trust vouches for the backup, so nothing is encrypted to it. */
  | 'untrusted-backup'
  /** A 2xx answer that is not what the specification says. */
  | 'bad-response'
  | 'missing-dependency';

/** The codes of {@link RequestError}. `too-large` is `M_TOO_LARGE`, or status 413. */
export type RequestCode =
  | Exclude<ClientCode, 'untrusted-backup' | 'missing-dependency'>
  | Extract<EngineCode, 'aborted' | 'too-large' | 'bad-parameters'>;

/** What an answer said besides its code. */
export interface AnswerFacts {
  readonly status?: number | undefined;
  readonly errcode?: string | undefined;
  readonly current_version?: string | undefined;
  readonly retry_after_ms?: number | undefined;
}

/**
 * A request that failed: a {@link KeyBackupError} with what the server said.
 *
 * @example
 * ```ts
 * import { RequestError, type RoomKeys } from 'megolm-backup/client';
 *
 * async function isCurrent(roomKeys: RoomKeys, version: string) {
 *   try {
 *     await roomKeys.putKeys(version, { rooms: {} });
 *     return true;
 *   } catch (error) {
 *     if (error instanceof RequestError && error.code === 'wrong-version') return false;
 *     throw error;
 *   }
 * }
 * ```
 */
export class RequestError extends KeyBackupError<RequestCode> implements AnswerFacts {
  /** The HTTP status; absent when no answer came. */
  readonly status: number | undefined;
  /** The Matrix error code, `M_...`. */
  readonly errcode: string | undefined;
  /**
   * With `wrong-version`: the current version, if the server names one. Absent if it names the one it has just
   * refused, as Synapse does; then `RoomKeys.currentVersion` tells.
   */
  readonly current_version: string | undefined;
  /** With `rate-limited` and status 503: how many milliseconds the server asks to wait, however many. */
  readonly retry_after_ms: number | undefined;

  constructor(code: RequestCode, message: string, facts: AnswerFacts & { readonly cause?: unknown } = {}) {
    super(code, message, { cause: facts.cause });
    this.status = facts.status;
    this.errcode = facts.errcode;
    this.current_version = facts.current_version;
    this.retry_after_ms = facts.retry_after_ms;
  }
}

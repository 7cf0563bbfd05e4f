import { isFromCallback } from '../async.js';
import { KeyBackupError, type ErrorCode } from '../errors.js';

/** The codes of {@link RequestError}. `too-large` is `M_TOO_LARGE`, or status 413. */
export type RequestCode = Extract<
  ErrorCode,
  | 'http'
  | 'network'
  | 'timeout'
  /** `M_LIMIT_EXCEEDED`, or status 429. */
  | 'rate-limited'
  | 'unauthorized'
  | 'not-found'
  | 'wrong-version'
  | 'bad-response'
  | 'too-large'
  | 'bad-parameters'
  | 'aborted'
>;

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
export class RequestError extends KeyBackupError implements AnswerFacts {
  declare readonly code: RequestCode;
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

/** Whether a request of ours failed, and not one that a callback made. */
export function isRequestError(error: unknown): error is RequestError {
  return error instanceof RequestError && !isFromCallback(error);
}

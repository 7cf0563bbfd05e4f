import { KeyBackupError } from '../engine/errors.js';
import { RequestError } from './errors.js';

/**
 * Callbacks of the caller. What one throws reaches the caller once and unchanged, even if it is a
 * {@link RequestError} of another request: it is never retried, and never taken for an answer to ours.
 */

const thrown = new WeakSet<Error>();

/** Calls a callback and marks what it throws, or what its promise rejects with. */
export function callback<T>(call: () => T): T {
  try {
    const result = call();
    if (result instanceof Promise) result.catch(mark);
    return result;
  } catch (error) {
    mark(error);
    throw error;
  }
}

function mark(error: unknown): void {
  if (error instanceof Error) thrown.add(error);
}

/** Whether a callback threw the error. Everything that this package throws on purpose is a {@link KeyBackupError}. */
export function isFromCallback(error: unknown): boolean {
  return !(error instanceof KeyBackupError) || thrown.has(error);
}

/** Whether a request of ours failed. */
export function isRequestError(error: unknown): error is RequestError {
  return error instanceof RequestError && !isFromCallback(error);
}

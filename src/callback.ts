import { KeyBackupError } from './errors.js';

/**
 * Callbacks of the caller are called from here, and never handed to a backend. What one throws reaches the caller once
 * and unchanged, even if it is a {@link KeyBackupError}: it is never retried, and never taken for the error of one key.
 */

let thrown: WeakSet<object> | undefined;

/** Calls a callback and marks what it throws, or what its promise rejects with. */
export function callback<Result>(call: () => Result): Result {
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
  if (typeof error === 'object' && error !== null) (thrown ??= new WeakSet()).add(error);
}

/** Whether a callback threw the error. Everything that this package throws on purpose is a {@link KeyBackupError}. */
export function isFromCallback(error: unknown): boolean {
  return !(error instanceof KeyBackupError) || (thrown?.has(error) ?? false);
}

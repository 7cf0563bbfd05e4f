import { type AbortSignalLike, raceAbort } from '../async.js';
import { isBytes, plainBytes } from '../encoding/bytes.js';
import { KeyBackupError, describe } from '../errors.js';

/**
 * Calls a backend: whatever it throws comes out as `backend-failed`, and so does a result that the seam does not allow.
 * An unnoticed wrong length would make a backup unreadable.
 */

/** The part of a `Backend` that its errors name. */
interface Named {
  readonly name: string;
}

/** Runs a synchronous operation. A {@link KeyBackupError} of the backend's own stays what it is. */
export function callBackend<T>(backend: Named, operation: string, call: () => T): T {
  try {
    return call();
  } catch (cause) {
    throw asBackendError(backend, operation, cause);
  }
}

/** {@link callBackend} for an operation that may give a promise, which is awaited until the signal aborts. */
export async function awaitBackend<T>(
  backend: Named,
  operation: string,
  call: () => T | Promise<T>,
  signal?: AbortSignalLike,
): Promise<T> {
  try {
    return await raceAbort(Promise.resolve(call()), signal);
  } catch (cause) {
    throw asBackendError(backend, operation, cause);
  }
}

function asBackendError(backend: Named, operation: string, cause: unknown): KeyBackupError {
  if (cause instanceof KeyBackupError) return cause;
  return new KeyBackupError('backend-failed', `backend ${backend.name}: ${operation} failed`, { cause });
}

/** Checks bytes that a backend gave. Returns the same memory, see {@link plainBytes}; throws `backend-failed`. */
export function assertBytes(backend: Named, operation: string, value: unknown, length: number): Uint8Array {
  if (isBytes(value) && value.length === length) return plainBytes(value);
  throw new KeyBackupError(
    'backend-failed',
    `backend ${backend.name}: ${operation}: expected ${length} bytes, got ${describe(value)}`,
  );
}

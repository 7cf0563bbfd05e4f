import { type AbortSignalLike, raceAbort } from '../async.js';
import { isBytes, plainBytes } from '../encoding/bytes.js';
import { KeyBackupError, describe } from '../errors.js';

/**
 * Calling a `Backend`: whatever it throws, and whatever it gives that the seam does not allow, comes out as
 * `backend-failed`. A wrong length that passed unseen would be a backup that nobody can read.
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
    throw explained(backend, operation, cause);
  }
}

/** {@link callBackend} for a promise, which is waited for no longer than until the signal aborts. */
export async function awaitBackend<T>(
  backend: Named,
  operation: string,
  call: () => Promise<T>,
  signal?: AbortSignalLike,
): Promise<T> {
  try {
    return await raceAbort(call(), signal);
  } catch (cause) {
    throw explained(backend, operation, cause);
  }
}

function explained(backend: Named, operation: string, cause: unknown): KeyBackupError {
  if (cause instanceof KeyBackupError) return cause;
  return new KeyBackupError('backend-failed', `backend ${backend.name}: ${operation} failed`, { cause });
}

/**
 * Checks bytes that a backend gave.
 *
 * @returns The same memory, of exactly `length` bytes, see {@link plainBytes}.
 * @throws {@link KeyBackupError} `backend-failed`.
 */
export function assertBytes(backend: Named, operation: string, value: unknown, length: number): Uint8Array {
  if (isBytes(value) && value.length === length) return plainBytes(value);
  throw new KeyBackupError(
    'backend-failed',
    `backend ${backend.name}: ${operation}: expected ${length} bytes, got ${describe(value)}`,
  );
}

/**
 * Checks a list of results that a backend gave.
 *
 * @returns The same list: `count` results, each of them as `isOne` says.
 * @throws {@link KeyBackupError} `backend-failed`.
 */
export function expectManyFrom<Result>(
  backend: Named,
  operation: string,
  value: unknown,
  count: number,
  isOne: (one: unknown, slot: number) => one is Result,
): readonly Result[] {
  if (Array.isArray(value) && value.length === count && value.every(isOne)) return value;
  throw new KeyBackupError(
    'backend-failed',
    `backend ${backend.name}: ${operation}: expected ${count} results, got ${describe(value)} of another kind`,
  );
}

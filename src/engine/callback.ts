/**
 * One rule for the caller's callbacks: the engine calls them itself, after it waited, and never hands them to a backend.
 * What one throws reaches the caller once, unchanged, whatever it is.
 */

let thrown: WeakSet<object> | undefined;

/** Calls a callback of the caller's, and remembers what it throws: see {@link isFromCallback}. */
export function callback<Result>(call: () => Result): Result {
  try {
    return call();
  } catch (error) {
    if (typeof error === 'object' && error !== null) (thrown ??= new WeakSet()).add(error);
    throw error;
  }
}

/** Whether a callback threw this error. It must not pass for the error of one key or one attempt. */
export function isFromCallback(error: object): boolean {
  return thrown?.has(error) ?? false;
}

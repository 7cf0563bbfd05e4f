/**
 * Lets a source work ahead of its consumer: while the consumer is busy with one value, the next ones are made.
 *
 * @param start - Makes the source; its signal aborts when the consumer leaves early or `signal` does.
 * @param values - How many values are made ahead at most.
 */
export async function* ahead<T>(
  start: (signal: AbortSignal) => AsyncGenerator<T, void, undefined>,
  values: number,
  signal: AbortSignalLike | undefined,
): AsyncGenerator<T, void, undefined> {
  const controller = new AbortController();
  const onAbort = (): void => {
    controller.abort(signal?.reason);
  };
  if (signal?.aborted) onAbort();
  signal?.addEventListener('abort', onAbort);
  const source = start(controller.signal);
  const pending: Promise<IteratorResult<T, void>>[] = [];
  const pull = (): void => {
    const next = source.next();
    // Whoever waits for it gets the error; whoever has left does not.
    next.catch(() => undefined);
    pending.push(next);
  };
  try {
    for (let i = 0; i < values; i++) pull();
    for (let next = pending.shift(); next; next = pending.shift()) {
      const result = await next;
      if (result.done) return;
      pull();
      yield result.value;
    }
  } finally {
    signal?.removeEventListener('abort', onAbort);
    controller.abort();
    await source.return().catch(() => undefined);
  }
}
import type { AbortSignalLike } from '../async.js';

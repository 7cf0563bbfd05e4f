import type { Backend, WaitOptions } from './backend.js';
import { KeyBackupError } from './errors.js';
import { isJsonObject, ownValue } from './json.js';
import { Pace } from './pace.js';
import { now, orAborted, throwIfAborted } from './turn.js';

/**
 * How a batch runs, whichever way it goes: inputs are taken a chunk at a time, what costs little is done key by
 * key, and the agreements of a chunk are made together.
 */

/** What the asynchronous batches accept. */
export interface BatchOptions extends WaitOptions {
  /** How many sessions will come, for the progress. Taken from the input where that is an array. */
  readonly total?: number | undefined;
  /** Does the expensive operations by other means; pure JavaScript otherwise. */
  readonly backend?: Backend | undefined;
}

/** A key that could not be processed, and why. */
export interface FailedSession {
  readonly ok: false;
  /** Its position in the input, from 0. */
  readonly index: number;
  /** Absent when the input does not say. */
  readonly room_id: string | undefined;
  /** Absent when the input does not say. */
  readonly session_id: string | undefined;
  /** Whether the input could be taken apart, so that what failed is what the keys made of it. */
  readonly wellFormed: boolean;
  readonly error: KeyBackupError;
}

/** The result for one key. */
export type Outcome<Output> = ({ readonly ok: true; readonly index: number } & Output) | FailedSession;

/** One direction of the scheme, cut where the seam is. */
export interface Direction<Input, Ready, Agreed, Output> {
  /** What is done to a key before the agreements: it is checked and taken apart. */
  readonly before: (input: Input) => Ready;
  /** The agreements of a chunk, in pure JavaScript. */
  readonly agree: (ready: readonly Ready[]) => Agreed;
  /** The agreements of a chunk by a backend; `undefined` where it has none. */
  readonly agreeBy: (ready: readonly Ready[], backend: Backend) => Promise<Agreed> | undefined;
  /** What is done to a key after them. `slot` is its place among the ready ones of its chunk. */
  readonly after: (input: Input, ready: Ready, agreed: Agreed, slot: number, backend?: Backend) => Output;
}

/** So many keys at a time gain all that a synchronous batch can gain. */
const SYNC_CHUNK = 1024;

/** Runs a batch in one call. */
export function runSync<Input, Ready, Agreed, Output>(
  inputs: Iterable<Input>,
  direction: Direction<Input, Ready, Agreed, Output>,
): Outcome<Output>[] {
  const all = [...inputs];
  const outcomes: Outcome<Output>[] = [];
  for (let first = 0; first < all.length; first += SYNC_CHUNK) {
    const chunk = all.slice(first, first + SYNC_CHUNK);
    const states = chunk.map((input) => attempt(() => direction.before(input)));
    const agreed = direction.agree(readyOnes(states));
    outcomes.push(...conclusions(chunk, states, agreed, first, direction));
  }
  return outcomes;
}

/** Runs a batch chunk by chunk, giving the event loop its turns. */
export async function* run<Input, Ready, Agreed, Output>(
  inputs: Iterable<Input> | AsyncIterable<Input>,
  direction: Direction<Input, Ready, Agreed, Output>,
  options: BatchOptions,
): AsyncGenerator<Outcome<Output>, void, void> {
  const { signal, onProgress, backend } = options;
  const total = options.total ?? (Array.isArray(inputs) ? inputs.length : undefined);
  const pace = new Pace(signal);
  let done = 0;
  let failed = 0;
  for await (const chunk of chunksOf(inputs, pace, options)) {
    const states: State<Ready>[] = [];
    for (const input of chunk) {
      states.push(attempt(() => direction.before(input)));
      if (pace.due) await pace.rest();
    }
    const ready = readyOnes(states);
    const started = now();
    const agreed = await agree(ready, direction, options);
    pace.learn(ready.length, now() - started);
    for (const outcome of conclusions(chunk, states, agreed, done, direction, backend)) {
      done++;
      if (!outcome.ok) failed++;
      yield outcome;
      if (pace.due) {
        onProgress?.({ done, total, failed });
        await pace.rest();
      }
    }
    onProgress?.({ done, total, failed });
  }
}

/** A key before its agreement: ready for it, or already failed. */
type State<Ready> = { readonly ready: Ready } | KeyBackupError;

function attempt<Ready>(before: () => Ready): State<Ready> {
  try {
    return { ready: before() };
  } catch (error) {
    // Anything else is a fault of the caller's callbacks or of this package: it must not pass for a bad key.
    if (error instanceof KeyBackupError) return error;
    throw error;
  }
}

function readyOnes<Ready>(states: readonly State<Ready>[]): Ready[] {
  return states.flatMap((state) => (state instanceof KeyBackupError ? [] : [state.ready]));
}

function* conclusions<Input, Ready, Agreed, Output>(
  chunk: readonly Input[],
  states: readonly State<Ready>[],
  agreed: Agreed,
  first: number,
  direction: Direction<Input, Ready, Agreed, Output>,
  backend?: Backend,
): Generator<Outcome<Output>, void, void> {
  let slot = 0;
  for (const [i, state] of states.entries()) {
    const input = chunk[i];
    const index = first + i;
    if (state instanceof KeyBackupError) {
      yield failure(input, index, false, state);
      continue;
    }
    const concluded = attempt(() => direction.after(input, state.ready, agreed, slot, backend));
    slot++;
    yield concluded instanceof KeyBackupError
      ? failure(input, index, true, concluded)
      : { ok: true, index, ...concluded.ready };
  }
}

function failure(input: unknown, index: number, wellFormed: boolean, error: KeyBackupError): FailedSession {
  const idOf = (name: string) => {
    const id = isJsonObject(input) ? ownValue(input, name) : undefined;
    return typeof id === 'string' ? id : undefined;
  };
  return { ok: false, index, room_id: idOf('room_id'), session_id: idOf('session_id'), wellFormed, error };
}

async function agree<Ready, Agreed>(
  ready: readonly Ready[],
  direction: Direction<never, Ready, Agreed, unknown>,
  { backend, signal }: BatchOptions,
): Promise<Agreed> {
  const agreeing = backend && direction.agreeBy(ready, backend);
  if (!agreeing) return direction.agree(ready);
  try {
    return await orAborted(agreeing, signal);
  } catch (cause) {
    if (cause instanceof KeyBackupError) throw cause;
    throw new KeyBackupError('backend-failed', `backend ${backend.name}: the agreements failed`, { cause });
  }
}

/** Takes the inputs in chunks of the size that the pace asks for. */
async function* chunksOf<Input>(
  inputs: Iterable<Input> | AsyncIterable<Input>,
  pace: Pace,
  { signal }: BatchOptions,
): AsyncGenerator<Input[], void, void> {
  throwIfAborted(signal);
  let chunk: Input[] = [];
  const take = (input: Input) => {
    chunk.push(input);
    return chunk.length >= pace.chunk;
  };
  if (Symbol.asyncIterator in inputs) {
    const iterator = inputs[Symbol.asyncIterator]();
    let waiting = false;
    try {
      for (;;) {
        waiting = true;
        const next = await orAborted(iterator.next(), signal);
        waiting = false;
        if (next.done === true) break;
        if (!take(next.value)) continue;
        yield chunk;
        chunk = [];
      }
    } finally {
      // A generator that still waits would keep us waiting for its end, so then it is told and left alone.
      const closing = iterator.return?.();
      if (waiting) closing?.catch(() => undefined);
      else await closing;
    }
  } else {
    for (const input of inputs) {
      if (!take(input)) continue;
      yield chunk;
      chunk = [];
    }
  }
  if (chunk.length > 0) yield chunk;
}

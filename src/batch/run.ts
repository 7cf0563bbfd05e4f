import {
  callback,
  now,
  raceAbort,
  ChunkSizer,
  throwIfAborted,
  abortable,
  type WaitOptions,
} from '../async.js';
import { pureBackend, type Backend, type Pipeline } from './backend.js';
import { KeyBackupError } from '../errors.js';
import { ownString } from '../encoding/json.js';
import { SYNC_CHUNK, tryRecord, readyOnes, type Finish } from './session-data-batch.js';

/**
 * How a batch runs, whichever way it goes: inputs are taken a chunk at a time, what costs little is done key by
 * key, and what needs keys is done for a chunk together.
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
export interface Direction<Input, Ready, Done, Output> {
  /** What is done to a key before: it is checked and taken apart. */
  readonly before: (input: Input) => Ready;
  /** What needs keys, for a chunk, in pure JavaScript. */
  readonly workSync: (ready: readonly Ready[]) => Finish<Done>;
  /** The same by a backend. */
  readonly work: (ready: readonly Ready[], backend: Backend, options: WaitOptions) => Promise<Finish<Done>>;
  /** How a backend wants that work, where it does it beside the thread. */
  readonly pipeline: (backend: Backend) => Pipeline | undefined;
  /** What is done to a key after. */
  readonly after: (input: Input, ready: Ready, done: Done) => Output;
  /** Wipes the copies of keys that it holds. */
  readonly dispose?: () => void;
}

/** A chunk that was taken apart. */
interface Chunk<Input, Ready> {
  readonly inputs: readonly Input[];
  /** Each is ready, or has failed already. */
  readonly states: readonly (Ready | KeyBackupError)[];
  readonly ready: readonly Ready[];
}

/** Runs a batch in one call. */
export function runSync<Input, Ready, Done, Output>(
  inputs: Iterable<Input>,
  direction: Direction<Input, Ready, Done, Output>,
): Outcome<Output>[] {
  const all = [...inputs];
  const outcomes: Outcome<Output>[] = [];
  for (let first = 0; first < all.length; first += SYNC_CHUNK) {
    const taken = all.slice(first, first + SYNC_CHUNK);
    const chunk = takenApart(
      taken,
      taken.map((input) => tryRecord(() => direction.before(input))),
    );
    const finish = direction.workSync(chunk.ready);
    try {
      for (const outcome of conclusions(chunk, finish, first, direction)) outcomes.push(outcome);
    } finally {
      finish.dispose();
    }
  }
  return outcomes;
}

/** A backend that was chosen for one batch, and what is to be done when the batch is over. */
export interface ChosenBackend {
  readonly backend: Backend;
  readonly dispose?: () => void;
}

/**
 * Runs a batch chunk by chunk, giving the event loop its turns.
 *
 * One generator and no other around it: every one that passes results on would cost more than reading their JSON.
 *
 * @param open - Makes the direction when the first result is asked for; it is disposed of at the end.
 * @param choose - Chooses the backend where the caller named none.
 */
export async function* run<Input, Ready, Done, Output>(
  inputs: Iterable<Input> | AsyncIterable<Input>,
  open: () => Direction<Input, Ready, Done, Output>,
  options: BatchOptions,
  choose?: () => Promise<ChosenBackend>,
): AsyncGenerator<Outcome<Output>, void, void> {
  const { signal, onProgress } = options;
  const total = options.total ?? (Array.isArray(inputs) ? inputs.length : undefined);
  const direction = open();
  let chosen: ChosenBackend | undefined;
  const underWay: { chunk: Chunk<Input, Ready>; working: Promise<Finish<Done>> }[] = [];
  try {
    if (!options.backend) chosen = await choose?.();
    const backend = options.backend ?? chosen?.backend ?? pureBackend;
    const { depth = 1, chunk: size } = direction.pipeline(backend) ?? {};
    const sizer = new ChunkSizer(signal, size);
    let done = 0;
    let failed = 0;
    const progress = () => callback(() => onProgress?.({ done, total, failed }));

    for await (const taken of chunksOf(inputs, sizer, options)) {
      const ended = taken.length === 0;
      if (!ended) underWay.push(await started(taken, direction, backend, sizer, signal));
      while (underWay.length > (ended ? 0 : depth - 1)) {
        const { chunk, working } = underWay[0];
        const finish = await finishedBy(working, backend, signal);
        if (sizer.shouldYield) await sizer.yieldNow();
        for (const outcome of conclusions(chunk, finish, done, direction)) {
          done++;
          if (!outcome.ok) failed++;
          yield outcome;
          throwIfAborted(signal);
          if (sizer.shouldYield) {
            progress();
            await sizer.yieldNow();
          }
        }
        progress();
        underWay.shift();
      }
    }
    // Also at the end of an empty backup.
    if (done === 0) progress();
  } finally {
    // What was left early: of a chunk that is still worked on, as soon as it is ready.
    for (const { working } of underWay) {
      working.then(
        (finish) => {
          finish.dispose();
        },
        () => undefined,
      );
    }
    chosen?.dispose?.();
    direction.dispose?.();
  }
}

/** Takes a chunk apart and sets the work on it going. */
async function started<Input, Ready, Done, Output>(
  taken: readonly Input[],
  direction: Direction<Input, Ready, Done, Output>,
  backend: Backend,
  sizer: ChunkSizer,
  signal: WaitOptions['signal'],
): Promise<{ chunk: Chunk<Input, Ready>; working: Promise<Finish<Done>> }> {
  const states: (Ready | KeyBackupError)[] = [];
  for (const input of taken) {
    states.push(tryRecord(() => direction.before(input)));
    if (sizer.shouldYield) await sizer.yieldNow();
  }
  const chunk = takenApart(taken, states);
  const since = now();
  const working = direction.work(chunk.ready, backend, { signal });
  // A chunk that fails while an earlier one is waited for has not failed unnoticed.
  working.then(
    () => {
      sizer.record(chunk.ready.length, now() - since);
    },
    () => undefined,
  );
  return { chunk, working };
}

function takenApart<Input, Ready>(
  inputs: readonly Input[],
  states: readonly (Ready | KeyBackupError)[],
): Chunk<Input, Ready> {
  return {
    inputs,
    states,
    ready: readyOnes(states),
  };
}

function* conclusions<Input, Ready, Done, Output>(
  { inputs, states }: Chunk<Input, Ready>,
  finish: Finish<Done>,
  first: number,
  direction: Direction<Input, Ready, Done, Output>,
): Generator<Outcome<Output>, void, void> {
  let slot = 0;
  for (const [i, state] of states.entries()) {
    const input = inputs[i];
    const index = first + i;
    if (state instanceof KeyBackupError) {
      yield failure(input, index, false, state);
      continue;
    }
    const own = slot++;
    const output = tryRecord(() => direction.after(input, state, finish(own)));
    yield output instanceof KeyBackupError
      ? failure(input, index, true, output)
      : { ok: true, index, ...output };
  }
}

function failure(input: unknown, index: number, wellFormed: boolean, error: KeyBackupError): FailedSession {
  const [room_id, session_id] = [ownString(input, 'room_id'), ownString(input, 'session_id')];
  return { ok: false, index, room_id, session_id, wellFormed, error };
}

async function finishedBy<Done>(
  working: Promise<Finish<Done>>,
  backend: Backend,
  signal: WaitOptions['signal'],
): Promise<Finish<Done>> {
  try {
    return await raceAbort(working, signal);
  } catch (cause) {
    if (cause instanceof KeyBackupError) throw cause;
    throw new KeyBackupError('backend-failed', `backend ${backend.name}: its work failed`, { cause });
  }
}

/** Takes the inputs in chunks of the size that the sizer asks for. The last one is empty, and says that it was all. */
async function* chunksOf<Input>(
  inputs: Iterable<Input> | AsyncIterable<Input>,
  sizer: ChunkSizer,
  { signal }: BatchOptions,
): AsyncGenerator<Input[], void, void> {
  throwIfAborted(signal);
  let chunk: Input[] = [];
  const take = (input: Input) => {
    chunk.push(input);
    return chunk.length >= sizer.chunk;
  };
  if (Symbol.asyncIterator in inputs) {
    for await (const input of abortable(inputs, signal)) {
      if (take(input)) {
        yield chunk;
        chunk = [];
      }
      if (sizer.shouldYield) await sizer.yieldNow();
    }
  } else {
    for (const input of inputs) {
      if (take(input)) {
        yield chunk;
        chunk = [];
      }
      if (sizer.shouldYield) await sizer.yieldNow();
    }
  }
  if (chunk.length > 0) yield chunk;
  yield [];
}

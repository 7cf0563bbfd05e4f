import {
  abortable,
  callback,
  ChunkSizer,
  now,
  raceAbort,
  throwIfAborted,
  type SignalOptions,
  type WaitOptions,
} from '../async.js';
import { expectIterable, expectOptions } from '../encoding/arguments.js';
import { ownString } from '../encoding/json.js';
import { KeyBackupError } from '../errors.js';
import {
  checkBackend,
  pureBackend,
  tryRecord,
  type Backend,
  type CheckedBackend,
  type Chunk,
  type Pipeline,
} from './backend.js';

/** Runs a batch: chunks, order, yielding, abort and progress. It never looks at a key. */

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

/** Encryption or decryption: each record is prepared, the work is done for a chunk, and then each is finished. */
export interface Direction<Input, Ready, Output> {
  /** Checks a record and takes it apart. It may throw for that record alone. */
  readonly prepare: (input: Input) => Ready;
  /** Makes the agreements of a chunk; the chunk finishes its records one by one. */
  readonly work: (
    ready: readonly Ready[],
    backend: CheckedBackend,
    options: SignalOptions,
  ) => Promise<Chunk<Output>>;
  /** The same in pure JavaScript, at once. */
  readonly workSync: (ready: readonly Ready[]) => Chunk<Output>;
  /** How a backend wants that work, where it does it beside the thread. */
  readonly pipeline: (backend: CheckedBackend) => Pipeline | undefined;
  /** Wipes the copies of keys that it holds. */
  readonly dispose?: () => void;
}

/** A backend that was chosen for one batch, and is disposed of when that is over. */
export type ChosenBackend = Backend & { dispose?(): void };

/** {@link BatchOptions}, and how a backend is chosen where they name none. */
export interface RunOptions extends BatchOptions {
  readonly choose?: (() => Promise<ChosenBackend>) | undefined;
}

/** Larger chunks are no faster. */
const SYNC_CHUNK = 1024;

/** Runs a batch in one call. */
export function runSync<Input, Ready, Output>(
  inputs: Iterable<Input>,
  open: () => Direction<Input, Ready, Output>,
): Outcome<Output>[] {
  expectIterable(inputs, 'sessions');
  const all = [...inputs];
  const outcomes: Outcome<Output>[] = [];
  const operation = open();
  try {
    for (let first = 0; first < all.length; first += SYNC_CHUNK) {
      const taken = all.slice(first, first + SYNC_CHUNK);
      const states = taken.map((input) => tryRecord(() => operation.prepare(input)));
      const chunk = operation.workSync(readyOnes(states));
      try {
        for (const outcome of outcomesOf(taken, states, chunk, first)) outcomes.push(outcome);
      } finally {
        chunk.dispose();
      }
    }
  } finally {
    operation.dispose?.();
  }
  return outcomes;
}

/** Runs a chunk by a backend, without yielding to the event loop. */
export async function runChunk<Input, Ready, Output>(
  inputs: readonly Input[],
  open: () => Direction<Input, Ready, Output>,
  backend: Backend,
): Promise<Outcome<Output>[]> {
  const operation = open();
  try {
    const states = inputs.map((input) => tryRecord(() => operation.prepare(input)));
    const chunk = await operation.work(readyOnes(states), checkBackend(backend), {});
    try {
      return [...outcomesOf(inputs, states, chunk, 0)];
    } finally {
      chunk.dispose();
    }
  } finally {
    operation.dispose?.();
  }
}

/** The output of a batch of one. */
export function only<Output>([outcome]: Outcome<Output>[]): Output {
  if (!outcome.ok) throw outcome.error;
  const { ok: _ok, index: _index, ...output } = outcome;
  return output as unknown as Output;
}

/** A chunk that is worked on. */
interface Working<Output> {
  readonly taken: readonly unknown[];
  /** Whether each is ready, or why not. */
  readonly states: readonly unknown[];
  readonly chunk: Promise<Chunk<Output>>;
}

/**
 * Runs a batch chunk by chunk, yielding to the event loop. One generator and no other around it: each that passed
 * results on would cost more than reading their JSON.
 */
export async function* run<Input, Ready, Output>(
  inputs: Iterable<Input> | AsyncIterable<Input>,
  open: () => Direction<Input, Ready, Output>,
  options: RunOptions,
): AsyncGenerator<Outcome<Output>, void, void> {
  expectIterable(inputs, 'sessions');
  expectOptions(options);
  const { signal, onProgress } = options;
  const total = options.total ?? (Array.isArray(inputs) ? inputs.length : undefined);
  const operation = open();
  let chosen: ChosenBackend | undefined;
  const underWay: Working<Output>[] = [];
  try {
    if (!options.backend) chosen = await options.choose?.();
    const backend = checkBackend(options.backend ?? chosen ?? pureBackend);
    const { depth = 1, chunk: size } = operation.pipeline(backend) ?? {};
    const sizer = new ChunkSizer(signal, size);
    let done = 0;
    let failed = 0;
    const progress = () => callback(() => onProgress?.({ done, total, failed }));

    for await (const taken of chunksOf(inputs, sizer, signal)) {
      const ended = taken.length === 0;
      if (!ended) underWay.push(await startWork(taken, operation, backend, sizer, signal));
      while (underWay.length > (ended ? 0 : depth - 1)) {
        const { taken, states, chunk: working } = underWay[0];
        const chunk = await raceAbort(working, signal);
        if (sizer.shouldYield) await sizer.yieldNow();
        for (const outcome of outcomesOf(taken, states, chunk, done)) {
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
    // After an early end: a chunk that is still worked on is wiped as soon as it is ready.
    for (const { chunk } of underWay) chunk.then(disposeOf, () => undefined);
    chosen?.dispose?.();
    operation.dispose?.();
  }
}

function disposeOf({ dispose }: Chunk<unknown>): void {
  dispose();
}

/** Prepares a chunk and starts the work on it. */
async function startWork<Input, Ready, Output>(
  taken: readonly Input[],
  operation: Direction<Input, Ready, Output>,
  backend: CheckedBackend,
  sizer: ChunkSizer,
  signal: WaitOptions['signal'],
): Promise<Working<Output>> {
  const states: (Ready | KeyBackupError)[] = [];
  for (const input of taken) {
    states.push(tryRecord(() => operation.prepare(input)));
    if (sizer.shouldYield) await sizer.yieldNow();
  }
  const ready = readyOnes(states);
  const since = now();
  const chunk = operation.work(ready, backend, { signal });
  // The second function: a chunk that fails while an earlier one is waited for is no unhandled rejection.
  chunk.then(
    () => {
      sizer.record(ready.length, now() - since);
    },
    () => undefined,
  );
  return { taken, states, chunk };
}

function* outcomesOf<Output>(
  taken: readonly unknown[],
  states: readonly unknown[],
  chunk: Chunk<Output>,
  first: number,
): Generator<Outcome<Output>, void, void> {
  let slot = 0;
  for (const [i, state] of states.entries()) {
    const index = first + i;
    const wellFormed = !(state instanceof KeyBackupError);
    const output = wellFormed ? tryRecord(() => chunk.finish(slot++)) : state;
    if (output instanceof KeyBackupError) {
      const [room_id, session_id] = [ownString(taken[i], 'room_id'), ownString(taken[i], 'session_id')];
      yield { ok: false, index, room_id, session_id, wellFormed, error: output };
    } else yield { ok: true, index, ...output };
  }
}

/** Takes the inputs in chunks as large as the sizer says. The last one is empty, and says that it was all. */
async function* chunksOf<Input>(
  inputs: Iterable<Input> | AsyncIterable<Input>,
  sizer: ChunkSizer,
  signal: WaitOptions['signal'],
): AsyncGenerator<Input[], void, void> {
  throwIfAborted(signal);
  let taken: Input[] = [];
  for await (const input of abortable(inputs, signal)) {
    taken.push(input);
    if (taken.length >= sizer.chunk) {
      yield taken;
      taken = [];
    }
    if (sizer.shouldYield) await sizer.yieldNow();
  }
  if (taken.length > 0) yield taken;
  yield [];
}

function readyOnes<Ready>(states: readonly (Ready | KeyBackupError)[]): Ready[] {
  return states.filter((state): state is Ready => !(state instanceof KeyBackupError));
}

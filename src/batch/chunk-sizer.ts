import type { AbortSignalLike } from './backend.js';
import { TURN_MILLISECONDS, now, throwIfAborted, turn } from '../async.js';

/** Far more keys at a time gain nothing, and cost memory. */
const MAX_CHUNK = 512;

/** On a machine where an agreement takes 10 ms even the first chunk must not hold the thread. */
const FIRST_CHUNK = 4;

/** Keeps a long computation from holding the thread, and finds how many keys fit between two turns. */
export class Pace {
  /** How many keys the next chunk should have. */
  chunk: number;
  readonly #fixed: boolean;
  /** Milliseconds a key, as far as is known. */
  #perKey = Infinity;
  readonly #signal: AbortSignalLike | undefined;
  #pause = now() + TURN_MILLISECONDS;

  /** @param chunk - The size of all chunks, where it is known; otherwise it is found. */
  constructor(signal: AbortSignalLike | undefined, chunk?: number) {
    this.#signal = signal;
    this.#fixed = chunk !== undefined;
    this.chunk = chunk ?? FIRST_CHUNK;
  }

  /** Whether the event loop should have its turn. */
  get due(): boolean {
    return now() >= this.#pause;
  }

  /** Gives the event loop its turn. Throws `aborted` when the signal says so. */
  async rest(): Promise<void> {
    await turn();
    throwIfAborted(this.#signal);
    this.#pause = now() + TURN_MILLISECONDS;
  }

  /** Takes in how long a chunk of `keys` took, in milliseconds. */
  learn(keys: number, milliseconds: number): void {
    if (this.#fixed || keys === 0) return;
    // A chunk during which the machine did something else must not make the next one tiny; if it stays slow, the
    // next ones will tell.
    this.#perKey = Math.min(Math.max(milliseconds, 0.001) / keys, 1.25 * this.#perKey);
    const fitting = Math.floor(TURN_MILLISECONDS / this.#perKey);
    // At most four times the last: one lucky measurement must not make the next chunk hold the thread for long.
    this.chunk = Math.max(1, Math.min(MAX_CHUNK, 4 * this.chunk, fitting));
  }
}

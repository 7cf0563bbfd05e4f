import { Coverage } from './coverage.js';
import { mutated, type Material } from './mutate.js';
import { Random } from './random.js';
import { Seen, type Target } from './target.js';

/** An input that broke a property, and how. */
export interface Finding {
  readonly input: Uint8Array;
  readonly message: string;
}

/** What a run did. */
export interface Run {
  readonly executions: number;
  readonly seconds: number;
  /** The most processor time that one input took. */
  readonly slowestMilliseconds: number;
  /** What became of the inputs: `accepted`, or the code of the refusal. */
  readonly outcomes: Readonly<Record<string, number>>;
  readonly findings: readonly Finding[];
  /** Few inputs that run all the code that was reached, the shortest first. */
  readonly corpus: readonly Uint8Array[];
  /** Characters of code that ran. */
  readonly covered: number;
}

/** How to run. */
export interface RunOptions {
  /** Of processor time: on a busy machine a run takes longer and does as much. */
  readonly seconds: number;
  readonly seed: number;
  /** Inputs to begin with, besides the target's own. */
  readonly corpus: readonly Uint8Array[];
  /** Without it inputs are mutated blindly. */
  readonly coverage?: Coverage | undefined;
  /** Is told of every input before it is read: whoever watches knows it when the reader never comes back. */
  readonly onInput?: ((input: Uint8Array) => void) | undefined;
}

/**
 * Coverage is asked for once in so many milliseconds of work: often while much is new, because whoever found it is then
 * searched for, and seldom later, because asking costs some milliseconds itself.
 */
const ROUND = { least: 2, most: 100 };
/** After so many different findings there is enough to do. */
const MOST_FINDINGS = 20;

/** Reads mutated inputs until the time is over. */
export async function fuzz(target: Target, options: RunOptions): Promise<Run> {
  return new Loop(target, options).run();
}

class Loop {
  readonly #target: Target;
  readonly #options: RunOptions;
  readonly #random: Random;
  readonly #seen = new Seen();
  readonly #pool: Uint8Array[] = [];
  readonly #material: Material;
  readonly #findings = new Map<string, Finding>();
  #milliseconds = ROUND.least;
  #executions = 0;
  #slowest = 0;

  constructor(target: Target, options: RunOptions) {
    this.#target = target;
    this.#options = options;
    this.#random = new Random(options.seed);
    const words = target.words.map((word) => new TextEncoder().encode(word));
    this.#material = { pool: this.#pool, words, maxLength: target.maxLength ?? 4096, jsonAt: target.jsonAt };
  }

  async run(): Promise<Run> {
    const { seconds, corpus, coverage } = this.#options;
    const begin = processorTime();
    const end = begin + 1000 * seconds;
    for (const input of [...corpus, ...this.#target.seeds().map(bytesOf)]) {
      await this.#read(input);
      if (!coverage || coverage.grew()) this.#pool.push(input);
    }
    while (processorTime() < end && this.#findings.size < MOST_FINDINGS) await this.#round(end);
    const took = (processorTime() - begin) / 1000;
    return {
      executions: this.#executions,
      seconds: Math.round(took * 10) / 10,
      slowestMilliseconds: Math.round(this.#slowest),
      outcomes: Object.fromEntries([...this.#seen.counts].sort()),
      findings: [...this.#findings.values()],
      corpus: [...this.#pool].sort((a, b) => a.length - b.length),
      covered: coverage?.size ?? 0,
    };
  }

  /** Inputs for some milliseconds. When they reached new code, those that did so join the pool. */
  async #round(end: number): Promise<void> {
    const { coverage } = this.#options;
    const inputs: Uint8Array[] = [];
    const until = Math.min(end, processorTime() + this.#milliseconds);
    do {
      const input = mutated(this.#random, this.#material);
      inputs.push(input);
      await this.#read(input);
    } while (processorTime() < until);
    this.#milliseconds = Math.min(ROUND.most, 1.5 * this.#milliseconds);
    if (!coverage?.grew(false)) return;
    this.#milliseconds = ROUND.least;
    await this.#search(inputs, coverage);
  }

  /** Those among some inputs that reach new code: by halves, since asking for coverage costs more than reading. */
  async #search(inputs: readonly Uint8Array[], coverage: Coverage): Promise<void> {
    for (const input of inputs) await this.#read(input);
    if (!coverage.grew(inputs.length === 1)) return;
    if (inputs.length === 1) {
      this.#pool.push(inputs[0]);
      return;
    }
    const middle = inputs.length >> 1;
    await this.#search(inputs.slice(0, middle), coverage);
    await this.#search(inputs.slice(middle), coverage);
  }

  async #read(input: Uint8Array): Promise<void> {
    this.#options.onInput?.(input);
    this.#executions++;
    const begin = processorTime();
    try {
      await this.#target.run(Uint8Array.from(input), this.#seen);
    } catch (error) {
      await this.#found(input, error);
    }
    this.#slowest = Math.max(this.#slowest, processorTime() - begin);
  }

  /** Of every kind of failure the shortest input is kept. */
  async #found(input: Uint8Array, error: unknown): Promise<void> {
    const kind = kindOf(error);
    if (this.#findings.has(kind)) return;
    const shortest = await this.#shortened(input, kind);
    this.#findings.set(kind, { input: shortest, message: describeError(error) });
  }

  async #shortened(input: Uint8Array, kind: string): Promise<Uint8Array> {
    const seen = new Seen();
    const fails = async (candidate: Uint8Array) => {
      try {
        await this.#target.run(Uint8Array.from(candidate), seen);
        return false;
      } catch (error) {
        return kindOf(error) === kind;
      }
    };
    let shortest = input;
    for (let size = shortest.length >> 1; size > 0; size >>= 1) {
      for (let at = 0; at + size <= shortest.length;) {
        const candidate = Uint8Array.of(...shortest.subarray(0, at), ...shortest.subarray(at + size));
        if (await fails(candidate)) shortest = candidate;
        else at += size;
      }
    }
    return shortest;
  }
}

/**
 * Milliseconds that this process has had a processor.
 *
 * @internal
 */
export function processorTime(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** Failures of one kind differ in the values in their messages only. */
function kindOf(error: unknown): string {
  const { name, message, code } = error as { name?: string; message?: string; code?: string };
  return `${name ?? ''} ${code ?? ''} ${(message ?? String(error)).split(':').slice(0, 2).join(':').slice(0, 80)}`;
}

function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code } = error as { code?: string };
  return `${error.name}${code === undefined ? '' : ` ${code}`}: ${error.message}`.slice(0, 500);
}

function bytesOf(seed: string | Uint8Array): Uint8Array {
  return typeof seed === 'string' ? new TextEncoder().encode(seed) : seed;
}

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { KeyBackupError, type BatchOptions, type Outcome, type Progress } from '../../src/index.js';
import { type Pipeline } from '../../src/engine.js';
import type { SignalOptions } from '../../src/async.js';
import { tryRecord, type CheckedBackend, type Chunk } from '../../src/batch/backend.js';
import { run as runBatch, runSync as runBatchSync, type Direction } from '../../src/batch/run.js';
import { collect, rejection } from '../support/samples.js';

/** The steps of an operation that costs only what it is told to: inputs are numbers, negative ones are bad. */
interface Steps<Input, Ready, Done, Output> {
  prepare: (input: Input) => Ready;
  work: (
    ready: readonly Ready[],
    backend: CheckedBackend,
    options: SignalOptions,
  ) => Promise<(slot: number) => Done>;
  workSync: (ready: readonly Ready[]) => (slot: number) => Done;
  finish: (ready: Ready, done: Done) => Output;
  pipeline?: Pipeline;
  dispose?: () => void;
}

/** An operation of these steps, which holds nothing. */
function operationOf<Input, Ready, Done, Output>(
  steps: Steps<Input, Ready, Done, Output>,
): Direction<Input, Ready, Output> {
  const chunk = (ready: readonly Ready[], done: (slot: number) => Done): Chunk<Output> => ({
    finish: (slot) => steps.finish(ready[slot], done(slot)),
    dispose: () => undefined,
  });
  return {
    prepare: steps.prepare,
    // Not asynchronous, so that it may throw at once.
    work: (ready, ...rest) => steps.work(ready, ...rest).then((done) => chunk(ready, done)),
    workSync: (ready) => chunk(ready, steps.workSync(ready)),
    pipeline: () => steps.pipeline,
    dispose: steps.dispose,
  };
}

type Doubling = Steps<number, number, number, { readonly double: number }>;

/** Runs a batch by an operation that is there already. */
const run = <Input, Ready, Output>(
  inputs: Iterable<Input> | AsyncIterable<Input>,
  operation: Direction<Input, Ready, Output>,
  options: BatchOptions,
) => runBatch(inputs, () => operation, options);
const runSync = <Input, Ready, Output>(inputs: Iterable<Input>, operation: Direction<Input, Ready, Output>) =>
  runBatchSync(inputs, () => operation);

const bad = () => new KeyBackupError('bad-json', 'input: expected a positive number');
const doubled = (ready: readonly number[]) => (slot: number) => 2 * ready[slot];

function doubling(overrides: Partial<Doubling> = {}) {
  return operationOf<number, number, number, { readonly double: number }>({
    prepare(input) {
      if (input < 0) throw bad();
      return input;
    },
    work: (ready) => Promise.resolve(doubled(ready)),
    workSync: doubled,
    finish(ready, double) {
      if (ready === 13) throw bad();
      return { double };
    },
    ...overrides,
  });
}

const numbers = (count: number) => Array.from({ length: count }, (_, i) => i);
const shown = (outcome: Outcome<{ double: number }>) => (outcome.ok ? outcome.double : outcome.error.code);

async function* lazily<T>(items: Iterable<T>): AsyncGenerator<T, void, void> {
  for (const item of items) {
    await Promise.resolve();
    yield item;
  }
}

function* pulled<T>(items: Iterable<T>, count: { value: number }): Generator<T, void, void> {
  for (const item of items) {
    count.value++;
    yield item;
  }
}

/** An async iterator by hand, since a generator hides what is asked of it. */
function byHand<T>(next: () => unknown, close?: () => unknown): AsyncIterable<T> & { closed: number } {
  const iterable = {
    closed: 0,
    [Symbol.asyncIterator]: () => ({
      next: () => next() as Promise<IteratorResult<T>>,
      ...(close && {
        return: () => {
          iterable.closed++;
          return close() as Promise<IteratorResult<T>>;
        },
      }),
    }),
  };
  return iterable;
}

const endless = () => {
  let i = 0;
  return () => Promise.resolve({ done: false, value: i++ });
};

let time = 0;

/** A clock that moves only when told to, and the longest that the event loop was held by it. */
let held = 0;
let lastTurn = 0;
let turns = 0;

beforeEach(() => {
  time = held = lastTurn = turns = 0;
  vi.stubGlobal('performance', { now: () => time });
  const { setImmediate } = globalThis;
  vi.stubGlobal('setImmediate', (callback: () => void) =>
    setImmediate(() => {
      turns++;
      held = Math.max(held, time - lastTurn);
      lastTurn = time;
      callback();
    }),
  );
});

afterEach(() => {
  vi.unstubAllGlobals();
});

describe('results', () => {
  it.each([0, 1, 15, 16, 17, 48, 49, 1023, 1024, 1025, 3000])(
    'are one for each of %d, in order',
    async (count) => {
      const inputs = numbers(count).map((i) => (i % 5 === 3 ? -i : i));
      const expected = inputs.map((i) => (i < 0 || i === 13 ? 'bad-json' : 2 * i));
      const all = [
        runSync(inputs, doubling()),
        runSync(new Set(inputs), doubling()),
        await collect(run(inputs, doubling(), {})),
        await collect(run(new Set(inputs), doubling(), {})),
        await collect(run(lazily(inputs), doubling(), {})),
      ];
      for (const outcomes of all) {
        expect(outcomes.map(shown)).toEqual(expected);
        expect(outcomes.map(({ index }) => index)).toEqual(numbers(count));
      }
    },
  );

  it('say whether the input could be taken apart, and where it came from', async () => {
    const inputs = [
      { room_id: '!r', session_id: 's', bad: 'before' },
      { room_id: '__proto__', session_id: 'constructor', bad: 'after' },
      { room_id: 5, bad: 'before' },
      Object.create({ room_id: '!inherited' }) as object,
      null,
      'text',
    ];
    const operation = operationOf<unknown, unknown, null, object>({
      prepare(input) {
        if ((input as { bad?: string } | null)?.bad !== 'after') throw bad();
        return input;
      },
      work: () => Promise.resolve(() => null),
      workSync: () => () => null,
      finish() {
        throw bad();
      },
    });
    const expected = [
      { room_id: '!r', session_id: 's', wellFormed: false },
      { room_id: '__proto__', session_id: 'constructor', wellFormed: true },
      ...Array.from({ length: 4 }, () => ({ room_id: undefined, session_id: undefined, wellFormed: false })),
    ].map((failure, index) => ({ ok: false, index, ...failure, error: expect.any(KeyBackupError) }));
    expect(runSync(inputs, operation)).toEqual(expected);
    expect(await collect(run(inputs, operation, {}))).toEqual(expected);
  });

  it('an error that is no refusal is a fault, and ends everything', async () => {
    const fault = new TypeError('a fault');
    const fail = () => {
      throw fault;
    };
    for (const operation of [doubling({ prepare: fail }), doubling({ finish: fail })]) {
      expect(() => runSync([1], operation)).toThrow(fault);
      await expect(collect(run([1], operation, {}))).rejects.toBe(fault);
    }
    expect(() => runSync([1], doubling({ workSync: fail }))).toThrow(fault);
    await expect(collect(run([1], doubling({ work: fail }), {}))).rejects.toBe(fault);
  });
});

describe('progress', () => {
  const progressOf = async (inputs: Iterable<number> | AsyncIterable<number>, options: BatchOptions = {}) => {
    const seen: Progress[] = [];
    await collect(run(inputs, doubling(), { ...options, onProgress: (progress) => seen.push(progress) }));
    return seen;
  };

  it('grows to the end and counts what failed', async () => {
    const inputs = numbers(500).map((i) => (i % 10 === 0 ? -1 - i : i));
    const seen = await progressOf(inputs);
    expect(seen.at(-1)).toEqual({ done: 500, total: 500, failed: 51 });
    expect(seen.length).toBeGreaterThan(3);
    for (let i = 1; i < seen.length; i++) {
      expect(seen[i].done).toBeGreaterThanOrEqual(seen[i - 1].done);
      expect(seen[i].failed).toBeGreaterThanOrEqual(seen[i - 1].failed);
    }
  });

  it('has a total where one is known', async () => {
    expect((await progressOf(new Set([1, 2]))).at(-1)).toEqual({ done: 2, total: undefined, failed: 0 });
    expect((await progressOf(lazily([1, 2]), { total: 2 })).at(-1)).toEqual({ done: 2, total: 2, failed: 0 });
    expect((await progressOf([1, 2], { total: 7 })).at(-1)).toEqual({ done: 2, total: 7, failed: 0 });
  });

  it('is told of nothing, too', async () => {
    expect(await progressOf([])).toEqual([{ done: 0, total: 0, failed: 0 }]);
    expect(await progressOf(lazily([]))).toEqual([{ done: 0, total: undefined, failed: 0 }]);
  });
});

describe('the event loop', () => {
  const costing = (before: number, agree: number, after: number) =>
    doubling({
      prepare: (input) => ((time += before), input),
      work: (ready) => ((time += agree * ready.length), Promise.resolve(doubled(ready))),
      finish: (_ready, double) => ((time += after), { double }),
    });

  it.each([
    ['a fast machine', 0.02, 0.05, 0.1],
    ['pure JavaScript', 0.05, 2, 0.3],
    ['a slow one', 0.5, 9, 2],
    ['plaintexts of a megabyte', 15, 1, 15],
    ['nothing but agreements', 0, 2.5, 0],
  ])('is not held for more than 50 ms: %s', async (_, before, agree, after) => {
    const count = 600;
    const operation = costing(before, agree, after);
    for (const inputs of [numbers(count), lazily(numbers(count))]) {
      turns = held = 0;
      lastTurn = time;
      const started = time;
      await collect(run(inputs, operation, {}));
      held = Math.max(held, time - lastTurn);
      expect(held).toBeLessThanOrEqual(50);
      expect(turns).toBeGreaterThanOrEqual(Math.floor((time - started) / 50));
      expect(turns).toBeLessThanOrEqual(Math.ceil((time - started) / 20));
    }
  });

  it('is not held by an input that never waits', async () => {
    const slowly = function* () {
      for (let i = 0; i < 2000; i++) {
        time += 1;
        yield i;
      }
    };
    for (const inputs of [slowly(), lazily(slowly())]) {
      held = 0;
      lastTurn = time;
      await collect(run(inputs, costing(0, 0.001, 0), {}));
      expect(held).toBeLessThanOrEqual(50);
    }
  });

  it('is not held by keys that are all bad', async () => {
    const operation = doubling({
      prepare() {
        time += 1;
        throw bad();
      },
    });
    const outcomes = await collect(run(numbers(1000), operation, {}));
    expect(outcomes).toHaveLength(1000);
    expect(held).toBeLessThanOrEqual(50);
    expect(turns).toBeGreaterThanOrEqual(20);
  });
});

describe('memory', () => {
  it.each([0.001, 2])('holds few inputs ahead of the results, whatever a key costs: %d', async (cost) => {
    const operation = doubling({
      work: (ready) => ((time += cost * ready.length), Promise.resolve(doubled(ready))),
    });
    for (const form of [(items: Iterable<number>) => items, lazily]) {
      const count = { value: 0 };
      let results = 0;
      let ahead = 0;
      for await (const _ of run(form(pulled(numbers(20_000), count)), operation, {})) {
        ahead = Math.max(ahead, count.value - results);
        results++;
      }
      expect(results).toBe(20_000);
      // One chunk, of 512 at most, and as many as fit in 20 ms.
      expect(ahead).toBeLessThanOrEqual(Math.min(512, Math.ceil(20 / cost) + 16));
    }
  });
});

describe('an abort', () => {
  const until = async (
    inputs: Iterable<number> | AsyncIterable<number>,
    after: number,
    operation = doubling(),
  ) => {
    const controller = new AbortController();
    let results = 0;
    const error = await rejection(
      (async () => {
        for await (const _ of run(inputs, operation, { signal: controller.signal })) {
          results++;
          if (results === after) controller.abort('enough');
        }
      })(),
    );
    return { error, results };
  };

  it('before the first takes no input at all', async () => {
    const count = { value: 0 };
    const { signal } = { signal: AbortSignal.abort('early') };
    for (const inputs of [pulled([1], count), lazily(pulled([1], count))]) {
      const error = await rejection(collect(run(inputs, doubling(), { signal })));
      expect(error).toMatchObject({ code: 'aborted', cause: 'early' });
    }
    expect(count.value).toBe(0);
  });

  it.each([1, 2, 16, 17, 99, 100])('after result %d of 100 lets no other result out', async (after) => {
    for (const inputs of [numbers(100), lazily(numbers(100))]) {
      const { error, results } = await until(inputs, after);
      expect(error).toMatchObject({ code: 'aborted', cause: 'enough' });
      expect(results).toBe(after);
    }
  });

  it('closes the input', async () => {
    for (const form of [(items: Generator<number>) => items, lazily]) {
      let closed = 0;
      const inputs = (function* () {
        try {
          yield* numbers(1000);
        } finally {
          closed++;
        }
      })();
      await until(form(inputs), 3);
      expect(closed).toBe(1);
    }
  });

  it('comes while a long computation has its turn', async () => {
    const controller = new AbortController();
    const operation = doubling({ prepare: (input) => ((time += 30), input) });
    const waiting = rejection(collect(run(numbers(1000), operation, { signal: controller.signal })));
    setTimeout(() => {
      controller.abort();
    }, 0);
    expect((await waiting).code).toBe('aborted');
    expect(time).toBeLessThan(30_000);
  });

  it.each([
    ['as a generator', () => lazily(stalling())],
    ['by hand', () => byHand<number>(() => new Promise(() => undefined))],
    [
      'by hand, with an end that never comes',
      () =>
        byHand<number>(
          () => new Promise(() => undefined),
          () => new Promise(() => undefined),
        ),
    ],
    [
      'by hand, with an end that is no promise',
      () =>
        byHand<number>(
          () => new Promise(() => undefined),
          () => ({ done: true }),
        ),
    ],
    [
      'by hand, with an end that fails',
      () =>
        byHand<number>(
          () => new Promise(() => undefined),
          () => Promise.reject(new Error('the end')),
        ),
    ],
    [
      'by hand, with an end that throws',
      () =>
        byHand<number>(
          () => new Promise(() => undefined),
          () => {
            throw new Error('the end');
          },
        ),
    ],
  ])('while the input stalls, %s', async (_, make) => {
    const controller = new AbortController();
    const waiting = collect(run(make(), doubling(), { signal: controller.signal }));
    setImmediate(() => {
      controller.abort('now');
    });
    expect(await rejection(waiting)).toMatchObject({ code: 'aborted', cause: 'now' });
  });

  it('while a backend stalls', async () => {
    const controller = new AbortController();
    const operation = doubling({ work: () => new Promise(() => undefined) });
    const backend = { name: 'test' };
    const waiting = collect(run([1], operation, { signal: controller.signal, backend }));
    setImmediate(() => {
      controller.abort('now');
    });
    expect(await rejection(waiting)).toMatchObject({ code: 'aborted', cause: 'now' });
  });
});

function* stalling(): Generator<number, void, void> {
  yield 1;
  yield new Promise<never>(() => undefined) as unknown as number;
}

describe('an input that fails', () => {
  const fault = new Error('the input');

  it.each([
    [
      'a generator',
      function* () {
        yield* numbers(40);
        throw fault;
      },
    ],
    [
      'an async generator',
      async function* () {
        yield* lazily(numbers(40));
        throw fault;
      },
    ],
    [
      'next() rejecting',
      () =>
        byHand<number>(
          () => Promise.reject(fault),
          () => Promise.resolve({ done: true }),
        ),
    ],
    [
      'next() throwing',
      () =>
        byHand<number>(
          () => {
            throw fault;
          },
          () => Promise.resolve({ done: true }),
        ),
    ],
    [
      'next() rejecting, with an end that fails too',
      () =>
        byHand<number>(
          () => Promise.reject(fault),
          () => {
            throw new Error('the end');
          },
        ),
    ],
  ] as [string, () => AsyncIterable<number>][])('%s: its own error comes out', async (_, make) => {
    await expect(collect(run(make(), doubling(), {}))).rejects.toBe(fault);
  });

  it('first gives the results of whole chunks before it', async () => {
    const results: number[] = [];
    const inputs = (function* () {
      yield* numbers(40);
      throw fault;
    })();
    await expect(
      (async () => {
        for await (const { index } of run(inputs, doubling(), {})) results.push(index);
      })(),
    ).rejects.toBe(fault);
    expect(results).toEqual(numbers(results.length));
    expect(results.length).toBeGreaterThan(0);
  });

  it('is not asked to end again after its own end or failure', async () => {
    let left = 3;
    const ended = byHand<number>(
      () => Promise.resolve(left-- > 0 ? { done: false, value: 1 } : { done: true, value: undefined }),
      () => Promise.resolve({ done: true }),
    );
    expect(await collect(run(ended, doubling(), {}))).toHaveLength(3);
    expect(ended.closed).toBe(0);
    const failed = byHand<number>(
      () => Promise.reject(fault),
      () => Promise.resolve({ done: true }),
    );
    await expect(collect(run(failed, doubling(), {}))).rejects.toBe(fault);
    expect(failed.closed).toBe(0);
  });
});

describe('a consumer that stops early', () => {
  it('closes the input once, and waits for its end', async () => {
    let ended = false;
    const inputs = byHand<number>(endless(), async () => {
      for (let i = 0; i < 5; i++) await Promise.resolve();
      ended = true;
      return { done: true };
    });
    for await (const { index } of run(inputs, doubling(), {})) if (index === 20) break;
    expect(inputs.closed).toBe(1);
    expect(ended).toBe(true);
  });

  it('needs no end of an iterator that has none', async () => {
    for await (const { index } of run(byHand<number>(endless()), doubling(), {})) if (index === 20) break;
  });

  it('hears of an end that fails', async () => {
    const inputs = byHand<number>(endless(), () => Promise.reject(new Error('the end')));
    await expect(
      (async () => {
        for await (const _ of run(inputs, doubling(), {})) break;
      })(),
    ).rejects.toThrow('the end');
  });
});

describe('a backend', () => {
  const backend = { name: 'test' };

  it('that is there does the work', async () => {
    const operation = doubling({
      work: (ready, { name }) => Promise.resolve((slot: number) => (name === 'test' ? 3 : 2) * ready[slot]),
    });
    expect((await collect(run([1, 2], operation, { backend }))).map(shown)).toEqual([3, 6]);
    expect((await collect(run([1, 2], operation, {}))).map(shown)).toEqual([2, 4]);
  });

  it('that fails ends the batch with its own error', async () => {
    const { signal } = new AbortController();
    for (const options of [{ backend }, { backend, signal }]) {
      for (const fault of [new Error('lower'), bad()]) {
        const failing = doubling({ work: () => Promise.reject(fault) });
        await expect(collect(run([1], failing, options))).rejects.toBe(fault);
      }
    }
  });

  describe('beside the thread', () => {
    /** Finishes its chunks only when told, so that one sees how many are under way. */
    function held(pipeline: Pipeline) {
      const waiting: { ready: readonly number[]; finish: (how: ReturnType<typeof doubled>) => void }[] = [];
      let most = 0;
      const operation = doubling({
        pipeline,
        work: (ready) =>
          new Promise((finish) => {
            waiting.push({ ready, finish });
            most = Math.max(most, waiting.length);
          }),
      });
      const finishOne = () => {
        const next = waiting.shift();
        next?.finish(doubled(next.ready));
      };
      return { operation, waiting, finishOne, most: () => most };
    }

    it('has as many chunks of as many keys under way as it wants, and gives them in order', async () => {
      const { operation, waiting, finishOne, most } = held({ chunk: 10, depth: 3 });
      const count = { value: 0 };
      const all: unknown[] = [];
      let ahead = 0;
      const running = (async () => {
        for await (const outcome of run(pulled(numbers(105), count), operation, { backend })) {
          ahead = Math.max(ahead, count.value - all.length);
          all.push(shown(outcome));
        }
      })();
      while (all.length < 105) {
        await new Promise((resolve) => setImmediate(resolve));
        for (const { ready } of waiting) expect(ready.length).toBeLessThanOrEqual(10);
        finishOne();
      }
      await running;
      expect(all).toEqual(numbers(105).map((i) => (i === 13 ? 'bad-json' : 2 * i)));
      expect(most()).toBe(3);
      expect(ahead).toBeLessThanOrEqual(40);
    });

    it('may fail in a later chunk first, and leaves no rejection unhandled', async () => {
      const unhandled: unknown[] = [];
      const note = (reason: unknown) => unhandled.push(reason);
      process.on('unhandledRejection', note);
      try {
        let chunk = 0;
        const operation = doubling({
          pipeline: { chunk: 10, depth: 4 },
          work: async (ready) => {
            if (++chunk > 1) throw new KeyBackupError('backend-failed', `chunk ${chunk} failed`);
            for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
            return doubled(ready);
          },
        });
        const results: number[] = [];
        const error = await rejection(
          (async () => {
            for await (const { index } of run(numbers(100), operation, { backend })) results.push(index);
          })(),
        );
        expect(error).toMatchObject({ code: 'backend-failed', message: 'chunk 2 failed' });
        expect(results).toEqual(numbers(10));
        for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
      } finally {
        process.off('unhandledRejection', note);
      }
      expect(unhandled).toEqual([]);
    });

    it('is left when aborted, and when the consumer stops', async () => {
      const { operation, waiting } = held({ chunk: 10, depth: 2 });
      const controller = new AbortController();
      const { signal } = controller;
      const running = collect(run(numbers(100), operation, { backend, signal }));
      while (waiting.length < 2) await new Promise((resolve) => setImmediate(resolve));
      controller.abort();
      expect((await rejection(running)).code).toBe('aborted');

      const stopped = held({ chunk: 10, depth: 2 });
      const results = run(numbers(100), stopped.operation, { backend });
      const first = results.next();
      while (stopped.waiting.length < 2) await new Promise((resolve) => setImmediate(resolve));
      stopped.finishOne();
      expect((await first).value).toMatchObject({ index: 0 });
      await results.return();
      expect((await results.next()).done).toBe(true);
    });
  });

  describe('what it holds', () => {
    function watched(fault?: Error) {
      const log: string[] = [];
      const open = () => {
        log.push('open');
        return doubling({ dispose: () => void log.push('operation') });
      };
      const choose = () =>
        fault
          ? Promise.reject(fault)
          : Promise.resolve({ name: 'chosen', dispose: () => void log.push('backend') });
      return {
        log,
        start: (options: BatchOptions = {}) => runBatch(numbers(10), open, { ...options, choose }),
      };
    }

    it('is made when the first result is asked for, and given up at the end', async () => {
      const { log, start } = watched();
      const running = start();
      expect(log).toEqual([]);
      await running.next();
      expect(log).toEqual(['open']);
      await collect(running);
      expect(log).toEqual(['open', 'backend', 'operation']);
    });

    it('is given up when the consumer stops, and when choosing fails', async () => {
      const stopped = watched();
      for await (const _ of stopped.start()) break;
      expect(stopped.log).toEqual(['open', 'backend', 'operation']);

      const failed = watched(new Error('no backend'));
      await expect(failed.start().next()).rejects.toThrow('no backend');
      expect(failed.log).toEqual(['open', 'operation']);
    });

    it('may be nothing', async () => {
      const choose = () => Promise.resolve({ name: 'chosen' });
      expect(await collect(runBatch(numbers(3), () => doubling(), { choose }))).toHaveLength(3);
    });

    it('gives the work the signal, so that it can stop too', async () => {
      const { signal } = new AbortController();
      const seen: unknown[] = [];
      const work: Doubling['work'] = (ready, backend, options) => {
        seen.push(backend.name, options.signal);
        return Promise.resolve(doubled(ready));
      };
      await collect(run(numbers(3), doubling({ work }), { signal, backend: { name: 'named' } }));
      expect(seen).toEqual(['named', signal]);
    });

    it('is no backend of its own where the caller named one', async () => {
      const { log, start } = watched(new Error('not to be asked'));
      expect(await collect(start({ backend: { name: 'named' } }))).toHaveLength(10);
      expect(log).toEqual(['open', 'operation']);
    });
  });
});

it('only errors of this package are results', () => {
  const own = new KeyBackupError('bad-json', 'x: expected y');
  const failing = (error: unknown) => () => {
    throw error;
  };
  expect(tryRecord(failing(own))).toBe(own);
  expect(() => tryRecord(failing(new TypeError('a fault')))).toThrow(TypeError);
});

import { afterEach, describe, expect, it, vi } from 'vitest';
import { now, raceAbort, throwIfAborted, yieldToEventLoop, abortable } from '../src/async.js';
import { refusal, rejection } from './support/samples.js';

afterEach(() => {
  vi.unstubAllGlobals();
});

const never = new Promise<never>(() => undefined);

/** A signal that counts who listens. */
function countedSignal() {
  const controller = new AbortController();
  const listeners = new Set<() => void>();
  const { signal } = controller;
  return {
    abort: (reason?: unknown) => {
      controller.abort(reason);
    },
    listeners: () => listeners.size,
    signal: {
      get aborted() {
        return signal.aborted;
      },
      get reason(): unknown {
        return signal.reason;
      },
      addEventListener(type: string, listener: () => void) {
        if (type === 'abort') listeners.add(listener);
        signal.addEventListener(type, listener);
      },
      removeEventListener(type: string, listener: () => void) {
        if (type === 'abort') listeners.delete(listener);
        signal.removeEventListener(type, listener);
      },
    },
  };
}

describe('yieldToEventLoop', () => {
  it.each([[[]], [['setImmediate']], [['setImmediate', 'MessageChannel']]])(
    'lets others run without %j',
    async (missing) => {
      for (const name of missing) vi.stubGlobal(name, undefined);
      const order: string[] = [];
      setTimeout(() => order.push('timer'), 0);
      void Promise.resolve().then(() => order.push('microtask'));
      for (let i = 0; i < 1000 && !order.includes('timer'); i++) await yieldToEventLoop();
      expect(order).toEqual(['microtask', 'timer']);
    },
  );

  it('sets no timer where there are messages, because a browser makes nested timers sleep', async () => {
    vi.stubGlobal('setImmediate', undefined);
    const timer = vi.spyOn(globalThis, 'setTimeout');
    for (let i = 0; i < 10; i++) await yieldToEventLoop();
    expect(timer).not.toHaveBeenCalled();
    timer.mockRestore();
  });
});

describe('now', () => {
  it.each([true, false])('never goes back, performance there: %s', (there) => {
    if (!there) vi.stubGlobal('performance', undefined);
    const times = Array.from({ length: 100 }, () => now());
    expect(times).toEqual([...times].sort((a, b) => a - b));
    expect(times.every(Number.isFinite)).toBe(true);
  });
});

describe('throwIfAborted', () => {
  it('has the code and keeps the reason', () => {
    throwIfAborted(undefined);
    throwIfAborted(new AbortController().signal);
    const reason = new Error('mine');
    const error = refusal(() => {
      throwIfAborted(AbortSignal.abort(reason));
    });
    expect(error).toMatchObject({ code: 'aborted', cause: reason });
  });
});

describe('raceAbort', () => {
  it('gives what the promise gives', async () => {
    const { signal } = countedSignal();
    expect(await raceAbort(Promise.resolve(1), signal)).toBe(1);
    expect(await raceAbort(Promise.resolve(1), undefined)).toBe(1);
    const cause = new Error('mine');
    await expect(raceAbort(Promise.reject(cause), signal)).rejects.toBe(cause);
    await expect(raceAbort(Promise.reject(cause), undefined)).rejects.toBe(cause);
  });

  it('waits no longer than until the signal', async () => {
    const { signal, abort } = countedSignal();
    const waiting = raceAbort(never, signal);
    abort('why');
    expect(await rejection(waiting)).toMatchObject({ code: 'aborted', cause: 'why' });
    expect(await rejection(raceAbort(never, signal))).toMatchObject({ code: 'aborted' });
  });

  it('leaves no listener behind', async () => {
    const counted = countedSignal();
    await raceAbort(Promise.resolve(1), counted.signal);
    await raceAbort(Promise.reject(new Error('x')), counted.signal).catch(() => undefined);
    expect(counted.listeners()).toBe(0);
    const waiting = raceAbort(never, counted.signal);
    expect(counted.listeners()).toBe(1);
    counted.abort();
    await rejection(waiting);
    expect(counted.listeners()).toBe(0);
  });

  it('leaves no rejection unhandled, whichever comes late', async () => {
    const unhandled: unknown[] = [];
    const note = (reason: unknown) => unhandled.push(reason);
    process.on('unhandledRejection', note);
    try {
      const counted = countedSignal();
      let reject: (reason: Error) => void = () => undefined;
      const late = new Promise<never>((_, no) => {
        reject = no;
      });
      const waiting = raceAbort(late, counted.signal);
      counted.abort();
      await rejection(waiting);
      reject(new Error('late'));
      await rejection(raceAbort(Promise.reject(new Error('at once')), counted.signal)).catch(() => undefined);
      for (let i = 0; i < 5; i++) await yieldToEventLoop();
    } finally {
      process.off('unhandledRejection', note);
    }
    expect(unhandled).toEqual([]);
  });
});

describe('abortable', () => {
  /** An input that counts how often it is told to end. */
  function counting(next: () => Promise<IteratorResult<number, undefined>>) {
    const told = { ends: 0 };
    const end = () => {
      told.ends++;
      return Promise.resolve({ done: true as const, value: undefined });
    };
    return { told, input: { [Symbol.asyncIterator]: () => ({ next, return: end }) } };
  }
  const one = () => Promise.resolve({ done: false as const, value: 1 });

  it('is the input itself where nothing can abort it, or nothing has to be waited for', () => {
    const { input } = counting(one);
    const { signal } = new AbortController();
    const inputs = [1, 2];
    expect(abortable(input, undefined)).toBe(input);
    expect(abortable(inputs, signal)).toBe(inputs);
  });

  it('tells the input to end once when the loop is left early, and not when it failed by itself', async () => {
    const { signal } = new AbortController();
    const left = counting(one);
    for await (const item of abortable(left.input, signal)) if (item === 1) break;
    expect(left.told.ends).toBe(1);
    const failing = counting(() => Promise.reject(new Error('mine')));
    const loop = async () => {
      for await (const item of abortable(failing.input, signal)) expect.unreachable(String(item));
    };
    await expect(loop()).rejects.toThrow(/^mine$/);
    expect(failing.told.ends).toBe(0);
  });

  it('needs no input that can be told', async () => {
    const { signal } = new AbortController();
    const input = { [Symbol.asyncIterator]: () => ({ next: one }) };
    for await (const item of abortable(input, signal)) if (item === 1) break;
    const counted = countedSignal();
    const stuck = { [Symbol.asyncIterator]: () => ({ next: () => never }) };
    const loop = async () => {
      for await (const item of abortable(stuck, counted.signal)) expect.unreachable(String(item));
    };
    const waiting = loop();
    counted.abort('why');
    expect(await rejection(waiting)).toMatchObject({ code: 'aborted', cause: 'why' });
    expect(counted.listeners()).toBe(0);
  });
});

describe('abortable', () => {
  it('tells an input to end when it aborts while an item is waited for', async () => {
    const abort = new AbortController();
    let ended = 0;
    const input = {
      [Symbol.asyncIterator]: () => ({
        next: () => never,
        return: () => {
          ended++;
          return Promise.resolve({ done: true as const, value: undefined });
        },
      }),
    };
    const waiting = (async () => {
      for await (const _ of abortable(input, abort.signal)) throw new Error('no item was given');
    })();
    abort.abort();
    expect((await rejection(waiting)).code).toBe('aborted');
    expect(ended).toBe(1);
  });
});

import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createTurns, type InTurn } from '../../../src/server/postgres/turns.js';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** Work that is recorded when it begins, and ends when told. */
function recorded(inTurn: InTurn) {
  const begun: string[] = [];
  const ends = new Map<string, (error?: Error) => void>();
  const add = (name: string): Promise<void> =>
    inTurn(name[0], () => {
      begun.push(name);
      return new Promise<void>((resolve, reject) => {
        ends.set(name, (error) => {
          if (error) reject(error);
          else resolve();
        });
      });
    });
  const end = (name: string, error?: Error): void => {
    ends.get(name)!(error);
  };
  return { begun, add, end };
}

test('runs the work of a user in order, two at a time, and that of others beside it', async () => {
  const { begun, add, end } = recorded(createTurns(2, 1_000));
  const all = ['a1', 'a2', 'a3', 'a4', 'b1'].map(add);
  expect(begun).toEqual(['a1', 'a2', 'b1']);
  end('a2');
  await all[1];
  expect(begun).toEqual(['a1', 'a2', 'b1', 'a3']);
  // A failure passes the turn on, too.
  end('a1', new Error('failed'));
  await expect(all[0]).rejects.toThrow('failed');
  expect(begun).toEqual(['a1', 'a2', 'b1', 'a3', 'a4']);
  for (const name of ['a3', 'a4', 'b1']) end(name);
  await Promise.all(all.slice(2));
  // Nobody waits: as many run as at first.
  for (const name of ['a5', 'a6', 'a7']) void add(name);
  expect(begun.slice(5)).toEqual(['a5', 'a6']);
});

test('rejects what waits too long, and what is too much to wait', async () => {
  const { begun, add, end } = recorded(createTurns(1, 1_000));
  const running = add('a');
  const waiting = Array.from({ length: 100 }, () => add('a'));
  const outcomes = Promise.allSettled(waiting);
  await expect(add('a')).rejects.toMatchObject({ code: 'store-failed' });
  await vi.advanceTimersByTimeAsync(1_000);
  for (const outcome of await outcomes) {
    expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'store-failed' } });
  }
  end('a');
  await running;
  expect(begun).toEqual(['a']);
  void add('a');
  expect(begun).toEqual(['a', 'a']);
});

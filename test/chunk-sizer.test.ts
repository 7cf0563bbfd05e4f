import { Pace, TURN_MILLISECONDS } from '../src/async.js';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { rejection } from './support/samples.js';

let time = 0;

beforeEach(() => {
  time = 0;
  vi.stubGlobal('performance', { now: () => time });
});

afterEach(() => {
  vi.unstubAllGlobals();
});

describe('learning', () => {
  it('grows at most fourfold, and never goes over 512', () => {
    const pace = new Pace(undefined);
    let before = pace.chunk;
    for (let i = 0; i < 20; i++) {
      pace.learn(pace.chunk, 0);
      expect(pace.chunk).toBeLessThanOrEqual(4 * before);
      expect(pace.chunk).toBeGreaterThanOrEqual(before);
      before = pace.chunk;
    }
    expect(pace.chunk).toBe(512);
  });

  it('comes to what fits between two turns, from either side', () => {
    for (const cost of [0.05, 0.5, 1, 2, 7, 19]) {
      const pace = new Pace(undefined);
      for (let i = 0; i < 20; i++) pace.learn(pace.chunk, pace.chunk * cost);
      expect(pace.chunk * cost).toBeLessThanOrEqual(TURN_MILLISECONDS);
      expect((pace.chunk + 1) * cost).toBeGreaterThan(Math.min(TURN_MILLISECONDS, 512 * cost));
    }
  });

  it('keeps at least one, however slow the machine', () => {
    const pace = new Pace(undefined);
    pace.learn(16, 1e6);
    expect(pace.chunk).toBe(1);
  });

  it('learns nothing from a chunk in which no key was ready', () => {
    const pace = new Pace(undefined);
    pace.learn(pace.chunk, 4);
    const { chunk } = pace;
    pace.learn(0, 0);
    pace.learn(0, 50);
    expect(pace.chunk).toBe(chunk);
  });
});

it('keeps the size that it is given', () => {
  const pace = new Pace(undefined, 2000);
  pace.learn(2000, 0);
  pace.learn(2000, 1e6);
  expect(pace.chunk).toBe(2000);
});

describe('resting', () => {
  it('is due after a while, and then not at once again', async () => {
    const pace = new Pace(undefined);
    expect(pace.due).toBe(false);
    time += TURN_MILLISECONDS - 1;
    expect(pace.due).toBe(false);
    time += 1;
    expect(pace.due).toBe(true);
    await pace.rest();
    expect(pace.due).toBe(false);
    time += TURN_MILLISECONDS;
    expect(pace.due).toBe(true);
  });

  it('gives the event loop a turn', async () => {
    let turned = false;
    setImmediate(() => {
      turned = true;
    });
    await new Pace(undefined).rest();
    expect(turned).toBe(true);
  });

  it('notices an abort that came in that turn', async () => {
    const controller = new AbortController();
    const resting = new Pace(controller.signal).rest();
    controller.abort();
    expect((await rejection(resting)).code).toBe('aborted');
  });
});

import { ChunkSizer, YIELD_INTERVAL_MS } from '../src/async.js';
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

describe('recording', () => {
  it('grows at most fourfold, and never goes over 512', () => {
    const sizer = new ChunkSizer(undefined);
    let before = sizer.chunk;
    for (let i = 0; i < 20; i++) {
      sizer.record(sizer.chunk, 0);
      expect(sizer.chunk).toBeLessThanOrEqual(4 * before);
      expect(sizer.chunk).toBeGreaterThanOrEqual(before);
      before = sizer.chunk;
    }
    expect(sizer.chunk).toBe(512);
  });

  it('comes to what fits between two turns, from either side', () => {
    for (const cost of [0.05, 0.5, 1, 2, 7, 19]) {
      const sizer = new ChunkSizer(undefined);
      for (let i = 0; i < 20; i++) sizer.record(sizer.chunk, sizer.chunk * cost);
      expect(sizer.chunk * cost).toBeLessThanOrEqual(YIELD_INTERVAL_MS);
      expect((sizer.chunk + 1) * cost).toBeGreaterThan(Math.min(YIELD_INTERVAL_MS, 512 * cost));
    }
  });

  it('keeps at least one, however slow the machine', () => {
    const sizer = new ChunkSizer(undefined);
    sizer.record(16, 1e6);
    expect(sizer.chunk).toBe(1);
  });

  it('learns nothing from a chunk in which no key was ready', () => {
    const sizer = new ChunkSizer(undefined);
    sizer.record(sizer.chunk, 4);
    const { chunk } = sizer;
    sizer.record(0, 0);
    sizer.record(0, 50);
    expect(sizer.chunk).toBe(chunk);
  });
});

it('keeps the size that it is given', () => {
  const sizer = new ChunkSizer(undefined, 2000);
  sizer.record(2000, 0);
  sizer.record(2000, 1e6);
  expect(sizer.chunk).toBe(2000);
});

describe('yielding', () => {
  it('is due after a while, and then not at once again', async () => {
    const sizer = new ChunkSizer(undefined);
    expect(sizer.shouldYield).toBe(false);
    time += YIELD_INTERVAL_MS - 1;
    expect(sizer.shouldYield).toBe(false);
    time += 1;
    expect(sizer.shouldYield).toBe(true);
    await sizer.yieldNow();
    expect(sizer.shouldYield).toBe(false);
    time += YIELD_INTERVAL_MS;
    expect(sizer.shouldYield).toBe(true);
  });

  it('gives the event loop a turn', async () => {
    let turned = false;
    setImmediate(() => {
      turned = true;
    });
    await new ChunkSizer(undefined).yieldNow();
    expect(turned).toBe(true);
  });

  it('notices an abort that came in that turn', async () => {
    const controller = new AbortController();
    const resting = new ChunkSizer(controller.signal).yieldNow();
    controller.abort();
    expect((await rejection(resting)).code).toBe('aborted');
  });
});

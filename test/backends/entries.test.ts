import { setTimeout as wait } from 'node:timers/promises';
import { beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { BackupDecryptionKey, encryptSessionsSync, type BackupRecord } from '../../src/index.js';
import { nodeBackend } from '../../src/backends/node.js';
import type { WorkerListener, WorkerThread } from '../../src/backends/platform.js';
import type { Job, Reply } from '../../src/backends/worker-protocol.js';
import { rejection } from '../support/samples.js';

/** Does its jobs in this thread, on copies. */
class FakeWorker implements WorkerThread {
  readonly #listener: WorkerListener;
  readonly #answer: (job: Job) => void;
  readonly jobs: Job[] = [];
  terminated = false;

  constructor(listener: WorkerListener) {
    this.#listener = listener;
    this.#answer = answering(
      () => Promise.resolve(nodeBackend()),
      (reply: Reply) => {
        // Later, as from another thread.
        setTimeout(() => {
          if (!this.terminated) listener.onReply(structuredClone(reply));
        }, 5);
      },
    );
  }

  post(job: Job): void {
    const copy = structuredClone(job);
    this.jobs.push(copy);
    if (dying && started.length === 2 && this.jobs.length === 2) {
      setTimeout(() => {
        this.#listener.onDeath(new Error('out of memory'));
      }, 1);
    } else {
      this.#answer(copy);
    }
  }

  hold(): void {
    // Nothing to hold.
  }

  terminate(): void {
    this.terminated = true;
  }
}

const started: FakeWorker[] = [];
let dying = false;
let cores = 3;
let refusing = false;

vi.mock('#platform', () => ({
  localBackend: () => Promise.resolve(nodeBackend()),
  processors: () => cores,
  startWorker: (listener: WorkerListener) => {
    if (refusing) throw new Error('blocked by the policy of the page');
    const worker = new FakeWorker(listener);
    started.push(worker);
    return worker;
  },
}));

const { answering } = await import('../../src/backends/worker-protocol.js');
const { decryptToEntries } = await import('../../src/backends/entries.js');
const { all, DAMAGES, damaged, sessions } = await import('./sessions.js');

const key = BackupDecryptionKey.generate();
const backend = nodeBackend();
/** Records of which every tenth or so fails or has a flag. */
let records: BackupRecord[];
type Result = Awaited<ReturnType<typeof entries>>[number];
let expected: Result[];

const gist = (result: Result) => (result.ok ? result : { ...result, error: String(result.error) });

async function* stream<T>(items: readonly T[]) {
  for (const item of items) yield await Promise.resolve(item);
}

const entries = (signal?: AbortSignal) => all(decryptToEntries(stream(records), key, { backend, signal }));

beforeAll(async () => {
  const made = encryptSessionsSync(
    sessions(100).map((session, i) => (i % 10 === 3 ? { ...session, room_id: 'no room' } : session)),
    key.publicKey,
  );
  const right = made.map((result): BackupRecord => {
    if (!result.ok) throw result.error;
    const { room_id, session_id, key_backup_data } = result;
    return { room_id, session_id, key_backup_data };
  });
  const kinds = Object.values(DAMAGES);
  records = Array.from({ length: 2600 }, (_, i) => {
    const record = right[i % right.length];
    return i % 11 === 5 ? damaged(record, kinds[((i / 11) % kinds.length) | 0]) : record;
  });
  cores = 1;
  expected = await entries();
  cores = 3;
});

beforeEach(() => {
  started.length = 0;
  dying = false;
  refusing = false;
});

/** The private keys that went to workers. */
const keysSent = () =>
  started.flatMap(({ jobs }) =>
    jobs.map((job) => (job.direction === 'entries' ? job.privateKey : undefined)),
  );

describe('a large backup', () => {
  test('comes out of workers as it does of one thread, faults and order included', async () => {
    const results = await entries();
    expect(results.map(gist)).toEqual(expected.map(gist));
    expect(new Set(expected.map((result) => (result.ok ? 'ok' : result.error.code))).size).toBeGreaterThan(5);
    expect(started).toHaveLength(2);
    expect(started.every(({ jobs, terminated }) => jobs.length > 1 && terminated)).toBe(true);
    // This thread takes the first 750, and more once both workers have enough.
    const inWorkers = started.flatMap(({ jobs }) =>
      jobs.map((job) => (job.direction === 'entries' ? job.records.length : 0)),
    );
    expect(inWorkers.reduce((sum, count) => sum + count)).toBeLessThan(records.length - 750);
    // In the memory of the worker, the key is gone.
    expect(keysSent().every((sent) => sent?.every((byte) => byte === 0))).toBe(true);
  });

  test('takes one worker beside this thread on two processors', async () => {
    cores = 2;
    expect((await entries()).map(gist)).toEqual(expected.map(gist));
    expect(started).toHaveLength(1);
    cores = 3;
  });

  test('loses no key when a worker dies in the middle', async () => {
    dying = true;
    expect((await entries()).map(gist)).toEqual(expected.map(gist));
    expect(started.every(({ terminated }) => terminated)).toBe(true);
  });

  test('comes out where no worker may be started', async () => {
    refusing = true;
    expect((await entries()).map(gist)).toEqual(expected.map(gist));
  });

  test('ends when aborted in the middle, and so do its workers', async () => {
    const abort = new AbortController();
    const results = decryptToEntries(stream(records), key, { backend, signal: abort.signal });
    let count = 0;
    const taking = (async () => {
      for await (const _ of results) if (++count === 1200) abort.abort();
    })();
    expect((await rejection(taking)).code).toBe('aborted');
    expect(count).toBeLessThan(1210);
    expect(started.length > 0 && started.every(({ terminated }) => terminated)).toBe(true);
  });

  test('ends its workers when the caller leaves, and fails nothing later', async () => {
    for await (const _ of decryptToEntries(stream(records), key, { backend })) if (started.length > 0) break;
    expect(started.every(({ terminated }) => terminated)).toBe(true);
    await wait(20);
  });

  test('ends with what its source throws', async () => {
    async function* breaking() {
      yield* stream(records.slice(0, 2000));
      throw new TypeError('mine');
    }
    const results = all(decryptToEntries(breaking(), key, { backend }));
    await expect(results).rejects.toThrow('mine');
    expect(started.every(({ terminated }) => terminated)).toBe(true);
  });

  test('tells how far it is', async () => {
    const told: number[] = [];
    const onProgress = ({ done }: { done: number }) => told.push(done);
    await all(decryptToEntries(stream(records), key, { backend, onProgress }));
    expect(told).toEqual([...told].sort((a, b) => a - b));
    expect(told[told.length - 1]).toBe(records.length);
  });
});

test('a small backup starts no worker', async () => {
  const few = decryptToEntries(stream(records.slice(0, 900)), key, { backend });
  expect((await all(few)).map(gist)).toEqual(expected.slice(0, 900).map(gist));
  expect(started).toEqual([]);
});

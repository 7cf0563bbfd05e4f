import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { BackupDecryptionKey } from '../../src/index.js';
import { decryptSessionData, pureBackend } from '../../src/engine.js';
import type { WorkerListener, WorkerThread } from '../../src/backends/platform.js';
import type { Job, Reply } from '../../src/backends/worker-protocol.js';
import { failure } from './sessions.js';

/** The pool with workers that do as they are told here. */
class FakeWorker implements WorkerThread {
  readonly listener: WorkerListener;
  readonly jobs: Job[] = [];
  held = true;
  terminated = false;
  /** Fails the next posts. */
  refusals = 0;

  constructor(listener: WorkerListener) {
    this.listener = listener;
  }

  post(job: Job): void {
    if (this.refusals-- > 0) throw new Error('DataCloneError');
    this.jobs.push(job);
  }

  hold(holding: boolean): void {
    this.held = holding;
  }

  terminate(): void {
    this.terminated = true;
  }

  /** Does the first job that has no answer yet. */
  work(): Promise<Reply> {
    const job = this.jobs.shift();
    if (!job) throw new Error('no job to answer');
    return new Promise((resolve) => {
      answering(() => Promise.resolve(pureBackend), resolve)(job);
    });
  }

  async answer(): Promise<void> {
    this.listener.onReply(await this.work());
  }
}

const started: FakeWorker[] = [];
let refusals = 0;

vi.mock('#platform', () => ({
  localBackend: () => Promise.resolve(pureBackend),
  processors: () => 2,
  startWorker: (listener: WorkerListener) => {
    const worker = new FakeWorker(listener);
    worker.refusals = refusals;
    started.push(worker);
    return worker;
  },
}));

const { answering } = await import('../../src/backends/worker-protocol.js');
const { workersBackend } = await import('../../src/backends/workers.js');
const { encryptSessions } = await import('../../src/backends/auto.js');
const { all, sessions } = await import('./sessions.js');

const key = BackupDecryptionKey.generate();
const recipient = key.publicKey.toBytes();
const HOUR = 3_600_000;

/** One operation of a backend, on one plaintext. */
function encrypting(backend: ReturnType<typeof workersBackend>, byte = 1) {
  return backend.encryptMany(recipient, [Uint8Array.of(byte)], {});
}

function bytesOf(sessionData: readonly unknown[]): number[] {
  return sessionData.flatMap((one) => [...decryptSessionData(one, key).plaintext]);
}

beforeEach(() => {
  started.length = 0;
  refusals = 0;
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

describe('a post that fails', () => {
  test('fails its task only', async () => {
    refusals = 1;
    const backend = workersBackend({ count: 1 });
    const refused = await failure(encrypting(backend));
    expect(refused).toMatchObject({ code: 'backend-failed', cause: { message: 'DataCloneError' } });
    const next = encrypting(backend, 7);
    await started[0].answer();
    expect(bytesOf(await next)).toEqual([7]);
    expect(started).toHaveLength(1);
  });

  test('lets an idle worker go', async () => {
    refusals = 1;
    await failure(encrypting(workersBackend({ count: 1 })));
    expect(started[0].held).toBe(false);
  });

  test('keeps a worker that has another task', async () => {
    const backend = workersBackend({ count: 1 });
    const first = encrypting(backend, 5);
    started[0].refusals = 1;
    await failure(encrypting(backend));
    expect(started[0].held).toBe(true);
    await started[0].answer();
    expect(bytesOf(await first)).toEqual([5]);
    expect(started[0].held).toBe(false);
  });
});

describe('a worker that never answers', () => {
  test('is waited for a minute and longer for more work, but not without limit', async () => {
    const backend = workersBackend({ count: 1 });
    const few = failure(encrypting(backend));
    await vi.advanceTimersByTimeAsync(59_000);
    expect(started[0].terminated).toBe(false);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(started[0].terminated).toBe(true);
    expect(await few).toMatchObject({ code: 'backend-failed' });

    const many = failure(backend.encryptMany(recipient, Array<Uint8Array>(250).fill(Uint8Array.of(1)), {}));
    await vi.advanceTimersByTimeAsync(100_000);
    expect(started[1].terminated).toBe(false);
    await vi.advanceTimersByTimeAsync(20_000);
    expect((await many).code).toBe('backend-failed');
  });

  test('fails what it was given and is replaced', async () => {
    const backend = workersBackend({ count: 1 });
    const lost = [encrypting(backend), encrypting(backend)].map(failure);
    const waiting = encrypting(backend, 9);
    await vi.advanceTimersByTimeAsync(HOUR / 50);
    for (const { code } of await Promise.all(lost)) expect(code).toBe('backend-failed');
    expect(started).toHaveLength(2);
    await started[1].answer();
    expect(bytesOf(await waiting)).toEqual([9]);
  });

  test('has the whole time for every task', async () => {
    const backend = workersBackend({ count: 1 });
    const [first, second] = [encrypting(backend, 1), encrypting(backend, 2)];
    await vi.advanceTimersByTimeAsync(50_000);
    await started[0].answer();
    await vi.advanceTimersByTimeAsync(50_000);
    await started[0].answer();
    expect([...bytesOf(await first), ...bytesOf(await second)]).toEqual([1, 2]);
  });

  test('is not given up when the answer came while this thread hung', async () => {
    const backend = workersBackend({ count: 1 });
    const late = encrypting(backend, 3);
    const reply = await started[0].work();
    vi.advanceTimersToNextTimer();
    started[0].listener.onReply(reply);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(bytesOf(await late)).toEqual([3]);
    expect(started[0].terminated).toBe(false);
  });

  test('is not waited for after its answer', async () => {
    const backend = workersBackend({ count: 1 });
    const done = encrypting(backend);
    await started[0].answer();
    await done;
    expect(vi.getTimerCount()).toBe(0);
    await vi.advanceTimersByTimeAsync(HOUR);
    expect(started[0].terminated).toBe(false);
  });

  test('is not waited for after the pool was disposed of', async () => {
    const backend = workersBackend({ count: 1 });
    const lost = failure(encrypting(backend));
    backend.dispose();
    expect((await lost).code).toBe('backend-failed');
    expect(vi.getTimerCount()).toBe(0);
  });

  test('makes no difference to a batch whose backend is chosen for it', async () => {
    const input = sessions(600);
    const results = all(encryptSessions(input, key.publicKey, { total: 20_000 }));
    await vi.advanceTimersByTimeAsync(HOUR);
    expect((await results).map(({ ok, session_id }) => ok && session_id)).toEqual(
      input.map(({ session_id }) => session_id),
    );
    expect(started.every(({ terminated }) => terminated)).toBe(true);
  });
});

describe('a worker that dies', () => {
  test('fails what it was given and is replaced', async () => {
    const backend = workersBackend({ count: 1 });
    const lost = failure(encrypting(backend));
    started[0].listener.onDeath(new Error('out of memory'));
    expect(await lost).toMatchObject({ code: 'backend-failed', cause: { message: 'out of memory' } });
    expect(vi.getTimerCount()).toBe(0);
    const next = encrypting(backend, 4);
    await started[1].answer();
    expect(bytesOf(await next)).toEqual([4]);
  });
});

describe('the side of the worker', () => {
  const job = (): Job => ({
    direction: 'encrypt',
    recipient,
    plaintexts: { bytes: Uint8Array.of(1), ends: Uint32Array.of(1) },
  });

  test('answers every job, one that cannot be sent by the reason', async () => {
    const replies: Reply[] = [];
    let posts = 0;
    const answer = answering(
      () => Promise.resolve(pureBackend),
      (reply) => {
        if (++posts === 1) throw new Error('DataCloneError');
        replies.push(reply);
      },
    );
    answer(job());
    answer(job());
    await vi.waitFor(() => {
      expect(replies.map(({ direction }) => direction)).toEqual(['failed', 'encrypt']);
    });
    expect(replies[0]).toEqual({ direction: 'failed', message: 'DataCloneError' });
  });

  test('answers the next job when there was no backend for one', async () => {
    const replies: Reply[] = [];
    let asked = 0;
    const backend = () =>
      ++asked === 1 ? Promise.reject(new Error('no backend')) : Promise.resolve(pureBackend);
    const answer = answering(backend, (reply) => replies.push(reply));
    answer(job());
    answer(job());
    await vi.waitFor(() => {
      expect(replies.map(({ direction }) => direction)).toEqual(['failed', 'encrypt']);
    });
  });

  test('wipes the plaintexts also when encryption fails', async () => {
    const replies: Reply[] = [];
    const failing = job() as Extract<Job, { direction: 'encrypt' }>;
    const backend = { ...pureBackend, name: 'x', encapsulateMany: () => Promise.reject(new Error('no')) };
    answering(
      () => Promise.resolve(backend),
      (reply) => replies.push(reply),
    )(failing);
    await vi.waitFor(() => {
      expect(replies).toHaveLength(1);
    });
    expect([...failing.plaintexts.bytes]).toEqual([0]);
  });
});

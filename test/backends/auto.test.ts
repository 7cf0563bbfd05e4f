import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Backend } from '../../src/batch/backend.js';
import { BackupDecryptionKey, type BackupRecord } from '../../src/index.js';
import { pureBackend } from '../../src/engine.js';
import { all, failure, gist, sessions } from './sessions.js';

/** What is chosen, on a platform that only writes down what it is asked for. */
const asked: string[] = [];
let processors = 2;
let workersWork = true;

vi.mock('#platform', () => ({
  localBackend: () => {
    asked.push('local');
    return Promise.resolve(local);
  },
  processors: () => processors,
  startWorker: () => {
    throw new Error('not in this test');
  },
}));

vi.mock('../../src/backends/workers.js', () => ({
  workersBackend: () => {
    asked.push('workers');
    const fail = () => Promise.reject(new Error('no workers here'));
    return {
      name: 'workers',
      pipeline: { chunk: 250, depth: 6 },
      encryptMany: workersWork ? byEngine.encryptMany : fail,
      decryptMany: workersWork ? byEngine.decryptMany : fail,
      dispose: () => asked.push('disposed'),
    };
  },
}));

const local: Backend = { ...pureBackend, name: 'local' };
const { decryptSessions, encryptSessions } = await import('../../src/backends/auto.js');
const { decryptMany, encryptMany } = await import('../../src/batch/backend.js');
const byEngine = {
  encryptMany: vi.fn<NonNullable<Backend['encryptMany']>>((...task) => encryptMany(pureBackend, ...task)),
  decryptMany: vi.fn<NonNullable<Backend['decryptMany']>>((...task) => decryptMany(pureBackend, ...task)),
};

const key = BackupDecryptionKey.generate();

beforeEach(() => {
  asked.length = 0;
  processors = 2;
  workersWork = true;
});

afterEach(() => {
  vi.clearAllMocks();
});

describe('what is chosen', () => {
  test('one thread, for few sessions', async () => {
    await all(encryptSessions(sessions(20), key.publicKey));
    expect(asked).toEqual(['local']);
  });

  test('one thread where the number of sessions is unknown', async () => {
    await all(encryptSessions(new Set(sessions(20)), key.publicKey));
    expect(asked).toEqual(['local']);
  });

  test('workers, for many, and they are let go of', async () => {
    await all(encryptSessions(new Set(sessions(20)), key.publicKey, { total: 20_000 }));
    expect(asked).toEqual(['local', 'workers', 'disposed']);
    expect(byEngine.encryptMany).toHaveBeenCalled();
  });

  test('workers are let go of when the caller stops listening', async () => {
    for await (const result of encryptSessions(sessions(20), key.publicKey, { total: 20_000 })) {
      expect(result.ok).toBe(true);
      break;
    }
    expect(asked.at(-1)).toBe('disposed');
  });

  test('no workers on one processor', async () => {
    processors = 1;
    await all(encryptSessions(sessions(20), key.publicKey, { total: 20_000 }));
    expect(asked).toEqual(['local']);
  });

  test('what the caller names, whatever that is', async () => {
    await all(encryptSessions(sessions(20), key.publicKey, { total: 20_000, backend: pureBackend }));
    expect(asked).toEqual([]);
  });
});

describe('workers that do not work', () => {
  test('make no difference to what comes out', async () => {
    workersWork = false;
    const input = sessions(600);
    const options = { total: 20_000 };
    const encrypted = (await all(
      encryptSessions(input, key.publicKey, options),
    )) as unknown as BackupRecord[];
    const decrypted = await all(decryptSessions(encrypted, key, options));
    expect(decrypted.map(gist)).toEqual(input.map((session, index) => ({ index, session, flags: [] })));
  });

  test('are not asked again', async () => {
    byEngine.encryptMany.mockRejectedValueOnce(new Error('died'));
    await all(encryptSessions(sessions(3000), key.publicKey, { total: 20_000 }));
    // Those that were under way when the first one failed.
    expect(byEngine.encryptMany.mock.calls.length).toBeLessThanOrEqual(6);
  });

  test('an abort is an abort, and not done by other means', async () => {
    const signal = AbortSignal.abort();
    const aborted = all(encryptSessions(sessions(20), key.publicKey, { total: 20_000, signal }));
    expect((await failure(aborted)).code).toBe('aborted');
  });
});

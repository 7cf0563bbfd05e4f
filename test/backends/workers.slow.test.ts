import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { workersBackend, type WorkersBackend, type WorkersOptions } from '../../src/backends/workers.js';
import type { ParsedSessionData } from '../../src/scheme/session-data.js';
import { seal } from '../../src/scheme/session-data.js';
import { agreeMany, encapsulateMany } from '../../src/curve25519/x25519.js';
import { BackupDecryptionKey, KeyBackupError } from '../../src/index.js';
import { decryptSessionData } from '../../src/engine.js';
import { encryptSessions } from '../../src/batch/encrypt.js';
import { backendContract } from '../contracts/backend.js';
import { x25519Contract } from '../contracts/x25519.js';
import { bundleFile } from './bundles.js';
import { all, failure, sessions } from './sessions.js';

let file: Awaited<ReturnType<typeof bundleFile>>;
const open: WorkersBackend[] = [];

beforeAll(async () => {
  file = await bundleFile('backends/worker-node.ts');
});

afterAll(() => {
  for (const backend of open) backend.dispose();
  file.remove();
});

function workers(options: WorkersOptions = {}): WorkersBackend {
  const backend = workersBackend({ count: 2, url: file.url, ...options });
  open.push(backend);
  return backend;
}

let two: WorkersBackend | undefined;
const shared = () => (two ??= workers());

backendContract('two workers', shared);

const MARKER = Uint8Array.of(1, 2, 3);

/** Workers give no secrets away, but they can only open what was sealed under the right one. */
x25519Contract('workers', {
  encapsulateMany,
  agreeMany: async (privateKey, publicKeys) => {
    const secrets = agreeMany(privateKey, publicKeys);
    const parsed: ParsedSessionData[] = [];
    for (let i = 0; i < secrets.length; i += 32) {
      const sealed = seal(secrets.subarray(i, i + 32), MARKER);
      parsed.push({ ephemeral: publicKeys.subarray(i, i + 32), ...sealed, salvage: false });
    }
    const opened = await shared().decryptMany(privateKey, parsed, {});
    return Uint8Array.from(
      opened.flatMap((result, slot) => {
        if (!(result instanceof KeyBackupError)) return [...secrets.subarray(32 * slot, 32 * (slot + 1))];
        return Array<number>(32).fill(result.code === 'low-order-key' ? 0 : 255);
      }),
    );
  },
});

describe('the pool', () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  test('starts nothing before there is work', () => {
    workers({ url: new URL('file:///nowhere/at/all.mjs') });
  });

  test.each([0, -1, 1.5, 65, NaN])('is not made with %d workers', (count) => {
    expect(() => workersBackend({ count })).toThrow(
      expect.objectContaining({ code: 'bad-parameters' }) as Error,
    );
  });

  test('answers in order although the chunks are of very different length', async () => {
    const key = BackupDecryptionKey.generate();
    const plaintexts = Array.from({ length: 40 }, (_, i) => [
      new Uint8Array(i % 2 === 0 ? 200_000 : 3).fill(i),
    ]);
    const backend = workers();
    const sealed = await Promise.all(
      plaintexts.map((own) => backend.encryptMany(key.publicKey.toBytes(), own, {})),
    );
    expect(
      sealed.flat().map((one) => {
        const { plaintext } = decryptSessionData(one, key);
        return [plaintext.length, plaintext[0]];
      }),
    ).toEqual(plaintexts.map(([own], i) => [own.length, i]));
  });

  test('leaves the caller’s arrays alone', async () => {
    const plaintext = new Uint8Array(randomBytes(100));
    const before = plaintext.slice();
    await workers().encryptMany(BackupDecryptionKey.generate().publicKey.toBytes(), [plaintext], {});
    expect(plaintext).toEqual(before);
  });

  test('drops what waits when it is aborted, and works on', async () => {
    const backend = workers({ count: 1 });
    const recipient = BackupDecryptionKey.generate().publicKey.toBytes();
    const controller = new AbortController();
    const chunk = Array.from({ length: 50 }, () => new Uint8Array(10_000));
    const jobs = Array.from({ length: 20 }, () =>
      backend.encryptMany(recipient, chunk, { signal: controller.signal }),
    );
    controller.abort(new Error('enough'));
    const settled = await Promise.allSettled(jobs);
    const aborted = settled.filter((one) => one.status === 'rejected');
    expect(aborted.length).toBeGreaterThanOrEqual(18);
    for (const { reason } of aborted)
      expect(reason).toMatchObject({ code: 'aborted', cause: { message: 'enough' } });
    expect(await backend.encryptMany(recipient, chunk, {})).toHaveLength(50);
  });
});

test('a worker is started without the options of the process', async () => {
  const library = await bundleFile('backends/workers.ts');
  const hook = fileURLToPath(new URL('hook.cjs', library.url));
  const script = fileURLToPath(new URL('script.mjs', library.url));
  const seen = fileURLToPath(new URL('seen.txt', library.url));
  await writeFile(
    hook,
    `const { isMainThread } = require('node:worker_threads');
    require('node:fs').appendFileSync(${JSON.stringify(seen)}, isMainThread ? 'main ' : 'worker ');`,
  );
  await writeFile(
    script,
    `import { workersBackend } from ${JSON.stringify(library.url.href)};
    const backend = workersBackend({ count: 1, url: new URL(${JSON.stringify(file.url.href)}) });
    const recipient = new Uint8Array(32).fill(9);
    console.log((await backend.encryptMany(recipient, [new Uint8Array(1)], {})).length);`,
  );
  try {
    // The script disposes of nothing: an idle worker does not keep its process alive.
    const { stdout } = await promisify(execFile)(process.execPath, ['--require', hook, script]);
    expect(stdout).toBe('1\n');
    expect(await readFile(seen, 'utf8')).toBe('main ');
  } finally {
    library.remove();
  }
});

describe('what goes wrong is told', () => {
  const key = BackupDecryptionKey.generate();

  async function withWorkerCode(code: string) {
    const url = new URL(`${file.url.href}-${randomBytes(4).toString('hex')}.mjs`);
    await writeFile(fileURLToPath(url), code);
    return workers({ url });
  }

  test.each([
    ['a file that is not there', undefined],
    ['a file that does not run', 'this is no JavaScript'],
    ['a worker that throws at once', 'throw new Error("at once")'],
    [
      'a worker that exits when it is given work',
      'import { parentPort } from "node:worker_threads"; parentPort.on("message", () => process.exit(3))',
    ],
    [
      'a worker that throws when it is given work',
      'import { parentPort } from "node:worker_threads"; parentPort.on("message", () => { throw new Error("late") })',
    ],
    [
      'a worker that answers something else',
      'import { parentPort } from "node:worker_threads"; parentPort.on("message", () => parentPort.postMessage({ direction: "decrypt" }))',
    ],
  ])('%s', async (_, code) => {
    const backend =
      code === undefined
        ? workers({ url: new URL('file:///nowhere/at/all.mjs') })
        : await withWorkerCode(code);
    expect((await failure(all(encryptSessions(sessions(2000), key.publicKey, { backend })))).code).toBe(
      'backend-failed',
    );
  });

  test('a backend inside the worker that fails', async () => {
    const backend = workers();
    const wrong = new Uint8Array(3);
    const failed = (await failure(backend.encryptMany(wrong, [new Uint8Array(1)], {}))) as Error & {
      code: string;
    };
    expect(failed.code).toBe('backend-failed');
  });

  test('the results before a crash come out, in order, and then the failure', async () => {
    const crashing = await withWorkerCode(`
      import { parentPort } from 'node:worker_threads';
      let jobs = 0;
      parentPort.on('message', ({ plaintexts }) => {
        // Not at once: an answer that is still on its way would be lost with the worker.
        if (++jobs === 2) return setTimeout(() => process.exit(1), 100);
        const text = (bytes) => 'A'.repeat(Math.ceil((bytes * 4) / 3));
        const sessionData = Array.from(plaintexts.ends, (end, i) => {
          const length = end - (i === 0 ? 0 : plaintexts.ends[i - 1]);
          return { ephemeral: text(32), ciphertext: text(length - (length % 16) + 16), mac: text(8) };
        });
        parentPort.postMessage({ direction: 'encrypt', sessionData });
      });
    `);
    const seen: number[] = [];
    const run = async () => {
      for await (const { index } of encryptSessions(sessions(3000), key.publicKey, { backend: crashing }))
        seen.push(index);
    };
    expect(await failure(run())).toMatchObject({ code: 'backend-failed' });
    expect(seen.length).toBeGreaterThanOrEqual(250);
    expect(seen).toEqual(seen.map((_, i) => i));
  });

  test('disposing of it fails what is under way and what comes later', async () => {
    const backend = workers();
    const recipient = key.publicKey.toBytes();
    const underWay = [1, 2, 3, 4, 5, 6].map(() =>
      failure(backend.encryptMany(recipient, [new Uint8Array(9)], {})),
    );
    backend.dispose();
    for (const { code } of await Promise.all(underWay)) expect(code).toBe('backend-failed');
    expect((await failure(backend.encryptMany(recipient, [], {}))).code).toBe('backend-failed');
  });
});

import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { nodeBackend } from '../../src/backends/node.js';
import { webCryptoBackend } from '../../src/backends/webcrypto.js';
import { workersBackend, type WorkersBackend } from '../../src/backends/workers.js';
import { decryptSessions } from '../../src/batch/decrypt.js';
import { encryptSessions, encryptSessionsSync } from '../../src/batch/encrypt.js';
import { authenticateSessions } from '../../src/batch/reencrypt.js';
import { derivePassphraseKey, pureBackend, type Backend } from '../../src/engine.js';
import * as auto from '../../src/index.js';
import { BackupDecryptionKey, KeyBackupError, unlock, type BackupRecord } from '../../src/index.js';
import { bundleFile } from './bundles.js';
import { all, failure, sessions } from './sessions.js';

const pure = { decryptSessions, encryptSessions, encryptSessionsSync };

/** Callbacks are called by the engine, after it waited: what one throws reaches the caller once, unchanged. */

let file: Awaited<ReturnType<typeof bundleFile>>;
let workers: WorkersBackend;

beforeAll(async () => {
  file = await bundleFile('backends/worker-node.ts');
  workers = workersBackend({ count: 1, url: file.url });
});
afterAll(() => {
  workers.dispose();
  file.remove();
});
afterEach(() => {
  vi.unstubAllGlobals();
});

const BACKENDS: readonly (readonly [string, () => Backend | undefined])[] = [
  ['none', () => undefined],
  ['pure JavaScript', () => pureBackend],
  ['node:crypto', nodeBackend],
  ['WebCrypto', webCryptoBackend],
  ['workers', () => workers],
];

/** Made anew for every test: the engine remembers what a callback has thrown. */
const THROWN: readonly (readonly [string, () => unknown])[] = [
  ['an Error', () => new Error('of the callback')],
  ['an error as the engine throws it', () => new KeyBackupError('mac-mismatch', 'of the callback')],
  ['an abort', () => new KeyBackupError('aborted', 'of the callback')],
  ['no error at all', () => 'of the callback'],
];

const CASES = BACKENDS.flatMap(([name, backend]) =>
  THROWN.map(([what, thrown]) => [name, what, backend, thrown] as const),
);

const legacy = { private_key_salt: 'salt', private_key_iterations: 10 };

function throwing(thrown: unknown) {
  return vi.fn((): never => {
    throw thrown;
  });
}

describe('PBKDF2', () => {
  test.each(CASES)('by %s: %s of onProgress reaches the caller', async (_name, _what, backend, make) => {
    const thrown = make();
    const onProgress = throwing(thrown);
    expect(await failure(derivePassphraseKey('p', legacy, { backend: backend(), onProgress }))).toBe(thrown);
    expect(onProgress).toHaveBeenCalledTimes(1);
  });

  test('by WebCrypto: is not run again when onProgress throws', async () => {
    const { subtle } = globalThis.crypto;
    const deriveBits = vi.fn(subtle.deriveBits.bind(subtle));
    vi.stubGlobal('crypto', { subtle: { importKey: subtle.importKey.bind(subtle), deriveBits } });
    const options = { backend: webCryptoBackend(), onProgress: throwing(new Error('of the callback')) };
    await failure(derivePassphraseKey('p', legacy, options));
    expect(deriveBits).toHaveBeenCalledTimes(1);
  });

  test.each(BACKENDS)('by %s: progress is told at the end', async (_name, backend) => {
    const onProgress = vi.fn();
    await derivePassphraseKey('p', legacy, { backend: backend(), onProgress });
    expect(onProgress.mock.calls).toEqual([[{ done: 10, total: 10, failed: 0 }]]);
  });

  test('without WebCrypto, progress is reported on the way', async () => {
    vi.stubGlobal('crypto', undefined);
    const onProgress = vi.fn();
    const long = { ...legacy, private_key_iterations: 20_000 };
    await derivePassphraseKey('p', long, { backend: webCryptoBackend(), onProgress });
    expect(onProgress.mock.calls.length).toBeGreaterThan(1);
  });

  test('a backend is given no callback', async () => {
    const pbkdf2 = vi.fn((..._task: unknown[]) => Promise.resolve(new Uint8Array(32)));
    const { signal } = new AbortController();
    await derivePassphraseKey('p', legacy, { backend: { name: 'x', pbkdf2 }, signal, onProgress: vi.fn() });
    expect(pbkdf2.mock.calls[0][4]).toEqual({ signal });
  });
});

test.each(THROWN)('unlock: %s of onProgress reaches the caller', async (_what, make) => {
  const authData = { ...legacy, public_key: BackupDecryptionKey.generate().publicKey.toBase64() };
  const thrown = make();
  const onProgress = throwing(thrown);
  expect(await failure(unlock('a phrase', { authData, onProgress }))).toBe(thrown);
  expect(onProgress).toHaveBeenCalledTimes(1);
});

describe('batches', () => {
  const key = BackupDecryptionKey.generate();
  const input = sessions(3);
  const records = pure.encryptSessionsSync(input, key.publicKey) as unknown as BackupRecord[];
  const BATCHES = [
    ...CASES.map(([name, what, backend, thrown]) => [name, what, pure, { backend }, thrown] as const),
    ...THROWN.map(([what, thrown]) => ['auto', what, auto, { backend: () => undefined }, thrown] as const),
    ...THROWN.map(
      ([what, thrown]) =>
        ['auto with workers', what, auto, { backend: () => undefined, total: 20_000 }, thrown] as const,
    ),
  ];

  test.each(BATCHES)(
    'by %s: %s of a callback reaches the caller',
    async (_name, _what, engine, chosen, make) => {
      const options = { ...chosen, backend: chosen.backend() };
      for (const name of ['onProgress', 'isVerified', 'unauthenticated']) {
        const thrown = make();
        const callback = throwing(thrown);
        const encrypting = engine.encryptSessions(input, key.publicKey, { ...options, [name]: callback });
        expect(await failure(all(encrypting)), name).toBe(thrown);
        expect(callback, name).toHaveBeenCalledTimes(1);
      }
      const thrown = make();
      const onProgress = throwing(thrown);
      expect(await failure(all(engine.decryptSessions(records, key, { ...options, onProgress })))).toBe(
        thrown,
      );
      expect(onProgress).toHaveBeenCalledTimes(1);
    },
  );

  test.each(THROWN)('of authentication: %s of trusted reaches the caller', async (_what, make) => {
    const thrown = make();
    const trusted = throwing(thrown);
    expect(await failure(all(authenticateSessions(records, key, trusted)))).toBe(thrown);
    expect(trusted).toHaveBeenCalledTimes(1);
  });

  test.each(THROWN)('in one call: %s of a callback reaches the caller', (_what, make) => {
    for (const name of ['isVerified', 'unauthenticated']) {
      const thrown = make();
      const callback = throwing(thrown);
      let caught: unknown;
      try {
        pure.encryptSessionsSync(input, key.publicKey, { [name]: callback });
      } catch (error) {
        caught = error;
      }
      expect(caught, name).toBe(thrown);
      expect(callback, name).toHaveBeenCalledTimes(1);
    }
  });
});

import { randomBytes } from '@noble/hashes/utils.js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { nodeBackend } from '../../src/backends/node.js';
import { webCryptoBackend } from '../../src/backends/webcrypto.js';
import { workersBackend, type WorkersBackend } from '../../src/backends/workers.js';
import { decryptSessions } from '../../src/batch/decrypt.js';
import { encryptSessions } from '../../src/batch/encrypt.js';
import type { Backend } from '../../src/engine.js';
import { BackupDecryptionKey } from '../../src/index.js';
import { expectAgreed, randomKeys } from '../contracts/x25519.js';
import { bundleFile } from './bundles.js';
import { sessions } from './sessions.js';

const batch = { BackupDecryptionKey, decryptSessions, encryptSessions };
const MINUTES = 60_000;
const COUNT = 50_000;

let file: Awaited<ReturnType<typeof bundleFile>>;
let workers: WorkersBackend;

beforeAll(async () => {
  file = await bundleFile('backends/worker-node.ts');
  workers = workersBackend({ count: 2, url: file.url });
});

afterAll(() => {
  workers.dispose();
  file.remove();
});

/** Through encryption and decryption in one stream. */
async function expectAllBack(library: typeof batch, backend?: Backend) {
  const { encryptSessions, decryptSessions } = library;
  const key = library.BackupDecryptionKey.generate();
  const some = sessions(1000);
  function* input() {
    for (let i = 0; i < COUNT; i++) yield some[i % some.length];
  }
  async function* records() {
    for await (const result of encryptSessions(input(), key.publicKey, { backend, total: COUNT })) {
      if (!result.ok) throw result.error;
      yield result;
    }
  }
  let done = 0;
  for await (const result of decryptSessions(records(), key, { backend, total: COUNT })) {
    if (!result.ok) throw result.error;
    if (result.index !== done || result.session_id !== some[done % some.length].session_id)
      throw new Error(`expected session ${done}, got another`);
    done++;
  }
  expect(done).toBe(COUNT);
}

describe('50,000 sessions do not hang', () => {
  test('by node:crypto', () => expectAllBack(batch, nodeBackend()), 10 * MINUTES);
  test('by WebCrypto', () => expectAllBack(batch, webCryptoBackend()), 10 * MINUTES);
  test('by two workers', () => expectAllBack(batch, workers), 10 * MINUTES);
  test(
    'by what is chosen for them, from the build',
    async () => {
      const main = (await import(new URL('../../dist/index.js', import.meta.url).href)) as typeof batch;
      await expectAllBack(main);
    },
    10 * MINUTES,
  );
});

// Both encapsulate as `encapsulateMany` does, of which test/curve25519/x25519.slow.test.ts tries as many.
describe('10,000 random agreements are those of noble', () => {
  test.each([
    ['node:crypto', nodeBackend()],
    ['WebCrypto', webCryptoBackend()],
  ])(
    'by %s',
    async (_, { agreeMany }) => {
      for (let i = 0; i < 200; i++) {
        await expectAgreed({ agreeMany }, randomBytes(32), randomKeys(50));
      }
    },
    10 * MINUTES,
  );
});

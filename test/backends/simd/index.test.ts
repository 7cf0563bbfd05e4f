import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { pureBackend, type Backend } from '../../../src/batch/backend.js';
import { HEAD } from '../../../src/backends/simd/aes.js';
import { POINT } from '../../../src/backends/simd/field.js';
import * as simdModule from '../../../src/backends/simd/index.js';
import { X2 } from '../../../src/backends/simd/ladder.js';
import { BackupDecryptionKey } from '../../../src/scheme/keys.js';
import { decryptSessionData, parseSessionData } from '../../../src/scheme/session-data.js';
import { agreeMany, encapsulateMany, publicKeyOf } from '../../../src/curve25519/x25519.js';
import { backendContract } from '../../contracts/backend.js';
import { x25519Contract } from '../../contracts/x25519.js';
import { enableRelaxedSimd } from '../../support/platforms.js';

enableRelaxedSimd();

x25519Contract('SIMD backend', simdModule.simdBackend());
backendContract('SIMD backend', () => simdModule.simdBackend());

const { WebAssembly } = globalThis as unknown as {
  WebAssembly: { instantiate: (bytes: Uint8Array) => Promise<{ instance: { exports: Exports } }> };
};
type Exports = Record<string, (...addresses: number[]) => void> & { memory: { buffer: ArrayBuffer } };
type Change = (exports: Exports) => Partial<Exports>;

const privateKeys = new Uint8Array(randomBytes(32 * 100));
const recipient = publicKeyOf(privateKeys.subarray(0, 32));

/** Another backend whose calls are counted. */
function counting() {
  return {
    name: 'other',
    encapsulateMany: vi.fn(encapsulateMany),
    agreeMany: vi.fn(agreeMany),
    seal: vi.fn(pureBackend.seal),
  } satisfies Backend;
}

describe('a runtime', () => {
  let simdBackend = simdModule.simdBackend;
  let hasSimd = simdModule.hasSimd;

  beforeEach(async () => {
    vi.resetModules();
    ({ simdBackend, hasSimd } = await import('../../../src/backends/simd/index.js'));
  });
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  /** WebAssembly whose functions are changed. */
  function withExports(change: Change) {
    const instantiate = vi.fn(async (bytes: Uint8Array) => {
      const { instance } = await WebAssembly.instantiate(bytes);
      return { instance: { exports: { ...instance.exports, ...change(instance.exports) } } };
    });
    vi.stubGlobal('WebAssembly', { instantiate });
    return instantiate;
  }

  async function expectRight(backend: ReturnType<typeof simdBackend>, count = 100) {
    const keys = privateKeys.subarray(0, 32 * count);
    expect(await backend.encapsulateMany(recipient, keys)).toEqual(encapsulateMany(recipient, keys));
    expect(await backend.agreeMany(keys.subarray(0, 32), keys)).toEqual(
      agreeMany(keys.subarray(0, 32), keys),
    );
  }

  test('with relaxed SIMD uses it, and the other backend for everything else', async () => {
    const other = counting();
    const backend = simdBackend({ otherwise: other });
    expect(await hasSimd()).toBe(true);
    await expectRight(backend);
    expect(other.agreeMany).not.toHaveBeenCalled();
    expect(other.encapsulateMany).not.toHaveBeenCalled();
    expect(backend.seal).toBe(other.seal);
    expect(backend.name).toBe('SIMD or other');
    await expectRight(backend, 15);
    expect(other.agreeMany).toHaveBeenCalledTimes(1);
    expect(other.encapsulateMany).toHaveBeenCalledTimes(1);
  });

  test('makes the module once, and only when there is enough to do', async () => {
    const instantiate = withExports(() => ({}));
    const backend = simdBackend();
    for (let i = 0; i < 20; i++) await expectRight(backend, 15);
    expect(instantiate).not.toHaveBeenCalled();
    await expectRight(backend);
    await expectRight(simdBackend());
    expect(instantiate).toHaveBeenCalledTimes(1);
    expect(await hasSimd()).toBe(true);
    expect(instantiate).toHaveBeenCalledTimes(1);
  });

  test.each<[string, () => unknown]>([
    ['has no WebAssembly', () => vi.stubGlobal('WebAssembly', undefined)],
    [
      'forbids to compile it',
      () =>
        vi.stubGlobal('WebAssembly', {
          instantiate: () => Promise.reject(new Error("CompileError: 'wasm-unsafe-eval' is not allowed")),
        }),
    ],
    [
      'cannot read the module',
      () =>
        vi.stubGlobal('WebAssembly', {
          instantiate: (bytes: Uint8Array) => WebAssembly.instantiate(bytes.map((byte) => byte ^ 1)),
        }),
    ],
    [
      'rounds twice',
      () =>
        withExports(({ memory }) => ({
          multiplyAdd(out, x, y, z) {
            const doubles = new Float64Array(memory.buffer);
            for (const lane of [0, 1])
              doubles[out / 8 + lane] = doubles[x / 8 + lane] * doubles[y / 8 + lane] + doubles[z / 8 + lane];
          },
        })),
    ],
    [
      'rounds twice in one lane',
      () =>
        withExports(({ memory, multiplyAdd }) => ({
          multiplyAdd(out, x, y, z) {
            multiplyAdd(out, x, y, z);
            new Float64Array(memory.buffer)[out / 8 + 1] = 0;
          },
        })),
    ],
    ...Object.entries({
      ladder: X2,
      select: 0,
      differences: 0,
      addPoints: 0,
      multiply: 0,
      squareTimes: 0,
      compress: 0,
      expandKey: 32,
      encryptBlocks: HEAD,
      decryptBlocks: HEAD,
    }).map(([name, offset]): [string, () => unknown] => [
      `has a wrong ${name}`,
      () =>
        withExports((exports) => ({
          [name]: (...addresses: number[]) => {
            exports[name](...addresses);
            const ofWords = ['compress', 'expandKey', 'encryptBlocks', 'decryptBlocks'].includes(name);
            (ofWords ? flipWord : flip)(exports, addresses[0] + offset);
          },
        })),
    ]),
  ])('that %s does everything by the other backend, in silence', async (_, spoil) => {
    spoil();
    const other = counting();
    const onMismatch = vi.fn();
    const backend = simdBackend({ otherwise: other, onMismatch });
    expect(await hasSimd()).toBe(false);
    await expectRight(backend);
    expect(other.agreeMany).toHaveBeenCalledTimes(1);
    expect(other.encapsulateMany).toHaveBeenCalledTimes(1);
    expect(onMismatch).not.toHaveBeenCalled();
  });

  /** Changes the lowest limb of both lanes. */
  function flip({ memory }: Exports, address: number) {
    const doubles = new Float64Array(memory.buffer);
    for (const lane of [0, 1]) doubles[address / 8 + lane] += 1;
  }

  /** Changes four words: the first of a hash in all lanes, or a block. */
  function flipWord({ memory }: Exports, address: number) {
    const words = new Uint32Array(memory.buffer, address, 4);
    words.forEach((word, lane) => (words[lane] = word ^ 1));
  }

  describe('whose results become wrong after the test at the start', () => {
    const WRONG_SEALING = 'SIMD: HKDF and AES: expected the same as in JavaScript';
    const key = BackupDecryptionKey.fromBytes(privateKeys.subarray(0, 32));
    const plaintexts = Array.from({ length: 20 }, (_, i) => new Uint8Array(100 * i).fill(i));
    let isWrong = false;
    let wrongHashOrBlock = '';

    beforeEach(() => {
      isWrong = false;
      wrongHashOrBlock = '';
      withExports((exports) => ({
        ladder(work, first, second) {
          exports.ladder(work, first, second);
          if (isWrong) flip(exports, work + X2);
        },
        compress(out, ...addresses) {
          exports.compress(out, ...addresses);
          if (wrongHashOrBlock === 'compress') flipWord(exports, out);
        },
        encryptBlocks(first, second, count) {
          exports.encryptBlocks(first, second, count);
          for (const head of [first, second])
            if (wrongHashOrBlock === 'encryptBlocks') flipWord(exports, head + HEAD);
        },
        decryptBlocks(first, second, count) {
          exports.decryptBlocks(first, second, count);
          for (const head of [first, second])
            if (wrongHashOrBlock === 'decryptBlocks') flipWord(exports, head + HEAD);
        },
        select(points, window, digits, count) {
          exports.select(points, window, digits, count);
          if (isWrong) for (let i = 0; i < count; i++) flip(exports, points + POINT * i);
        },
      }));
    });

    test.each([
      ['table products', 100],
      ['ladders', 20],
    ])('does the chunk again in pure JavaScript, and tells once: %s', async (_, count) => {
      const onMismatch = vi.fn();
      const backend = simdBackend({ onMismatch });
      expect(await hasSimd()).toBe(true);
      isWrong = true;
      await expectRight(backend, count);
      expect(onMismatch.mock.calls).toEqual([
        [
          expect.objectContaining({
            code: 'backend-failed',
            message: 'SIMD: X25519: expected the same as in JavaScript',
          }),
        ],
      ]);
      // Not used again, by no backend of the process, even if it would be right.
      isWrong = false;
      expect(await hasSimd()).toBe(false);
      await expectRight(backend, count);
      const other = counting();
      await expectRight(simdBackend({ otherwise: other, onMismatch }), count);
      expect(other.encapsulateMany).toHaveBeenCalledTimes(1);
      expect(onMismatch).toHaveBeenCalledTimes(1);
    });

    test.each(['compress', 'encryptBlocks'])(
      'seals a chunk again, and tells once: wrong %s',
      async (name) => {
        const onMismatch = vi.fn();
        const backend = simdBackend({ onMismatch });
        expect(await hasSimd()).toBe(true);
        wrongHashOrBlock = name;
        const sealed = await backend.encryptMany(recipient, plaintexts, {});
        expect(sealed.map((data) => decryptSessionData(data, key).plaintext)).toEqual(plaintexts);
        expect(onMismatch.mock.calls).toEqual([[expect.objectContaining({ message: WRONG_SEALING })]]);
        expect(await hasSimd()).toBe(false);
      },
    );

    test.each(['compress', 'decryptBlocks'])(
      'opens a chunk again, and tells once: wrong %s',
      async (name) => {
        const onMismatch = vi.fn();
        const backend = simdBackend({ onMismatch });
        expect(await hasSimd()).toBe(true);
        const sealed = await backend.encryptMany(recipient, plaintexts, {});
        wrongHashOrBlock = name;
        const parsed = sealed.map((data) => parseSessionData(data));
        const opened = await backend.decryptMany(privateKeys.subarray(0, 32), parsed, {});
        expect(opened).toEqual(plaintexts.map((plaintext) => ({ plaintext, flags: [] })));
        expect(onMismatch.mock.calls).toEqual([[expect.objectContaining({ message: WRONG_SEALING })]]);
        expect(await hasSimd()).toBe(false);
      },
    );

    test('does without somebody to tell', async () => {
      const backend = simdBackend();
      expect(await hasSimd()).toBe(true);
      isWrong = true;
      await expectRight(backend);
      expect(await hasSimd()).toBe(false);
    });
  });

  test('compares every session in turn: a single wrong one is found sooner or later', async () => {
    const random = vi.spyOn(Math, 'random');
    let wrongAt = -1;
    withExports((exports) => ({
      ladder(work, first, second) {
        exports.ladder(work, first, second);
        if (wrongAt >= 0 && wrongAt-- === 0) flip(exports, work + X2);
      },
    }));
    expect(await hasSimd()).toBe(true);
    const onMismatch = vi.fn();
    const backend = simdBackend({ onMismatch });
    // The pair 3 of the public keys, so the sessions 6 and 7 of 20.
    for (const [session, found] of [
      [5, 0],
      [8, 0],
      [7, 1],
    ]) {
      random.mockReturnValue(session / 20 + 0.001);
      wrongAt = 3;
      await backend.encapsulateMany(recipient, privateKeys.subarray(0, 32 * 20));
      expect(onMismatch).toHaveBeenCalledTimes(found);
    }
    random.mockRestore();
  });
});

test.each([null, 7, 'fast'])('rejects options that are %s', (options) => {
  expect(() => simdModule.simdBackend(options as never)).toThrow(
    expect.objectContaining({ code: 'bad-parameters' }) as Error,
  );
});

import { createHmac, hkdfSync, randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';

import { DERIVED, DerivedKeys } from '../../../src/backends/simd/derived-keys.js';
import { Kernel } from '../../../src/backends/simd/kernel.js';
import { INITIAL, ROUNDS } from '../../../src/backends/simd/sha256.js';
import { enableRelaxedSimd } from '../../support/platforms.js';
import { runs } from '../../support/runs.js';

enableRelaxedSimd();

const kernel = await Kernel.make();
const derivedKeys = new DerivedKeys(kernel);

/** The AES key, the IV and the HMAC of nothing, by OpenSSL. */
function expected(secret: Uint8Array): Buffer {
  const keys = Buffer.from(hkdfSync('sha256', secret, new Uint8Array(32), new Uint8Array(0), 80));
  const mac = createHmac('sha256', keys.subarray(32, 64)).digest();
  return Buffer.concat([keys.subarray(0, 32), keys.subarray(64), mac]);
}

test.each([0, 1, 2, 3, 4, 5, 7, 8, runs(2000)])('derives the keys of %i secrets as OpenSSL does', (count) => {
  const secrets = new Uint8Array(randomBytes(32 * count));
  const derived = derivedKeys.deriveMany(secrets);
  expect(derived).toHaveLength(DERIVED * count);
  for (let slot = 0; slot < count; slot++) {
    const own = derived.subarray(DERIVED * slot, DERIVED * (slot + 1));
    expect(Buffer.compare(own, expected(secrets.subarray(32 * slot, 32 * slot + 32)))).toBe(0);
  }
});

test('derives from secrets of zeros and of ones, and from a part of an array', () => {
  const secrets = new Uint8Array(131).fill(255, 35);
  const derived = derivedKeys.deriveMany(secrets.subarray(3));
  [0, 255, 255, 255].forEach((byte, slot) => {
    const own = Buffer.from(derived.subarray(DERIVED * slot, DERIVED * (slot + 1)));
    expect(own).toEqual(expected(new Uint8Array(32).fill(byte)));
  });
});

test('leaves nothing in the memory of the kernel', () => {
  derivedKeys.deriveMany(new Uint8Array(32));
  const before = kernel.bytes.slice();
  derivedKeys.deriveMany(new Uint8Array(randomBytes(32 * 9)));
  expect(Buffer.compare(kernel.bytes, before)).toBe(0);
});

test('the constants are those of FIPS 180-4', () => {
  const text = (words: readonly number[]) => words.map((word) => word.toString(16).padStart(8, '0'));
  expect(text(INITIAL).slice(0, 2)).toEqual(['6a09e667', 'bb67ae85']);
  expect(INITIAL).toHaveLength(8);
  expect(text(ROUNDS).slice(0, 2)).toEqual(['428a2f98', '71374491']);
  expect(text(ROUNDS).slice(62)).toEqual(['bef9a3f7', 'c67178f2']);
  expect(ROUNDS).toHaveLength(64);
});

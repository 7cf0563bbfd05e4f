import { ed25519 } from '@noble/curves/ed25519.js';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isCurvePoint } from '../../src/curve25519/curve-point.js';
import { runs } from '../support/runs.js';

function decodes(bytes: Uint8Array): boolean {
  try {
    ed25519.Point.fromBytes(bytes, true);
    return true;
  } catch {
    return false;
  }
}

const number = (n: bigint) => Uint8Array.from({ length: 32 }, (_, i) => Number((n >> BigInt(8 * i)) & 255n));

const P = 2n ** 255n - 19n;

test('small numbers, numbers around p and 2^255, with and without the sign bit', () => {
  const interesting = [0n, P, 2n ** 255n - 1n, 2n ** 256n - 1n, 2n ** 255n].flatMap((middle) =>
    Array.from({ length: 41 }, (_, i) => middle + BigInt(i) - 20n),
  );
  const all = interesting.filter((n) => n >= 0n && n < 2n ** 256n).map(number);
  expect(all.map(isCurvePoint)).toEqual(all.map(decodes));
  expect(new Set(all.map(isCurvePoint)).size).toBe(2);
});

test('any 32 bytes, as the library decodes them', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) => {
      expect(isCurvePoint(bytes)).toBe(decodes(bytes));
    }),
    { numRuns: runs(2000) },
  );
});

test('every public key', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (seed) =>
      isCurvePoint(ed25519.getPublicKey(seed)),
    ),
    { numRuns: 50 },
  );
});

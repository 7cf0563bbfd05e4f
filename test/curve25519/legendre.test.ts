import fc from 'fast-check';
import { expect, test } from 'vitest';
import { legendre } from '../../src/curve25519/legendre.js';
import { runs } from '../support/runs.js';

const P = 2n ** 255n - 19n;

const bytesOf = (n: bigint) => Uint8Array.from({ length: 32 }, (_, i) => Number((n >> BigInt(8 * i)) & 255n));

/** Euler's criterion. */
function expected(n: bigint): number {
  let power = 1n;
  for (let base = n, rest = (P - 1n) / 2n; rest > 0n; rest >>= 1n, base = (base * base) % P) {
    if (rest & 1n) power = (power * base) % P;
  }
  return power === P - 1n ? -1 : Number(power);
}

test('legendre of any number is what the power of Euler gives', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: P - 1n }), (n) => {
      expect([expected(n), undefined]).toContain(legendre(bytesOf(n)));
    }),
    { numRuns: runs(2000) },
  );
});

test('legendre of zero is 0', () => {
  expect(legendre(new Uint8Array(32))).toBe(0);
});

test('legendre of small numbers, of powers of 2 and of their negatives is right, or open for some', () => {
  const small = Array.from({ length: 100 }, (_, i) => BigInt(i + 1));
  const powers = Array.from({ length: 255 }, (_, i) => 2n ** BigInt(i));
  const all = [...small, ...powers].flatMap((n) => [n, P - n]);
  const symbols = all.map((n) => legendre(bytesOf(n)));
  expect(symbols.map((symbol, i) => symbol ?? expected(all[i]))).toEqual(all.map(expected));
  expect(new Set(symbols)).toEqual(new Set([1, -1, undefined]));
});

test('legendre comes to an end for random numbers', () => {
  let seed = 1n;
  for (let i = 0; i < 20_000; i++) {
    seed = (seed * 6364136223846793005n * P + 1442695040888963407n * (P - 12345n)) % P;
    expect(legendre(bytesOf(seed))).toBeDefined();
  }
});

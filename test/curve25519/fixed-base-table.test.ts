import fc from 'fast-check';
import { expect, test } from 'vitest';
import { signedDigits, windowCount } from '../../src/curve25519/fixed-base-table.js';
import { bytesOf, uOf } from '../contracts/x25519.js';
import { runs } from '../support/runs.js';

const L = 2n ** 252n + 27742317777372353535851937790883648493n;

function scalarOf(privateKey: Uint8Array): bigint {
  return ((uOf(privateKey) & ~7n & (2n ** 254n - 1n)) | (2n ** 254n)) / 8n;
}

function digitsOf(privateKey: Uint8Array, width: number): bigint[] {
  const digits = new Uint8Array(windowCount(width) + 2).fill(99);
  const padded = Uint8Array.from([1, 2, 3, ...privateKey, 255]);
  signedDigits(digits, 1, padded, 3, width);
  expect([digits[0], digits.at(-1)]).toEqual([99, 99]);
  return Array.from(digits.slice(1, -1), (digit) => 2n * BigInt(digit) - (2n ** BigInt(width) - 1n));
}

const keys = fc.oneof(
  fc.uint8Array({ minLength: 32, maxLength: 32 }),
  fc.constantFrom(
    new Uint8Array(32),
    new Uint8Array(32).fill(255),
    bytesOf(8n),
    bytesOf(2n ** 255n - 16n),
    bytesOf(8n * (L - 2n ** 251n)),
    bytesOf(8n * (L - 2n ** 251n - 1n)),
  ),
);

test('digits are odd, within 2^W, and add up to the scalar or l minus it', () => {
  fc.assert(
    fc.property(keys, fc.integer({ min: 2, max: 8 }), (key, width) => {
      const digits = digitsOf(key, width);
      const scalar = scalarOf(key);
      expect(digits.reduceRight((sum, digit) => (sum << BigInt(width)) + digit, 0n)).toBe(
        scalar % 2n === 1n ? scalar : L - scalar,
      );
      for (const digit of digits) expect(digit % 2n === 0n || digit ** 2n >= 4n ** BigInt(width)).toBe(false);
    }),
    { numRuns: runs(500) },
  );
});

test('the absolute values of the digits add up to less than 2^252, so that no partial sums can meet', () => {
  fc.assert(
    fc.property(keys, fc.integer({ min: 2, max: 8 }), (key, width) => {
      const sum = digitsOf(key, width).reduceRight(
        (all, digit) => (all << BigInt(width)) + (digit < 0n ? -digit : digit),
        0n,
      );
      expect(sum).toBeLessThan(2n ** 252n);
    }),
    { numRuns: runs(500) },
  );
});

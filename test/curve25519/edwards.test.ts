import { ed25519, x25519 } from '@noble/curves/ed25519.js';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isCurvePoint, isLowOrder } from '../../src/curve25519/edwards.js';
import { runs } from '../support/runs.js';
import { LOW_ORDER_POINTS, bytes32, nonCanonical, withBitFlipped, withHighBit } from '../support/samples.js';

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

test('isCurvePoint decides small numbers, numbers around p and 2^255, with and without the sign bit', () => {
  const interesting = [0n, P, 2n ** 255n - 1n, 2n ** 256n - 1n, 2n ** 255n].flatMap((middle) =>
    Array.from({ length: 41 }, (_, i) => middle + BigInt(i) - 20n),
  );
  const all = interesting.filter((n) => n >= 0n && n < 2n ** 256n).map(number);
  expect(all.map(isCurvePoint)).toEqual(all.map(decodes));
  expect(new Set(all.map(isCurvePoint)).size).toBe(2);
});

test('isCurvePoint decides any 32 bytes as noble does', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) => {
      expect(isCurvePoint(bytes)).toBe(decodes(bytes));
    }),
    { numRuns: runs(2000) },
  );
});

test('isCurvePoint accepts every public key', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (seed) =>
      isCurvePoint(ed25519.getPublicKey(seed)),
    ),
    { numRuns: 50 },
  );
});

const SCALAR = new Uint8Array(32).fill(0x55);

/** Noble throws for a shared secret of zeros. */
function agreesOnZero(u: Uint8Array): boolean {
  try {
    x25519.getSharedSecret(SCALAR, u);
    return false;
  } catch {
    return true;
  }
}

test('isLowOrder knows all fourteen encodings of points of small order', () => {
  expect(LOW_ORDER_POINTS).toHaveLength(14);
  for (const point of LOW_ORDER_POINTS) {
    expect(isLowOrder(point)).toBe(true);
    expect(agreesOnZero(point)).toBe(true);
  }
});

test('isLowOrder rejects every neighbour of them', () => {
  for (const point of LOW_ORDER_POINTS) {
    for (let bit = 0; bit < 256; bit++) {
      const near = withBitFlipped(point, bit);
      expect(isLowOrder(near)).toBe(LOW_ORDER_POINTS.some((low) => low.join() === near.join()));
    }
  }
});

test('isLowOrder reduces a non-canonical u', () => {
  for (let n = 0n; n < 19n; n++) {
    const u = nonCanonical(n);
    expect(isLowOrder(u)).toBe(n < 2n);
    expect(isLowOrder(withHighBit(u))).toBe(n < 2n);
    expect(agreesOnZero(u)).toBe(n < 2n);
  }
});

test('isLowOrder is false for any other key', () => {
  fc.assert(
    fc.property(bytes32, (u) => {
      fc.pre(u.some((byte) => byte > 1));
      expect(isLowOrder(u)).toBe(false);
    }),
  );
});

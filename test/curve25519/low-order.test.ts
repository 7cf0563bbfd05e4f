import { fc } from '@fast-check/vitest';
import { x25519 } from '@noble/curves/ed25519.js';
import { expect, it } from 'vitest';
import { isLowOrder } from '../../src/curve25519/low-order.js';
import { LOW_ORDER_POINTS, bytes32, nonCanonical, withBitFlipped, withHighBit } from '../support/samples.js';

const SCALAR = new Uint8Array(32).fill(0x55);

/** What the agreement itself says: noble throws for a shared secret of zeros. */
function agreesOnZero(u: Uint8Array): boolean {
  try {
    x25519.getSharedSecret(SCALAR, u);
    return false;
  } catch {
    return true;
  }
}

it('knows all fourteen encodings of points of small order', () => {
  expect(LOW_ORDER_POINTS).toHaveLength(14);
  for (const point of LOW_ORDER_POINTS) {
    expect(isLowOrder(point)).toBe(true);
    expect(agreesOnZero(point)).toBe(true);
  }
});

it('takes no neighbour of them', () => {
  for (const point of LOW_ORDER_POINTS) {
    for (let bit = 0; bit < 256; bit++) {
      const near = withBitFlipped(point, bit);
      expect(isLowOrder(near)).toBe(LOW_ORDER_POINTS.some((low) => low.join() === near.join()));
    }
  }
});

it('reads a non-canonical u as what it stands for', () => {
  for (let n = 0n; n < 19n; n++) {
    const u = nonCanonical(n);
    expect(isLowOrder(u)).toBe(n < 2n);
    expect(isLowOrder(withHighBit(u))).toBe(n < 2n);
    expect(agreesOnZero(u)).toBe(n < 2n);
  }
});

it('lets any other key pass', () => {
  fc.assert(
    fc.property(bytes32, (u) => {
      fc.pre(u.some((byte) => byte > 1));
      expect(isLowOrder(u)).toBe(false);
    }),
  );
});

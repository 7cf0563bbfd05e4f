import { ed25519, x25519 } from '@noble/curves/ed25519.js';
import { randomBytes } from '@noble/hashes/utils.js';
import { describe, expect, test } from 'vitest';
import { concat } from '../../src/encoding/bytes.js';
import { ladderMany } from '../../src/curve25519/montgomery-ladder.js';
import {
  buildTable,
  recipientPoint,
  windowCount,
  type RecipientTable,
} from '../../src/curve25519/fixed-base-table.js';
import { checkedTable, tableProducts } from '../../src/curve25519/fixed-base.js';
import { LOW_ORDER_ENCODINGS, bytesOf, reference } from '../contracts/x25519.js';

function tableOf(publicKey: Uint8Array, width: number): RecipientTable {
  const point = recipientPoint(publicKey);
  if (!point) throw new Error('expected a point of the curve');
  return buildTable(publicKey, point, width);
}

const publicKey = x25519.getPublicKey(Uint8Array.from({ length: 32 }, (_, i) => i));

describe('tableProducts', () => {
  test.each([2, 3, 4, 5, 6, 7])('agrees with noble for windows of %i bits, one table and two', (width) => {
    const first = tableOf(publicKey, width);
    const second = tableOf(bytesOf(9n), width);
    const keys = Array.from({ length: 40 }, () => randomBytes(32));
    for (const size of [1, 3, 39]) {
      const some = keys.slice(0, size);
      const [secrets, publicKeys] = tableProducts([first, second], concat(...some));
      expect(secrets).toEqual(concat(...some.map((key) => reference(key, publicKey))));
      expect(publicKeys).toEqual(concat(...some.map((key) => x25519.getPublicKey(key))));
      expect(tableProducts([second], concat(...some))).toEqual([publicKeys]);
    }
  });

  test.each([0, 1, 2, 31, 32, 33, 255, 256, 257, 272, 300, 513])(
    'computes %i keys without the ladder',
    (count) => {
      const keys = randomBytes(32 * count);
      // A fallback to the ladder would take the wrong public key.
      const table = { ...tableOf(publicKey, 5), publicKey: bytesOf(9n) };
      const expected = ladderMany(keys, publicKey);
      expect(tableProducts([table, table], keys)).toEqual([expected, expected]);
    },
  );

  test('a chunk in which points meet takes the ladder', () => {
    // The first window of the upper half is added to the lowest. With the same multiples, equal digits make equal points.
    for (const width of [4, 5, 6]) {
      const damaged = tableOf(publicKey, width);
      const windows = windowCount(width);
      const window = damaged.entries.length / windows;
      damaged.entries.copyWithin(Math.ceil(windows / 2) * window, 0, window);
      // m is odd, and all but the highest digits of (m - 1) / 2 are equal.
      const meeting = bytesOf(8n * (2n ** 251n + 1n));
      for (const size of [1, 5, 32]) {
        const keys = concat(meeting, randomBytes(32 * (size - 1)));
        expect(tableProducts([damaged], keys)).toEqual([ladderMany(keys, publicKey)]);
      }
    }
  });

  test('a later chunk in which points meet does not change earlier ones', () => {
    const damaged = tableOf(publicKey, 5);
    const window = damaged.entries.length / windowCount(5);
    damaged.entries.copyWithin(Math.ceil(windowCount(5) / 2) * window, 0, window);
    const meeting = bytesOf(8n * (2n ** 251n + 1n));
    // Its lowest digit differs from all others.
    const apart = bytesOf(8n * (2n ** 251n + 3n));
    const [wrong] = tableProducts([damaged], apart);
    expect(wrong).not.toEqual(ladderMany(apart, publicKey));
    // Ten chunks of 30.
    const keys = concat(...Array<Uint8Array>(299).fill(apart), meeting);
    const [results] = tableProducts([damaged], keys);
    expect(results.subarray(0, 32 * 270)).toEqual(concat(...Array<Uint8Array>(270).fill(wrong)));
    expect(results.subarray(32 * 270)).toEqual(ladderMany(keys.subarray(32 * 270), publicKey));
  });

  test('a damaged table gives wrong results where no points meet, so the fallback above was the ladder', () => {
    const damaged = tableOf(publicKey, 5);
    damaged.entries.copyWithin(0, 12, damaged.entries.length / 2);
    const keys = randomBytes(32 * 40);
    expect(tableProducts([damaged], keys)).not.toEqual([ladderMany(keys, publicKey)]);
  });
});

describe('checkedTable', () => {
  test('returns a table that agrees with the ladder', () => {
    const table = tableOf(publicKey, 5);
    expect(checkedTable(table)).toBe(table);
  });

  test.each([2, 4, 5, 6])('rejects a table of %i bits with any window damaged', (width) => {
    const windows = windowCount(width);
    for (let window = 0; window < windows; window += 3) {
      const damaged = tableOf(publicKey, width);
      const size = damaged.entries.length / windows;
      // Every entry of the window, since the scalar selects one of them.
      damaged.entries.fill(3, window * size, (window + 1) * size);
      expect(() => checkedTable(damaged)).toThrow(
        expect.objectContaining({
          code: 'backend-failed',
          message: 'table of multiples: expected the result of the ladder, got another',
        }) as Error,
      );
    }
  });

  test('rejects a table with any multiple damaged', () => {
    const size = tableOf(publicKey, 5).entries.length / windowCount(5) / 16;
    for (let multiple = 0; multiple < 16; multiple++) {
      const damaged = tableOf(publicKey, 5);
      for (let window = 0; window < windowCount(5); window++) {
        const at = (window * 16 + multiple) * size;
        // Each window differently, since points that meet would take the ladder.
        damaged.entries.fill(window + 1, at, at + size);
      }
      expect(() => checkedTable(damaged)).toThrow('got another');
    }
  });
});

describe('entries of a table', () => {
  test('are the odd multiples in every window, as noble computes them', () => {
    const { Point } = ed25519;
    const width = 4;
    const table = tableOf(publicKey, width);
    const point = recipientPoint(publicKey);
    if (!point) throw new Error('expected a point of the curve');
    const third = Point.Fp.div(486662n, 3n);
    for (const window of [0, 1, 31, 62]) {
      for (let j = 0; j < 8; j++) {
        const { y } = point
          .multiply((BigInt(2 * j + 1) << BigInt(width * window)) % Point.Fn.ORDER)
          .toAffine();
        const at = (window * 8 + j) * 12;
        const x = table.entries.slice(at, at + 6).reduce((sum, pair) => sum + BigInt(pair), 0n);
        const u = Point.Fp.div(Point.Fp.add(1n, y), Point.Fp.sub(1n, y));
        expect(Point.Fp.create(x - third)).toBe(u);
      }
    }
  });
});

describe('recipientPoint', () => {
  test('is undefined for a low order and on the twist', () => {
    for (const publicKey of LOW_ORDER_ENCODINGS) expect(recipientPoint(publicKey)).toBeUndefined();
    expect(recipientPoint(bytesOf(2n))).toBeUndefined();
    expect(recipientPoint(bytesOf(9n))).toBeDefined();
  });
});

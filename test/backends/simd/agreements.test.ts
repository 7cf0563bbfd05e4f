import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { Agreements } from '../../../src/backends/simd/agreements.js';
import { Kernel } from '../../../src/backends/simd/kernel.js';
import {
  buildTable,
  recipientPoint,
  windowCount,
  type RecipientTable,
} from '../../../src/curve25519/fixed-base-table.js';
import { ladderMany } from '../../../src/curve25519/montgomery-ladder.js';
import { BASE_POINT, WIDTH, publicKeyOf } from '../../../src/curve25519/x25519.js';
import { concat } from '../../../src/encoding/bytes.js';
import { LOW_ORDER_ENCODINGS, bytesOf } from '../../contracts/x25519.js';
import { enableRelaxedSimd } from '../../support/platforms.js';

enableRelaxedSimd();

const kernel = await Kernel.make();
const simd = new Agreements(kernel);
const base = tableFor(BASE_POINT);

function tableFor(publicKey: Uint8Array): RecipientTable {
  const point = recipientPoint(publicKey);
  if (!point) throw new Error('expected a point of the curve');
  return buildTable(publicKey, point, WIDTH);
}

const privateKeysOf = (count: number) => new Uint8Array(randomBytes(32 * count));

describe('ladders', () => {
  test.each([1, 127, 128, 129, 257])('%i scalars with as many points', (count) => {
    const [scalars, points] = [privateKeysOf(count), privateKeysOf(count)];
    expect(simd.ladderMany(scalars, points)).toEqual(ladderMany(scalars, points));
  });

  test('points of low order leave their neighbours in both lanes as they are', () => {
    const scalar = privateKeysOf(1);
    for (let at = 0; at < 6; at++) {
      const points = privateKeysOf(6);
      points.set(LOW_ORDER_ENCODINGS[at], 32 * at);
      expect(simd.ladderMany(scalar, points)).toEqual(ladderMany(scalar, points));
    }
  });
});

describe('table products', () => {
  const recipient = publicKeyOf(privateKeysOf(1));

  test.each([1, 2, 63, 64, 65, 129])('%i scalars, without a ladder', (count) => {
    const keys = privateKeysOf(count);
    // A fallback to the ladder would take the wrong public key.
    const table = { ...tableFor(recipient), publicKey: BASE_POINT };
    const expected = ladderMany(keys, recipient);
    expect(simd.tableProducts([table, table], keys)).toEqual([expected, expected]);
  });

  test('one table replaces another in memory, in either place', () => {
    const keys = privateKeysOf(3);
    const own = tableFor(recipient);
    for (const tables of [[base, own], [own, base], [own], [base], [base, base], [base, own]]) {
      const expected = tables.map(({ publicKey }) => ladderMany(keys, publicKey));
      expect(simd.tableProducts(tables, keys)).toEqual(expected);
    }
  });

  test('a chunk in which points meet takes the ladder, and no other chunk', () => {
    // The first window of the upper half is added to the lowest: with the same multiples, equal digits make equal points.
    const damaged = tableFor(recipient);
    const window = damaged.entries.length / windowCount(WIDTH);
    damaged.entries.copyWithin(Math.ceil(windowCount(WIDTH) / 2) * window, 0, window);
    // m is odd, and all but the highest digits of (m - 1) / 2 are equal; in the other the lowest digit differs.
    const [meeting, apart] = [bytesOf(8n * (2n ** 251n + 1n)), bytesOf(8n * (2n ** 251n + 3n))];
    const [wrong] = simd.tableProducts([damaged], apart);
    expect(wrong).not.toEqual(ladderMany(apart, recipient));
    for (const at of [0, 1]) {
      const keys = concat(
        ...Array<Uint8Array>(64).fill(apart),
        ...(at ? [apart, meeting] : [meeting, apart]),
      );
      const [results] = simd.tableProducts([damaged], keys);
      expect(results.subarray(0, 32 * 64)).toEqual(concat(...Array<Uint8Array>(64).fill(wrong)));
      expect(results.subarray(32 * 64)).toEqual(ladderMany(keys.subarray(32 * 64), recipient));
    }
  });
});

test('nothing stays in memory but constants and tables', () => {
  const key = privateKeysOf(1);
  const points = privateKeysOf(140);
  simd.tableProducts([base], new Uint8Array(32));
  const before = kernel.bytes.slice();
  const keys = privateKeysOf(140);
  for (const work of [
    () => simd.ladderMany(key, points),
    () => simd.ladderMany(keys, concat(points.subarray(32), new Uint8Array(32))),
    () => simd.tableProducts([base], keys),
  ]) {
    work();
    expect(Buffer.compare(kernel.bytes, before)).toBe(0);
  }
});

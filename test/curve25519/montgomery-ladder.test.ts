import { randomBytes } from '@noble/hashes/utils.js';
import { describe, expect, test } from 'vitest';
import { concat } from '../../src/encoding/bytes.js';
import { KeyBackupError } from '../../src/errors.js';
import { ladderMany } from '../../src/curve25519/montgomery-ladder.js';
import { LOW_ORDER_ENCODINGS, randomKeys, reference } from '../contracts/x25519.js';

describe('ladderMany', () => {
  test('multiplies pair by pair, with one scalar, or with one point', () => {
    const scalars = randomBytes(32 * 5);
    const points = randomBytes(32 * 5);
    const at = (bytes: Uint8Array, i: number): Uint8Array => bytes.subarray(32 * i, 32 * i + 32);
    const five = [0, 1, 2, 3, 4];
    expect(ladderMany(scalars, points)).toEqual(
      concat(...five.map((i) => reference(at(scalars, i), at(points, i)))),
    );
    expect(ladderMany(at(scalars, 0), points)).toEqual(
      concat(...five.map((i) => reference(at(scalars, 0), at(points, i)))),
    );
    expect(ladderMany(scalars, at(points, 0))).toEqual(
      concat(...five.map((i) => reference(at(scalars, i), at(points, 0)))),
    );
  });

  test('gives zeros for a low order at the ends of a chunk and does not change the others', () => {
    const scalar = randomBytes(32);
    const points = randomKeys(300);
    for (const [k, i] of [0, 255, 256, 299].entries()) points[i] = LOW_ORDER_ENCODINGS[k];
    expect(ladderMany(scalar, concat(...points))).toEqual(
      concat(...points.map((point) => reference(scalar, point))),
    );
  });

  test.each([
    [31, 32],
    [32, 33],
    [64, 96],
    [0, 31],
    [31, 0],
    [0, 64],
  ])('rejects %i bytes of scalars with %i bytes of points', (scalars, points) => {
    const call = (): unknown => ladderMany(new Uint8Array(scalars), new Uint8Array(points));
    expect(call).toThrow(KeyBackupError);
    expect(call).toThrow(expect.objectContaining({ code: 'bad-length' }));
    expect(call).toThrow(`got ${scalars} and ${points}`);
  });
});

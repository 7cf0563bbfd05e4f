import { createCipheriv } from 'node:crypto';
import { fc } from '@fast-check/vitest';
import { describe, expect, it } from 'vitest';
import { AesCtr, aesCtr } from '../../src/formats/aes-ctr.js';
import { concat } from '../../src/encoding/bytes.js';
import { bytes32 } from '../support/samples.js';

const ivs = fc.oneof(
  fc.uint8Array({ minLength: 16, maxLength: 16 }),
  // Counters that carry into all that is left of them, and past the first byte.
  fc
    .integer({ min: 0, max: 16 })
    .map((zeros) => Uint8Array.from({ length: 16 }, (_, i) => (i < zeros ? 0 : 255))),
);
const pieces = fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 8 });

const reference = (key: Uint8Array, iv: Uint8Array, bytes: Uint8Array) => {
  const cipher = createCipheriv('aes-256-ctr', key, iv);
  return concat(cipher.update(bytes), cipher.final());
};

describe('AES-256-CTR', () => {
  it('is what node:crypto makes of it, in whatever pieces it comes', () => {
    fc.assert(
      fc.property(bytes32, ivs, pieces, (key, iv, given) => {
        const whole = concat(...given);
        const expected = reference(key, iv, whole);
        expect(aesCtr(key, iv, whole)).toEqual(expected);
        const cipher = new AesCtr(key, iv);
        const came = given.map((piece) => Uint8Array.from(cipher.update(piece)));
        expect(concat(...came, cipher.final())).toEqual(expected);
      }),
    );
  });

  it('carries as far as there are bytes: the counter is all 16 of them', () => {
    const key = new Uint8Array(32).fill(7);
    for (let last = 0; last < 16; last++) {
      const iv = Uint8Array.from({ length: 16 }, (_, i) => (i > last ? 255 : i));
      const cipher = new AesCtr(key, iv);
      const came = [1, 2, 3].map(() => Uint8Array.from(cipher.update(new Uint8Array(16 * 300))));
      expect(concat(...came)).toEqual(reference(key, iv, new Uint8Array(3 * 16 * 300)));
    }
  });

  it('takes copies of key and counter, and leaves both as they are', () => {
    const [key, iv] = [new Uint8Array(32).fill(1), new Uint8Array(16).fill(255)];
    const expected = reference(key, iv, new Uint8Array(40));
    const cipher = new AesCtr(key, iv);
    key.fill(2);
    iv.fill(2);
    const came = concat(Uint8Array.from(cipher.update(new Uint8Array(33))), cipher.update(new Uint8Array(7)));
    expect(concat(came, cipher.final())).toEqual(expected);
    expect(key).toEqual(new Uint8Array(32).fill(2));
    expect(iv).toEqual(new Uint8Array(16).fill(2));
  });

  it('gives an array of its own for nothing', () => {
    expect(aesCtr(new Uint8Array(32), new Uint8Array(16), new Uint8Array(0))).toEqual(new Uint8Array(0));
  });
});

import { fc } from '@fast-check/vitest';
import { expect, it } from 'vitest';
import { concat } from '../../src/encoding/bytes.js';
import { Remainder } from '../../src/encoding/block-buffer.js';

const pieces = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 8 });

it('gives whole blocks as soon as there are any, and the rest at the end', () => {
  fc.assert(
    fc.property(pieces, fc.integer({ min: 1, max: 17 }), (given, block) => {
      const remainder = new Remainder(block);
      let taken = 0;
      let whole = 0;
      const blocks = given.map((piece) => {
        const came = remainder.push(piece);
        taken += piece.length;
        whole += came.length;
        expect(came.length % block).toBe(0);
        expect(taken - whole).toBeLessThan(block);
        return Uint8Array.from(came);
      });
      const rest = remainder.take();
      expect(rest).toHaveLength(taken - whole);
      expect(concat(...blocks, rest)).toEqual(concat(...given));
    }),
  );
});

it('has nothing more once it was taken', () => {
  const remainder = new Remainder(4);
  remainder.push(Uint8Array.of(1, 2, 3));
  remainder.take();
  expect(remainder.take()).toHaveLength(0);
  expect(remainder.push(Uint8Array.of(4, 5, 6, 7))).toEqual(Uint8Array.of(4, 5, 6, 7));
});

it('keeps what it was given, whatever becomes of the array', () => {
  const remainder = new Remainder(4);
  const piece = Uint8Array.of(1, 2, 3);
  remainder.push(piece);
  piece.fill(0);
  expect(remainder.take()).toEqual(Uint8Array.of(1, 2, 3));
});

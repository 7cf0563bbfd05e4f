import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  BlockBuffer,
  SecretBytes,
  concat,
  concatAll,
  copyBytes,
  equal,
  expectBytes,
  isZero,
  plainBytes,
  wipe,
} from '../../src/encoding/bytes.js';
import { refusal, withBitFlipped } from '../support/samples.js';

const bytes = fc.uint8Array({ maxLength: 80 });

describe('concat', () => {
  it('joins in order into a new array', () => {
    fc.assert(
      fc.property(fc.array(bytes), (parts) => {
        expect([...concat(...parts)]).toEqual(parts.flatMap((part) => [...part]));
      }),
    );
    const part = Uint8Array.of(1);
    concat(part)[0] = 2;
    expect(part[0]).toBe(1);
  });

  it('returns a plain array for Buffers', () => {
    expect(Buffer.isBuffer(concat(Buffer.from('a'), Buffer.from('b')))).toBe(false);
  });

  it('concatAll joins more pieces than a call may have arguments', () => {
    const pieces = Array.from({ length: 300_000 }, (_, i) => Uint8Array.of(i & 255));
    expect(
      Buffer.compare(
        concatAll(pieces),
        Uint8Array.from({ length: 300_000 }, (_, i) => i & 255),
      ),
    ).toBe(0);
  });
});

describe('equal', () => {
  it('detects every flipped bit', () => {
    for (let bit = 0; bit < 8 * 33; bit++) {
      const one = new Uint8Array(33).fill(0x5a);
      expect(equal(one, withBitFlipped(one, bit))).toBe(false);
    }
  });

  it('agrees with a comparison of texts', () => {
    fc.assert(
      fc.property(bytes, bytes, (a, b) => {
        expect(equal(a, b)).toBe(a.join() === b.join());
        expect(equal(a, Uint8Array.from(a))).toBe(true);
      }),
    );
  });

  it('is false for a prefix', () => {
    expect(equal(Uint8Array.of(), Uint8Array.of(0))).toBe(false);
    expect(equal(Uint8Array.of(1, 2), Uint8Array.of(1))).toBe(false);
  });
});

describe('isZero', () => {
  it('is false for any bit set', () => {
    for (let bit = 0; bit < 256; bit++) expect(isZero(withBitFlipped(new Uint8Array(32), bit))).toBe(false);
    expect(isZero(new Uint8Array(32))).toBe(true);
    expect(isZero(new Uint8Array(0))).toBe(true);
  });
});

it('wipe leaves only zeros', () => {
  const [a, b] = [Uint8Array.of(1, 2), Uint8Array.of(3)];
  wipe(a, b);
  expect([...a, ...b]).toEqual([0, 0, 0]);
});

it('copyBytes copies a Buffer into a plain array', () => {
  const buffer = Buffer.from([1, 2, 3]);
  const copy = copyBytes(buffer);
  expect(Buffer.isBuffer(copy)).toBe(false);
  buffer[0] = 9;
  expect([...copy]).toEqual([1, 2, 3]);
});

it('plainBytes shares the memory of a Buffer and returns a plain array unchanged', () => {
  const buffer = Buffer.from([1, 2, 3]);
  const plain = plainBytes(buffer);
  expect(Object.getPrototypeOf(plain)).toBe(Uint8Array.prototype);
  buffer[0] = 9;
  expect([...plain]).toEqual([9, 2, 3]);
  expect(plainBytes(plain)).toBe(plain);
});

describe('expectBytes', () => {
  it.each([undefined, null, 'x'.repeat(32), Array(32).fill(0), new Uint8Array(31), new Uint8Array(33), {}])(
    'rejects %s',
    (value) => {
      const error = refusal(() => expectBytes(value, 32, 'the field'));
      expect(error.code).toBe('bad-length');
      expect(error.message).toMatch(/^the field: expected 32 bytes, got /);
    },
  );

  it('returns the same array', () => {
    const array = new Uint8Array(32);
    expect(expectBytes(array, 32, 'x')).toBe(array);
  });
});

it('secret bytes are overwritten, and never returned again', () => {
  const bytes = Uint8Array.of(1, 2, 3);
  const secret = new SecretBytes(bytes, 'some key');
  expect(secret.value).toBe(bytes);
  expect(bytes).toEqual(Uint8Array.of(1, 2, 3));
  secret.dispose();
  expect(bytes).toEqual(new Uint8Array(3));
  expect(() => secret.value).toThrow(
    expect.objectContaining({
      code: 'bad-parameters',
      message: 'some key: expected a usable key, got one already disposed',
    }) as Error,
  );
  secret.dispose();
});

const pieces = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 8 });

it('a block buffer returns whole blocks as soon as it has them, and the rest at the end', () => {
  fc.assert(
    fc.property(pieces, fc.integer({ min: 1, max: 17 }), (given, block) => {
      const buffer = new BlockBuffer(block);
      let taken = 0;
      let whole = 0;
      const blocks = given.map((piece) => {
        const came = buffer.push(piece);
        taken += piece.length;
        whole += came.length;
        expect(came.length % block).toBe(0);
        expect(taken - whole).toBeLessThan(block);
        return Uint8Array.from(came);
      });
      const rest = buffer.take();
      expect(rest).toHaveLength(taken - whole);
      expect(concat(...blocks, rest)).toEqual(concat(...given));
    }),
  );
});

it('a block buffer is empty after take()', () => {
  const buffer = new BlockBuffer(4);
  buffer.push(Uint8Array.of(1, 2, 3));
  buffer.take();
  expect(buffer.take()).toHaveLength(0);
  expect(buffer.push(Uint8Array.of(4, 5, 6, 7))).toEqual(Uint8Array.of(4, 5, 6, 7));
});

it('a block buffer keeps a copy of the rest', () => {
  const buffer = new BlockBuffer(4);
  const piece = Uint8Array.of(1, 2, 3);
  buffer.push(piece);
  piece.fill(0);
  expect(buffer.take()).toEqual(Uint8Array.of(1, 2, 3));
});

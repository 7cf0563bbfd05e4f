import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { JsonExtent } from '../../src/wire/json-extent.js';

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const LIMITS = { bytes: 1000, depth: 8 };

/**
 * Reads one value that begins at the start of `text`, in chunks of one size that are spoilt afterwards.
 *
 * @returns The value as it was kept, or why it was not, and how many bytes it had.
 */
function extentOf(text: string, size: number, extent = new JsonExtent(LIMITS)) {
  const bytes = encoder.encode(text);
  extent.begin(bytes[0], 'a.b');
  for (let start = 0; start < bytes.length; start += size) {
    const chunk = bytes.slice(start, start + size);
    const end = extent.feed(chunk, 0);
    if (end < 0) {
      chunk.fill(0);
    } else {
      const { bytes: kept, tooLarge } = extent.take();
      return { kept: kept && decoder.decode(kept), tooLarge, length: start + end };
    }
  }
  return 'goes on';
}

const escapes = fc.string({ unit: fc.constantFrom('\\', '"', 'a', '{', ']', 'é'), maxLength: 60 });
const values = fc.oneof(
  fc.jsonValue(),
  fc.array(escapes, { maxLength: 4 }),
  fc.dictionary(escapes, escapes, { maxKeys: 3 }),
);
const sizes = fc.oneof(fc.integer({ min: 1, max: 30 }), fc.constant(2000));

describe('a JSON value in a stream', () => {
  it('ends where it ends, however it is written, cut, and followed', () => {
    fc.assert(
      fc.property(
        values,
        fc.constantFrom(undefined, 1),
        fc.constantFrom(',', '}', ']', ' ', '\n'),
        sizes,
        (value, indent, next, size) => {
          const text = JSON.stringify(value, null, indent);
          const length = encoder.encode(text).length;
          fc.pre(length <= LIMITS.bytes && depthOf(value) <= LIMITS.depth);
          const expected = { kept: text, tooLarge: undefined, length };
          expect(extentOf(`${text}${next}"x{[`, size)).toEqual(expected);
        },
      ),
    );
  });

  it('knows which quotation marks are escaped, wherever they and the chunks stand', () => {
    for (let before = 0; before <= 30; before++) {
      for (let backslashes = 0; backslashes <= 5; backslashes++) {
        // As many backslashes as make whole escapes, and one more with a quotation mark.
        const text = `"${'x'.repeat(before)}${'\\'.repeat(2 * backslashes)}\\"${'y'.repeat(before % 4)}"`;
        for (const size of [1, 2, 3, 25, 26, 27, 500]) {
          expect(extentOf(`${text},"`, size)).toEqual({
            kept: text,
            tooLarge: undefined,
            length: text.length,
          });
        }
      }
    }
  });

  it('knows them inside of other values and in long rows of backslashes too', () => {
    for (const inner of ['x'.repeat(40), `${'x'.repeat(30)}\\"`, '\\'.repeat(80), `${'\\'.repeat(81)}"`]) {
      const text = `["${inner}",{"a":"${inner}"},"]"]`;
      for (let size = 1; size <= 60; size++) {
        const expected = { kept: `"${inner}"`, tooLarge: undefined, length: inner.length + 2 };
        expect(extentOf(`"${inner}",`, size)).toEqual(expected);
        expect(extentOf(`${text},"`, size)).toEqual({ ...expected, kept: text, length: text.length });
      }
    }
  });

  it('goes on until it is complete', () => {
    const text = '{"a":["x\\"}]",{}],"b":"\\\\"}';
    for (let length = 1; length < text.length; length++) {
      for (const size of [1, 4, 100]) expect(extentOf(text.slice(0, length), size)).toBe('goes on');
    }
    for (const scalar of ['12', 'true', 'nul']) expect(extentOf(scalar, 2)).toBe('goes on');
    expect(extentOf(text, 5)).toMatchObject({ kept: text });
  });

  it('begins anew after one that was too large, too deep, or not complete', () => {
    const extent = new JsonExtent({ bytes: 20, depth: 2 });
    const fine = { kept: '[["x"]]', tooLarge: undefined, length: 7 };
    for (const text of ['"xxxxxxxxxxxxxxxxxxxxxxxx"', '[[[]]]', '12,', '{"a', '["\\', '[[[{', 'nul']) {
      extentOf(text, 3, extent);
      expect(extentOf('[["x"]],', 3, extent)).toEqual(fine);
      extentOf(text, 100, extent);
      expect(extentOf('[["x"]],', 100, extent)).toEqual(fine);
    }
  });

  it('begins where it is told to', () => {
    const extent = new JsonExtent(LIMITS);
    const chunk = encoder.encode(',"]["],[7,8],9 ');
    for (const [start, end] of [
      [1, 5],
      [2, -1],
      [7, 12],
      [13, 14],
    ]) {
      extent.begin(chunk[start], 'x');
      if (end < 0) continue;
      expect(extent.feed(chunk, start)).toBe(end);
      expect(decoder.decode(extent.take().bytes)).toBe(decoder.decode(chunk.subarray(start, end)));
    }
  });
});

describe('the limits', () => {
  it.each([1, 7, 5000])('are bytes: as many as said, and not one more, in chunks of %i', (size) => {
    for (const [length, fits] of [
      [999, true],
      [1000, true],
      [1001, false],
      [4000, false],
    ] as const) {
      for (const text of [`"${'x'.repeat(length - 2)}"`, `[${'1'.repeat(length - 2)}]`, '1'.repeat(length)]) {
        expect(extentOf(`${text},`, size)).toEqual({
          kept: fits ? text : undefined,
          tooLarge: fits ? undefined : `expected at most 1000 bytes, got ${length}`,
          length,
        });
      }
    }
  });

  it('are levels: as many as said, and not one more', () => {
    for (const [open, close] of ['[]', '{}']) {
      for (const levels of [7, 8, 9, 30]) {
        const text = open.repeat(levels) + close.repeat(levels);
        expect(extentOf(`${text},`, 3)).toEqual({
          kept: levels <= 8 ? text : undefined,
          tooLarge: levels <= 8 ? undefined : 'expected at most 8 levels, got more',
          length: 2 * levels,
        });
      }
    }
  });

  it('keep nothing of what is larger', () => {
    const extent = new JsonExtent({ bytes: 100, depth: 2 });
    extent.begin(0x22, 'x');
    const before = process.memoryUsage().arrayBuffers;
    const chunk = new Uint8Array(1 << 16).fill(0x78);
    for (let i = 0; i < 400; i++) expect(extent.feed(chunk, 0)).toBe(-1);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(13e6);
  });
});

it.each(['[}', '{]', '[{]', '{"a":[}', '[[[[[[[{]'])('%s ends nowhere, and it says so', (text) => {
  for (const size of [1, 100]) {
    expect(() => extentOf(text, size)).toThrow(
      expect.objectContaining({
        code: 'bad-json',
        message: 'a.b: a bracket is closed by one of the other kind',
      }),
    );
  }
});

function depthOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  return 1 + Math.max(0, ...Object.values(value).map(depthOf));
}

import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { utf8Decode, utf8Encode } from '../../src/encoding/utf8.js';
import { anyCharacter, anyText, refusal, total } from '../support/samples.js';
import { runs } from '../support/runs.js';
import { withoutTextCoders } from '../support/platforms.js';

const platform = (bytes: Uint8Array): string | undefined => {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
};

const ours = (decode: typeof utf8Decode, bytes: Uint8Array): string | undefined => {
  const text = total(() => decode(bytes, 'x'));
  if (typeof text === 'string') return text;
  expect(text.code).toBe('bad-utf8');
  return undefined;
};

const portable = await withoutTextCoders(() => import('../../src/encoding/utf8.js'));

function encodePortably(text: string): Uint8Array {
  vi.stubGlobal('TextEncoder', undefined);
  try {
    return portable.utf8Encode(text);
  } finally {
    vi.unstubAllGlobals();
  }
}

describe('without TextEncoder and TextDecoder', () => {
  afterEach(() => {
    vi.unstubAllGlobals();
    vi.restoreAllMocks();
  });

  it('encodes and decodes', () => {
    vi.stubGlobal('TextEncoder', undefined);
    vi.stubGlobal('TextDecoder', undefined);
    expect(portable.utf8Decode(portable.utf8Encode('é語😀'), 'x')).toBe('é語😀');
    expect(refusal(() => portable.utf8Decode(Uint8Array.of(0xff), 'x')).code).toBe('bad-utf8');
  });

  it('encodes on engines without isWellFormed, also when a bundler has asked its own engine for it', () => {
    const prototype = String.prototype as unknown as { isWellFormed: () => boolean };
    vi.spyOn(prototype, 'isWellFormed').mockImplementation(() => {
      throw new TypeError('undefined is not a function');
    });
    expect(encodePortably('é語😀').join()).toBe(utf8Encode('é語😀').join());
  });
});

describe.each([
  ['by the platform', utf8Encode, utf8Decode],
  ['portably', encodePortably, portable.utf8Decode],
] as const)('%s', (_, encode, decode) => {
  it('encodes every text as the platform does', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        expect(encode(text).join()).toBe(new TextEncoder().encode(text).join());
      }),
    );
  });

  it('encodes the first and the last point of every length, and both ends of the surrogates', () => {
    for (const point of [
      0, 0x7f, 0x80, 0x7ff, 0x800, 0xd7ff, 0xd800, 0xdfff, 0xe000, 0xffff, 0x10000, 0x10ffff,
    ]) {
      const text = String.fromCodePoint(point);
      expect(encode(text).join()).toBe(new TextEncoder().encode(text).join());
    }
  });

  it('decodes what it encoded', () => {
    fc.assert(
      fc.property(fc.string({ unit: anyCharacter, maxLength: 300 }), (text) => {
        expect(decode(encode(text), 'x')).toBe(text);
      }),
    );
  });

  it('decodes or rejects any bytes as the platform does', () => {
    // Mostly bytes that start, continue or break a sequence.
    const byte = fc.oneof(
      fc.integer({ min: 0, max: 255 }),
      fc.constantFrom(
        0x80,
        0xbf,
        0xc1,
        0xc2,
        0xdf,
        0xe0,
        0xed,
        0xef,
        0xf0,
        0xf4,
        0xf5,
        0x9f,
        0xa0,
        0x8f,
        0x90,
      ),
    );
    fc.assert(
      fc.property(fc.array(byte, { maxLength: 12 }), (bytes) => {
        const array = Uint8Array.from(bytes);
        expect(ours(decode, array)).toBe(platform(array));
      }),
      { numRuns: runs(3000) },
    );
  });

  it('accepts exactly the valid sequences of every length', () => {
    const firsts = [0x7f, 0x80, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef].concat([
      0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf7, 0xf8, 0xfc, 0xff,
    ]);
    const edges = [0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0];
    const check = (...bytes: readonly number[]) => {
      const array = Uint8Array.from(bytes);
      if (ours(decode, array) !== platform(array)) throw new Error(bytes.join());
    };
    for (const first of firsts) {
      check(first);
      for (const second of edges) {
        check(first, second);
        for (const third of edges) {
          check(first, second, third);
          for (const fourth of [0x7f, 0x80, 0xbf, 0xc0]) check(first, second, third, fourth);
        }
      }
    }
  });

  it('keeps a byte order mark and decodes long texts', () => {
    expect(decode(Uint8Array.of(0xef, 0xbb, 0xbf, 0x61), 'x')).toBe('\ufeffa');
    const long = 'aé語😀'.repeat(60_000);
    expect(decode(encode(long), 'x')).toBe(long);
  });

  it('names the field in the error and does not quote the bytes', () => {
    const error = refusal(() => decode(Uint8Array.of(0x73, 0x33, 0x63, 0xff), 'the field'));
    expect(error).toMatchObject({ code: 'bad-utf8', message: expect.stringMatching(/^the field: /) });
    expect(error.cause).toBeUndefined();
    expect(error.message).not.toContain('s3c');
  });

  it('returns plain arrays with a buffer of their own', () => {
    const bytes = encode('abc');
    expect(Object.getPrototypeOf(bytes)).toBe(Uint8Array.prototype);
    expect(bytes.buffer.byteLength).toBe(3);
  });
});

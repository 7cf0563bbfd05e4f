import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { base64Decode, base64Encode } from '../../src/engine.js';
import { anyText, base64, refusal, total } from '../support/samples.js';
import { runs } from '../support/runs.js';
import { withoutTextCoders } from '../support/platforms.js';

describe('encoding', () => {
  it('works without a TextDecoder', async () => {
    const { base64Encode } = await withoutTextCoders(() => import('../../src/encoding/base64.js'));
    for (const size of [0, 1, 2, 3, 8191, 8192, 20_000]) {
      const bytes = Uint8Array.from({ length: size }, (_, i) => i * 11);
      expect(base64Encode(bytes)).toBe(base64(bytes));
    }
  });

  it('leaves it to a runtime that writes base64 itself', () => {
    const toBase64 = (options: object) => JSON.stringify(options);
    expect(base64Encode(Object.assign(Uint8Array.of(1), { toBase64 }))).toBe('{"omitPadding":true}');
    expect(base64Encode(Object.assign(Uint8Array.of(1), { toBase64: 'not a function' }))).toBe('AQ');
  });

  it('is unpadded standard base64 of any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(base64Encode(bytes)).toBe(base64(bytes));
      }),
    );
  });

  it('encodes and decodes large arrays', () => {
    for (const size of [6143, 6144, 6145, 300_001]) {
      const bytes = Uint8Array.from({ length: size }, (_, i) => (i * 7) ^ (i >> 8));
      expect(base64Encode(bytes)).toBe(base64(bytes));
      expect(base64Decode(base64Encode(bytes), 'x').join()).toBe(bytes.join());
    }
  });

  it('encodes only the bytes of a view', () => {
    expect(base64Encode(Buffer.from('xabcx').subarray(1, 4))).toBe('YWJj');
  });
});

/** `Uint8Array.fromBase64` of ECMAScript 2026, which skips whitespace, as strict as `atob` otherwise. */
const fromBase64 = (text: string) => Uint8Array.from(atob(text), (symbol) => symbol.charCodeAt(0));

/** A runtime decodes only what is long. */
const LONG = 'Ab9+'.repeat(100);

describe.each([
  ['by itself', undefined],
  ['by the runtime', fromBase64],
])('decoding %s', (_, given) => {
  const descriptor = Object.getOwnPropertyDescriptor(Uint8Array, 'fromBase64');
  beforeAll(() => {
    Object.defineProperty(Uint8Array, 'fromBase64', { value: given, configurable: true });
  });
  afterAll(() => {
    if (descriptor) Object.defineProperty(Uint8Array, 'fromBase64', descriptor);
    else Reflect.deleteProperty(Uint8Array, 'fromBase64');
  });

  it('accepts padded and unpadded text and returns a plain array', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const padded = Buffer.from(bytes).toString('base64');
        for (const text of [padded, padded.replace(/=+$/, '')]) {
          const decoded = base64Decode(text, 'x');
          expect(decoded.join()).toBe(bytes.join());
          expect(Object.getPrototypeOf(decoded)).toBe(Uint8Array.prototype);
        }
      }),
    );
  });

  it('accepts non-zero trailing bits', () => {
    expect([...base64Decode('QR', 'x')]).toEqual([0x41]);
    expect([...base64Decode('QR==', 'x')]).toEqual([0x41]);
    expect([...base64Decode('QUJ', 'x')]).toEqual([0x41, 0x42]);
  });

  it('accepts exactly standard base64', () => {
    const symbols = fc.array(fc.constantFrom(...Array.from('Ab9+/=-_ \n\0é')), { maxLength: 9 });
    const valid = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}(?:==)?|[A-Za-z0-9+/]{3}=?)?$/;
    fc.assert(
      fc.property(
        symbols.map((parts) => parts.join('')),
        (text) => {
          for (const whole of [text, LONG + text]) {
            const outcome = total(() => base64Decode(whole, 'x'));
            if (outcome instanceof Uint8Array) expect(whole).toMatch(valid);
            else {
              expect(outcome.code).toBe('bad-base64');
              // A JavaScript $ without the m flag matches only at the very end.
              expect(valid.test(whole)).toBe(false);
            }
          }
        },
      ),
      { numRuns: runs(5000) },
    );
  });

  it.each([
    ['A', 'one symbol'],
    ['AAAAA', 'one over'],
    ['=', 'padding alone'],
    ['==', 'padding alone'],
    ['====', 'padding alone'],
    ['A===', 'too much padding'],
    ['AA=', 'too little padding'],
    ['AAA==', 'too much padding'],
    ['AAAA=', 'needless padding'],
    ['AAAA==', 'needless padding'],
    ['AA==AA', 'padding in the middle'],
    ['AA-_', 'the URL-safe alphabet'],
    [' AAA', 'a space before'],
    ['AAA ', 'a space after'],
    ['AA\nAA', 'a line end'],
    ['AAA\u0141', 'a character whose low byte is a symbol'],
    ['AAA\u00c1', 'a character over 127'],
    ['AA\u0080', 'the first character over 127, in a last group that is not whole'],
    ['AAA\u0080', 'the same in a whole group'],
    ['AA\ud800A', 'half a character'],
    ['AAA\0', 'a zero'],
  ])('rejects %j: %s', (text) => {
    for (const whole of [text, LONG + text]) {
      const error = refusal(() => base64Decode(whole, 'the field'));
      expect(error.code).toBe('bad-base64');
      expect(error.message).toMatch(/^the field: /);
    }
  });

  it.each([undefined, null, 1, {}, [], new Uint8Array(3), true])('rejects %s with bad-json', (value) => {
    expect(refusal(() => base64Decode(value, 'x')).code).toBe('bad-json');
  });

  it('names the position of the first wrong character', () => {
    for (const at of [0, 1, 2, 3, 5, 10, 200]) {
      const text = `${'A'.repeat(at)}*${'A'.repeat(211 - at)}`;
      expect(refusal(() => base64Decode(text, 'x')).message).toMatch(new RegExp(` at ${at}$`));
    }
  });

  it('throws only coded errors that do not quote the text', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        const outcome = total(() => base64Decode(`${text}!SECRET`, 'x'));
        expect(outcome).toBeInstanceOf(Error);
        expect((outcome as Error).message).not.toContain('SECRET');
      }),
    );
  });
});

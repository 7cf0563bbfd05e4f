import { fc } from '@fast-check/vitest';
import { afterEach, describe, expect, it } from 'vitest';
import { base64Decode, base64Encode } from '../../src/engine.js';
import { anyText, base64, refusal, total } from '../support/samples.js';
import { runs } from '../support/runs.js';
import { withoutTextCoders } from '../support/without-text-coders.js';

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

describe('decoding by the runtime', () => {
  const runtime = Uint8Array as { fromBase64?: (text: string) => Uint8Array };
  const own = runtime.fromBase64;

  afterEach(() => {
    if (own) runtime.fromBase64 = own;
    else delete runtime.fromBase64;
  });

  /** As the platform has it: white space is skipped, trailing bits may be set, everything else is a SyntaxError. */
  function stub(): string[] {
    const decoded: string[] = [];
    runtime.fromBase64 = (text) => {
      if (/[^A-Za-z0-9+/=\s]/.test(text)) throw new SyntaxError(text);
      decoded.push(text);
      return new Uint8Array(Buffer.from(text, 'base64'));
    };
    return decoded;
  }

  it('takes long text, padded or not', () => {
    const decoded = stub();
    const bytes = Uint8Array.from({ length: 100 }, (_, i) => i);
    const padded = Buffer.from(bytes).toString('base64');
    expect(base64Decode(padded, 'x')).toEqual(bytes);
    expect(base64Decode(padded.replace(/=+$/, ''), 'x')).toEqual(bytes);
    expect(decoded).toHaveLength(2);
  });

  it.each([' ', '\n', '\t', '*', '-', '=', '\u0141'])('still rejects %j inside long text', (wrong) => {
    stub();
    const error = refusal(() => base64Decode(`${'A'.repeat(70)}${wrong}${'A'.repeat(29)}`, 'the field'));
    expect(error.code).toBe('bad-base64');
    expect(error.message).toBe('the field: expected standard base64, got another character at 70');
  });
});

describe('decoding', () => {
  it('accepts padded and unpadded text and returns a plain array', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
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
          const outcome = total(() => base64Decode(text, 'x'));
          if (outcome instanceof Uint8Array) expect(text).toMatch(valid);
          else {
            expect(outcome.code).toBe('bad-base64');
            // A JavaScript $ without the m flag matches only at the very end.
            expect(valid.test(text)).toBe(false);
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
    const error = refusal(() => base64Decode(text, 'the field'));
    expect(error.code).toBe('bad-base64');
    expect(error.message).toMatch(/^the field: /);
  });

  it.each([undefined, null, 1, {}, [], new Uint8Array(3), true])('rejects %s with bad-json', (value) => {
    expect(refusal(() => base64Decode(value, 'x')).code).toBe('bad-json');
  });

  it('names the position of the first wrong character', () => {
    for (let at = 0; at < 11; at++) {
      const text = `${'A'.repeat(at)}*${'A'.repeat(11 - at)}`;
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

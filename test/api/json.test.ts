import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MAX_JSON_DEPTH, parseJson, parseJsonBytes } from '../../src/api/json.js';
import { KeyBackupError } from '../../src/engine/errors.js';
import { runs } from '../support/runs.js';

function fault(text: string): { code: string; message: string } {
  try {
    parseJson(text);
  } catch (error) {
    if (error instanceof KeyBackupError) return { code: error.code, message: error.message };
    throw error;
  }
  return { code: 'none', message: '' };
}

describe('numbers JSON.parse would change', () => {
  test.each([
    ['9007199254740992', 'range'],
    ['9007199254740993', 'range'],
    ['-9007199254740992', 'range'],
    ['1e400', 'range'],
    ['1e16', 'range'],
    ['123456789012345678901234567890', 'range'],
    ['0.5', 'fraction'],
    ['-1.5', 'fraction'],
    ['1e-1', 'fraction'],
    ['1E-400', 'fraction'],
    ['1.00000000000000000000000000000001', 'fraction'],
    ['10.0000000000000000000001e1', 'fraction'],
    ['9007199254740991.5', 'fraction'],
  ])('%s is refused', (number, kind) => {
    const { code, message } = fault(`{"a":[1,{"b c":${number}}]}`);
    expect(code).toBe('bad-json');
    expect(message).toContain('a[1]["b c"]: expected an integer within');
    expect(message).toContain(kind === 'range' ? 'larger number' : 'fraction');
  });

  test.each([
    '0',
    '-0',
    '9007199254740991',
    '-9007199254740991',
    '1.0',
    '10e2',
    '1.5e1',
    '100e-2',
    '0e999999999',
    '0.000',
  ])('%s is an integer', (number) => {
    expect(parseJson(number)).toBe(Number(number));
  });

  test('digits inside strings are no numbers', () => {
    const text = String.raw`{"1.5":"1e400","a\"0.5":"\\","b":"1\\\"2.5"}`;
    expect(parseJson(text)).toEqual(JSON.parse(text));
  });

  test('agrees with JSON.parse on integers of any spelling', () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), (n) => {
        expect(parseJson(String(n))).toBe(n);
        expect(fault(`${n}.5`).code).toBe('bad-json');
      }),
    );
  });
});

describe('lone surrogates', () => {
  test.each([
    String.raw`{"a":"\ud800"}`,
    String.raw`{"a":"\uDC00\uD800"}`,
    String.raw`{"a":"\ud83d\u0041"}`,
    String.raw`{"a":"\ud83d\n\ude00"}`,
    String.raw`{"\udfff":1}`,
    String.raw`["x\\\ud800"]`,
    `"\ud800"`,
    `{"a":"\udc00"}`,
  ])('%j is refused', (text) => {
    expect(fault(text).code).toBe('bad-json');
  });

  test.each([String.raw`"\ud83d\ude00"`, String.raw`"\\ud800"`, '"😀"', String.raw`"\u0000"`])(
    '%j stays',
    (text) => {
      expect(parseJson(text)).toBe(JSON.parse(text));
    },
  );

  test('agrees with the platform on any string', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.integer({ min: 0xd7ff, max: 0xe000 }).map((u) => String.fromCharCode(u)) }),
        (s) => {
          const wellFormed = !/\p{Surrogate}/u.test(s);
          const escapes = Array.from({ length: s.length }, (_, i) => `\\u${s.charCodeAt(i).toString(16)}`);
          const escaped = `"${escapes.join('')}"`;
          expect(fault(escaped).code).toBe(wellFormed ? 'none' : 'bad-json');
          expect(fault(JSON.stringify(s)).code).toBe(wellFormed ? 'none' : 'bad-json');
        },
      ),
    );
  });
});

test('nesting is bounded, before anything is parsed', () => {
  const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);
  expect(fault(nested(MAX_JSON_DEPTH)).code).toBe('none');
  expect(fault(nested(MAX_JSON_DEPTH + 1)).code).toBe('bad-json');
  expect(fault('{"a":'.repeat(200_000)).code).toBe('bad-json');
});

test('text that is no JSON is not-json, whatever else is wrong with it', () => {
  for (const text of [
    '',
    '{',
    '{"a":1.5',
    'nul',
    "{'a':1}",
    '[1,]',
    '\ufeff{}',
    '"\u0001"',
    '"abc',
    '-',
    '01',
    '+1',
    '1.',
  ]) {
    expect(fault(text).code).toBe('not-json');
  }
  for (const bytes of [
    [0xff],
    [0x22, 0xc0, 0x80, 0x22],
    [0x22, 0xed, 0xa0, 0x80, 0x22],
    [0xef, 0xbb, 0xbf, 0x31],
  ]) {
    expect(() => parseJsonBytes(Uint8Array.from(bytes))).toThrow(
      expect.objectContaining({ code: 'not-json' }),
    );
  }
});

test('any JSON of integers and well-formed strings comes out equal', () => {
  const name = fc.oneof(
    fc.string({ unit: 'grapheme' }),
    fc.constantFrom('__proto__', 'constructor', '', '\0', '"', '\\'),
  );
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { depthSize: 'small' },
      fc.maxSafeInteger(),
      fc.boolean(),
      fc.constant(null),
      name,
      fc.array(tie('value')),
      tie('object'),
    ),
    object: fc.array(fc.tuple(name, tie('value'))).map((entries) => Object.fromEntries(entries)),
  }));
  fc.assert(
    fc.property(value, (json) => {
      const text = JSON.stringify(json);
      expect(JSON.stringify(parseJson(text))).toBe(text);
      expect(JSON.stringify(parseJsonBytes(new TextEncoder().encode(text)))).toBe(text);
    }),
  );
});

test('arbitrary text never fails in another way', () => {
  const piece = fc.constantFrom(
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '"',
    '\\',
    '\\u',
    'd800',
    '1',
    '.5',
    'e9',
    '-',
    'null',
    ' ',
    '\ud800',
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(piece).map((parts) => parts.join('')),
      ),
      (text) => {
        expect(['none', 'not-json', 'bad-json']).toContain(fault(text).code);
      },
    ),
    { numRuns: runs(2000) },
  );
});

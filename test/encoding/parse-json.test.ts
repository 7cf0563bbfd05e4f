import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { jsonPath, parseJson, parseJsonBytes } from '../../src/encoding/json.js';
import { KeyBackupError } from '../../src/errors.js';
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

describe('parseJson, numbers', () => {
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
    ['1e+400', 'range'],
    ['15e-1', 'fraction'],
  ])('rejects %s, which JSON.parse would change', (number, kind) => {
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
    '1.5e+1',
    '0.001e3',
    '100e-2',
    '0e999999999',
    '0.000',
  ])('accepts %s as an integer', (number) => {
    expect(parseJson(number)).toBe(Number(number));
  });

  test('ignores digits in strings', () => {
    const text = String.raw`{"1.5":"1e400","a\"0.5":"\\","b":"1\\\"2.5","c\"10.5":"\\\\10.5"}`;
    expect(parseJson(text)).toEqual(JSON.parse(text));
  });

  test('agrees with JSON.parse on integers however written', () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), (n) => {
        expect(parseJson(String(n))).toBe(n);
        expect(fault(`${n}.5`).code).toBe('bad-json');
      }),
    );
  });
});

describe('parseJson, lone surrogates', () => {
  test.each([
    String.raw`{"a":"\ud800"}`,
    String.raw`{"a":"\uDC00\uD800"}`,
    String.raw`{"a":"\ud83d\u0041"}`,
    String.raw`{"a":"\ud83d\n\ude00"}`,
    String.raw`{"\udfff":1}`,
    String.raw`["x\\\ud800"]`,
    `"\ud800"`,
    `{"a":"\udc00"}`,
  ])('rejects %j', (text) => {
    expect(fault(text).code).toBe('bad-json');
  });

  test.each([
    String.raw`"\ud83d\ude00"`,
    String.raw`"\ud800\udc00"`,
    String.raw`"\udbff\udfff\uffff"`,
    String.raw`"\\ud800"`,
    '"😀"',
    String.raw`"\u0000"`,
  ])('accepts %j', (text) => {
    expect(parseJson(text)).toBe(JSON.parse(text));
  });

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

describe('an error of parseJson', () => {
  const fraction = 'expected an integer within ±(2^53-1), got a fraction';
  const range = 'expected an integer within ±(2^53-1), got a larger number';
  test.each([
    ['1.5', `the body: ${fraction}`],
    ['[1.5]', `[0]: ${fraction}`],
    ['[0,1.5]', `[1]: ${fraction}`],
    [String.raw`["\\",1.5]`, `[1]: ${fraction}`],
    ['{"a":1e400}', `a: ${range}`],
    ['{"a b":1.5}', `["a b"]: ${fraction}`],
    ['{"a":{"b":[1,2]},"c":[{},1.5]}', `c[1]: ${fraction}`],
    ['{"a":[1,2],"b":{"c":1e400}}', `b.c: ${range}`],
    ['[[1,2],{"x":[1]},1.5]', `[2]: ${fraction}`],
    ['{"x,y":[{"}]":0}],"z":1.5}', `z: ${fraction}`],
    ['{"a":{"b":1},"c":{"d":[1,1.5]}}', `c.d[1]: ${fraction}`],
    [String.raw`{"a":["\ud800"]}`, 'a[0]: expected Unicode, got a lone surrogate in a string'],
    [String.raw`{"a":{"\ud800":1}}`, 'a: expected Unicode, got a lone surrogate in a string'],
    [String.raw`{"a":1,"\ud800":2}`, 'the body: expected Unicode, got a lone surrogate in a string'],
    ['"\ud800"', 'the text: expected Unicode, got a lone surrogate'],
    [`{"a":${'['.repeat(101)}`, 'the body: expected at most 100 levels, got more'],
    ['nonsense', 'the body: expected JSON, got text that does not parse'],
  ])('%s', (text, message) => {
    expect(fault(text).message).toBe(message);
  });

  test('begins with the given path', () => {
    const bytes = new TextEncoder().encode('{"a":[1.5]}');
    expect(() => parseJsonBytes(bytes, 'rooms')).toThrow(`rooms.a[0]: ${fraction}`);
    expect(() => parseJsonBytes(bytes)).toThrow(new RegExp(`^a\\[0\\]: expected`));
    expect(() => parseJsonBytes(new TextEncoder().encode('1.5'))).toThrow(/^the body: expected/);
    expect(() => parseJsonBytes(new TextEncoder().encode('[]['.repeat(300)), 'rooms')).toThrow(
      'rooms: expected at most 100 levels, got more',
    );
  });

  test('names invalid UTF-8 as the reason', () => {
    expect(() => parseJsonBytes(Uint8Array.of(0xff))).toThrow(
      expect.objectContaining({
        message: 'the body: expected UTF-8, got an invalid sequence',
        cause: expect.objectContaining({ message: 'the body: expected UTF-8, got an invalid sequence' }),
      }),
    );
  });
});

test('a step of a path is a plain word, an index, or quoted text in brackets, cut if long', () => {
  expect(jsonPath('', 'a')).toBe('a');
  expect(jsonPath('a', 'B_9')).toBe('a.B_9');
  expect(jsonPath('a', 0)).toBe('a[0]');
  expect(jsonPath('', 7)).toBe('[7]');
  expect(jsonPath('a', '')).toBe('a[""]');
  expect(jsonPath('a', '9a')).toBe('a["9a"]');
  expect(jsonPath('', '!r:e"')).toBe(String.raw`["!r:e\""]`);
  expect(jsonPath('a', 'x'.repeat(64))).toBe(`a.${'x'.repeat(64)}`);
  expect(jsonPath('a', 'x'.repeat(65))).toBe(`a["${'x'.repeat(65)}"]`);
  expect(jsonPath('a', 'x'.repeat(255))).toBe(`a["${'x'.repeat(255)}"]`);
  expect(jsonPath('a', 'x'.repeat(256))).toBe(`a["${'x'.repeat(255)}…"]`);
});

test('siblings do not count as nesting', () => {
  for (const text of [`[${'[],'.repeat(200)}[]]`, `[${'{},'.repeat(200)}{}]`]) {
    expect(parseJson(text)).toEqual(JSON.parse(text));
  }
});

test('rejects deep nesting before it parses', () => {
  const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);
  expect(fault(nested(100)).code).toBe('none');
  expect(fault(nested(101)).code).toBe('bad-json');
  expect(fault('{"a":'.repeat(200_000)).code).toBe('bad-json');
});

test('rejects invalid JSON with not-json, whatever else is wrong with it', () => {
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

test('returns any JSON of integers and well-formed strings unchanged', () => {
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

test('throws only coded errors for arbitrary text', () => {
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

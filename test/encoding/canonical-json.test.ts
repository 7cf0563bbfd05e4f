import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalJson } from '../../src/engine.js';
import { anyCharacter, anyJson, anyText, refusal, total } from '../support/samples.js';

/** JSON that has a canonical form. */
const text = fc.string({ unit: anyCharacter, maxLength: 8 });
const { value: signable } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom(null, true, false),
    fc.maxSafeInteger(),
    text,
    fc.array(tie('value'), { maxLength: 4 }),
    fc
      .array(fc.tuple(fc.oneof(text, fc.constant('__proto__')), tie('value')), { maxLength: 5 })
      .map((members): unknown => Object.fromEntries(members)),
  ),
}));

/** The same JSON with the members of every object in another order. */
function shuffled(value: unknown, random: () => number): unknown {
  if (Array.isArray(value)) return value.map((item) => shuffled(item, random));
  if (typeof value !== 'object' || value === null) return value;
  const members = Object.entries(value).map(([name, item]) => ({
    place: random(),
    member: [name, shuffled(item, random)] as const,
  }));
  members.sort((a, b) => a.place - b.place);
  return Object.fromEntries(members.map(({ member }) => member));
}

describe('canonical JSON', () => {
  it('is JSON of the same value and stable', () => {
    fc.assert(
      fc.property(signable, (value) => {
        const written = canonicalJson(value);
        const read: unknown = JSON.parse(written);
        expect(canonicalJson(read)).toBe(written);
        expect(read).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  it('does not depend on the order of members', () => {
    fc.assert(
      fc.property(
        signable,
        fc.infiniteStream(fc.double({ min: 0, max: 1, noNaN: true })),
        (value, stream) => {
          const other = shuffled(value, () => stream.next().value ?? 0);
          expect(canonicalJson(other)).toBe(canonicalJson(value));
        },
      ),
    );
  });

  it('sorts by code point, astral characters after U+FFFF', () => {
    const names = [
      '\u{10000}',
      '\uffff',
      '\ue000',
      '\ud7ff',
      'é',
      'a',
      'A',
      '',
      'aa',
      '\u{10ffff}',
      '__proto__',
    ];
    const object = Object.fromEntries(names.map((name) => [name, 0]));
    const sorted = names
      .map((name) => ({ name, points: Array.from(name, (character) => character.codePointAt(0) ?? 0) }))
      .sort((a, b) => {
        for (let i = 0; ; i++) {
          const [x, y] = [a.points[i] ?? -1, b.points[i] ?? -1];
          if (x !== y) return x - y;
          if (x < 0) return 0;
        }
      })
      .map(({ name }) => `${JSON.stringify(name)}:0`);
    expect(canonicalJson(object)).toBe(`{${sorted.join(',')}}`);
    expect(sorted.at(-1)).toBe('"\u{10ffff}":0');
    expect(sorted.at(-3)).toBe('"\uffff":0');
  });

  it('sorts as UTF-8 bytes do', () => {
    const close = fc.array(
      fc.constantFrom('a', 'b', '\ud7ff', '\ue000', '\uffff', '\u{10000}', '\u{10ffff}'),
      {
        maxLength: 4,
      },
    );
    fc.assert(
      fc.property(close, close, (a, b) => {
        const [x, y] = [a.join(''), b.join('')];
        const text = canonicalJson({ [x]: 0, [y]: 0 });
        const first = Buffer.compare(Buffer.from(x), Buffer.from(y)) <= 0 ? x : y;
        expect(text.startsWith(`{${JSON.stringify(first)}:`)).toBe(true);
      }),
    );
  });

  it('sorts the ends of the planes', () => {
    const points = [0, 0x7f, 0xd7ff, 0xe000, 0xffff, 0x10000, 0x103ff, 0x10400, 0x10ffff];
    const texts = points.map((point) => String.fromCodePoint(point));
    const sorted = `{${texts.map((text) => `${JSON.stringify(text)}:0`).join(',')}}`;
    expect(canonicalJson(Object.fromEntries(texts.map((text) => [text, 0])))).toBe(sorted);
    expect(canonicalJson(Object.fromEntries([...texts].reverse().map((text) => [text, 0])))).toBe(sorted);
  });

  it('uses the shortest escapes', () => {
    const written = canonicalJson(String.fromCharCode(...Array.from({ length: 0x80 }, (_, i) => i)));
    const controls = Array.from({ length: 0x20 }, (_, i) => {
      const short = { 8: '\\b', 9: '\\t', 10: '\\n', 12: '\\f', 13: '\\r' }[i];
      return short ?? `\\u${i.toString(16).padStart(4, '0')}`;
    });
    const rest = String.fromCharCode(...Array.from({ length: 0x60 }, (_, i) => i + 0x20));
    expect(written).toBe(`"${controls.join('')}${rest.replace(/["\\]/g, '\\$&')}"`);
    expect(canonicalJson('/\u007f\u2028é😀')).toBe('"/\u007f\u2028é😀"');
  });

  it.each([
    [0, '0'],
    [-0, '0'],
    [1e3, '1000'],
    [2 ** 53 - 1, '9007199254740991'],
    [-(2 ** 53 - 1), '-9007199254740991'],
  ])('writes %d', (number, written) => {
    expect(canonicalJson([number])).toBe(`[${written}]`);
  });

  it.each([0.5, 2 ** 53, -(2 ** 53), 1e300, NaN, Infinity, -Infinity])('rejects the number %d', (number) => {
    const error = refusal(() => canonicalJson({ a: [0, number] }));
    expect(error.code).toBe('bad-canonical-json');
    expect(error.message).toMatch(/^\$\["a"\]\[1\]: /);
  });

  it.each(['\ud800', 'a\udc00', '\udc00\ud800', '\ud800a'])('rejects the lone surrogate in %j', (bad) => {
    expect(refusal(() => canonicalJson(bad)).code).toBe('bad-canonical-json');
    expect(refusal(() => canonicalJson({ [bad]: 1 })).code).toBe('bad-canonical-json');
  });

  it.each([undefined, 1n, () => 1, Symbol('x'), [undefined], { a: undefined }, new Array(1)])(
    'rejects values that are not JSON',
    (value) => {
      expect(refusal(() => canonicalJson(value)).code).toBe('bad-canonical-json');
    },
  );

  it('rejects deep nesting and cycles', () => {
    const nested = (depth: number, open: string, close: string): unknown =>
      JSON.parse(`${open.repeat(depth)}0${close.repeat(depth)}`);
    expect(canonicalJson(nested(512, '[', ']'))).toHaveLength(1025);
    for (const depth of [513, 100_000]) {
      expect(refusal(() => canonicalJson(nested(depth, '[', ']'))).code).toBe('bad-canonical-json');
      expect(refusal(() => canonicalJson(nested(depth, '{"a":', '}'))).code).toBe('bad-canonical-json');
    }
    const cycle: Record<string, unknown> = {};
    cycle.a = { b: cycle, c: cycle };
    expect(refusal(() => canonicalJson(cycle)).code).toBe('bad-canonical-json');
  });

  it('keeps a member named __proto__ and ignores the prototype', () => {
    expect(canonicalJson(JSON.parse('{"b":1,"__proto__":{"x":1}}'))).toBe('{"__proto__":{"x":1},"b":1}');
    expect(canonicalJson(Object.create({ inherited: 1 }))).toBe('{}');
  });

  it('does not call toJSON', () => {
    expect(canonicalJson(JSON.parse('{"toJSON":1}'))).toBe('{"toJSON":1}');
  });

  it('throws only coded errors', () => {
    fc.assert(
      fc.property(fc.oneof(anyJson, anyText, fc.anything()), (value) => {
        total(() => canonicalJson(value));
      }),
    );
  });
});

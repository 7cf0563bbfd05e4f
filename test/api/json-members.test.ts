import { fc } from '@fast-check/vitest';
import { describe, expect, it } from 'vitest';
import { countMembers, eachMember, endOfString, jsonSpan } from '../../src/api/json-members.js';

const names = fc.string({
  unit: fc.constantFrom('\\', '"', 'a', '{', ':', ' ', 'é', '-', '1'),
  maxLength: 6,
});
const values = fc.oneof(fc.jsonValue(), fc.array(names), fc.dictionary(names, fc.jsonValue()));
const indents = fc.constantFrom(undefined, 1, '\t');

/** The names with the texts of their values, and where the object ends. */
function membersOf(text: string, start = 0) {
  const members: [string, string][] = [];
  const end = eachMember(text, start, (name, at) => {
    const { end } = jsonSpan(text, at);
    members.push([name, text.slice(at, end)]);
    return end;
  });
  return { members, end };
}

describe('the extent of a value', () => {
  it('is the value, whatever follows', () => {
    fc.assert(
      fc.property(values, indents, fc.constantFrom(',', '}', ']', ' ', ',"a":1'), (value, indent, next) => {
        const text = JSON.stringify(value, null, indent);
        const span = jsonSpan(`[${text}${next}`, 1);
        expect(span).toMatchObject({ start: 1, end: 1 + text.length, members: countMembers(value) });
        if (/[:[,{]\s/.test(text.replace(/"(?:[^"\\]|\\.)*"/g, '""'))) expect(span.plain).toBe(false);
      }),
    );
  });

  it.each(['12', 'true', '"x"', '{"a":[1]}'])('%s ends with the text', (text) => {
    expect(jsonSpan(`x,${text}`, 2)).toMatchObject({ start: 2, end: 2 + text.length });
  });

  it.each<[string, boolean]>([
    ['{"a":1,"b":[true,false,null,"x"],"c":{}}', true],
    ['"a b - 1.5 1e5 \\n"', true],
    ['"x"', true],
    ['12', true],
    ['0', true],
    ['90', true],
    ['true', true],
    ['[1,2]', true],
    ['[ 1]', false],
    ['{"a" :1}', false],
    ['{"a":\t1}', false],
    ['{\n}', false],
    ['-1', false],
    ['-0', false],
    ['[1.0]', false],
    ['1e2', false],
    ['[1E2]', false],
    ['[0e+1]', false],
    ['[9e+1]', false],
    ['[5e+1]', false],
  ])('%j is written plainly: %s', (text, plain) => {
    expect(jsonSpan(`${text},`, 0)).toMatchObject({ end: text.length, plain });
    expect(jsonSpan(`${text} `, 0)).toMatchObject({ end: text.length, plain });
  });

  it('counts what stands twice twice', () => {
    expect(jsonSpan('{"a":{"b":1},"a":{"b":2,"b":3}}', 0).members).toBe(5);
  });
});

describe('the members of an object', () => {
  it('come in order, with their values, and the end of the object', () => {
    fc.assert(
      fc.property(fc.dictionary(names, values), indents, names, (object, indent, after) => {
        const text = JSON.stringify(object, null, indent);
        const { members, end } = membersOf(` \n${text}${after}`);
        const parsed = JSON.parse(text) as Record<string, unknown>;
        expect(end).toBe(2 + text.length);
        expect(members.map(([name, value]) => [name, JSON.parse(value)])).toEqual(Object.entries(parsed));
      }),
    );
  });

  it('may have white space wherever JSON has it', () => {
    const text = '\t{ "a" : 1 ,\r\n"b\\u0062" : [ 2 ] , "a":"}" } ,';
    expect(membersOf(text)).toEqual({
      members: [
        ['a', '1'],
        ['bb', '[ 2 ]'],
        ['a', '"}"'],
      ],
      end: text.length - 2,
    });
    expect(membersOf('{ }x')).toEqual({ members: [], end: 3 });
  });

  it('are none where there is no object', () => {
    for (const text of ['[{"a":1}]', '"{}"', '12', 'null']) {
      expect(membersOf(`${text},"b":1`)).toEqual({ members: [], end: text.length });
    }
  });

  it('end, whatever the text and whatever the visitor says', () => {
    const token = fc.constantFrom(...Array.from('{}[]:,"\\ 1a'));
    fc.assert(
      fc.property(fc.array(token), fc.integer({ min: -5, max: 60 }), (tokens, said) => {
        const text = tokens.join('');
        let last = -1;
        const visit = (_: string, at: number) => {
          expect(at).toBeGreaterThan(last);
          last = at;
          return said;
        };
        try {
          eachMember(text, 0, visit);
        } catch (error) {
          // A name that is no JSON string.
          expect(error).toBeInstanceOf(SyntaxError);
        }
      }),
    );
  });
});

it('counts the members of all objects in a value', () => {
  expect([null, 1, 'abc', [], {}, [1, 'abc', null]].map(countMembers)).toEqual([0, 0, 0, 0, 0, 0]);
  expect(countMembers({ a: 1, b: { c: [{ d: 'abc' }, { e: null }] } })).toBe(5);
});

it('finds the end of a string', () => {
  for (const text of ['""', '"a"', '"\\""', '"\\\\"', '"a\\\\\\""']) {
    expect(endOfString(`x${text}"`, 1)).toBe(text.length);
  }
  expect(endOfString('"abc', 0)).toBe(4);
  expect(endOfString('"abc\\"', 0)).toBe(6);
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  expectObject,
  expectString,
  isJsonObject,
  ownString,
  ownValue,
  parseObject,
} from '../../src/encoding/json.js';
import { anyJson, anyText, refusal, total } from '../support/samples.js';

const notObjects = [undefined, null, true, 0, 'text', [], [{}], () => 0];

describe('objects', () => {
  it.each(notObjects)('expectObject rejects %s', (value) => {
    expect(isJsonObject(value)).toBe(false);
    const error = refusal(() => expectObject(value, 'the field'));
    expect(error.code).toBe('bad-json');
    expect(error.message).toMatch(/^the field: expected an object, got /);
  });

  it('expectObject accepts any prototype', () => {
    const bare: unknown = Object.create(null);
    expect(expectObject(bare, 'x')).toBe(bare);
  });
});

describe('fields', () => {
  it('are own properties, never inherited', () => {
    for (const name of ['constructor', 'toString', '__proto__', 'hasOwnProperty']) {
      expect(ownValue({}, name)).toBeUndefined();
      expect(refusal(() => expectString({}, name, 'x')).code).toBe('missing-field');
      expect(ownValue(parseObject(`{${JSON.stringify(name)}:"v"}`, 'x'), name)).toBe('v');
    }
  });

  it.each([null, 1, {}, [], false])('expectString rejects %s', (value) => {
    const error = refusal(() => expectString({ a: value }, 'a', 'the'));
    expect(error.code).toBe('bad-json');
    expect(error.message).toMatch(/^the\.a: expected a string, got /);
  });

  it('expectString accepts an empty string', () => {
    expect(expectString({ a: '' }, 'a', 'x')).toBe('');
  });
});

describe('parseObject', () => {
  it('returns any object', () => {
    fc.assert(
      fc.property(anyJson, (value) => {
        const text = JSON.stringify(value);
        const parsed = total(() => parseObject(text, 'x'));
        if (parsed instanceof Error) {
          expect(parsed.code).toBe('bad-json');
          expect(isJsonObject(value)).toBe(false);
        } else expect(JSON.stringify(parsed)).toBe(JSON.stringify(JSON.parse(text)));
      }),
    );
  });

  it('throws only coded errors that do not quote the text', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        const outcome = total(() => parseObject(`SECRET${text}`, 'x')) as Error;
        expect(`${outcome.message}${String(outcome.cause)}`).not.toContain('SECRET');
      }),
    );
  });

  it('rejects invalid JSON', () => {
    expect(refusal(() => parseObject('{"a"', 'the field'))).toMatchObject({
      code: 'bad-json',
      message: 'the field: expected JSON, got something else',
    });
  });

  it('does not count long strings, numbers and null as levels', () => {
    const object = { a: 'x'.repeat(3000), b: [null, 'y'.repeat(10), 1, true] };
    expect(parseObject(JSON.stringify(object), 'x')).toEqual(object);
  });

  it('accepts 512 levels of nesting and rejects 513', () => {
    const nested = (arrays: number) => `{"a":${'['.repeat(arrays)}0${']'.repeat(arrays)}}`;
    const objects = (count: number) => `${'{"a":'.repeat(count)}0${'}'.repeat(count)}`;
    expect(parseObject(nested(511), 'x')).toHaveProperty('a');
    expect(parseObject(objects(512), 'x')).toHaveProperty('a');
    for (const text of [nested(512), nested(513), nested(200_000), objects(513), objects(100_000)]) {
      expect(refusal(() => parseObject(text, 'x')).code).toBe('bad-json');
    }
  });

  it('does not count width as depth', () => {
    const wide = JSON.stringify({ a: Array.from({ length: 5000 }, (_, i) => ({ i, b: [[]] })) });
    expect(parseObject(wide, 'x')).toHaveProperty('a');
  });
});

it('ownString returns only an own string field', () => {
  expect(ownString({ a: 'x' }, 'a')).toBe('x');
  for (const value of [{ a: 5 }, { a: null }, {}, null, 'a', Object.create({ a: 'x' })]) {
    expect(ownString(value, 'a')).toBeUndefined();
  }
});

import { fc, test } from '@fast-check/vitest';
import { describe, expect } from 'vitest';
import { checkKeyBackups, checkRoomKeyBackup } from '../../src/api/check.js';
import { utf8Decode, utf8Encode } from '../../src/engine/utf8.js';
import { keysOfRoom, keysOfRooms } from '../../src/server/keys-to-write.js';
import { runs } from '../support/runs.js';

const plain = (index: number) =>
  `{"first_message_index":${index},"forwarded_count":0,"is_verified":false,"session_data":{"a":[1,{"b":"c"}]}}`;

const textOf = (data: Uint8Array) => utf8Decode(data, 'the key');

function keysOf(text: string): [string, string, number, string][] {
  return keysOfRooms(text, checkKeyBackups(JSON.parse(text))).map((key) => [
    key.room_id,
    key.session_id,
    key.first_message_index,
    textOf(key.data),
  ]);
}

describe('the text that is stored', () => {
  test('is the one that came, where that is plain', () => {
    const data = plain(3).replace('"c"', '"\\u0063\\/\\ud83d\\ude00 é"');
    expect(keysOf(`{"rooms":{"!r:x":{"sessions":{"s":${data}}}}}`)).toEqual([['!r:x', 's', 3, data]]);
  });

  test.each([
    ['white space', plain(3).replaceAll(',', ', ')],
    ['a line break', plain(3).replace(':', ':\n')],
    ['a fraction that is none', plain(3).replace('3', '3.0')],
    ['an exponent', plain(3).replace('3', '30e-1')],
    ['a large exponent', plain(3).replace('3', '0.3E1')],
    ['a negative zero', plain(3).replace('[1', '[-0')],
    ['a name twice', plain(3).replace('"b"', '"b":1,"b"')],
    ['a name twice, once escaped', plain(3).replace('"b"', '"\\u0062":1,"b"')],
    ['the index twice', plain(9).replace('{', '{"first_message_index":4,').replace('9', '3')],
  ])('is written anew where %s is in it', (_, data) => {
    const [, , index, stored] = keysOf(`{"rooms":{"!r:x":{"sessions":{"s":${data}}}}}`)[0];
    expect(index).toBe(3);
    expect(stored).toBe(JSON.stringify(JSON.parse(data)));
    expect(stored).not.toBe(data);
  });

  test('is of the last of those that stand twice', () => {
    const twice = (name: string, first: string, second: string) =>
      `{"${name}":${first},"\\u00${name.charCodeAt(0).toString(16)}${name.slice(1)}":${second}}`;
    const sessions = (index: number) => `{"s":${plain(index)}}`;
    const last = [['!r:x', 's', 2, plain(2)]];
    const room = (value: string) => `{"rooms":{"!r:x":${value}}}`;
    expect(keysOf(room(`{"sessions":${twice('s', plain(1), plain(2))}}`))).toEqual(last);
    expect(keysOf(room(twice('sessions', sessions(1), sessions(2))))).toEqual(last);
    expect(keysOf(room(twice('sessions', `{"t":${plain(1)}}`, sessions(2))))).toEqual(last);
    const rooms = (index: number) => `{"!r:x":{"sessions":${sessions(index)}}}`;
    expect(
      keysOf(`{"rooms":${twice('!r:x', `{"sessions":${sessions(1)}}`, `{"sessions":${sessions(2)}}`)}}`),
    ).toEqual(last);
    expect(keysOf(twice('rooms', rooms(1), rooms(2)))).toEqual(last);
    expect(keysOf(twice('rooms', `{"!q:x":{"sessions":${sessions(1)}}}`, rooms(2)))).toEqual(last);
  });

  test('is found wherever it stands, between what is not known', () => {
    const other = '{"sessions":{"x":[1,"}",{"rooms":{}}]}}';
    const body = `\n{"a" : ${other}, "rooms" :\t{"!r:x":{"b":[${other}],"sessions": {"s" :${plain(1)} , "":${plain(2)}},"c":-1.5e3},"__proto__":{"sessions":{"__proto__":${plain(3)}}}} ,"d":true}\n`;
    expect(keysOf(body)).toEqual([
      ['!r:x', 's', 1, plain(1)],
      ['!r:x', '', 2, plain(2)],
      ['__proto__', '__proto__', 3, plain(3)],
    ]);
    const room = ` { "sessions" : {"s":${plain(1)}} } `;
    expect(keysOfRoom(room, '!r:x', checkRoomKeyBackup(JSON.parse(room)))).toMatchObject([
      { room_id: '!r:x', session_id: 's', data: utf8Encode(plain(1)) },
    ]);
  });
});

/** JSON text of a value with names that stand twice, white space and escapes where they may be. */
const oddly = (value: unknown, random: () => number): string => {
  const space = () => (random() < 0.1 ? ' \n' : '');
  const text = (string: string) =>
    random() < 0.2
      ? `"${Array.from({ length: string.length }, (_, i) => `\\u${string.charCodeAt(i).toString(16).padStart(4, '0')}`).join('')}"`
      : JSON.stringify(string);
  if (typeof value === 'string') return text(value);
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const list = Array.isArray(value)
    ? value.map((one) => oddly(one, random))
    : Object.entries(value).flatMap(([name, one]) => {
        const member = (of: unknown) => `${text(name)}${space()}:${space()}${oddly(of, random)}`;
        return random() < 0.1 ? [member(null), member(one)] : [member(one)];
      });
  const [open, close] = Array.isArray(value) ? '[]' : '{}';
  return `${open}${space()}${list.join(`${space()},${space()}`)}${space()}${close}`;
};

const id = fc.oneof(fc.constantFrom('rooms', 'sessions', '', '__proto__', '"', '\\', '😀', '1'), fc.string());
const record = fc.record({
  first_message_index: fc.nat(),
  forwarded_count: fc.nat(),
  is_verified: fc.boolean(),
  session_data: fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 2 })),
});

test.prop(
  [
    fc.dictionary(id, fc.record({ sessions: fc.dictionary(id, record) })),
    fc.infiniteStream(fc.double({ min: 0, max: 1, noNaN: true })),
  ],
  { numRuns: runs(300) },
)('whatever the text, the keys are those that were parsed', (rooms, numbers) => {
  const text = oddly({ rooms }, () => numbers.next().value as number);
  const body = checkKeyBackups(JSON.parse(text));
  const expected = Object.entries(body.rooms).flatMap(([room, { sessions }]) =>
    Object.entries(sessions).map(([session, key]) => JSON.stringify([room, session, key])),
  );
  const found = keysOfRooms(text, body).map(({ room_id, session_id, data }) =>
    JSON.stringify([room_id, session_id, JSON.parse(textOf(data))]),
  );
  expect(found.sort()).toEqual(expected.sort());
});

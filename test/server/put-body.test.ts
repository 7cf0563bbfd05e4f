import { fc, test } from '@fast-check/vitest';
import { describe, expect } from 'vitest';
import { utf8Decode, utf8Encode } from '../../src/encoding/utf8.js';
import {
  compactKeysOfRoom,
  compactKeysOfRooms,
  keyOfSession,
  keysOfRoom,
  keysOfRooms,
  parseKeysOfRoom,
  parseKeysOfRooms,
} from '../../src/server/put-body.js';
import type { KeyToWrite } from '../../src/server/store.js';
import { runs } from '../support/runs.js';

const DATA = '{"ephemeral":"e","ciphertext":"c/+ {}[]:,=","mac":"m"}';
const RECORD = `{"first_message_index":3,"forwarded_count":0,"is_verified":false,"session_data":${DATA}}`;
const body = (record: string) => `{"rooms":{"!r:x":{"sessions":{"s":${record}}}}}`;

const readable = (keys: readonly KeyToWrite[] | undefined) =>
  keys?.map(({ data, ...key }) => ({ ...key, data: utf8Decode(data, 'the key') }));
const compact = (text: string) => readable(compactKeysOfRooms(utf8Encode(text)));

/** In an order of their own. */
const sorted = (keys: readonly { room_id: string; session_id: string }[] = []) =>
  [...keys].sort((a, b) => (`${a.room_id} ${a.session_id}` < `${b.room_id} ${b.session_id}` ? -1 : 1));

const parsed = (bytes: Uint8Array) => readable(parseKeysOfRooms(bytes));

describe('a body as clients write it', () => {
  test('gives its keys, with their data as it is written', () => {
    const other = RECORD.replace('3', '9007199254740').replace('false', 'true');
    const text = `{"rooms":{"!r:x":{"sessions":{"s":${RECORD},"t":${other}}},"!q:x":{"sessions":{}},"!p:x":{"sessions":{"s":${RECORD}}}}}`;
    const rank = { first_message_index: 3, forwarded_count: 0, is_verified: false };
    expect(compact(text)).toEqual([
      { room_id: '!r:x', session_id: 's', ...rank, data: RECORD },
      {
        room_id: '!r:x',
        session_id: 't',
        first_message_index: 9007199254740,
        forwarded_count: 0,
        is_verified: true,
        data: other,
      },
      { room_id: '!p:x', session_id: 's', ...rank, data: RECORD },
    ]);
    expect(readable(compactKeysOfRoom(utf8Encode(`{"sessions":{"s":${RECORD}}}`), '!r:x'))).toEqual([
      { room_id: '!r:x', session_id: 's', ...rank, data: RECORD },
    ]);
  });

  test.each([
    ['no rooms', '{"rooms":{}}', 0],
    [
      'members in another order',
      body(`{"session_data":${DATA},"is_verified":true,"forwarded_count":1,"first_message_index":0}`),
      1,
    ],
    ['session data of nothing', body(RECORD.replace(DATA, '{}')), 1],
    ['session data with more members', body(RECORD.replace('"mac"', '"org.example.more":"x","mac"')), 1],
    ['the longest number that is read', body(RECORD.replace('3', '999999999999999')), 1],
    ['a long string', body(RECORD.replace('"c/+', `"${'x'.repeat(5000)}`)), 1],
    ['names that objects have', '{"rooms":{"__proto__":{"sessions":{"constructor":' + RECORD + '}}}}', 1],
  ])('accepts %s', (_, text, count) => {
    expect(compact(text)).toHaveLength(count);
    expect(compact(text)).toEqual(parsed(utf8Encode(text)));
  });

  test('keeps no id that holds the memory of the body', () => {
    const bytes = utf8Encode(body(RECORD));
    const [key] = compactKeysOfRooms(bytes) ?? [];
    bytes.fill(0x78);
    expect(key.room_id).toBe('!r:x');
    expect(key.session_id).toBe('s');
    // The data is the memory of the body: nothing is copied.
    expect(key.data[0]).toBe(0x78);
  });
});

test.each([
  ['nothing', ''],
  ['no object', '[]'],
  ['another member', `{"rooms":{},"more":{}}`],
  ['no rooms', '{}'],
  ['rooms twice', `{"rooms":{},"rooms":{}}`],
  ['something behind it', `${body(RECORD)} `],
  ['a second value', `${body(RECORD)}{}`],
  ['white space', body(RECORD).replace(':', ': ')],
  ['a line break', body(RECORD).replace(',', ',\n')],
  ['a line break in a string', body(RECORD).replace('"m"', '"\n"')],
  ['an unfinished body', body(RECORD).slice(0, -1)],
  ['an unfinished string', body(RECORD).slice(0, 30)],
  ['a room twice', `{"rooms":{"!r:x":{"sessions":{}},"!r:x":{"sessions":{}}}}`],
  ['a session twice', `{"rooms":{"!r:x":{"sessions":{"s":${RECORD},"s":${RECORD}}}}}`],
  ['a room of another shape', '{"rooms":{"!r:x":{"sessions":{},"more":1}}}'],
  ['a room without sessions', '{"rooms":{"!r:x":{}}}'],
  ['a record that is a list', body('[]')],
  ['a member twice', body(RECORD.replace('{', '{"first_message_index":3,'))],
  ['session data twice', body(RECORD.replace('{', `{"session_data":${DATA},`))],
  ['a verdict twice', body(RECORD.replace('{', '{"is_verified":false,'))],
  ['a count twice', body(RECORD.replace('{', '{"forwarded_count":0,'))],
  ['a member that is not known', body(RECORD.replace('{', '{"more":1,'))],
  ['a member missing', body(RECORD.replace('"forwarded_count":0,', ''))],
  ['no verdict', body(RECORD.replace('"is_verified":false,', ''))],
  ['no index', body(RECORD.replace('"first_message_index":3,', ''))],
  ['no data', body(RECORD.replace(`,"session_data":${DATA}`, ''))],
  ['a name of session data twice', body(RECORD.replace('"mac"', '"ephemeral"'))],
  ['session data that is a list', body(RECORD.replace(DATA, '[]'))],
  ['session data with a number', body(RECORD.replace('"m"', '1'))],
  ['session data with an object', body(RECORD.replace('"m"', '{}'))],
  [
    'session data of many members',
    body(RECORD.replace('"mac"', `${Array.from({ length: 16 }, (_, i) => `"n${i}":""`).join()},"mac"`)),
  ],
  ['a comma too many', body(RECORD.replace('"m"', '"m",'))],
  ['a comma at the begin', body(RECORD.replace('{', '{,'))],
  ['no comma', body(RECORD.replace(',"is', '"is'))],
  ['no colon', body(RECORD.replace(':3', '3'))],
  ['a negative number', body(RECORD.replace('3', '-3'))],
  ['a zero before a number', body(RECORD.replace('3', '03'))],
  ['a number of sixteen digits', body(RECORD.replace('3', '1000000000000000'))],
  ['no number', body(RECORD.replace('3', ''))],
  ['a fraction', body(RECORD.replace('3', '3.0'))],
  ['an exponent', body(RECORD.replace('3', '3e0'))],
  ['a number as text', body(RECORD.replace('3', '"3"'))],
  ['a verdict that is not a boolean', body(RECORD.replace('false', 'falsy'))],
  ['a verdict that goes on', body(RECORD.replace('false', 'falsee'))],
  ['a true that goes on', body(RECORD.replace('false', 'true1'))],
  ['null', body(RECORD.replace('false', 'null'))],
  ['an escape', body(RECORD.replace('"c', '"\\u0063'))],
  ['an escaped quote', body(RECORD.replace('"c', '"\\"'))],
  ['an escape in an id', body(RECORD).replace('"s"', '"\\u0073"')],
  ['a letter beyond ASCII', body(RECORD.replace('"c', '"é'))],
  ['U+0080', body(RECORD.replace('"c', '"\x80'))],
  ['U+0000', body(RECORD.replace('"c', '"\0'))],
  ['U+001F', body(RECORD.replace('"c', '"\x1f'))],
  ['a byte order mark', `\ufeff${body(RECORD)}`],
])('leaves a body to be parsed that has %s', (_, text) => {
  expect(compact(text)).toBeUndefined();
});

test('where the bytes stand in their memory makes no difference', () => {
  for (const text of [
    body(RECORD),
    body(RECORD.replace('"m"', '"\x1f"')),
    body(RECORD.replace('"m"', '"é"')),
  ]) {
    for (let shift = 0; shift < 9; shift++) {
      for (let more = 0; more < 5; more++) {
        const record = text.replace('"e"', `"${'e'.repeat(more)}"`);
        const length = utf8Encode(record).length;
        // What surrounds it would be found out if it were looked at.
        const memory = new Uint8Array(shift + length + 3).fill(0xff);
        const bytes = memory.subarray(shift, shift + length);
        bytes.set(utf8Encode(record));
        expect(readable(compactKeysOfRooms(bytes)), `${shift} ${more}`).toEqual(
          text === body(RECORD) ? parsed(bytes) : undefined,
        );
      }
    }
  }
});

test('rejects a body cut anywhere', () => {
  const bytes = utf8Encode(body(RECORD));
  for (let end = 0; end < bytes.length; end++) {
    expect(compactKeysOfRooms(bytes.subarray(0, end))).toBeUndefined();
  }
});

const id = fc.oneof(
  fc.constantFrom('__proto__', 'constructor', '1', '', '!r:x'),
  fc.string({ unit: 'grapheme' }),
);
const record = fc.record({
  first_message_index: fc.oneof(fc.nat(), fc.maxSafeNat()),
  forwarded_count: fc.nat(),
  is_verified: fc.boolean(),
  session_data: fc.oneof(
    {
      weight: 5,
      arbitrary: fc.dictionary(fc.constantFrom('ephemeral', 'ciphertext', 'mac', 'x'), fc.string()),
    },
    fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 1 })),
  ),
});
const rooms = fc.dictionary(id, fc.record({ sessions: fc.dictionary(id, record) }));

test.prop([rooms], { numRuns: runs(300) })('gives the same keys as parsing', (some) => {
  const bytes = utf8Encode(JSON.stringify({ rooms: some }));
  const found = readable(compactKeysOfRooms(bytes));
  if (found) expect(found).toEqual(parsed(bytes));
  for (const [roomId, room] of Object.entries(some)) {
    const one = utf8Encode(JSON.stringify(room));
    const keys = readable(compactKeysOfRoom(one, roomId));
    if (!keys) continue;
    expect(keys).toEqual(readable(parseKeysOfRoom(one, roomId)));
  }
});

const places = { where: fc.nat({ max: 400 }), byte: fc.nat({ max: 255 }), also: fc.nat({ max: 400 }) };

test.prop([fc.record(places), fc.constantFrom('set', 'insert', 'remove', 'swap', 'repeat')], {
  numRuns: runs(3000),
})(
  'rejects a body with any small change, or gives the same keys as parsing',
  ({ where, byte, also }, how) => {
    const text = `{"rooms":{"!r:x":{"sessions":{"s":${RECORD},"t":${RECORD}}},"!q:x":{"sessions":{"s":${RECORD}}}}}`;
    const bytes = [...utf8Encode(text)];
    const [at, other] = [where % bytes.length, also % bytes.length];
    if (how === 'set') bytes[at] = byte;
    if (how === 'insert') bytes.splice(at, 0, byte);
    if (how === 'remove') bytes.splice(at, 1 + (byte % 9));
    if (how === 'swap') [bytes[at], bytes[other]] = [bytes[other], bytes[at]];
    if (how === 'repeat') bytes.splice(at, 0, ...bytes.slice(at, at + 1 + (byte % 99)));
    const changed = Uint8Array.from(bytes);
    const found = readable(compactKeysOfRooms(changed));
    // JSON.parse moves names like "0" to the front.
    if (found) expect(sorted(found)).toEqual(sorted(parsed(changed)));
  },
);

/** JSON text of a value, with white space, escapes and names that are there twice in some places. */
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

/** Without numbers that are rejected. */
const wholeRooms = rooms.map(
  (some) =>
    JSON.parse(
      JSON.stringify(some, (_, value: unknown) =>
        typeof value === 'number' ? Math.trunc(value) % 2 ** 53 : value,
      ),
    ) as typeof some,
);

test.prop([wholeRooms, fc.infiniteStream(fc.double({ min: 0, max: 1, noNaN: true }))], {
  numRuns: runs(300),
})('the keys of a body are those that JSON.parse finds, however it is written', (some, numbers) => {
  const text = oddly({ rooms: some }, () => numbers.next().value as number);
  const expected = Object.entries((JSON.parse(text) as { rooms: typeof some }).rooms).flatMap(
    ([room, { sessions }]) =>
      Object.entries(sessions).map(([session, key]) => [room, session, JSON.stringify(key)]),
  );
  const found = readable(keysOfRooms(utf8Encode(text)));
  expect(found?.map(({ room_id, session_id, data }) => [room_id, session_id, data])).toEqual(expected);
});

const spaced = (record: string) => utf8Encode(body(record).replaceAll(':{', ': {'));

describe('a body that is parsed', () => {
  test('keeps unknown members at every level of a record', () => {
    const data = RECORD.replace('{', '{"__proto__":{"a":[1,null]},"é":"\\u0000",').replace(
      '"mac"',
      '"more":{"1":2},"mac"',
    );
    const [key] = keysOfRooms(spaced(data));
    expect(utf8Decode(key.data, 'the key')).toBe(JSON.stringify(JSON.parse(data)));
    expect(utf8Decode(key.data, 'the key')).toContain('"__proto__":{"a":[1,null]}');
  });

  test.each([
    ['a whole number with a point', '3.0', '3'],
    ['an exponent', '30e-1', '3'],
    ['a negative zero', '-0', '0'],
    ['the largest number', '9007199254740991', '9007199254740991'],
  ])('stores %s as an equal number', (_, written, stored) => {
    const [key] = keysOfRooms(spaced(RECORD.replace('{', `{"n":[${written}],`)));
    expect(utf8Decode(key.data, 'the key')).toContain(`{"n":[${stored}],`);
  });

  test.each(['1.5', '1e400', '9007199254740993', '-9007199254740993', '1e-1', '1.00000000000000000001'])(
    'rejects %s, which would change',
    (number) => {
      const record = RECORD.replace('{', `{"n":[${number}],`);
      const error = expect.objectContaining({ code: 'bad-json' }) as Error;
      expect(() => keysOfRooms(spaced(record))).toThrow(error);
      expect(() => keysOfRoom(utf8Encode(`{"sessions":{"s":${record}}}`), '!r:x')).toThrow(error);
      expect(() => keyOfSession(utf8Encode(record), '!r:x', 's')).toThrow(error);
    },
  );

  test('takes the last of members that are there twice', () => {
    const twice = RECORD.replace('{', '{"first_message_index":9,');
    expect(keysOfRooms(spaced(twice))).toMatchObject([{ first_message_index: 3 }]);
    const rooms = (index: number) => `{"!r:x":{"sessions":{"s":${RECORD.replace('3', String(index))}}}}`;
    expect(keysOfRooms(utf8Encode(`{"rooms":${rooms(1)},"rooms":${rooms(2)}}`))).toMatchObject([
      { room_id: '!r:x', session_id: 's', first_message_index: 2 },
    ]);
  });

  test('gives one room or one session', () => {
    const rank = { first_message_index: 3, forwarded_count: 0, is_verified: false };
    const expected = { room_id: '__proto__', session_id: 's', ...rank, data: RECORD };
    expect(readable(keysOfRoom(utf8Encode(` {"sessions":{"s":${RECORD}}}`), '__proto__'))).toEqual([
      expected,
    ]);
    expect(readable([keyOfSession(utf8Encode(` ${RECORD} `), '__proto__', 's')])).toEqual([expected]);
    expect(() => keyOfSession(utf8Encode('{}'), '!r:x', 's')).toThrow('rooms["!r:x"].sessions.s');
  });
});

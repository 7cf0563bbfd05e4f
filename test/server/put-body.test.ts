import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { utf8Decode, utf8Encode } from '../../src/encoding/utf8.js';
import { parseJsonBytes } from '../../src/encoding/json.js';
import { KeyBackupError } from '../../src/errors.js';
import { isPlain, readRecord } from '../../src/server/compact-record.js';
import { keyOfSession, keysOfRoom, keysOfRooms } from '../../src/server/put-body.js';
import type { KeyToWrite } from '../../src/server/store.js';
import { checkKeyBackups } from '../../src/wire/validate.js';
import { runs } from '../support/runs.js';

const DATA = '{"ephemeral":"e","ciphertext":"c/+ {}[]:,=","mac":"m"}';
const RECORD = `{"first_message_index":3,"forwarded_count":0,"is_verified":false,"session_data":${DATA}}`;
const body = (record: string) => `{"rooms":{"!r:x":{"sessions":{"s":${record}}}}}`;

const MAX = 65_536;

const readable = (keys: readonly KeyToWrite[]) =>
  keys.map(({ data, ...key }) => ({ ...key, data: utf8Decode(data, 'the key') }));
const read = async (bytes: Uint8Array) => sorted(readable(await keysOfRooms(bytes, MAX)));

/** In an order of their own: `JSON.parse` moves names like "0" to the front. */
const sorted = <Key extends { room_id: string; session_id: string }>(keys: readonly Key[]) =>
  [...keys].sort((a, b) => (`${a.room_id} ${a.session_id}` < `${b.room_id} ${b.session_id}` ? -1 : 1));

/** The keys of a body by parsing it as a whole. */
function parsed(bytes: Uint8Array) {
  const { rooms } = checkKeyBackups(parseJsonBytes(bytes));
  return sorted(
    Object.entries(rooms).flatMap(([room_id, { sessions }]) =>
      Object.entries(sessions).map(([session_id, record]) => {
        const { first_message_index, forwarded_count, is_verified } = record;
        const data = JSON.stringify(record);
        return { room_id, session_id, is_verified, first_message_index, forwarded_count, data };
      }),
    ),
  );
}

/** What both ways to read a body give: keys, or that it is rejected. */
async function bothWays(bytes: Uint8Array): Promise<[unknown, unknown]> {
  const rejected = (error: unknown) => {
    expect(error).toBeInstanceOf(KeyBackupError);
    return 'rejected';
  };
  let whole: unknown;
  try {
    whole = parsed(bytes);
  } catch (error) {
    whole = rejected(error);
  }
  return [await read(bytes).catch(rejected), whole];
}

/** A record by the fast way alone. */
function compact(record: string): string | undefined {
  const bytes = Buffer.from(utf8Encode(record));
  const key = isPlain(bytes) ? readRecord(bytes, 0, '!r:x', 's') : undefined;
  return key && utf8Decode(key.data, 'the key');
}

describe('a body as clients write it', () => {
  test('gives its keys, with their data as it is written', async () => {
    const other = RECORD.replace('3', '9007199254740').replace('false', 'true');
    const text = `{"rooms":{"!r:x":{"sessions":{"s":${RECORD},"t":${other}}},"!q:x":{"sessions":{}},"!p:x":{"sessions":{"s":${RECORD}}}}}`;
    const rank = { first_message_index: 3, forwarded_count: 0, is_verified: false };
    expect(readable(await keysOfRooms(utf8Encode(text), MAX))).toEqual([
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
    expect(readable(await keysOfRoom(utf8Encode(`{"sessions":{"s":${RECORD}}}`), '!r:x', MAX))).toEqual([
      { room_id: '!r:x', session_id: 's', ...rank, data: RECORD },
    ]);
  });

  test.each([
    [
      'members in another order',
      `{"session_data":${DATA},"is_verified":true,"forwarded_count":1,"first_message_index":0}`,
    ],
    ['session data of nothing', RECORD.replace(DATA, '{}')],
    ['session data with more members', RECORD.replace('"mac"', '"org.example.more":"x","mac"')],
    ['the longest number that is read', RECORD.replace('3', '999999999999999')],
    ['a long string', RECORD.replace('"c/+', `"${'x'.repeat(5000)}`)],
  ])('is read without parsing it: %s', async (_, record) => {
    expect(compact(record)).toBe(record);
    const [found, whole] = await bothWays(utf8Encode(body(record)));
    expect(found).toEqual(whole);
    expect(found).toHaveLength(1);
  });

  test('keeps no id that holds the memory of the body, and copies no data', async () => {
    const bytes = utf8Encode(body(RECORD));
    const [key] = await keysOfRooms(bytes, MAX);
    bytes.fill(0x78);
    expect(key.room_id).toBe('!r:x');
    expect(key.session_id).toBe('s');
    expect(key.data[0]).toBe(0x78);
  });
});

test.each([
  ['a list', '[]'],
  ['white space', RECORD.replace(':', ': ')],
  ['a member twice', RECORD.replace('{', '{"first_message_index":3,')],
  ['session data twice', RECORD.replace('{', `{"session_data":${DATA},`)],
  ['a verdict twice', RECORD.replace('{', '{"is_verified":false,')],
  ['a count twice', RECORD.replace('{', '{"forwarded_count":0,')],
  ['a member that is not known', RECORD.replace('{', '{"more":1,')],
  ['a member missing', RECORD.replace('"forwarded_count":0,', '')],
  ['no verdict', RECORD.replace('"is_verified":false,', '')],
  ['no index', RECORD.replace('"first_message_index":3,', '')],
  ['no data', RECORD.replace(`,"session_data":${DATA}`, '')],
  ['a name of session data twice', RECORD.replace('"mac"', '"ephemeral"')],
  ['session data that is a list', RECORD.replace(DATA, '[]')],
  ['session data with a number', RECORD.replace('"m"', '1')],
  ['session data with an object', RECORD.replace('"m"', '{}')],
  [
    'session data of many members',
    RECORD.replace('"mac"', `${Array.from({ length: 16 }, (_, i) => `"n${i}":""`).join()},"mac"`),
  ],
  ['a comma too many', RECORD.replace('"m"', '"m",')],
  ['a comma at the begin', RECORD.replace('{', '{,')],
  ['no comma', RECORD.replace(',"is', '"is')],
  ['no colon', RECORD.replace(':3', '3')],
  ['a negative number', RECORD.replace('3', '-3')],
  ['a zero before a number', RECORD.replace('3', '03')],
  ['a number of sixteen digits', RECORD.replace('3', '1000000000000000')],
  ['no number', RECORD.replace('3', '')],
  ['a fraction', RECORD.replace('3', '3.0')],
  ['an exponent', RECORD.replace('3', '3e0')],
  ['a number as text', RECORD.replace('3', '"3"')],
  ['a verdict that is not a boolean', RECORD.replace('false', 'falsy')],
  ['a verdict that goes on', RECORD.replace('false', 'falsee')],
  ['a true that goes on', RECORD.replace('false', 'true1')],
  ['null', RECORD.replace('false', 'null')],
  ['an escape', RECORD.replace('"c', '"\\u0063')],
  ['an escaped quote', RECORD.replace('"c', '"\\"')],
  ['a letter beyond ASCII', RECORD.replace('"c', '"é')],
  ['U+0080', RECORD.replace('"c', '"\x80')],
  ['U+0000', RECORD.replace('"c', '"\0')],
  ['U+001F', RECORD.replace('"c', '"\x1f')],
])('a record is parsed that has %s', async (_, record) => {
  expect(compact(record)).toBeUndefined();
  const [found, whole] = await bothWays(utf8Encode(body(record)));
  expect(found).toEqual(whole);
});

test.each([
  ['no rooms', '{"rooms":{}}'],
  ['names that objects have', `{"rooms":{"__proto__":{"sessions":{"constructor":${RECORD}}}}}`],
  ['nothing', ''],
  ['white space only', ' \n'],
  ['no object', '[]'],
  ['a number', '1'],
  ['a string', '"a"'],
  ['a string that does not end', '"a'],
  ['another member', '{"more":[{"a":"]}"}],"rooms":{}}'],
  ['another member that is no JSON', '{"more":[}],"rooms":{}}'],
  ['another member that is nothing', '{"more":,"rooms":{}}'],
  ['another member without a value', '{"rooms":{},"more":}'],
  ['another member that is too deep', `{"rooms":{},"more":${'['.repeat(200)}${']'.repeat(200)}}`],
  ['another member with a fraction', '{"rooms":{},"more":1.5}'],
  ['no member rooms', '{}'],
  ['rooms twice', '{"rooms":{"!a:x":{"sessions":{}}},"rooms":{}}'],
  ['rooms that are a list', '{"rooms":[]}'],
  ['rooms that are null', '{"rooms":null}'],
  ['something behind it', `${body(RECORD)} x`],
  ['white space behind it', `${body(RECORD)} \r\n\t`],
  ['a second value', `${body(RECORD)}{}`],
  ['white space everywhere', ` ${body(RECORD).replaceAll(/[{}:,]/g, (token) => `\n${token}\t`)}`],
  ['an unfinished body', body(RECORD).slice(0, -1)],
  ['an unfinished string', body(RECORD).slice(0, 30)],
  [
    'a room twice',
    `{"rooms":{"!r:x":{"sessions":{"s":${RECORD}}},"!q:x":{"sessions":{}},"!r:x":{"sessions":{"t":${RECORD}}}}}`,
  ],
  [
    'a room that is empty the second time',
    `{"rooms":{"!r:x":{"sessions":{"s":${RECORD}}},"!r:x":{"sessions":{}}}}`,
  ],
  ['a session twice', `{"rooms":{"!r:x":{"sessions":{"s":${RECORD.replace('3', '9')},"s":${RECORD}}}}}`],
  ['sessions twice', `{"rooms":{"!r:x":{"sessions":{"s":${RECORD}},"sessions":{}}}}`],
  ['a room with another member', '{"rooms":{"!r:x":{"sessions":{},"more":1}}}'],
  ['a room without sessions', '{"rooms":{"!r:x":{}}}'],
  ['a room that is a string', '{"rooms":{"!r:x":"}"}}'],
  ['sessions that are null', '{"rooms":{"!r:x":{"sessions":null}}}'],
  ['a comma before a room', '{"rooms":{,"!r:x":{"sessions":{}}}}'],
  ['a comma behind a room', '{"rooms":{"!r:x":{"sessions":{}},}}'],
  ['two commas', '{"rooms":{"!r:x":{"sessions":{}},,"!q:x":{"sessions":{}}}}'],
  ['a name that is a number', '{"rooms":{1:{"sessions":{}}}}'],
  ['a name without a colon', '{"rooms" {}}'],
  ['an escape in an id', body(RECORD).replace('"s"', '"\\u0073\\""')],
  ['an escape that is none', body(RECORD).replace('"s"', '"\\x"')],
  ['half of a character in an id', body(RECORD).replace('"s"', '"\\ud83d"')],
  ['a line break in an id', body(RECORD).replace('"s"', '"\n"')],
  ['letters beyond ASCII', body(RECORD).replace('"s"', '"é😀"').replace('"m"', '"é"')],
  ['a byte order mark', `\ufeff${body(RECORD)}`],
])('a body with %s gives what parsing the whole gives', async (_, text) => {
  const [found, whole] = await bothWays(utf8Encode(text));
  expect(found).toEqual(whole);
});

test('where the bytes stand in their memory makes no difference', async () => {
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
        expect(isPlain(Buffer.from(memory.buffer, shift, length))).toBe(text === body(RECORD));
        const [found, whole] = await bothWays(bytes);
        expect(found, `${shift} ${more}`).toEqual(whole);
      }
    }
  }
});

test('rejects a body cut anywhere', async () => {
  for (const text of [body(RECORD), body(RECORD.replace('"m"', '"é\\""'))]) {
    const bytes = utf8Encode(text);
    for (let end = 0; end < bytes.length; end++) {
      await expect(keysOfRooms(bytes.subarray(0, end), MAX)).rejects.toMatchObject({ code: 'not-json' });
    }
  }
});

describe('limits', () => {
  const rejected = (text: string) => keysOfRooms(utf8Encode(text), 200).catch((error: unknown) => error);
  const recordOf = (length: number, letter = 'x') => {
    const empty = utf8Encode(RECORD.replace('"m"', '""')).length;
    return RECORD.replace('"m"', `"${letter.repeat((length - empty) / utf8Encode(letter).length)}"`);
  };

  test.each([
    ['read without parsing it', 'x'],
    ['parsed', '\x7fé'],
  ])('a record that is %s may be as large as the limit', async (_, letter) => {
    const size = 199 + (utf8Encode(RECORD).length % 2);
    const at = 3 * Math.floor((size - RECORD.length) / 3) + RECORD.length - 1;
    const record = recordOf(at, letter);
    const limit = utf8Encode(record).length;
    expect(await keysOfRooms(utf8Encode(body(record)), limit)).toHaveLength(1);
    await expect(keysOfRooms(utf8Encode(body(record)), limit - 1)).rejects.toMatchObject({
      status: 413,
      body: {
        errcode: 'M_TOO_LARGE',
        error: `rooms["!r:x"].sessions.s: expected at most ${limit - 1} bytes, got more`,
      },
    });
  });

  test.each([
    ['a member of the body', `{"rooms":{},"more":"${'x'.repeat(300)}"}`, 'more'],
    [
      'a member of a room',
      `{"rooms":{"!r:x":{"sessions":{},"more":[${'1,'.repeat(300)}1]}}}`,
      'rooms["!r:x"].more',
    ],
    ['a body that is a list', `[${'1,'.repeat(300)}1]`, ': expected at most'],
    [
      'numbers that take more when stored',
      body(RECORD.replace('{', '{"n":[1e15,1e15,1e15,1e15,1e15,1e15],')),
      '.s: ',
    ],
  ])('%s that is too large is 413', async (_, text, place) => {
    expect(await rejected(text)).toMatchObject({
      status: 413,
      message: expect.stringContaining(place) as string,
    });
  });

  test('nesting is rejected before size', async () => {
    const deep = `${'['.repeat(1000)}${']'.repeat(1000)}`;
    const text = body(RECORD.replace('"m"', deep));
    await expect(keysOfRooms(utf8Encode(text), 1000)).rejects.toMatchObject({
      code: 'bad-json',
      message: 'rooms["!r:x"].sessions.s: expected at most 100 levels, got more',
    });
  });

  test.each([
    ['a room id of 255 bytes', '!'.repeat(255), 's', undefined],
    ['a session id of 1,024 bytes', '!r:x', 's'.repeat(1024), undefined],
    [
      'a room id of 256 bytes',
      '!'.repeat(256),
      's',
      /^rooms\["!{255}…"\]: expected a room id of at most 255 bytes/,
    ],
    [
      'a room id of 256 bytes in fewer characters',
      'é'.repeat(128),
      's',
      /^rooms\["é{128}"\]: expected a room id/,
    ],
    [
      'a session id of 1,025 bytes',
      '!r:x',
      's'.repeat(1025),
      /^rooms\["!r:x"\]\.sessions\["s{255}…"\]: expected a session id of at most 1024 bytes/,
    ],
    [
      'a session id of 500,000 bytes',
      '!r:x',
      '\u202e\0'.repeat(100_000),
      /^rooms\["!r:x"\]\.sessions\["[^\u202e\0]{1,2000}…"\]: expected/,
    ],
  ])('%s', async (_, room, session, message) => {
    const text = JSON.stringify({
      rooms: { [room]: { sessions: { [session]: JSON.parse(RECORD) as object } } },
    });
    const answer = await rejected(text);
    if (message)
      expect(answer).toMatchObject({ code: 'bad-json', message: expect.stringMatching(message) as string });
    else expect(answer).toHaveLength(1);
  });

  const many = (count: number, member: (i: number) => string) =>
    Array.from({ length: count }, (_, i) => member(i)).join();
  test.each([
    ['keys', () => `{"rooms":{"!r:x":{"sessions":{${many(60_000, (i) => `"${i}":${RECORD}`)}}}}}`],
    [
      'keys that are parsed',
      () =>
        `{"rooms":{"!r:x":{"sessions":{${many(30_000, (i) => `"${i}":${RECORD.replace('"m"', '"é"')}`)}}}}}`,
    ],
    ['empty rooms', () => `{"rooms":{${many(200_000, (i) => `"${i}":{"sessions":{}}`)}}}`],
    ['members of the body', () => `{"rooms":{},${many(200_000, (i) => `"${i}":1`)}}`],
    ['members of a room', () => `{"rooms":{"!r:x":{"sessions":{},${many(200_000, (i) => `"${i}":1`)}}}}`],
  ])('the event loop runs while a body of many %s is read', async (_, text) => {
    const bytes = utf8Encode(text());
    let turns = 0;
    let turn = setImmediate(function again() {
      turns++;
      turn = setImmediate(again);
    });
    await keysOfRooms(bytes, MAX);
    clearImmediate(turn);
    expect(turns).toBeGreaterThan(2);
  });
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

test('gives the same keys as parsing', async () => {
  const property = fc.asyncProperty(rooms, async (some) => {
    const [found, whole] = await bothWays(utf8Encode(JSON.stringify({ rooms: some })));
    expect(found).toEqual(whole);
  });
  await fc.assert(property, { numRuns: runs(300) });
});

const places = { where: fc.nat({ max: 400 }), byte: fc.nat({ max: 255 }), also: fc.nat({ max: 400 }) };

test('does with any small change of a body what parsing it does', async () => {
  const text = `{"rooms":{"!r:x":{"sessions":{"s":${RECORD},"t":${RECORD}}},"!q:x":{"sessions":{"s":${RECORD}}}}}`;
  const change = fc.constantFrom('set', 'insert', 'remove', 'swap', 'repeat');
  const property = fc.asyncProperty(fc.record(places), change, async ({ where, byte, also }, how) => {
    const bytes = [...utf8Encode(text)];
    const [at, other] = [where % bytes.length, also % bytes.length];
    if (how === 'set') bytes[at] = byte;
    if (how === 'insert') bytes.splice(at, 0, byte);
    if (how === 'remove') bytes.splice(at, 1 + (byte % 9));
    if (how === 'swap') [bytes[at], bytes[other]] = [bytes[other], bytes[at]];
    if (how === 'repeat') bytes.splice(at, 0, ...bytes.slice(at, at + 1 + (byte % 99)));
    const [found, whole] = await bothWays(Uint8Array.from(bytes));
    // An invalid record is rejected even if the same name follows with a valid one, as two of these changes can make it.
    const mayDiffer = how === 'repeat' || how === 'swap';
    if (!mayDiffer || found !== 'rejected') expect(found).toEqual(whole);
  });
  await fc.assert(property, { numRuns: runs(3000) });
});

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
        return random() < 0.1 ? [member(one), member(one)] : [member(one)];
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

test('the keys of a body are those that JSON.parse finds, however it is written', async () => {
  const random = fc.infiniteStream(fc.double({ min: 0, max: 1, noNaN: true }));
  const property = fc.asyncProperty(wholeRooms, random, async (some, numbers) => {
    const bytes = utf8Encode(oddly({ rooms: some }, () => numbers.next().value as number));
    expect(await read(bytes)).toEqual(parsed(bytes));
  });
  await fc.assert(property, { numRuns: runs(300) });
});

const spaced = (record: string) => utf8Encode(body(record).replaceAll(':{', ': {'));

describe('a body that is parsed', () => {
  test('keeps unknown members at every level of a record', async () => {
    const data = RECORD.replace('{', '{"__proto__":{"a":[1,null]},"é":"\\u0000",').replace(
      '"mac"',
      '"more":{"1":2},"mac"',
    );
    const [key] = await keysOfRooms(spaced(data), MAX);
    expect(utf8Decode(key.data, 'the key')).toBe(JSON.stringify(JSON.parse(data)));
    expect(utf8Decode(key.data, 'the key')).toContain('"__proto__":{"a":[1,null]}');
  });

  test.each([
    ['a whole number with a point', '3.0', '3'],
    ['an exponent', '30e-1', '3'],
    ['a negative zero', '-0', '0'],
    ['the largest number', '9007199254740991', '9007199254740991'],
  ])('stores %s as an equal number', async (_, written, stored) => {
    const [key] = await keysOfRooms(spaced(RECORD.replace('{', `{"n":[${written}],`)), MAX);
    expect(utf8Decode(key.data, 'the key')).toContain(`{"n":[${stored}],`);
  });

  test.each(['1.5', '1e400', '9007199254740993', '-9007199254740993', '1e-1', '1.00000000000000000001'])(
    'rejects %s, which would change',
    async (number) => {
      const record = RECORD.replace('{', `{"n":[${number}],`);
      const error = expect.objectContaining({ code: 'bad-json' }) as Error;
      await expect(keysOfRooms(spaced(record), MAX)).rejects.toEqual(error);
      await expect(keysOfRoom(utf8Encode(`{"sessions":{"s":${record}}}`), '!r:x', MAX)).rejects.toEqual(
        error,
      );
      expect(() => keyOfSession(utf8Encode(record), '!r:x', 's', MAX)).toThrow(error);
    },
  );

  test('takes the last of members that are there twice', async () => {
    const twice = RECORD.replace('{', '{"first_message_index":9,');
    expect(await keysOfRooms(spaced(twice), MAX)).toMatchObject([{ first_message_index: 3 }]);
    const rooms = (index: number) => `{"!r:x":{"sessions":{"s":${RECORD.replace('3', String(index))}}}}`;
    expect(await keysOfRooms(utf8Encode(`{"rooms":${rooms(1)},"rooms":${rooms(2)}}`), MAX)).toMatchObject([
      { room_id: '!r:x', session_id: 's', first_message_index: 2 },
    ]);
  });

  test('gives one room or one session', async () => {
    const rank = { first_message_index: 3, forwarded_count: 0, is_verified: false };
    const expected = { room_id: '__proto__', session_id: 's', ...rank, data: RECORD };
    expect(readable(await keysOfRoom(utf8Encode(` {"sessions":{"s":${RECORD}}}`), '__proto__', MAX))).toEqual(
      [expected],
    );
    expect(readable([keyOfSession(utf8Encode(` ${RECORD} `), '__proto__', 's', MAX)])).toEqual([expected]);
    expect(() => keyOfSession(utf8Encode('{}'), '!r:x', 's', MAX)).toThrow('rooms["!r:x"].sessions.s');
  });
});

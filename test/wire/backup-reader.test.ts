import { afterEach, describe, expect, it, vi } from 'vitest';
import fc from 'fast-check';
import { jsonPath } from '../../src/encoding/json.js';
import type { BackupItem, BackupReaderOptions } from '../../src/wire/backup-item.js';
import { BackupReader } from '../../src/wire/backup-reader.js';
import { readBackup } from '../../src/wire/read-backup.js';
import { runs } from '../support/runs.js';
import { anyCharacter } from '../support/samples.js';

const encoder = new TextEncoder();

/** Cuts bytes into chunks of the given sizes, repeated. */
function* cut(bytes: Uint8Array, sizes: readonly number[]): Generator<Uint8Array> {
  for (let start = 0, turn = 0; start < bytes.length; turn++) {
    const end = start + sizes[turn % sizes.length];
    // One array for all chunks would be reused by a careless producer: a fresh one that is spoilt afterwards.
    const chunk = bytes.slice(start, end);
    yield chunk;
    chunk.fill(0);
    start = end;
  }
}

async function read(
  body: string | Uint8Array,
  options: BackupReaderOptions = {},
  sizes: readonly number[] = [1 << 20],
): Promise<{ items: BackupItem[]; error: unknown }> {
  const bytes = typeof body === 'string' ? encoder.encode(body) : body;
  const items: BackupItem[] = [];
  try {
    for await (const item of readBackup(cut(bytes, sizes), options)) items.push(item);
  } catch (error) {
    return { items, error };
  }
  return { items, error: undefined };
}

function summary(items: readonly BackupItem[]): unknown[] {
  return items.map((item) =>
    item.error
      ? [item.room_id, item.session_id, item.path, item.error.code]
      : [item.room_id, item.session_id, item.path, item.key_backup_data],
  );
}

const id = fc.oneof(
  fc.string({ unit: anyCharacter }),
  fc.constantFrom('__proto__', 'constructor', '', 'a"b\\', 'rooms'),
);
const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 6 });

describe('a backup that is all right', () => {
  it('gives what JSON.parse gives, however the body is cut and spaced', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.dictionary(id, fc.dictionary(id, fc.jsonValue(), { noNullPrototype: false }), {
          noNullPrototype: false,
        }),
        fc.constantFrom(undefined, 1, '\t'),
        sizes,
        async (rooms, indent, chunkSizes) => {
          const backup = Object.fromEntries(
            Object.entries(rooms).map(([room, sessions]) => [room, { sessions }]),
          );
          // Object.fromEntries defines: an own "__proto__" stays one.
          const text = JSON.stringify({ rooms: backup }, null, indent);
          const parsed = JSON.parse(text) as { rooms: Record<string, { sessions: Record<string, unknown> }> };
          const expected = Object.entries(parsed.rooms).flatMap(([room, { sessions }]) =>
            Object.entries(sessions).map(([session, value]) => [
              room,
              session,
              ['rooms', room, 'sessions', session].reduce(jsonPath, ''),
              value,
            ]),
          );
          const { items, error } = await read(text, {}, chunkSizes);
          expect(error).toBeUndefined();
          // JavaScript puts integer-like ids first; the body's order is the reader's.
          const sort = (rows: unknown[]): unknown[] => rows.map((row) => JSON.stringify(row)).sort();
          expect(sort(summary(items))).toEqual(sort(expected));
        },
      ),
    );
  });

  it('keeps ids that are special to JavaScript', async () => {
    const { items } = await read('{"rooms":{"__proto__":{"sessions":{"__proto__":{"__proto__":1}}}}}');
    expect(items).toHaveLength(1);
    expect(items[0].room_id).toBe('__proto__');
    expect(JSON.stringify(items[0].error ?? items[0].key_backup_data)).toBe('{"__proto__":1}');
  });

  it('keeps ids that are names of the form', async () => {
    const sessions = '"sessions":{"rooms":1,"sessions":{"rooms":2,"sessions":{}}}';
    const body = `{"rooms":{"rooms":{${sessions}},"sessions":{${sessions}}}}`;
    const { items, error } = await read(body);
    expect(error).toBeUndefined();
    expect(summary(items)).toEqual(
      ['rooms', 'sessions'].flatMap((room) => [
        [room, 'rooms', `rooms.${room}.sessions.rooms`, 1],
        [room, 'sessions', `rooms.${room}.sessions.sessions`, { rooms: 2, sessions: {} }],
      ]),
    );
  });

  it('takes all white space of JSON, and no other', async () => {
    const body = '{"rooms":{"!r":{"sessions":{"s":1}}}}';
    const [plain, spaced] = [body, body.replace(/[{}:]/g, (token) => `\r\n\t ${token} \t\n\r`)];
    expect(await read(spaced)).toEqual(await read(plain));
    for (const space of ['\v', '\f', '\u00a0', '\u2028']) {
      expect((await read(`${space}${plain}`)).error).toMatchObject({ code: 'bad-json' });
    }
  });

  it('names no room that an array does not name', async () => {
    const { items } = await read('[nonsense, {}]', { form: 'array', roomId: '!r' });
    expect(items.map(({ room_id }) => room_id)).toEqual([undefined, undefined]);
  });

  it('reads one room and arrays', async () => {
    const room = await read('{"sessions":{"s":{"a":1}}}', { form: 'sessions', roomId: '!r' });
    expect(summary(room.items)).toEqual([['!r', 's', 'sessions.s', { a: 1 }]]);
    const array = await read('[{"room_id":"!r","session_id":"s"}, 7, {"room_id":1,"session_id":2}]', {
      form: 'array',
    });
    expect(summary(array.items)).toEqual([
      ['!r', 's', '[0]', { room_id: '!r', session_id: 's' }],
      [undefined, undefined, '[1]', 7],
      [undefined, undefined, '[2]', { room_id: 1, session_id: 2 }],
    ]);
  });

  it('gives the other fields of the body and skips those of a room', () => {
    const reader = new BackupReader();
    const others = '"n":"t","o":{"!r":{"sessions":{"no":1}}}';
    const rooms = '{"!r":{"x":{"sessions":{"no":1}},"sessions":{}}}';
    expect(reader.push(encoder.encode(`{${others},"rooms":${rooms},"m":[1]}`))).toEqual([]);
    reader.end();
    expect([...reader.fields]).toEqual([
      ['n', 't'],
      ['o', { '!r': { sessions: { no: 1 } } }],
      ['m', [1]],
    ]);
  });

  it.each([
    ['{"rooms":{}}', undefined],
    ['{"rooms":{"!r":{"sessions":{}}}}', undefined],
    ['{"sessions":{}}', { form: 'sessions' as const }],
    ['[]', { form: 'array' as const }],
    [' [ ] ', { form: 'array' as const }],
  ])('%s is an empty one', async (body, options) => {
    await expect(read(body, options, [1])).resolves.toEqual({ items: [], error: undefined });
  });
});

describe('one bad record', () => {
  const around = (record: string): string =>
    `{"rooms":{"!r":{"sessions":{"before":1,${record},"after":2}},"!last":{"sessions":{"end":3}}}}`;

  it.each([
    ['no JSON inside', '"bad":{"a":nonsense}', 'bad-json', 'bad'],
    ['no JSON at all', '"bad":nonsense', 'bad-json', 'bad'],
    ['a raw control character', '"bad":"\n"', 'bad-json', 'bad'],
    ['a wrong escape', '"bad":"\\x"', 'bad-json', 'bad'],
    ['an unfinished member', '"bad":{"a":}', 'bad-json', 'bad'],
    ['too many bytes', `"bad":"${'x'.repeat(3000)}"`, 'too-large', 'bad'],
    ['too many bytes in the id', `"${'x'.repeat(3000)}":1`, 'too-large', undefined],
    ['an id that is no JSON string', '"\\x":1', 'bad-json', undefined],
    ['too many levels', `"bad":${'['.repeat(30)}${']'.repeat(30)}`, 'too-large', 'bad'],
    ['an id that was there', '"before":4', 'bad-json', 'before'],
  ])('with %s does not touch the others', async (_, record, code, session) => {
    for (const chunk of [1 << 20, 1, 7]) {
      const { items, error } = await read(around(record), { maxRecordBytes: 2000, maxDepth: 20 }, [chunk]);
      expect(error).toBeUndefined();
      expect(items.map(({ session_id }) => session_id)).toEqual(['before', session, 'after', 'end']);
      expect(items.map((item) => item.error?.code)).toEqual([undefined, code, undefined, undefined]);
      expect(items[1].room_id).toBe('!r');
    }
  });

  it('with invalid UTF-8 does not touch the others', async () => {
    const bytes = encoder.encode(around('"bad":"?"'));
    bytes[bytes.indexOf(0x3f)] = 0xff;
    const { items, error } = await read(bytes);
    expect(error).toBeUndefined();
    expect(items.map((item) => item.error?.code)).toEqual([undefined, 'bad-utf8', undefined, undefined]);
  });

  it('whose id cannot be read has a place all the same', async () => {
    const { items } = await read(around('"\\x":1'));
    expect(items[1].path).toBe('rooms["!r"].sessions["?"]');
  });

  it('never quotes the text in its message', async () => {
    const { items } = await read(around('"bad":{"session_key":"AQAAAA","x":y}'));
    expect(items[1].error?.message).toBe('rooms["!r"].sessions.bad: expected JSON, got something else');
    expect(items[1].error?.cause).toBeUndefined();
  });

  it('of ten thousand leaves the others, wherever it stands', async () => {
    const records = Array.from(
      { length: 10_000 },
      (_, i) => `"s${i}":${i % 100 === 42 ? '{"a":b}' : '{"a":1}'}`,
    );
    const { items, error } = await read(`{"rooms":{"!r":{"sessions":{${records.join()}}}}}`, {}, [997]);
    expect(error).toBeUndefined();
    expect(items.filter((item) => item.error)).toHaveLength(100);
    expect(items.filter((item) => !item.error)).toHaveLength(9_900);
  });
});

describe('a room or map that is wrong', () => {
  it('gives the keys of a room that stands in two places, and says so', async () => {
    const { items, error } = await read(
      '{"rooms":{"!r":{"sessions":{"a":1}},"!q":{"sessions":{}},"!r":{"sessions":{"b":2,"a":3}}}}',
    );
    expect(error).toBeUndefined();
    expect(summary(items)).toEqual([
      ['!r', 'a', 'rooms["!r"].sessions.a', 1],
      ['!r', undefined, 'rooms["!r"]', 'bad-json'],
      ['!r', 'b', 'rooms["!r"].sessions.b', 2],
      ['!r', 'a', 'rooms["!r"].sessions.a', 'bad-json'],
    ]);
  });

  it.each([
    [
      '{"rooms":{"!r":{"sessions":{"a":1},"sessions":{"b":2}}}}',
      ['a', undefined, 'b'],
      'rooms["!r"].sessions: expected once, got again; its keys follow as well',
    ],
    [
      '{"rooms":{"!r":{"sessions":{"a":1}}},"rooms":{"!q":{"sessions":{"b":2}}}}',
      ['a', undefined, 'b'],
      'rooms: expected once, got again; its keys follow as well',
    ],
    ['{"rooms":{"!r":null,"!q":{"sessions":{"b":2}}}}', [undefined, 'b'], 'rooms["!r"]: expected an object'],
    [
      '{"rooms":{"!r":{"sessions":[]},"!q":{"sessions":{"b":2}}}}',
      [undefined, 'b'],
      'rooms["!r"].sessions: expected an object',
    ],
    [
      '{"rooms":{"!r":{},"!q":{"sessions":{"b":2}}}}',
      [undefined, 'b'],
      'rooms["!r"]: expected the field "sessions", got nothing',
    ],
    [
      '{"rooms":{"!r":{"x":nonsense,"sessions":{"a":1}},"!q":{"sessions":{"b":2}}}}',
      [undefined, 'a', 'b'],
      'rooms["!r"].x: expected JSON, got something else',
    ],
    [
      '{"rooms":{"!r":{"sessions":{"a":1},"\\x":{}},"!q":{"sessions":{"b":2}}}}',
      ['a', undefined, 'b'],
      'rooms["!r"]["?"]: expected JSON, got something else',
    ],
    [
      '{"rooms":{"\\x":{"sessions":{"a":1}},"!q":{"sessions":{"b":2}}}}',
      [undefined, 'b'],
      'rooms["?"]: expected JSON, got something else',
    ],
  ])('%s loses nothing silently', async (body, sessions, message) => {
    for (const chunk of [1 << 20, 1]) {
      const { items, error } = await read(body, {}, [chunk]);
      expect(error).toBeUndefined();
      expect(items.map(({ session_id }) => session_id)).toEqual(sessions);
      expect(items.map((item) => item.error !== undefined)).toEqual(sessions.map((id) => id === undefined));
      expect(items.find((item) => item.error)?.error).toMatchObject({
        code: message.includes('the field') ? 'missing-field' : 'bad-json',
        message,
      });
    }
  });
});

describe('a body that is no backup', () => {
  it.each([
    ['', 'truncated'],
    ['{}', 'missing-field'],
    ['{"errcode":"M_UNKNOWN"}', 'missing-field'],
    ['<html>', 'bad-json'],
    ['null', 'bad-json'],
    ['[]', 'bad-json'],
    ['{"rooms":[]}', 'bad-json'],
    ['{"rooms":null}', 'bad-json'],
    ['{"rooms":{}}}', 'bad-json'],
    ['{"rooms":{}} {"rooms":{}}', 'bad-json'],
    ['{"rooms":{},}', 'bad-json'],
    ['{,"rooms":{}}', 'bad-json'],
    ['{"rooms" {}}', 'bad-json'],
    ['{"rooms":}', 'bad-json'],
    ['{rooms:{}}', 'bad-json'],
    ['{"x":y,"rooms":{}}', 'bad-json'],
    ['{"\u000e":1,"rooms":{}}', 'bad-json'],
    ['{"\\x":1,"rooms":{}}', 'bad-json'],
    ['\u{feff}{"rooms":{}}', 'bad-json'],
  ])('%s is %s', async (body, code) => {
    for (const chunk of [1 << 20, 1]) {
      const { items, error } = await read(body, {}, [chunk]);
      expect(items).toEqual([]);
      expect(error).toMatchObject({ code });
    }
  });

  it.each(['[,]', '[1,]', '[1 2]', '[1}', '{"room_id":"!r"}', '[1]]'])('%s is no array', async (body) => {
    const { error } = await read(body, { form: 'array' });
    expect(error).toMatchObject({ code: 'bad-json' });
  });

  it('is an error at the place where brackets do not match, after the records before it', async () => {
    const { items, error } = await read('{"rooms":{"!r":{"sessions":{"a":1,"b":{"x":[}},"c":2}}}}');
    expect(items).toHaveLength(1);
    expect(error).toMatchObject({ code: 'bad-json' });
    expect(String(error)).toContain('rooms["!r"].sessions.b');
  });

  it('is an error wherever it is cut off, and the records before the cut come out', async () => {
    const body =
      '{"rooms":{"!r":{"sessions":{"a":{"x":"\\"}"},"b":[1,{"y":2}],"c":3}},"!q":{"sessions":{}}},"n":1}';
    for (let length = 0; length < body.length; length++) {
      const { items, error } = await read(body.slice(0, length), {}, [5]);
      expect(error).toMatchObject({ code: 'truncated' });
      expect(items.length).toBeLessThanOrEqual(3);
      expect(items.every((item) => item.error === undefined)).toBe(true);
    }
  });

  it('never hangs, and never gives a record that JSON.parse of the whole would not give', async () => {
    const token = fc.constantFrom(
      ...Array.from('{}[]:,"\\ \n1'),
      '"rooms"',
      '"!r"',
      '"sessions"',
      '{"rooms":{"!r":{"sessions":{',
    );
    await fc.assert(
      fc.asyncProperty(fc.array(token, { maxLength: 30 }), sizes, async (tokens, chunkSizes) => {
        const text = tokens.join('');
        const { items, error } = await read(text, {}, chunkSizes);
        if (error !== undefined) {
          expect(error).toHaveProperty('code');
          return;
        }
        if (items.some((item) => item.error)) return;
        const parsed = JSON.parse(text) as { rooms: Record<string, { sessions: Record<string, unknown> }> };
        const count = Object.values(parsed.rooms).flatMap(({ sessions }) => Object.keys(sessions)).length;
        expect(items).toHaveLength(count);
      }),
      { numRuns: runs(2000) },
    );
  });
});

describe('a message', () => {
  /** What came out, in short, byte by byte and in one piece. */
  async function told(body: string, form: BackupReaderOptions['form']): Promise<unknown[]> {
    const options = { form, maxRecordBytes: 20, maxDepth: 3 };
    const [bytewise, whole] = [await read(body, options, [1]), await read(body, options)];
    expect(bytewise).toEqual(whole);
    return [
      ...whole.items.map(({ path, error }) => error?.message ?? path),
      ...(whole.error instanceof Error ? [whole.error.message] : []),
    ];
  }

  it.each<[string, string]>([
    ['', 'the body: the body ended after 0 bytes, before its last bracket'],
    ['{"rooms":{"!r":{', 'rooms["!r"]: the body ended after 16 bytes, before its last bracket'],
    ['{}', 'rooms: expected an object, got nothing'],
    ['null', 'the body: expected an object'],
    ['{,', 'the body: expected a key or "}" at byte 1, got something else'],
    [' { 1', 'the body: expected a key or "}" at byte 3, got something else'],
    ['{"a":1,}', 'a: expected a key at byte 7, got something else'],
    ['{"a" 1', 'a: expected ":" at byte 5, got something else'],
    ['{"a":}', 'a: expected a value at byte 5, got something else'],
    ['{"a":,', 'a: expected a value at byte 5, got something else'],
    ['{"a"::', 'a: expected a value at byte 5, got something else'],
    ['{"a":]', 'a: expected a value at byte 5, got something else'],
    ['{"a":1 2', 'a: expected "," or "}" at byte 7, got something else'],
    ['{"rooms":{}} x', 'the body: expected nothing more at byte 13, got something else'],
    ['{"rooms":1}', 'rooms: expected an object'],
    ['{"a":b,"rooms":{}}', 'a: expected JSON, got something else'],
    [
      '{"rooms":{"!r":{"sessions":{"a":[}',
      'rooms["!r"].sessions.a: a bracket is closed by one of the other kind',
    ],
  ])('of %j says where and what', async (body, message) => {
    expect(await told(body, undefined)).toEqual([message]);
  });

  it.each<[string, string]>([
    ['1', 'the body: expected an array'],
    ['[}', '[0]: expected a value or "]" at byte 1, got something else'],
    ['[,', '[0]: expected a value or "]" at byte 1, got something else'],
    ['[] 1', 'the body: expected nothing more at byte 3, got something else'],
    ['[', '[0]: the body ended after 1 bytes, before its last bracket'],
  ])('of the array %j does too', async (body, message) => {
    expect(await told(body, 'array')).toEqual([message]);
  });

  it('counts the elements of an array', async () => {
    expect(await told('[1 2', 'array')).toEqual([
      '[0]',
      '[0]: expected "," or "]" at byte 3, got something else',
    ]);
    expect(await told('[1,]', 'array')).toEqual([
      '[0]',
      '[1]: expected a value at byte 3, got something else',
    ]);
    expect(await told('[x,"xxxxxxxxxxxxxxxxxxxxxx",[]]', 'array')).toEqual([
      '[0]: expected JSON, got something else',
      '[1]: expected at most 20 bytes, got 24',
      '[2]',
    ]);
  });

  it('names the record whose fault it is, and none beside it', async () => {
    const sessions = ['"a":1', '"\\x":1', '"b":nope', '"xxxxxxxxxxxxxxxxxxxxx":1', '"c":[[[[]]]]', '"a":2'];
    expect(await told(`{"sessions":{${sessions.join()}},"sessions":{}}`, 'sessions')).toEqual([
      'sessions.a',
      'sessions["?"]: expected JSON, got something else',
      'sessions.b: expected JSON, got something else',
      'sessions["?"]: expected at most 20 bytes, got 23',
      'sessions.c: expected at most 3 levels, got more',
      'sessions.a: expected once, got again; this copy is not used',
      'sessions: expected once, got again; its keys follow as well',
    ]);
    expect(await told('{}', 'sessions')).toEqual(['sessions: expected an object, got nothing']);
  });

  it('names the room whose fault it is', async () => {
    const rooms = [
      '"!a":{"sessions":{}}',
      '"\\x":{"sessions":{"a":1}}',
      '"!b":[]',
      '"!c":{}',
      '"!d":{"sessions":1}',
      '"!e":{"sessions":{},"other":{},"sessions":{}}',
      '"!a":{"sessions":{}}',
    ];
    const body = `{"rooms":{${rooms.join()}},"rooms":{"!f":{"sessions":{"s":1}}}}`;
    expect(await told(body, undefined)).toEqual([
      'rooms["?"]: expected JSON, got something else',
      'rooms["!b"]: expected an object',
      'rooms["!c"]: expected the field "sessions", got nothing',
      'rooms["!d"].sessions: expected an object',
      'rooms["!e"].sessions: expected once, got again; its keys follow as well',
      'rooms["!a"]: expected once, got again; its keys follow as well',
      'rooms: expected once, got again; its keys follow as well',
      'rooms["!f"].sessions.s',
    ]);
    const { items } = await read(body, { roomId: '!not-asked-for' });
    const ids = [undefined, '!b', '!c', '!d', '!e', '!a', undefined, '!f'];
    expect(items.map(({ room_id }) => room_id)).toEqual(ids);
  });
});

describe('the reader itself', () => {
  it('gives what was read before it refuses, and then refuses for good', () => {
    const reader = new BackupReader();
    const items = reader.push(encoder.encode('{"rooms":{"!r":{"sessions":{"a":1}x'));
    expect(summary(items)).toEqual([['!r', 'a', 'rooms["!r"].sessions.a', 1]]);
    const again = [() => reader.push(encoder.encode('}}}')), () => reader.push(new Uint8Array(0))];
    for (const call of [
      ...again,
      () => {
        reader.end();
      },
    ]) {
      expect(call).toThrow(/^rooms\["!r"\]\.sessions: expected "," or "}" at byte 34/);
    }
  });

  it('refuses at once where nothing was read', () => {
    const reader = new BackupReader();
    expect(() => reader.push(encoder.encode('{"rooms":[],'))).toThrow(/^rooms: expected an object/);
  });

  it('keeps the other fields that can be read, and the first of them only', () => {
    const reader = new BackupReader({ maxRecordBytes: 20 });
    const many = Array.from({ length: 30 }, (_, i) => `"f${i}":${i}`);
    const large = `"large":"${'x'.repeat(20)}"`;
    reader.push(encoder.encode(`{${large},"${'k'.repeat(20)}":1,"rooms":{},${many.join()}}`));
    reader.end();
    expect([...reader.fields]).toEqual(Array.from({ length: 16 }, (_, i) => [`f${i}`, i]));
  });

  it('tells a value that is no JSON also where its name is too large to be read', () => {
    const member = `"${'k'.repeat(30)}":nonsense`;
    const [inRoom, inBody] = [0, 1].map(() => new BackupReader({ maxRecordBytes: 20 }));
    const items = inRoom.push(encoder.encode(`{"rooms":{"!r":{${member},"sessions":{}}}}`));
    expect(items.map(({ error }) => error?.message)).toEqual([
      'rooms["!r"]["?"]: expected JSON, got something else',
    ]);
    expect(() => inBody.push(encoder.encode(`{${member},"rooms":{}}`))).toThrow('expected JSON');
  });

  it('takes records of two megabytes and 64 levels where nothing else is said', async () => {
    const most = 2 ** 21 - 2;
    const texts = [most, most + 1].map((length) => `"${'x'.repeat(length)}"`);
    const levels = [64, 65].map((depth) => '['.repeat(depth) + ']'.repeat(depth));
    const records = [...texts, ...levels].map((text, i) => `"${i}":${text}`);
    const { items } = await read(`{"rooms":{"!r":{"sessions":{${records.join()}}}}}`);
    expect(items.map((item) => item.error?.message.replace(/^.*: /, ''))).toEqual([
      undefined,
      'expected at most 2097152 bytes, got 2097153',
      undefined,
      'expected at most 64 levels, got more',
    ]);
  });

  it('takes chunks of any size a piece at a time', async () => {
    const records = Array.from({ length: 30_000 }, (_, i) => `"s${i}":1`);
    const body = encoder.encode(`{"rooms":{"!r":{"sessions":{${records.join()}}}}}`);
    const { items, error } = await read(body, {}, [body.length]);
    expect(error).toBeUndefined();
    expect(items).toHaveLength(30_000);
  });
});

describe('where the platform has no decoder', () => {
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  it('records are read all the same', async () => {
    vi.stubGlobal('TextDecoder', undefined);
    const body = encoder.encode('{"rooms":{"!r":{"sessions":{"é":"語","b":"?"}}}}');
    body[body.indexOf(0x3f)] = 0xff;
    const { items } = await read(body);
    expect(summary(items)).toEqual([
      ['!r', 'é', 'rooms["!r"].sessions["é"]', '語'],
      ['!r', 'b', 'rooms["!r"].sessions.b', 'bad-utf8'],
    ]);
    expect(items[1].error?.message).toBe('rooms["!r"].sessions.b: expected UTF-8, got an invalid sequence');
  });
});

it('reads a long record that comes in single bytes', () => {
  const value = 'x'.repeat(200_000);
  const body = encoder.encode(JSON.stringify({ rooms: { '!r': { sessions: { long: value, next: 1 } } } }));
  const reader = new BackupReader();
  // One array for all, as a producer may do it.
  const piece = new Uint8Array(1);
  const items = Array.from(body).flatMap((byte) => {
    piece[0] = byte;
    return reader.push(piece);
  });
  reader.end();
  expect(items.map((item) => item.error ?? item.key_backup_data)).toEqual([value, 1]);
});

describe('an array in an object', () => {
  async function read(text: string, size = 1 << 16): Promise<string> {
    const bytes = new TextEncoder().encode(text);
    const chunks = [];
    for (let i = 0; i < bytes.length; i += size) chunks.push(bytes.slice(i, i + size));
    const said: string[] = [];
    try {
      for await (const { path, session_id, error } of readBackup(chunks, { form: 'array' })) {
        said.push(`${path} ${error?.code ?? session_id ?? 'nameless'}`);
      }
    } catch (error) {
      said.push((error as { code: string }).code);
    }
    return said.join(', ');
  }

  it.each([
    ['{"sessions":[{"session_id":"a"},{"session_id":"b"}]}', 'sessions[0] a, sessions[1] b'],
    ['{"version":1,"sessions":[{"session_id":"a"}],"more":[1]}', 'sessions[0] a'],
    ['{"sessions":[]}', ''],
    [
      '{"sessions":[{"session_id":"a"},oops,{"session_id":"b"}]}',
      'sessions[0] a, sessions[1] bad-json, sessions[2] b',
    ],
    [
      '{"sessions":[{"session_id":"a"}],"sessions":[{"session_id":"b"}]}',
      'sessions[0] a, sessions bad-json, sessions[0] b',
    ],
    ['{"sessions":[{"session_id":"a"}', 'sessions[0] a, truncated'],
    ['{"sessions":{"a":1}}', 'bad-json'],
    ['{"other":[1]}', 'bad-json'],
    ['[{"session_id":"a"},{"session_id":"b"}]', '[0] a, [1] b'],
    ['7', 'bad-json'],
  ])('%s', async (text, expected) => {
    for (const size of [1, 5, 1 << 16]) expect(await read(text, size)).toBe(expected);
  });
});

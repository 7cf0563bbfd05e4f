import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import type { BackupItem } from '../../src/wire/backup-item.js';
import { BackupReader } from '../../src/wire/backup-reader.js';
import { readSavedKeys } from '../../src/wire/saved-keys.js';
import { runs } from '../support/runs.js';

type Form = 'rooms' | 'array';

const ROOMS = 5;
const IN_ROOM = 10;

/** A letter for every digit, so that no number is another's beginning. */
const name = (number: number) => String(number).padStart(3, '0');

function record(number: number): object {
  return {
    first_message_index: number,
    forwarded_count: 0,
    is_verified: false,
    session_data: { ephemeral: `e${name(number)}`, ciphertext: 'abc+/'.repeat(3), mac: `m${name(number)}` },
  };
}

const session = (number: number) => ({
  algorithm: 'm.megolm.v1.aes-sha2',
  room_id: `!r${name(Math.floor(number / IN_ROOM))}`,
  sender_claimed_keys: { ed25519: `k${name(number)}` },
  session_id: `s${name(number)}`,
  session_key: 'abc+/'.repeat(3),
});

/** Fifty records, the fields of each in either order. */
function saved(form: Form, space?: number, reversed = false): string {
  const numbers = Array.from({ length: ROOMS * IN_ROOM }, (_, i) => i);
  if (form === 'array')
    return JSON.stringify(
      numbers.map((number) => one(form, number, reversed)),
      null,
      space,
    );
  const rooms: Record<string, { sessions: Record<string, unknown> }> = {};
  for (const number of numbers) {
    const room = (rooms[`!r${name(Math.floor(number / IN_ROOM))}`] ??= { sessions: {} });
    room.sessions[`s${name(number)}`] = one(form, number, reversed);
  }
  return JSON.stringify({ rooms }, null, space);
}

function one(form: Form, number: number, reversed: boolean): object {
  const fields = Object.entries(form === 'array' ? session(number) : record(number));
  return Object.fromEntries(reversed ? fields.reverse() : fields);
}

async function read(body: Uint8Array, form: Form, size = body.length): Promise<BackupItem[]> {
  const chunks: Uint8Array[] = [];
  for (let start = 0; start < body.length; start += size) chunks.push(body.slice(start, start + size));
  const items: BackupItem[] = [];
  for await (const item of readSavedKeys(chunks, { form })) items.push(item);
  return items;
}

const rowOf = ({ room_id, session_id, path, error, ...rest }: BackupItem) =>
  JSON.stringify([room_id, session_id, path, error?.message, rest]);

/** The number of a record that came out as it was; `undefined` for one that did not. */
function wholeNumber(item: BackupItem, form: Form, reversed: boolean): number | undefined {
  if (item.error) return undefined;
  const number = Number(/^s(\d{3})$/.exec(item.session_id ?? '')?.[1]);
  if (!(number < ROOMS * IN_ROOM)) return undefined;
  const room = Math.floor(number / IN_ROOM);
  const expected = JSON.stringify(one(form, number, reversed));
  const isIt = item.room_id === `!r${name(room)}` && JSON.stringify(item.key_backup_data) === expected;
  return isIt ? number : undefined;
}

type Damage = (bytes: readonly number[], at: number, byte: number) => number[];
const DAMAGE: Readonly<Record<string, Damage>> = {
  deleted: (bytes, at) => [...bytes.slice(0, at), ...bytes.slice(at + 1)],
  inserted: (bytes, at, byte) => [...bytes.slice(0, at), byte, ...bytes.slice(at)],
  replaced: (bytes, at, byte) => [...bytes.slice(0, at), byte, ...bytes.slice(at + 1)],
};

/** Which record a byte belongs to, and which room: what is before it is its own. */
function placeOf(body: string, at: number): { record: number; room: number; inRoomKey: boolean } {
  const starts = [...body.matchAll(/"s(\d{3})"/g)].filter(({ index }) => index <= at);
  const record = starts.length === 0 ? -1 : Number(starts[starts.length - 1][1]);
  const next = body.indexOf('"!r', at);
  const previous = body.lastIndexOf('"!r', at);
  const inRoomKey = (starts[starts.length - 1]?.index ?? -1) < previous || (next >= 0 && next - at < 40);
  return { record, room: Math.max(0, Math.floor(record / IN_ROOM)), inRoomKey };
}

const structural = Array.from('{}[]",:\\').map((character) => character.charCodeAt(0));

describe.each<[Form]>([['rooms'], ['array']])('a saved file in the form %s', (form) => {
  it.each(Object.entries(DAMAGE))(
    'with one byte %s gives every record that does not touch it, and none that is wrong',
    async (_, damage) => {
      await fc.assert(
        fc.asyncProperty(
          fc.nat(),
          fc.oneof(fc.constantFrom(...structural), fc.nat(127)),
          fc.constantFrom(undefined, 1),
          fc.boolean(),
          fc.constantFrom(1 << 20, 7, 1),
          async (seed, byte, space, reversed, size) => {
            const text = saved(form, space, reversed);
            const at = seed % text.length;
            const body = Uint8Array.from(damage([...Buffer.from(text)], at, byte));
            const items = await read(body, form, size);
            const place = placeOf(text, at);
            // The id of one record may become that of another.
            const damagedText = Buffer.from(body).toString();
            const touched = (number: number) =>
              damagedText.split(`"s${name(number)}":`).length > 2 ||
              Math.abs(number - place.record) <= 1 ||
              (form === 'rooms' &&
                [place.room, place.room + 1].includes(Math.floor(number / IN_ROOM)) &&
                place.inRoomKey);
            const came = items.map((item) => wholeNumber(item, form, reversed));
            for (let number = 0; number < ROOMS * IN_ROOM; number++) {
              if (!touched(number))
                expect(
                  came.filter((one) => one === number),
                  `record ${number}`,
                ).toHaveLength(1);
              else expect(came.filter((one) => one === number).length).toBeLessThanOrEqual(1);
            }
            // What came out and is not as it was is of the place of the damage.
            const wrong = items.filter(
              (item, i) => !item.error && typeof item.key_backup_data === 'object' && came[i] === undefined,
            );
            expect(wrong.length).toBeLessThanOrEqual(form === 'rooms' && place.inRoomKey ? IN_ROOM : 2);
            expect(items.map(rowOf)).toEqual((await read(body, form)).map(rowOf));
          },
        ),
        { numRuns: runs(400) },
      );
    },
  );
});

describe('a saved backup', () => {
  const text = saved('rooms');
  const count = (items: readonly BackupItem[]) =>
    items.filter((item) => wholeNumber(item, 'rooms', false) !== undefined).length;
  const damaged = async (from: string | RegExp, to: string) =>
    read(Buffer.from(text.replace(from, to)), 'rooms');

  it.each<[string, string | RegExp, string, number]>([
    ['a quotation mark', '"mac":"m012"', '"mac":"m012', 49],
    ['a quotation mark of an id', '"s012":', '"s012:', 49],
    ['a closing bracket of a record', '"m012"}}', '"m012"}', 49],
    ['an opening bracket of a record', '"s012":{', '"s012":', 49],
    ['a comma', ',"s012"', '"s012"', 50],
    ['a colon', '"s012":', '"s012"', 50],
    ['the closing bracket of a room', '}}},"!r002"', '}},"!r002"', 50],
    ['the first bracket', /^\{/, '', 50],
    ['the brackets at the end', /\}\}\}$/, '', 50],
    ['a letter of "rooms"', '"rooms"', '"roms"', 50],
    ['a letter of "sessions"', '"sessions"', '"sesions"', 50],
  ])(
    'that lost %s gives the records behind it, and says where it is damaged',
    async (_, from, to, expected) => {
      const items = await damaged(from, to);
      expect(count(items)).toBe(expected);
      const last = items[items.length - 1];
      expect(last.error).toMatchObject({ code: 'truncated' });
      expect(last.error?.message).toMatch(/^the file (?:is damaged at |ends early)/);
    },
  );

  it('reads a file with several places of damage', async () => {
    const body = text
      .replace('"mac":"m003"', '"mac":"m003')
      .replace('"m017"}}', '"m017"}')
      .replace(',"s025"', ',}"s025"')
      .replace('"s033":{', '"s033":');
    expect(count(await read(Buffer.from(body), 'rooms'))).toBe(47);
  });

  it('gives records of a room whose name is lost to no other room', async () => {
    const body = text
      .replace('"mac":"m003"', '"mac":"m003')
      .replace('"!r002":{"sessions"', '!r002":{"sessions"');
    const items = await read(Buffer.from(body), 'rooms');
    const ofRoom = items.filter(({ session_id = '' }) => /^s02\d$/.test(session_id));
    expect(ofRoom).toHaveLength(10);
    for (const { room_id, error } of ofRoom) expect([room_id, error?.code]).toEqual([undefined, 'bad-json']);
    expect(count(items)).toBe(39);
  });

  it('with a character before a record gives the records behind it', async () => {
    for (const character of ['!', '7', '[', '"', '{', 'x']) {
      const items = await damaged('"s012":{', `"s012":${character}{`);
      expect(count(items), character).toBe(49);
    }
  });

  it('gives no record to the room before, where a bracket at its end became another', async () => {
    const items = await damaged('"m019"}}}}', '"m019"{}}}');
    expect(count(items)).toBe(49);
    expect(items.filter(({ error }) => !error)).toHaveLength(49);
  });

  it('gives a record once, also where two have one name', async () => {
    const body = text.replace('"mac":"m003"', '"mac":"m003').replace('"s012"', '"s011"');
    const items = await read(Buffer.from(body), 'rooms');
    expect(
      items.filter(({ session_id }) => session_id === 's011').map(({ error }) => error?.message),
    ).toEqual([undefined, 'rooms["!r001"].sessions.s011: expected once, got again; this copy is not used']);
  });

  it('reads records with other fields behind damage', async () => {
    const body = text
      .replace('"mac":"m003"', '"mac":"m003')
      .replaceAll(/"s0(?=2\d)(\d+)":\{/g, '"s0$1":{"x":1,');
    const items = await read(Buffer.from(body), 'rooms');
    expect(items.filter(({ error, room_id }) => !error && room_id === '!r002')).toHaveLength(10);
  });

  it('is not searched where it is no backup', async () => {
    for (const body of [
      '<html>',
      'null',
      '[1]',
      '{"sessions":{"a":{"first_message_index":0}}}',
      '{"errcode":"M"}',
    ]) {
      await expect(read(Buffer.from(body), 'rooms')).rejects.toMatchObject({
        code: /bad-json|missing-field/,
      });
    }
  });
});

it('searches any bytes in memory of a few records, in linear time', () => {
  const reader = new BackupReader({}, true);
  reader.push(Buffer.from('{"rooms":{"!r":{"sessions":{"a":{"x":"},"b":{"session_data":"'));
  const pieces = ['"'.repeat(1 << 16), '\\"'.repeat(1 << 15), '"":{"'.repeat(13_000), ' '.repeat(1 << 16)];
  const beginning = '"b":{"session_data":'.repeat(3000);
  let most = 0;
  const before = process.cpuUsage();
  for (let i = 0; i < 400; i++) {
    reader.push(Buffer.from(i % 100 === 50 ? beginning : pieces[i % 4]));
    most = Math.max(most, process.memoryUsage().arrayBuffers);
  }
  expect(most).toBeLessThan(100 << 20);
  // 26 MB; a time that grows with the square of a record would be minutes.
  expect(process.cpuUsage(before).user).toBeLessThan(30e6);
  const records = Array.from({ length: 1000 }, (_, i) => `"s${i}":{"first_message_index":0}`);
  const items = [...reader.push(Buffer.from(`"},"!q":{"sessions":{${records.join()}}}`)), ...reader.rest()];
  expect(items.filter(({ error }) => !error)).toHaveLength(1000);
});

import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ExportedSessionData } from '../../src/index.js';
import { prepareRoomKey, readRoomKey, readSessionKey } from '../../src/engine.js';
import {
  anyCharacter,
  anyJson,
  anyText,
  base64,
  bytes32,
  claimedKey,
  refusal,
  roomKey,
  sessionKey,
  total,
} from '../support/samples.js';

const bytesOf = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

describe('readSessionKey', () => {
  it('says what came instead, and why', () => {
    const message = (value: unknown) => refusal(() => readSessionKey(value)).message;
    expect(message(5)).toBe('session_key: expected base64 of 165 bytes, got a number');
    expect(message('A'.repeat(331))).toBe('session_key: expected base64 of 165 bytes, got 331 characters');
    expect(message('A'.repeat(330))).toBe('session_key: expected 165 bytes, got 247');
    const { cause } = refusal(() => readSessionKey('*'.repeat(220)));
    expect(cause).toMatchObject({ code: 'bad-base64', message: expect.stringMatching(/^session_key: /) });
  });

  it('reads the index and the id out of the key', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 32 - 1 }), (index) => {
        const { session_key, session_id } = sessionKey(index);
        expect(readSessionKey(session_key)).toEqual({ session_id, first_message_index: index });
      }),
    );
    expect(readSessionKey(sessionKey(2 ** 32 - 1).session_key).first_message_index).toBe(4294967295);
    expect(readSessionKey(sessionKey(0x01020304).session_key).first_message_index).toBe(0x01020304);
  });

  const { bytes } = sessionKey();
  it.each([
    ['shorter', base64(bytes.subarray(1))],
    ['longer', base64(Uint8Array.of(...bytes, 0))],
    ['empty', ''],
    ['a sharing key of version 2', base64(Uint8Array.of(2, ...bytes.subarray(1), ...bytes.subarray(0, 64)))],
    ['version 0', base64(Uint8Array.of(0, ...bytes.subarray(1)))],
    ['version 2', base64(Uint8Array.of(2, ...bytes.subarray(1)))],
    ['not base64', '*'.repeat(220)],
    ['URL-safe', base64(new Uint8Array(165).fill(255)).replaceAll('/', '_')],
    ['with a space', ` ${base64(bytes)}`],
    ['of 100 MB', 'A'.repeat(100_000_000)],
    ['nothing', undefined],
    ['null', null],
    ['a number', 5],
    ['an array', [base64(bytes)]],
    ['bytes', bytes],
  ])('refuses one that is %s', (_, value) => {
    const error = refusal(() => readSessionKey(value));
    expect(error.code).toBe('bad-session-key');
    expect(error.message).toMatch(/^session_key: expected .*, got /);
  });

  it('is total', () => {
    fc.assert(
      fc.property(fc.oneof(anyText, anyJson), (value) => {
        expect(refusal(() => readSessionKey(value)).code).toBe('bad-session-key');
      }),
    );
  });
});

describe('a room key in and out', () => {
  const roundTrip = (session: unknown) => {
    const { plaintext, room_id, session_id } = prepareRoomKey(session);
    return readRoomKey(plaintext, room_id, session_id);
  };

  it('round-trips with any unknown fields', () => {
    fc.assert(
      fc.property(
        anyText,
        fc.dictionary(fc.string({ unit: anyCharacter }), anyJson, { noNullPrototype: true }),
        fc.array(bytes32.map(base64)),
        fc.dictionary(fc.string(), fc.string(), { noNullPrototype: true }),
        (room_id, unknown, forwarding_curve25519_key_chain, names) => {
          const sender_claimed_keys = { ...names, ed25519: claimedKey() };
          const session = {
            ...unknown,
            ...roomKey({ room_id, forwarding_curve25519_key_chain, sender_claimed_keys }),
          };
          // What is not Unicode has a test of its own.
          fc.pre(!JSON.stringify(unknown).includes('\\ud'));
          const restored = roundTrip(session);
          expect(restored.flags).toEqual([]);
          const expected = JSON.parse(JSON.stringify(session)) as Record<string, unknown>;
          for (const name of ['shared_history', 'm.shared_history', 'org.matrix.msc3061.shared_history']) {
            Reflect.deleteProperty(expected, name);
          }
          expect(restored.session).toEqual(expected);
        },
      ),
    );
  });

  it('keeps __proto__ and its like as the fields they are', () => {
    const session = JSON.parse(
      JSON.stringify(roomKey()).replace('{', '{"__proto__":{"polluted":1},"constructor":"c","toJSON":2,'),
    ) as ExportedSessionData;
    const { session: restored } = roundTrip(session);
    expect(Object.keys(restored)).toEqual(expect.arrayContaining(['__proto__', 'constructor', 'toJSON']));
    expect(Object.getOwnPropertyDescriptor(restored, '__proto__')?.value).toEqual({ polluted: 1 });
    expect(Object.getPrototypeOf(restored)).toBe(Object.prototype);
    expect((restored as { polluted?: unknown }).polluted).toBeUndefined();
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
  });

  it('leaves the ids out of what is encrypted', () => {
    const session = roomKey({ room_id: '!SECRETROOM:example.org' });
    const text = textOf(prepareRoomKey(session).plaintext);
    expect(Object.keys(JSON.parse(text) as object)).toEqual(
      [
        'algorithm',
        'forwarding_curve25519_key_chain',
        'sender_key',
        'sender_claimed_keys',
        'session_key',
      ].sort((a, b) => text.indexOf(`"${a}"`) - text.indexOf(`"${b}"`)),
    );
    expect(text).not.toContain('SECRETROOM');
    expect(text).not.toContain('"session_id"');
  });

  it('takes index and count from the key and its chain', () => {
    const session = roomKey(
      { forwarding_curve25519_key_chain: ['A', 'B', 'C'].map((of) => of.repeat(43)) },
      77,
    );
    expect(prepareRoomKey(session)).toMatchObject({ first_message_index: 77, forwarded_count: 3 });
  });

  it('takes room and session from the place, whatever stands inside', () => {
    const session = roomKey();
    const plaintext = bytesOf({ ...session, room_id: '!inside', session_id: 'inside' });
    const restored = readRoomKey(plaintext, '__proto__', session.session_id);
    expect(restored.session).toMatchObject({ room_id: '__proto__', session_id: session.session_id });
  });

  it('reads a chain that is missing, and claimed keys that are none', () => {
    const { forwarding_curve25519_key_chain: _, ...session } = roomKey({ sender_claimed_keys: {} });
    const restored = readRoomKey(bytesOf(session), '!r', session.session_id);
    expect(restored.session.forwarding_curve25519_key_chain).toEqual([]);
    expect(restored.session.sender_claimed_keys).toEqual({});
    expect(prepareRoomKey(session).forwarded_count).toBe(0);
  });

  it('gives plain bytes', () => {
    expect(Object.getPrototypeOf(prepareRoomKey(roomKey()).plaintext)).toBe(Uint8Array.prototype);
  });
});

describe('shared_history', () => {
  const names = ['shared_history', 'm.shared_history', 'org.matrix.msc3061.shared_history'] as const;

  it('is read in every spelling, and written in the two that every reader can bear', () => {
    for (const name of names) {
      for (const value of [true, false]) {
        const session = roomKey({ [name]: value });
        const written = JSON.parse(textOf(prepareRoomKey(session).plaintext)) as Record<string, unknown>;
        expect(written.shared_history).toBe(value);
        expect(written['m.shared_history']).toBe(value);
        expect(written).not.toHaveProperty(['org.matrix.msc3061.shared_history']);
        const { session: read } = readRoomKey(bytesOf(session), '!r', session.session_id);
        expect([read.shared_history, read['m.shared_history'], read[names[2]]]).toEqual([
          value,
          value,
          undefined,
        ]);
      }
    }
  });

  it('is decided by the specification’s own spelling, then the later one', () => {
    const read = (...values: (boolean | undefined)[]) => {
      const fields = Object.fromEntries(names.map((name, i) => [name, values[i]]));
      const session = roomKey(fields);
      return readRoomKey(bytesOf(session), '!r', session.session_id).session.shared_history;
    };
    expect(read(true, false, false)).toBe(true);
    expect(read(false, true, true)).toBe(false);
    expect(read(undefined, true, false)).toBe(true);
    expect(read(undefined, undefined, true)).toBe(true);
  });

  it('is not invented', () => {
    const session = roomKey();
    const { session: read } = readRoomKey(prepareRoomKey(session).plaintext, '!r', session.session_id);
    for (const name of names) expect(read).not.toHaveProperty([name]);
  });

  it.each([null, 1, 'true', {}, []])('%j is left out with a flag, on the way in and out', (value) => {
    for (const name of names) {
      const session = roomKey({ [name]: value });
      const restored = readRoomKey(bytesOf(session), '!r', session.session_id);
      expect(restored.flags).toEqual(['bad-shared-history']);
      for (const spelling of names) expect(restored.session).not.toHaveProperty([spelling]);
      const prepared = prepareRoomKey(session);
      expect(prepared.flags).toEqual(['bad-shared-history']);
      for (const spelling of names)
        expect(JSON.parse(textOf(prepared.plaintext))).not.toHaveProperty([spelling]);
    }
  });

  it('is flagged when two spellings stand together that other implementations take for one', () => {
    const session = roomKey({ [names[1]]: true, [names[2]]: true });
    expect(readRoomKey(bytesOf(session), '!r', session.session_id).flags).toEqual(['bad-shared-history']);
    expect(prepareRoomKey(session).flags).toEqual([]);
  });

  it('is flagged when a spelling behind the first is not a boolean', () => {
    const session = roomKey({ [names[0]]: true, [names[1]]: 1 });
    const read = readRoomKey(bytesOf(session), '!r', session.session_id);
    expect([read.session.shared_history, read.flags]).toEqual([true, ['bad-shared-history']]);
    expect(prepareRoomKey(session).flags).toEqual([]);
  });
});

describe('what the peers accept and what we do', () => {
  const session = roomKey();
  const without = (name: string) => ({ ...session, [name]: undefined });
  const readings = (plaintext: Uint8Array, sessionId = session.session_id) => {
    const [strict, salvage] = [false, true].map((salvage) => {
      const outcome = total(() => readRoomKey(plaintext, '!r', sessionId, { salvage }));
      return outcome instanceof Error ? outcome.code : outcome.flags;
    });
    return { strict, salvage };
  };
  const refused = (code: string) => ({ strict: code, salvage: code });

  it.each([
    [[0xff]],
    [[0x7b, 0x22, 0xc0, 0x80]],
    [[0x7b, 0xed, 0xa0, 0x80]],
    [[...bytesOf(session).subarray(0, -1), 0xe2, 0x82]],
  ])('invalid UTF-8: %j', (bytes) => {
    expect(readings(Uint8Array.from(bytes))).toEqual(refused('bad-utf8'));
  });

  it.each([
    '',
    ' ',
    '{',
    '[]',
    '"text"',
    'null',
    '1',
    'true',
    '{}x',
    "{'a':1}",
    '\ufeff{}',
    '{"a":01}',
    'NaN',
  ])('a plaintext that is no JSON object: %j', (text) => {
    expect(readings(new TextEncoder().encode(text))).toEqual(refused('bad-json'));
  });

  it('JSON nested too deeply', () => {
    const deep = '['.repeat(1000) + ']'.repeat(1000);
    const text = JSON.stringify(session).replace('{', `{"deep":${deep},`);
    expect(readings(new TextEncoder().encode(text))).toEqual(refused('bad-json'));
    expect(refusal(() => prepareRoomKey(JSON.parse(text))).code).toBe('bad-json');
    // What is refused on reading must not be written: here the session is one level above the limit.
    const nested = (depth: number): unknown => JSON.parse('['.repeat(depth) + ']'.repeat(depth));
    for (const depth of [511, 512, 513, 514, 5000, 100_000]) {
      const prepared = total(() => prepareRoomKey({ ...session, deep: nested(depth) }));
      if (prepared instanceof Error) expect(prepared.code).toBe('bad-json');
      else expect(readings(prepared.plaintext)).toEqual({ strict: [], salvage: [] });
    }
  });

  it('sender fields that are missing', () => {
    expect(readings(bytesOf(without('sender_key')))).toEqual({
      strict: 'missing-field',
      salvage: ['missing-sender-key'],
    });
    expect(readings(bytesOf(without('sender_claimed_keys')))).toEqual({
      strict: ['missing-sender-claimed-keys'],
      salvage: ['missing-sender-claimed-keys'],
    });
    const neither = { ...without('sender_key'), sender_claimed_keys: undefined };
    expect(readings(bytesOf(neither)).salvage).toEqual(['missing-sender-key', 'missing-sender-claimed-keys']);
    const { session: salvaged } = readRoomKey(bytesOf(neither), '!r', session.session_id, { salvage: true });
    expect(salvaged).not.toHaveProperty('sender_key');
    expect(salvaged.sender_claimed_keys).toEqual({});
    expect(refusal(() => prepareRoomKey(without('sender_key'))).code).toBe('missing-field');
    expect(prepareRoomKey(without('sender_claimed_keys')).flags).toEqual(['missing-sender-claimed-keys']);
  });

  it.each(['algorithm', 'session_key'])('%s missing', (name) => {
    expect(readings(bytesOf(without(name)))).toEqual(refused('missing-field'));
    expect(refusal(() => prepareRoomKey(without(name))).code).toBe('missing-field');
  });

  it.each([
    ['algorithm', null],
    ['algorithm', 1],
    ['session_key', {}],
    ['sender_key', null],
    ['sender_key', []],
    ['sender_claimed_keys', null],
    ['sender_claimed_keys', []],
    ['sender_claimed_keys', 'text'],
    ['sender_claimed_keys', { ed25519: 1 }],
    ['sender_claimed_keys', { ed25519: null }],
    ['forwarding_curve25519_key_chain', 'text'],
    ['forwarding_curve25519_key_chain', {}],
    ['forwarding_curve25519_key_chain', [1]],
    ['forwarding_curve25519_key_chain', [null]],
  ])('%s as %j', (name, value) => {
    const wrong = { ...session, [name]: value };
    expect(readings(bytesOf(wrong))).toEqual(refused('bad-json'));
    if (name === 'sender_claimed_keys' || name === 'forwarding_curve25519_key_chain') {
      expect(prepareRoomKey(wrong).flags).toHaveLength(1);
      return;
    }
    const error = refusal(() => prepareRoomKey(wrong));
    expect(error.code).toBe('bad-json');
    expect(error.message).toContain(`session.${name}: `);
  });

  it('a session key that is no export of version 1', () => {
    const { bytes } = sessionKey();
    for (const session_key of [
      '',
      '*',
      base64(bytes.subarray(1)),
      base64(Uint8Array.of(3, ...bytes.subarray(1))),
    ]) {
      expect(readings(bytesOf({ ...session, session_key }))).toEqual(refused('bad-session-key'));
      expect(refusal(() => prepareRoomKey({ ...session, session_key })).code).toBe('bad-session-key');
    }
  });

  it('a session id that is not the one inside', () => {
    for (const other of [roomKey().session_id, '', '__proto__', `${session.session_id}=`, 'x'.repeat(1000)]) {
      expect(readings(bytesOf(session), other)).toEqual(refused('session-id-mismatch'));
      expect(refusal(() => prepareRoomKey({ ...session, session_id: other })).code).toBe(
        'session-id-mismatch',
      );
    }
  });

  it.each(['m.megolm.v2.aes-sha2', '', 'M.MEGOLM.V1.AES-SHA2', 'm.megolm.v1.aes-sha2 ', '__proto__'])(
    'the algorithm %j',
    (algorithm) => {
      expect(readings(bytesOf({ ...session, algorithm }))).toEqual(refused('unsupported-algorithm'));
      expect(refusal(() => prepareRoomKey({ ...session, algorithm })).code).toBe('unsupported-algorithm');
    },
  );
});

describe('preparing', () => {
  it.each([undefined, null, [], 'text', 1])('%s: bad-json', (value) => {
    expect(refusal(() => prepareRoomKey(value)).code).toBe('bad-json');
  });

  it.each(['room_id', 'session_id'])('needs a %s', (name) => {
    expect(refusal(() => prepareRoomKey({ ...roomKey(), [name]: undefined })).code).toBe('missing-field');
    expect(refusal(() => prepareRoomKey({ ...roomKey(), [name]: 1 })).code).toBe('bad-json');
    const inherited: unknown = Object.create(roomKey());
    expect(refusal(() => prepareRoomKey(inherited)).code).toBe('missing-field');
  });

  it('drops unknown fields that are not Unicode, and nothing that only looks like it', () => {
    for (const unknown of [{ more: '\ud800' }, { 'a\udfff': 1 }, { more: [{ a: '\\\ud800' }] }]) {
      const { flags, plaintext } = prepareRoomKey(roomKey({ ...unknown, shared_history: true }));
      expect(flags).toEqual(['unknown-fields-dropped']);
      const names = Object.keys(JSON.parse(textOf(plaintext)) as object);
      expect(names).toHaveLength(7);
      expect(names).toContain('m.shared_history');
    }
    for (const more of ['\\ud800', '\\\\ud800', '\ud83d\ude00', 'C:\\udp']) {
      const { flags, plaintext } = prepareRoomKey(roomKey({ more }));
      expect(flags).toEqual([]);
      expect(JSON.parse(textOf(plaintext))).toMatchObject({ more });
    }
  });

  it('refuses what JSON cannot hold', () => {
    const cycle: Record<string, unknown> = {};
    cycle.self = cycle;
    for (const unknown of [1n, cycle]) {
      expect(refusal(() => prepareRoomKey(roomKey({ unknown }))).code).toBe('bad-json');
    }
  });
});

describe('totality and silence', () => {
  it('any JSON and any bytes', () => {
    fc.assert(
      fc.property(anyJson, fc.uint8Array(), anyText, (json, bytes, text) => {
        total(() => prepareRoomKey(json));
        total(() => readRoomKey(bytes, text, text));
        total(() => readRoomKey(bytesOf(json), text, text, { salvage: true }));
        for (const name of Object.keys(roomKey())) {
          const session = roomKey({ [name]: json });
          total(() => prepareRoomKey(session));
          total(() => readRoomKey(bytesOf(session), '!r', session.session_id, { salvage: true }));
        }
      }),
    );
  });

  it('no error tells the session key, or anything of the plaintext', () => {
    const secret = 'SECRETSECRET';
    const ratchet = Buffer.from(base64(randomBytes(128)).slice(0, 128));
    const spoil = fc.constantFrom<(session: Record<string, unknown>) => unknown>(
      (session) => ({ ...session, session_id: 'other' }),
      (session) => ({ ...session, session_key: `${String(session.session_key)}*` }),
      (session) => ({ ...session, session_key: String(session.session_key).slice(4) }),
      (session) => ({ ...session, algorithm: secret }),
      (session) => ({ ...session, sender_key: [secret] }),
      (session) => ({ ...session, sender_claimed_keys: { [secret]: [secret] } }),
      (session) => ({ ...session, forwarding_curve25519_key_chain: [[secret]] }),
      (session) => ({ ...session, shared_history: secret }),
      (session) => `${JSON.stringify(session)}${secret}`,
      (session) => [session],
    );
    fc.assert(
      fc.property(spoil, (change) => {
        const { session_key } = sessionKey(0, randomBytes(32), ratchet);
        const session = roomKey({ session_key, session_id: readSessionKey(session_key).session_id, secret });
        const spoiled = change(session);
        const plaintext = typeof spoiled === 'string' ? new TextEncoder().encode(spoiled) : bytesOf(spoiled);
        const sessionId = typeof spoiled === 'object' ? 'x' : session.session_id;
        const read = total(() => readRoomKey(plaintext, '!r', sessionId));
        expect(read).toBeInstanceOf(Error);
        // Some of it is mended when it is written.
        for (const outcome of [read, total(() => prepareRoomKey(spoiled))]) {
          for (let error: unknown = outcome; error instanceof Error; error = error.cause) {
            expect(error.message).not.toContain(secret);
            expect(error.message).not.toContain(session_key.slice(10, 30));
          }
        }
      }),
    );
  });
});

it('an unknown field is a field like any other', () => {
  const session = roomKey({ more: 1 });
  const { session: read } = readRoomKey(
    new TextEncoder().encode(JSON.stringify(session)),
    '!r',
    session.session_id,
  );
  expect(Object.getOwnPropertyDescriptor(read, 'more')).toEqual({
    value: 1,
    configurable: true,
    enumerable: true,
    writable: true,
  });
});

import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import fc from 'fast-check';
import { SessionIdSet } from '../../src/wire/session-id-set.js';

it('is the set of pairs, also after a round trip through bytes', () => {
  const id = fc.string({ unit: fc.constantFrom('a', 'b', 'é', '\ud800', '\udc00', '😀'), maxLength: 3 });
  fc.assert(
    fc.property(fc.array(fc.tuple(id, id)), fc.uint8Array({ minLength: 16, maxLength: 16 }), (pairs, key) => {
      const model = new Set<string>();
      const set = new SessionIdSet(key);
      for (const [room, session] of pairs) {
        const name = JSON.stringify([room, session]);
        expect(set.has(room, session)).toBe(model.has(name));
        expect(set.add(room, session)).toBe(!model.has(name));
        model.add(name);
      }
      const copy = SessionIdSet.fromBytes(set.toBytes());
      expect(copy.size).toBe(model.size);
      expect(set.size).toBe(model.size);
      for (const [room, session] of pairs) expect(copy.has(room, session)).toBe(true);
      expect(copy.has('c', 'c')).toBe(false);
    }),
  );
});

it('grows', () => {
  const set = new SessionIdSet();
  const ids = Array.from({ length: 3000 }, (_, i) => `s${i}`);
  expect(ids.filter((id) => set.add('!room', id))).toHaveLength(3000);
  expect(ids.filter((id) => set.add('!room', id))).toHaveLength(0);
  expect(ids.filter((id) => set.has('!room', id))).toHaveLength(3000);
  expect(set.has('!room', 's3000')).toBe(false);
  expect(set.size).toBe(3000);
  const copy = SessionIdSet.fromBytes(set.toBytes());
  expect(copy.size).toBe(3000);
  expect(ids.filter((id) => copy.has('!room', id))).toHaveLength(3000);
});

it('takes digests for the same only where all of their words are', () => {
  const words = [0x01020304, 0x05060708, 0x090a0b0c, 0x0d0e0f10];
  // The second word says where a digest is looked for first, by its lowest bits.
  const changes = [
    [1, 0, 0, 0],
    [0, 0x1000000, 0, 0],
    [0, 0, 1, 0],
    [0, 0, 0, 1],
    [1, 0x1000000, 1, 0],
    [1, 0, 1, 1],
    [0, 0x1000000, 0, 1],
  ];
  const digests = [words, ...changes.map((change) => change.map((bits, i) => bits ^ words[i]))];
  const bytes = new Uint8Array(16 * (1 + digests.length));
  digests.forEach((digest, i) => {
    bytes.set(new Uint8Array(Uint32Array.from(digest).buffer), 16 * (i + 1));
  });
  const set = SessionIdSet.fromBytes(bytes);
  expect(set.size).toBe(digests.length);
  expect(set.toBytes()).toHaveLength(bytes.length);
  expect(SessionIdSet.fromBytes(Uint8Array.of(...bytes, ...bytes.subarray(16))).size).toBe(digests.length);
});

it('keeps the digests that it is said to keep', () => {
  const key = Uint8Array.from({ length: 16 }, (_, i) => i + 1);
  const long = 'x'.repeat(3000);
  for (const [room, session] of [
    ['', ''],
    ['!room:e', 'session\x7f'],
    ['!r', long],
    [long, '語'],
    ['語'.repeat(500), '!'],
  ] as const) {
    const set = new SessionIdSet(key);
    set.add(room, session);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(room.length);
    const digest = createHash('sha256').update(key).update(Buffer.alloc(48)).update(length);
    const expected = digest.update(room).update(session).digest().subarray(0, 16);
    // The words are the machine's, little-endian; the bytes stay where they are.
    expect(Buffer.from(set.toBytes()).equals(Buffer.concat([key, expected]))).toBe(true);
  }
});

it('writes characters outside ASCII in three bytes', () => {
  const set = new SessionIdSet();
  set.add('', '\x80\x7f');
  const block = Buffer.from([...new Uint8Array(64), 0, 0, 0, 0, 0xe0, 0x82, 0x80, 0x7f]);
  const expected = createHash('sha256').update(block).digest().subarray(0, 16);
  expect(Buffer.from(set.toBytes().subarray(16)).equals(expected)).toBe(true);
});

it('gives copies, and leaves out what it is told', () => {
  const key = new Uint8Array(16).fill(1);
  const set = new SessionIdSet(key);
  key.fill(2);
  for (const session of ['a', 'b', 'c']) set.add('!r', session);
  expect(set.toBytes()).toHaveLength(64);
  expect(set.toBytes()[0]).toBe(1);
  const left = SessionIdSet.fromBytes(
    set.toBytes([
      ['!r', 'b'],
      ['!r', 'unknown'],
    ]),
  );
  expect(['a', 'b', 'c'].map((session) => left.has('!r', session))).toEqual([true, false, true]);
  expect(set.toBytes([['!r', 'b']])).toHaveLength(48);
  expect(set.size).toBe(3);
});

it('shows nothing without its key', () => {
  const [one, two] = [1, 2].map((byte) => {
    const set = new SessionIdSet(new Uint8Array(16).fill(byte));
    set.add('!room', 'session');
    return set.toBytes().subarray(16).join();
  });
  expect(one).not.toBe(two);
});

it('refuses bytes that are no set', () => {
  for (const length of [0, 15, 17]) {
    expect(() => SessionIdSet.fromBytes(new Uint8Array(length))).toThrow(
      expect.objectContaining({ code: 'bad-length', message: expect.stringMatching(/^ids: expected/) }),
    );
    expect(() => new SessionIdSet(new Uint8Array(length))).toThrow(/^key: expected 16 bytes/);
  }
});

import { expect, it } from 'vitest';
import { fc } from '@fast-check/vitest';
import { IdSet } from '../../src/api/id-set.js';

it('is the set of pairs, also after a round trip through bytes', () => {
  const id = fc.string({ unit: fc.constantFrom('a', 'b', 'é', '\ud800', '\udc00', '😀'), maxLength: 3 });
  fc.assert(
    fc.property(fc.array(fc.tuple(id, id)), fc.uint8Array({ minLength: 16, maxLength: 16 }), (pairs, key) => {
      const model = new Set<string>();
      const set = new IdSet(key);
      for (const [room, session] of pairs) {
        const name = JSON.stringify([room, session]);
        expect(set.has(room, session)).toBe(model.has(name));
        expect(set.add(room, session)).toBe(!model.has(name));
        model.add(name);
      }
      const copy = IdSet.fromBytes(set.toBytes());
      expect(copy.size).toBe(model.size);
      expect(set.size).toBe(model.size);
      for (const [room, session] of pairs) expect(copy.has(room, session)).toBe(true);
      expect(copy.has('c', 'c')).toBe(false);
    }),
  );
});

it('grows', () => {
  const set = new IdSet();
  for (let i = 0; i < 20_000; i++) expect(set.add('!room', `s${i}`)).toBe(true);
  for (let i = 0; i < 20_000; i++) expect(set.has('!room', `s${i}`)).toBe(true);
  expect(set.has('!room', 's20000')).toBe(false);
  expect(IdSet.fromBytes(set.toBytes()).size).toBe(20_000);
});

it('shows nothing without its key', () => {
  const [one, two] = [1, 2].map((byte) => {
    const set = new IdSet(new Uint8Array(16).fill(byte));
    set.add('!room', 'session');
    return set.toBytes().subarray(16).join();
  });
  expect(one).not.toBe(two);
});

it('refuses bytes that are no set', () => {
  for (const length of [0, 15, 17]) {
    expect(() => IdSet.fromBytes(new Uint8Array(length))).toThrow(/ids: expected/);
  }
});

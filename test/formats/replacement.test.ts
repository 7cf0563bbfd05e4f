import fc from 'fast-check';
import { expect, test } from 'vitest';
import { replaces, type KeyRank } from '../../src/formats/replacement.js';

const rank = fc.record<KeyRank>({
  is_verified: fc.boolean(),
  first_message_index: fc.nat({ max: 3 }),
  forwarded_count: fc.nat({ max: 3 }),
});

test.each<[KeyRank, KeyRank, boolean]>([
  // Verified wins, however late and far forwarded.
  [of(true, 9, 9), of(false, 0, 0), true],
  [of(false, 0, 0), of(true, 9, 9), false],
  // Then the lower index, however far forwarded.
  [of(false, 1, 9), of(false, 2, 0), true],
  [of(true, 2, 0), of(true, 1, 9), false],
  // Then the lower count.
  [of(true, 1, 1), of(true, 1, 2), true],
  [of(true, 1, 2), of(true, 1, 1), false],
  // A tie keeps the stored one.
  [of(false, 1, 1), of(false, 1, 1), false],
])('%j over %j: %j', (candidate, stored, expected) => {
  expect(replaces(candidate, stored)).toBe(expected);
});

test('is a strict order: of any keys in any order the same rank remains', () => {
  fc.assert(
    fc.property(fc.array(rank, { minLength: 1 }), fc.nat(), (ranks, turn) => {
      const keep = (list: KeyRank[]): KeyRank =>
        list.reduce((stored, next) => (replaces(next, stored) ? next : stored));
      const cut = turn % ranks.length;
      expect(keep([...ranks.slice(cut), ...ranks.slice(0, cut)])).toEqual(keep(ranks));
    }),
  );
});

function of(is_verified: boolean, first_message_index: number, forwarded_count: number): KeyRank {
  return { is_verified, first_message_index, forwarded_count };
}

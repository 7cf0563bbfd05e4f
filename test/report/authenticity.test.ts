import { describe, expect, it, test } from 'vitest';
import {
  authenticityCountsText,
  authenticityText,
  flagsOf,
  noAuthenticity,
  reasonOf,
} from '../../src/report/authenticity.js';

test('counts begin at nothing, each time anew', () => {
  const counts = noAuthenticity();
  expect(counts).toEqual({ verified: 0, 'declared-unauthenticated': 0, 'wrong-mac': 0, 'no-mac': 0 });
  expect(noAuthenticity()).not.toBe(counts);
});

describe('a key that came out', () => {
  it('has a wrong backup_mac among its flags, and no other verdict', () => {
    expect(flagsOf(['bad-padding'], 'wrong-mac')).toEqual(['bad-padding', 'wrong-mac']);
    for (const authenticity of ['verified', 'no-mac', 'declared-unauthenticated', undefined] as const) {
      expect(flagsOf(['bad-padding'], authenticity)).toEqual(['bad-padding']);
    }
  });

  it.each<[readonly string[], string]>([
    [[], ''],
    [['bad-padding', 'missing-field'], 'malformed: bad-padding, missing-field'],
    [
      ['unusable-sender-key', 'unreadable-by-others'],
      'malformed: unusable-sender-key; other implementations cannot read this record',
    ],
    [['wrong-mac'], 'its backup_mac is wrong: somebody without the key wrote it'],
    [
      ['bad-padding', 'wrong-mac'],
      'malformed: bad-padding; its backup_mac is wrong: somebody without the key wrote it',
    ],
  ])('with the flags %j is listed for a reason', (flags, reason) => {
    expect(reasonOf(flags)).toBe(reason);
  });
});

describe('the counts for people', () => {
  it('are nothing where no key has a backup_mac', () => {
    for (const counts of [noAuthenticity(), { ...noAuthenticity(), 'no-mac': 7 }]) {
      expect(authenticityCountsText(counts)).toBe('');
      expect(authenticityText(counts)).toBe('');
    }
  });

  it('leave out what no key has, and warn of what is wrong', () => {
    const fine = { ...noAuthenticity(), verified: 3, 'no-mac': 7 };
    expect(authenticityCountsText(fine)).toBe('authenticity: 3 verified, 7 no-mac\n');
    expect(authenticityText(fine)).toBe('authenticity: 3 verified, 7 no-mac\n');
    const wrong = { ...noAuthenticity(), 'wrong-mac': 2 };
    expect(authenticityCountsText(wrong)).toBe('authenticity: 2 wrong-mac\n');
    expect(authenticityText(wrong)).toBe(
      'authenticity: 2 wrong-mac\n2 keys carry a wrong backup_mac: somebody without the key wrote them\n',
    );
  });
});

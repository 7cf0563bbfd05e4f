import { describe, expect, test } from 'vitest';
import { findMeantKey, looksLikeKey } from '../../src/secret-storage/recovery-key-typo.js';
import { decodeRecoveryKey, encodeRecoveryKey } from '../../src/scheme/recovery-key.js';

const bytes = new Uint8Array(32).fill(0x5a);
const text = encodeRecoveryKey(bytes);
const symbols = text.replaceAll(' ', '');

const isMeant = (key: Uint8Array) => (key.every((byte) => byte === 0x5a) ? 'lock' : undefined);

describe('what was meant', () => {
  test('is what fits, and nothing that only has the right parity', async () => {
    const tried: Uint8Array[] = [];
    const fits = (key: Uint8Array) => {
      tried.push(Uint8Array.from(key));
      return isMeant(key);
    };
    const found = await findMeantKey(symbols.slice(0, 20) + symbols.slice(21), fits);
    expect(found).toEqual({ text, mistake: 'omission', match: 'lock' });
    expect(tried.length).toBeGreaterThan(1);
  });

  test('is nothing when more than one fits', async () => {
    expect(await findMeantKey(symbols, () => 'lock')).toBeUndefined();
  });

  test('is one key even where several mistakes lead to it', async () => {
    // Either of two equal neighbours may be the one that was left out.
    const twice = Array.from(symbols).findIndex((symbol, i) => symbol === symbols[i + 1]);
    const typed = symbols.slice(0, twice) + symbols.slice(twice + 1);
    expect(twice).toBeGreaterThan(0);
    expect((await findMeantKey(typed, isMeant))?.text).toBe(text);
  });

  test('is not looked for behind two mistakes', async () => {
    const typed = `0${symbols.slice(2)}`;
    expect(looksLikeKey(typed)).toBe(true);
    const fits = () => expect.unreachable('a candidate');
    expect(await findMeantKey(typed, fits)).toBeUndefined();
  });

  test('leaves nothing of the candidates', async () => {
    const seen: Uint8Array[] = [];
    await findMeantKey(symbols, (key) => {
      seen.push(key);
      return isMeant(key);
    });
    expect(seen.length).toBeGreaterThan(1);
    expect(seen.every((key) => key.every((byte) => byte === 0))).toBe(true);
  });

  test.each([3, 10, 48])('is not searched for behind %i characters that are none of a key', async (count) => {
    const typed = '0'.repeat(count) + symbols.slice(count);
    expect(looksLikeKey(typed)).toBe(false);
    let tried = 0;
    const fits = () => {
      tried++;
      return undefined;
    };
    expect(await findMeantKey(typed, fits)).toBeUndefined();
    expect(tried).toBe(0);
  });
});

test.each<[string, boolean]>([
  [text, true],
  [symbols.slice(1), true],
  [`${symbols}A`, true],
  [symbols.slice(2), false],
  [`${symbols}AA`, false],
  ['', false],
  ['correct horse battery staple', false],
])('%j looks like a key: %j', (typed, expected) => {
  expect(looksLikeKey(typed)).toBe(expected);
});

test('the text form is of 48 symbols', () => {
  expect(symbols).toHaveLength(48);
  expect(decodeRecoveryKey(text)).toEqual(bytes);
});

import { describe, expect, it } from 'vitest';
import { passphraseForms, type PassphraseForm } from '../../src/scheme/passphrase-forms.js';

describe('the forms of a passphrase', () => {
  const pairs: [made: string, typed: string, form: PassphraseForm][] = [
    ['Schlüssel', 'Schlüssel'.normalize('NFD'), 'NFC'],
    ['Schlüssel'.normalize('NFD'), 'Schlüssel', 'NFD'],
    ['fish', 'ｆish', 'NFKC'],
    ['fish', 'fish ', 'outer-space'],
    ['fish', '\ufefffish', 'outer-space'],
    ['fish', 'fish\u00a0', 'outer-space'],
    ['fish ', 'fish', 'space-behind'],
    ['Schlüssel ', 'Schlüssel'.normalize('NFD'), 'space-behind'],
    ['Schlüssel '.normalize('NFD'), 'Schlüssel', 'space-behind'],
    ['fish\n', 'fish', 'line-end'],
    ['fish\r\n', 'fish', 'line-end'],
    ['fish\r\n', 'fish\n', 'line-end'],
    ['fish\n', 'fish ', 'line-end'],
    ['two fish', 'two\u00a0fish', 'NFKC'],
    ['two\u00a0fish', 'two fish', 'no-break-space'],
    ['fish', 'Fish', 'first-letter'],
    ['fish', 'Fish ', 'first-letter'],
    ['Fish', 'fish', 'first-letter'],
    ['éclair', 'Éclair', 'first-letter'],
    ['fISH', 'Fish', 'caps-lock'],
    ["cat's", 'cat’s', 'plain-signs'],
    ['cat’s', "cat's", 'typographic-signs'],
    ['"two" fish', '“two” fish', 'plain-signs'],
    ['“two” fish', '"two" fish', 'typographic-signs'],
    ['a--b', 'a—b', 'plain-signs'],
    ['a—b', 'a--b', 'typographic-signs'],
    ['a-b', 'a–b', 'plain-signs'],
    ['wait...', 'wait…', 'NFKC'],
    ['wait…', 'wait...', 'typographic-signs'],
    ['fish', 'fi\u200bsh', 'plain-signs'],
  ];

  it.each(pairs)('lead to %j from %j: %s', (made, typed, form) => {
    expect(passphraseForms(typed)).toContainEqual({ text: made, form });
  });

  it('are at most 24, all different, none empty, and none what was typed', () => {
    for (const typed of ['', ' ', 'a', ' Ünï “c”--ode\u00a0ﬁ... ', ...pairs.flat()]) {
      const texts = passphraseForms(typed).map(({ text }) => text);
      expect(texts.length).toBeLessThanOrEqual(24);
      expect(new Set(texts).size).toBe(texts.length);
      expect(texts).not.toContain(typed);
      expect(texts).not.toContain('');
    }
    expect(passphraseForms('12345').map(({ form }) => form)).toEqual([
      'line-end',
      'line-end',
      'space-behind',
    ]);
  });
});

import { describe, expect, it } from 'vitest';
import { pastedToken } from '../../src/client/access-token.js';

describe('a pasted access token', () => {
  const read: Record<string, string> = {
    'as it is': 'syt_YWxpY2U_x',
    'with space around it': ' syt_YWxpY2U_x\r\n',
    'behind Bearer': 'Bearer syt_YWxpY2U_x',
    'in a header': 'Authorization: Bearer syt_YWxpY2U_x',
    'in quotation marks': '"syt_YWxpY2U_x"',
    'in typographic quotation marks': '“syt_YWxpY2U_x”',
    'in quotation marks behind Bearer': "'Bearer syt_YWxpY2U_x'",
    'in angle brackets': '<syt_YWxpY2U_x>',
    'in backticks': '`syt_YWxpY2U_x`',
    'out of JSON': '"access_token": "syt_YWxpY2U_x",',
    'behind a label': 'Access Token: syt_YWxpY2U_x',
    'with a zero-width space': 'syt_\u200bYWxpY2U_x\ufeff',
  };
  it.each(Object.entries(read))('is read %s', (_, text) => {
    expect(pastedToken(text)).toBe('syt_YWxpY2U_x');
  });

  it('keeps every character of a token', () => {
    for (const token of ['"', 'a"b', "o'neill", 'token', 'bearer', 'MDAx=', 'access_token']) {
      expect(pastedToken(token)).toBe(token);
    }
  });

  it.each(['', ' ', '""', 'two words', 'line\nline', 'pässword', 'a\0b'])('is not %j', (text) => {
    expect(pastedToken(text)).toBeUndefined();
  });
});

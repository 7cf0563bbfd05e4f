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
    'over two lines': 'syt_YWx\r\n  pY2U_x\n',
    'with a space in it': 'syt_YWx pY2U_x',
    'with a line end that is written out': 'syt_YWxpY2U_x\\n',
    'in quotation marks with a line end that is written out': '"syt_YWxpY2U_x\\r\\n"',
    'out of the answer to a login': '{"user_id":"@a:b","access_token":"syt_YWxpY2U_x","device_id":"D"}',
    'out of a setting': 'export MATRIX_ACCESS_TOKEN="syt_YWxpY2U_x"',
    'out of an address': 'https://example.org/_matrix/client/v3/sync?access_token=syt_YWxpY2U_x&timeout=0',
  };
  it.each(Object.entries(read))('is read %s', (_, text) => {
    expect(pastedToken(text)).toBe('syt_YWxpY2U_x');
  });

  it('keeps every character of a token', () => {
    for (const token of ['"', 'a"b', "o'neill", 'token', 'bearer', 'MDAx=', 'access_token']) {
      expect(pastedToken(token)).toBe(token);
    }
  });

  it.each(['', ' ', '""', '\u200b', 'pässword', 'a\0b'])('is not %j', (text) => {
    expect(pastedToken(text)).toBeUndefined();
  });
});

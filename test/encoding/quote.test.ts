import { describe, expect, it } from 'vitest';
import { excerpt, printable, quote } from '../../src/encoding/quote.js';

describe('foreign text in a message', () => {
  it('is quoted, with its own quotation marks escaped', () => {
    expect(quote('no such "key"\\')).toBe('"no such \\"key\\"\\\\"');
  });

  it('is cut after 200 characters, never within a surrogate pair', () => {
    expect(quote('x'.repeat(200))).toBe(`"${'x'.repeat(200)}"`);
    expect(quote('x'.repeat(8_000_000))).toBe(`"${'x'.repeat(200)}…"`);
    expect(excerpt(`${'x'.repeat(199)}😀😀`)).toBe(`${'x'.repeat(199)}…`);
    expect(excerpt('abcdef', 3)).toBe('abc…');
  });

  it('stays on one line and cannot steer a terminal or the direction of text', () => {
    expect(quote('a\r\nb\t\u001b[2J')).toBe('"a\\r\\nb\\t\\u001b[2J"');
    expect(excerpt('a\r\n\u009b2J\u202e\u2028\u{e0041}')).toBe(
      'a\\u000d\\u000a\\u009b2J\\u202e\\u2028\\udb40\\udc41',
    );
  });

  it('keeps every visible character', () => {
    const text = 'äöü é e\u0301 日本語 😀 ed25519:ABC/+= !room:example.org';
    expect(excerpt(text)).toBe(text);
  });

  it('has every invisible character escaped', () => {
    for (let codePoint = 0; codePoint < 0x110000; codePoint++) {
      const character = String.fromCodePoint(codePoint);
      // The set characters of categories that a later Unicode may enlarge: never fewer than this engine's.
      if (/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(character))
        expect(printable(character)).toMatch(/^(\\u[0-9a-f]{4})+$/);
    }
  });

  it('stays the same JSON', () => {
    const value = { 'a\u009b': ['\u202e', '\u{e0041}', '\u007f', '\n'] };
    expect(JSON.parse(printable(JSON.stringify(value)))).toEqual(value);
  });
});

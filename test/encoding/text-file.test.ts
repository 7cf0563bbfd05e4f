import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { decodeTextFile, utf8Of } from '../../src/encoding/text-file.js';

const utf8 = (text: string) => new TextEncoder().encode(text);
const utf16le = (text: string) => new Uint8Array(Buffer.from(text, 'utf16le'));
const utf16be = (text: string) => new Uint8Array(Buffer.from(text, 'utf16le').swap16());
const latin1 = (text: string) => new Uint8Array(Buffer.from(text, 'latin1'));

async function streamed(bytes: Uint8Array, size: number): Promise<string> {
  const chunks = [];
  for (let i = 0; i < bytes.length; i += size) chunks.push(bytes.slice(i, i + size));
  const parts = [];
  for await (const part of utf8Of(chunks, 'the file')) parts.push(part);
  return Buffer.concat(parts).toString();
}

const TEXT = `{"name":"Zoë ${'long '.repeat(40)} 🗝 中"}`;

describe('a text file', () => {
  const read: Record<string, [bytes: Uint8Array, text: string]> = {
    'UTF-8': [utf8(TEXT), TEXT],
    'UTF-8 with a byte order mark': [utf8(`\ufeff${TEXT}`), TEXT],
    'UTF-8 with CRLF': [utf8(`${TEXT}\r\n`), `${TEXT}\r\n`],
    'UTF-16 LE with a byte order mark': [utf16le(`\ufeff${TEXT}`), TEXT],
    'UTF-16 BE with a byte order mark': [utf16be(`\ufeff${TEXT}`), TEXT],
    'UTF-16 LE without one': [utf16le(TEXT), TEXT],
    'UTF-16 BE without one': [utf16be(TEXT), TEXT],
    'UTF-16 of a short text': [utf16le('äb'), 'äb'],
    'Ctrl-Z at its end': [utf8(`${TEXT}\r\n\x1a`), `${TEXT}\r\n`],
    'UTF-16 with Ctrl-Z at its end': [utf16le(`\ufeff${TEXT}\x1a`), TEXT],
    'NUL bytes at its end': [utf8(`${TEXT}${'\0'.repeat(500)}`), TEXT],
    'Ctrl-Z within': [utf8(`a${'\x1a'.repeat(3)}b`), `a${'\x1a'.repeat(3)}b`],
    nothing: [utf8(''), ''],
    'a byte order mark alone': [utf8('\ufeff'), ''],
    'a second byte order mark, which is text': [utf8('\ufeff\ufeffa'), '\ufeffa'],
  };

  it.each(Object.entries(read))('is read: %s', async (_, [bytes, text]) => {
    expect(decodeTextFile(bytes, 'the file')).toBe(text);
    for (const size of [1, 2, 3, 7, 64, 1 << 16]) expect(await streamed(bytes, size)).toBe(text);
  });

  const refused: Record<string, [bytes: Uint8Array, message: string]> = {
    'Latin-1': [latin1('passé'), 'another encoding: byte 4 is not UTF-8; save it as UTF-8'],
    'Latin-1 behind a byte order mark': [latin1('\xef\xbb\xbfpassé'), 'byte 7 is not UTF-8'],
    'UTF-8 that is cut off': [utf8('passé').slice(0, 5), 'byte 4 is not UTF-8'],
    'an encoded surrogate': [latin1('a\xed\xa0\x80'), 'byte 1 is not UTF-8'],
    'NUL bytes within': [utf8(`${'a'.repeat(100)}\0b`), 'a NUL byte at 100'],
    'NUL bytes at its beginning': [utf8('\0\0{"rooms":{}}'), 'NUL bytes'],
    'UTF-16 without a mark that is not certain': [utf16le('a\u4e2da'), 'UTF-16; save it as UTF-8'],
    'UTF-16 with half a character': [utf16le('\ufeffab').slice(0, 5), 'ends in the middle of a character'],
    'UTF-16 with half a pair': [utf16le('\ufeffa\ud800b'), 'damaged UTF-16'],
    'UTF-32': [latin1('\xff\xfe\0\0a\0\0\0'), 'UTF-32'],
    'a ZIP archive': [latin1('PK\x03\x04\x14\0'), 'a ZIP archive or an office document'],
    'a gzip file': [new Uint8Array(gzipSync('{"rooms":{}}')), 'a compressed file; unpack it'],
    'a PDF': [latin1('%PDF-1.7\n%\xe2\xe3'), 'a PDF; save it as plain text'],
    RTF: [utf8('{\\rtf1\\ansi EsTc}'), 'a rich text document (RTF)'],
    'a Word document': [latin1('\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1'), 'a Word document'],
    'a web page': [utf8('\n<!DOCTYPE html><html>'), 'a web page (HTML or XML)'],
    'a web page behind a byte order mark': [utf8('\ufeff<html><pre>'), 'a web page (HTML or XML)'],
    'a web page in UTF-16': [utf16le('\ufeff<html><pre>'), 'a web page (HTML or XML)'],
    'a picture': [latin1('\x89PNG\r\n\x1a\n\0\0'), 'a picture; type what it shows'],
    'a photograph': [latin1('\xff\xd8\xff\xe0\0\x10JFIF'), 'a picture'],
  };

  it.each(Object.entries(refused))(
    'is named, and never decoded into another text: %s',
    (_, [bytes, message]) => {
      expect(() => decodeTextFile(bytes, 'phrase.txt')).toThrow(
        expect.objectContaining({
          code: 'bad-utf8',
          message: expect.stringMatching(/^phrase\.txt: expected a text file in UTF-8, got /) as string,
        }),
      );
      expect(() => decodeTextFile(bytes, 'phrase.txt')).toThrow(message);
    },
  );

  it('keeps no piece of the input, which its owner uses again', async () => {
    const buffer = new Uint8Array(4);
    const text = `${'a'.repeat(70)}é🗝`;
    function* reused() {
      for (let i = 0, bytes = utf16le(text); i < bytes.length; i += 4) {
        buffer.set(bytes.subarray(i, i + 4));
        yield buffer.subarray(0, Math.min(4, bytes.length - i));
      }
    }
    let read = '';
    for await (const part of utf8Of(reused(), 'the file')) read += Buffer.from(part).toString();
    expect(read).toBe(text);
  });
});

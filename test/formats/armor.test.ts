import { describe, expect, it } from 'vitest';
import { ArmorReader, ArmorWriter } from '../../src/formats/armor.js';
import { refusal } from '../support/samples.js';

const BEGIN = '-----BEGIN MEGOLM SESSION DATA-----';
const END = '-----END MEGOLM SESSION DATA-----';

function read(text: string): string {
  const reader = new ArmorReader();
  const bytes = reader.push(Buffer.from(text));
  reader.end();
  return Buffer.from(bytes).toString('latin1');
}

const around = (body: string) => `${BEGIN}\n${body}\n${END}\n`;
const message = (text: string) => refusal(() => read(text)).message;

describe('writing', () => {
  it('makes lines of 96 characters, the last one padded, and none that is empty', () => {
    for (const [length, padding] of [
      [71, '='],
      [70, '=='],
      [1, '=='],
    ] as const) {
      const writer = new ArmorWriter();
      const bytes = Buffer.alloc(72 + length, 0x61);
      const body = `${bytes.subarray(0, 72).toString('base64')}\n${bytes.subarray(72).toString('base64')}\n`;
      expect(body).toMatch(new RegExp(`[^=]${padding}\n$`));
      expect(writer.push(bytes) + writer.end()).toBe(`${BEGIN}\n${body}${END}\n`);
    }
    for (const lines of [0, 1, 2]) {
      const writer = new ArmorWriter();
      const bytes = Buffer.alloc(72 * lines, 0x61);
      const body = `${bytes.subarray(0, 72).toString('base64')}\n`.repeat(lines);
      expect(writer.push(bytes) + writer.push(new Uint8Array(0)) + writer.end()).toBe(
        `${BEGIN}\n${lines === 0 ? '' : body}${END}\n`,
      );
    }
  });
});

describe('reading', () => {
  it.each([
    ['', ''],
    ['YQ', 'a'],
    ['YQ==', 'a'],
    ['YWE', 'aa'],
    ['YWE=', 'aa'],
    ['YWFh', 'aaa'],
    ['YW\n Fh\tYQ\v=\f=\r', 'aaaa'],
  ])('takes %j', (body, expected) => {
    expect(read(around(body))).toBe(expected);
  });

  const truncated = ['Y', 'YWFhY', 'YQ=', 'YWE==', 'YWFh=', 'YWFh==', '=', '=='];
  const others = ['_', 'YW_h', 'YQ===', 'YQ=Q', 'YQ==YWFh', 'YWFh\u0080', 'YWFhé', '\0'];
  it.each([...truncated, ...others])('rejects %j as base64', (body) => {
    expect(message(around(body))).toBe(
      'key export: expected standard base64 between its two lines, got something else; salvage may read what is there',
    );
  });

  it('says which line it misses', () => {
    expect(message('')).toBe(`key export: expected the line ${BEGIN}, got none`);
    expect(message(`${BEGIN}x\nYWFh\n${END}`)).toBe(`key export: expected the line ${BEGIN}, got none`);
    expect(message(`${BEGIN}\nYWFh`)).toBe(
      `key export: expected the line ${END} at the end, got none: the file is cut off, its MAC is missing, and so a wrong ` +
        'passphrase cannot be told from damage; salvage may read what is there',
    );
    expect(message(`${BEGIN}\nYWFh\n${BEGIN}`)).toBe(
      `key export: expected the line ${END}, got another; salvage may read what is there`,
    );
  });

  it('takes long bodies, all kinds of line ends, and text around', () => {
    expect(read(around('YWFh'.repeat(100)))).toBe('a'.repeat(300));
    expect(read(around('YWFh').replaceAll('\n', '\r'))).toBe('aaa');
    expect(read(around('YWFh').replaceAll('\n', '\r\n'))).toBe('aaa');
    expect(read(` ${BEGIN}\t\nYWFh\n${END}  \n`)).toBe('aaa');
    expect(read(`Dear Bob,\n\n${around('YWFh')}Yours\n-----\n`)).toBe('aaa');
    expect(refusal(() => read('')).code).toBe('bad-export-file');
  });

  it('takes a byte order mark in front, and nowhere else', () => {
    expect(read(`\ufeff${around('YQ')}`)).toBe('a');
    expect(message(`-----BEGIN \ufeffMEGOLM SESSION DATA-----\nYQ\n${END}`)).toContain('got none');
  });
});

describe('lenient reading', () => {
  function salvaged(text: string, size = text.length): [string, string | undefined] {
    const reader = new ArmorReader(true);
    const bytes = Buffer.from(text);
    let read = '';
    for (let i = 0; i < bytes.length; i += size) {
      read += Buffer.from(reader.push(bytes.subarray(i, i + size))).toString('latin1');
    }
    read += Buffer.from(reader.end()).toString('latin1');
    return [read, reader.damage?.message.replace(/^key export: /, '')];
  }
  const base64 = 'expected standard base64 between its two lines, got something else';

  it.each<[string, string, string | RegExp]>([
    ['ends early', `${BEGIN}\nYWFhYWF`, /^expected the line .* at the end, got none: the file is cut off/],
    ['ends in its last line', `${BEGIN}\nYWFh\n-----END MEG`, /^expected the line .*, got another$/],
    ['holds a dash', `${BEGIN}\nYWFh-YWFh\n${END}`, /^expected the line .*, got another$/],
    ['holds another character', `${BEGIN}\nYWFhY_Fh\nYWFh\n${END}`, base64],
    ['holds a letter outside ASCII', `${BEGIN}\nYWFhYéFh\nYWFh\n${END}`, base64],
    ['holds padding in its middle', `${BEGIN}\nYWFhYQ==\nYWFh\n${END}`, base64],
    ['has a symbol too many', `${BEGIN}\nYWFhY\n${END}`, base64],
  ])('of a body that %s gives what is before, and why it ends', (_, file, why) => {
    for (const size of [file.length, 1, 3]) {
      const [read, damage] = salvaged(file, size);
      expect(read).toMatch(/^aaa/);
      expect(damage).toMatch(why instanceof RegExp ? why : new RegExp(`^${why}$`));
    }
  });

  it('gives the last group of a body without a last line', () => {
    expect(salvaged(`${BEGIN}\nYWFhYQ==\n`)[0]).toBe('aaaa');
    expect(salvaged(`${BEGIN}\nYWFhYWE`)[0]).toBe('aaaaa');
  });

  it('of a whole file gives all of it, and no damage', () => {
    expect(salvaged(around('YQ=='))).toEqual(['a', undefined]);
  });

  it('still rejects what has no first line', () => {
    expect(() => salvaged('YWFh')).toThrow('expected the line');
  });
});

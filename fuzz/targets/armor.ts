import { ArmorReader, ArmorWriter } from '../../src/formats/armor.js';
import { KeyBackupError } from '../../src/errors.js';
import { claim, claimEqual, inChunks, type Seen, type Target } from '../target.js';

const BEGIN = '-----BEGIN MEGOLM SESSION DATA-----';
const END = '-----END MEGOLM SESSION DATA-----';

/** The text around an export: the same however it is cut, and as a regular expression and Buffer read it. */
export const armorTarget: Target = {
  name: 'armor',
  words: [
    BEGIN,
    END,
    `${BEGIN}\n`,
    `\n${END}\n`,
    '-----',
    '\r\n',
    '=',
    '==',
    '\ufeff',
    ' ',
    '\t',
    '\v',
    'QUJD',
    '-',
  ],
  seeds: () => [
    `\x00${BEGIN}\nQUJDREVG\n${END}\n`,
    `\x03\ufeff${BEGIN}\r\nQUJD\r\nREU=\r\n${END}`,
    `\x05text before\n${BEGIN}\n${'QUJD'.repeat(40)}\n${END}\ntext after`,
    `\x07${BEGIN}\nQUJD=RE\n${END}`,
    `\x02${BEGIN}\n-----END SOMETHING-----`,
  ],
  run(input, seen) {
    const [seed = 0] = input;
    const text = input.subarray(1);
    const whole = read(text, 0, seen);
    claimEqual(read(text, seed, seen), whole, 'the same however it is cut');
    claimEqual(whole, slowly(text), 'as a regular expression reads it');
    const writer = new ArmorWriter();
    const written = [...inChunks(input, seed)].length > 0 ? writer.push(input) + writer.end() : writer.end();
    claimEqual(read(new TextEncoder().encode(written), seed, seen), [...input], 'round trip of any bytes');
  },
};

function read(text: Uint8Array, seed: number, seen: Seen): number[] | undefined {
  const reader = new ArmorReader();
  const bytes: number[] = [];
  try {
    for (const chunk of inChunks(text, seed)) bytes.push(...reader.push(chunk));
    reader.end();
    seen.count('accepted');
    return bytes;
  } catch (error) {
    seen.refused(['bad-export-file'], error);
    claim(error instanceof KeyBackupError, 'a refusal');
    return undefined;
  }
}

/** The whole file at once, as the format says. */
function slowly(file: Uint8Array): number[] | undefined {
  // As Latin-1, so that a byte is a character.
  const text = Buffer.from(file).toString('latin1');
  const lines = text.split(/[\n\r]/);
  const trimmed = (line: string) =>
    line
      .slice(0, 129)
      .replace(/^\u00ef\u00bb\u00bf/, '')
      .trim();
  // The line has to be ended, or nothing can follow.
  const first = lines.slice(0, -1).findIndex((line) => trimmed(line) === BEGIN);
  if (first < 0) return undefined;
  const rest = lines.slice(first + 1).join('\n');
  const dash = rest.indexOf('-');
  if (dash < 0) return undefined;
  const symbols = rest.slice(0, dash).replaceAll(/[\t\n\v\f\r ]/g, '');
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(symbols)) return undefined;
  const count = symbols.replace(/=+$/, '').length;
  if (count % 4 === 1 || (symbols.length > count && symbols.length % 4 !== 0)) return undefined;
  const [last] = rest.slice(dash).split('\n');
  return trimmed(last) === END ? [...Buffer.from(symbols, 'base64')] : undefined;
}

/** The text form of a key, by the specification's appendix, and what is no text form. */
import { NODE_CRYPTO, encode, vectorFile } from './file.mjs';
import { randomBytes, randomInteger, seed } from './random.mjs';
import { publicKeyOf } from './scheme.mjs';

const NOTES = {
  whitespace:
    'The text has white space in other places than after every fourth character, or of another kind.',
  edge: 'The key is an edge case: all bits zero, all bits one.',
  typo: 'One character of a right text is another.',
  'parity-collision':
    'One character of a right text is another and the parity still holds, for ANOTHER key: parity is one byte and proves little.',
  trailing: 'Bytes follow after the parity; one deployed peer lets them pass.',
};

const ALPHABET = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';

/** base58 of bytes; here they never begin with zeros unless a case wants so. */
function base58(bytes) {
  let number = BigInt(`0x${bytes.toString('hex')}`);
  let text = '';
  for (; number > 0n; number /= 58n) text = ALPHABET[Number(number % 58n)] + text;
  for (const byte of bytes) {
    if (byte !== 0) break;
    text = `1${text}`;
  }
  return text;
}

function fromBase58(text) {
  let number = 0n;
  for (const character of text) number = number * 58n + BigInt(ALPHABET.indexOf(character));
  const hex = number.toString(16);
  return Buffer.from(hex.length % 2 ? `0${hex}` : hex, 'hex');
}

const xor = (bytes) => bytes.reduce((parity, byte) => parity ^ byte, 0);

/** Prefix, key and what makes the parity zero. */
function payload(key, prefix = [0x8b, 0x01]) {
  const bytes = Buffer.concat([Buffer.from(prefix), key]);
  return Buffer.concat([bytes, Buffer.of(xor(bytes))]);
}

const grouped = (text, separator = ' ') => text.match(/.{1,4}/g).join(separator);

/** The file. */
export function recoveryKey() {
  seed('recovery-key');
  return vectorFile('recovery-key', NODE_CRYPTO, NOTES, [...valid(), ...collisions(), ...invalid()]);
}

const decoded = (id, comment, flags, text, key) => ({
  id,
  comment,
  flags,
  result: 'valid',
  operation: 'decode',
  text,
  private_key: encode(key),
  public_key: encode(publicKeyOf(key)),
});

function valid() {
  const keys = [
    ...Array.from({ length: 8 }, (_, i) => [`random-${i + 1}`, 'a random key', [], randomBytes(32)]),
    ['zeros', 'a key of zeros', ['edge'], Buffer.alloc(32)],
    ['ones', 'a key of ones', ['edge'], Buffer.alloc(32, 0xff)],
    [
      'leading-zeros',
      'a key that begins with zeros',
      ['edge'],
      Buffer.concat([Buffer.alloc(8), randomBytes(24)]),
    ],
  ];
  const key = randomBytes(32);
  const text = base58(payload(key));
  const spaced = [
    ['none', 'no white space', text],
    ['newline', 'LF after every fourth character', grouped(text, '\n')],
    ['crlf', 'CR LF after every fourth character', grouped(text, '\r\n')],
    ['cr', 'CR', grouped(text, '\r')],
    ['tab', 'tab', grouped(text, '\t')],
    ['vertical', 'vertical tab and form feed', grouped(text, '\v\f')],
    ['nbsp', 'no-break space U+00A0', grouped(text, '\u00a0')],
    ['em-space', 'em space U+2003', grouped(text, '\u2003')],
    ['thin', 'narrow no-break space U+202F and thin space U+2009', grouped(text, '\u202f\u2009')],
    ['ideographic', 'ideographic space U+3000', grouped(text, '\u3000')],
    ['separators', 'line and paragraph separator U+2028, U+2029', grouped(text, '\u2028\u2029')],
    ['other', 'Ogham space U+1680 and mathematical space U+205F', grouped(text, '\u1680\u205f')],
    ['around', 'white space before and after', ` \t\n${grouped(text)}\u00a0\r\n`],
    ['everywhere', 'a space after every character', [...text].join(' ')],
    [
      'wrapped',
      'wrapped by a mail program',
      `${grouped(text).slice(0, 32)}\r\n    ${grouped(text).slice(32)}`,
    ],
    ['lots', 'many spaces', grouped(text, ' '.repeat(40))],
  ];
  return [
    ...keys.flatMap(([id, comment, flags, bytes]) => {
      const canonical = grouped(base58(payload(bytes)));
      return [
        decoded(`decode-${id}`, comment, flags, canonical, bytes),
        {
          id: `encode-${id}`,
          comment,
          flags,
          result: 'valid',
          operation: 'encode',
          private_key: encode(bytes),
          text: canonical,
        },
      ];
    }),
    ...spaced.map(([id, comment, spelt]) => decoded(`space-${id}`, comment, ['whitespace'], spelt, key)),
  ];
}

/** Typing errors that the parity byte does not notice. */
function collisions() {
  const cases = [];
  for (let i = 0; cases.length < 3; i++) {
    const right = base58(payload(randomBytes(32)));
    const at = 4 + randomInteger(right.length - 4);
    for (const character of ALPHABET) {
      const text = right.slice(0, at) + character + right.slice(at + 1);
      const bytes = fromBase58(text);
      if (text === right || bytes.length !== 35 || bytes.readUInt16BE(0) !== 0x8b01 || xor(bytes) !== 0)
        continue;
      const comment = `character ${at + 1} of another key's text is mistyped`;
      cases.push(
        decoded(
          `collision-${cases.length + 1}`,
          comment,
          ['parity-collision'],
          grouped(text),
          bytes.subarray(2, 34),
        ),
      );
      break;
    }
  }
  return cases;
}

function invalid() {
  const key = randomBytes(32);
  const bytes = payload(key);
  const right = base58(bytes);
  const refused = (id, check, comment, flags, text) => ({
    id,
    comment,
    flags,
    result: 'invalid',
    code: 'bad-recovery-key',
    check,
    operation: 'decode',
    text,
  });
  const replaced = (character, at = 10) => grouped(right.slice(0, at) + character + right.slice(at + 1));
  const next = (character) => ALPHABET[(ALPHABET.indexOf(character) + 1) % 58];
  const wrongParity = Buffer.from(bytes);
  wrongParity[34] ^= 1;
  const swapAt = [...right].findIndex((character, i) => i > 8 && character !== right[i + 1]);
  const swapped = right.slice(0, swapAt) + right[swapAt + 1] + right[swapAt] + right.slice(swapAt + 2);
  const cases = [
    ...[
      ['zero', 'a zero', '0'],
      ['capital-o', 'a capital O', 'O'],
      ['capital-i', 'a capital I', 'I'],
      ['small-l', 'a small L', 'l'],
      ['plus', 'a plus sign', '+'],
      ['hyphen', 'a hyphen', '-'],
      ['accent', 'an accented letter', 'é'],
      ['cyrillic', 'a Cyrillic letter that looks Latin', 'А'],
      ['full-width', 'a full-width letter', 'Ａ'],
      ['zero-width', 'a zero width space U+200B, which is no white space', '\u200b'],
      ['astral', 'an astral digit', '𝟏'],
      ['nul', 'U+0000', '\0'],
    ].map(([id, comment, character]) =>
      refused(`alphabet-${id}`, 'alphabet', comment, [], replaced(character)),
    ),
    refused('alphabet-base64', 'alphabet', 'the key as padded base64', [], key.toString('base64')),
    refused('length-empty', 'length', 'nothing', [], ''),
    refused('length-spaces', 'length', 'nothing but white space', [], ' \t\r\n\u00a0'),
    refused('length-half', 'length', 'the first half', [], grouped(right.slice(0, 24))),
    refused('length-group-missing', 'length', 'the last group is missing', [], grouped(right.slice(0, -4))),
    refused(
      'length-group-twice',
      'length',
      'the last group stands there twice',
      [],
      grouped(right + right.slice(-4)),
    ),
    refused('length-twice', 'length', 'the whole text twice', [], grouped(right + right)),
    refused(
      'length-ones',
      'length',
      '10,000 times the digit one: as many zero bytes',
      [],
      '1'.repeat(10_000),
    ),
    refused(
      'length-leading-one',
      'length',
      'the digit one in front: a zero byte more',
      [],
      grouped(`1${right}`),
    ),
    refused('length-31', 'length', 'a key of 31 bytes', [], grouped(base58(payload(key.subarray(1))))),
    refused(
      'length-33',
      'length',
      'a key of 33 bytes',
      [],
      grouped(base58(payload(Buffer.concat([key, key.subarray(0, 1)])))),
    ),
    refused('length-no-parity', 'length', 'no parity byte', [], grouped(base58(bytes.subarray(0, 34)))),
    ...[1, 2, 16].map((count) =>
      refused(
        `trailing-${count}`,
        'length',
        `${count} zero byte${count === 1 ? '' : 's'} after the parity, so that the parity of all still holds`,
        ['trailing'],
        grouped(base58(Buffer.concat([bytes, Buffer.alloc(count)]))),
      ),
    ),
    refused('prefix-second', 'prefix', 'the prefix 8B 02', [], grouped(base58(payload(key, [0x8b, 0x02])))),
    refused('prefix-first', 'prefix', 'the prefix 8A 01', [], grouped(base58(payload(key, [0x8a, 0x01])))),
    refused('prefix-swapped', 'prefix', 'the prefix 01 8B', [], grouped(base58(payload(key, [0x01, 0x8b])))),
    refused('prefix-zero', 'prefix', 'the prefix 00 00', [], grouped(base58(payload(key, [0, 0])))),
    refused('parity-bit', 'parity', 'one bit of the parity', [], grouped(base58(wrongParity))),
    refused('parity-swapped', 'parity', 'two neighbours swapped', ['typo'], grouped(swapped)),
    ...[20, 30, 47].map((at) =>
      refused(
        `parity-typo-${at + 1}`,
        'parity',
        `character ${at + 1} is another`,
        ['typo'],
        replaced(next(right[at]), at),
      ),
    ),
    refused(
      'prefix-case',
      'prefix',
      'upper and lower case exchanged at the start',
      ['typo'],
      replaced('S', 1),
    ),
  ];
  for (const { id, check, text } of cases) expectCheck(id, check, text.replace(/\s/g, ''));
  return cases;
}

/** A random mistake must not happen to fail another check first. */
function expectCheck(id, check, text) {
  const bytes = /^[1-9A-HJ-NP-Za-km-z]+$/.test(text) ? leading(text) : undefined;
  const first = !bytes
    ? text === ''
      ? 'length'
      : 'alphabet'
    : bytes.length !== 35
      ? 'length'
      : bytes.readUInt16BE(0) !== 0x8b01
        ? 'prefix'
        : 'parity';
  if (first !== check || (check === 'parity' && xor(bytes) === 0))
    throw new Error(`${id} fails ${first} first`);
}

function leading(text) {
  const ones = /^1*/.exec(text)[0].length;
  const rest = text.slice(ones);
  return Buffer.concat([Buffer.alloc(ones), rest === '' ? Buffer.alloc(0) : fromBase58(rest)]);
}

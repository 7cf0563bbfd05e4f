import { base64Decode, base64Encode } from '../../src/encoding/base64.js';
import { claim, claimEqual, textOf, type Target } from '../target.js';

const LANGUAGE = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}(?:==)?|[A-Za-z0-9+/]{3}=?)?$/;

/** Against Node's own coder on what is valid, and a regular expression on what is not. */
export const base64Target: Target = {
  name: 'base64',
  reads: 'standard base64, padded or not',
  words: ['=', '==', '-_', '+/', 'AAAA', '\u0141', '\n'],
  seeds: () => ['', 'QR', 'QUJD', 'QUI=', 'QQ==', 'QUJ', '=', 'AA==AA', ' AAA', 'A'.repeat(45)],
  run(input, seen) {
    const text = textOf(input);
    const read = seen.allow(['bad-base64'], () => base64Decode(text, 'x'));
    claim((read !== undefined) === LANGUAGE.test(text), 'exactly the language is accepted');
    if (read) {
      claimEqual(Buffer.from(read.value), Buffer.from(text, 'base64'), 'decodes as Buffer does');
      claimEqual(base64Decode(base64Encode(read.value), 'x'), read.value, 'round trip of what was read');
    }
    const expected = Buffer.from(input).toString('base64').replace(/=+$/, '');
    claimEqual(base64Encode(input), expected, 'encodes as Buffer does');
    claimEqual(base64Decode(expected, 'x'), input, 'round trip of any bytes');
  },
};

import { BackupDecryptionKey } from '../../src/scheme/keys.js';
import { looksLikeKey } from '../../src/secret-storage/recovery-key-typo.js';
import { decodeRecoveryKey, encodeRecoveryKey } from '../../src/scheme/recovery-key.js';
import { claim, claimEqual, textOf, words, type Target } from '../target.js';
import { textsOf } from '../corpus.js';

const ALPHABET = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';

/** The bytes of base58 by one big number; `undefined` for a character outside the alphabet. */
function slowDecode(text: string): number[] | undefined {
  let value = 0n;
  for (const symbol of text) {
    const digit = ALPHABET.indexOf(symbol);
    if (digit < 0) return undefined;
    value = value * 58n + BigInt(digit);
  }
  const bytes: number[] = [];
  for (; value > 0n; value >>= 8n) bytes.unshift(Number(value & 255n));
  return [...Array.from(/^1*/.exec(text)?.[0] ?? '', () => 0), ...bytes];
}

function slowEncode(bytes: Uint8Array): string {
  let value = bytes.reduce((sum, byte) => sum * 256n + BigInt(byte), 0n);
  let text = '';
  for (; value > 0n; value /= 58n) text = ALPHABET.charAt(Number(value % 58n)) + text;
  for (let i = 0; i < bytes.length && bytes[i] === 0; i++) text = `1${text}`;
  return text;
}

/**
 * The first byte says what the rest is: text to read, or the bytes that a text stands for, whose parity is made
 * right half of the time.
 */
export const recoveryKeyTarget: Target = {
  name: 'recovery-key',
  words: [
    ...words`
    Es 1 0 O I l , 255 256
  `,
    ' ',
    '\u00a0',
    '\u0085',
    '\ufeff',
    '\u2003',
    '\r\n',
  ],
  maxLength: 400,
  seeds: () => [
    ...textsOf('recovery-key', 'text').map((text) => `t${text}`),
    Uint8Array.of(0, 0x8b, 1, ...new Uint8Array(32).fill(7)),
    Uint8Array.of(1, 0x8b, 1, ...new Uint8Array(33).fill(7)),
    `t${new Uint8Array(32).join()}`,
  ],
  run(input, seen) {
    const [mode = 0] = input;
    let text = textOf(input.subarray(1));
    if (mode < 2) {
      const payload = input.slice(1, 60);
      const parity = payload.reduce((sum, byte) => sum ^ byte, 0);
      text = slowEncode(mode === 0 ? Uint8Array.of(...payload, parity) : payload);
    }
    readText(text, seen);
    readSecret(text, seen);
    looksLikeKey(text);
  },
};

function readText(text: string, seen: Parameters<Target['run']>[1]): void {
  const read = seen.allow(['bad-recovery-key'], () => decodeRecoveryKey(text));
  const symbols = text.replace(/[\s\u0085]/g, '');
  const bytes = symbols.length > 200 ? undefined : slowDecode(symbols);
  const right =
    bytes?.length === 35 &&
    bytes[0] === 0x8b &&
    bytes[1] === 1 &&
    bytes.reduce((sum, byte) => sum ^ byte, 0) === 0;
  claim((read !== undefined) === right, 'accepts what a big number says is right');
  if (!read || !bytes) return;
  claimEqual([...read.value], bytes.slice(2, 34), 'the key is what the big number says');
  claimEqual(encodeRecoveryKey(read.value).replaceAll(' ', ''), symbols, 'round trip');
}

function readSecret(text: string, seen: Parameters<Target['run']>[1]): void {
  const read = seen.allow(['bad-base64', 'bad-length'], () => BackupDecryptionKey.fromSecret(text));
  if (!read) return;
  const { key, flags } = read.value;
  const expected = flags.length > 0 ? Uint8Array.from(text.split(','), Number) : Buffer.from(text, 'base64');
  claimEqual(Buffer.from(key.toBytes()), Buffer.from(expected), 'the secret is the bytes it stands for');
  key.dispose();
}

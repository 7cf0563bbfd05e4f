import fc from 'fast-check';
import { base58 } from '@scure/base';
import { describe, expect, it } from 'vitest';
import { decodeRecoveryKey, encodeRecoveryKey } from '../../src/engine.js';
import { anyText, bytes32, refusal, total } from '../support/samples.js';

const ALPHABET = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';

/** Any bytes in text form, with the parity that makes them right. */
function textOf(...bytes: number[]): string {
  return base58.encode(
    Uint8Array.of(
      ...bytes,
      bytes.reduce((parity, byte) => parity ^ byte, 0),
    ),
  );
}

const zeros = Array<number>(32).fill(0);

/** Every code point that Unicode calls white space, and the byte order mark, which JavaScript also does. */
const SPACES = Array.from({ length: 0x10000 }, (_, unit) => String.fromCharCode(unit)).filter(
  (character) => /\p{White_Space}/u.test(character) || character === '\ufeff',
);

describe('the text form', () => {
  it('is 59 characters in groups of four, and starts with Es', () => {
    fc.assert(
      fc.property(bytes32, (key) => {
        expect(encodeRecoveryKey(key)).toMatch(/^Es[1-9A-Za-z]{2}( [1-9A-HJ-NP-Za-km-z]{4}){11}$/);
      }),
    );
  });

  it('round-trips, whatever white space is put in or taken out', () => {
    expect(SPACES).toContain('\u00a0');
    expect(SPACES).toContain('\u0085');
    expect(SPACES.length).toBeGreaterThan(25);
    const gap = fc.array(fc.constantFrom(...SPACES), { maxLength: 3 }).map((spaces) => spaces.join(''));
    fc.assert(
      fc.property(bytes32, fc.array(gap, { minLength: 49, maxLength: 49 }), (key, gaps) => {
        const symbols = encodeRecoveryKey(key).replaceAll(' ', '');
        const text = gaps.map((spaces, i) => spaces + symbols.charAt(i)).join('');
        expect(decodeRecoveryKey(text).join()).toBe(key.join());
      }),
    );
    for (const space of SPACES) {
      const text = space + encodeRecoveryKey(new Uint8Array(32)).replaceAll(' ', space) + space;
      expect(decodeRecoveryKey(text).join()).toBe(zeros.join());
    }
  });

  it('is a known one for a known key', () => {
    const key = Uint8Array.from({ length: 32 }, (_, i) => i);
    expect(encodeRecoveryKey(key).replaceAll(' ', '')).toBe(textOf(0x8b, 0x01, ...key));
  });

  it('with one character changed, left out or doubled never gives the same key', () => {
    const key = Uint8Array.from({ length: 32 }, (_, i) => 0xa5 ^ (i * 37));
    const symbols = encodeRecoveryKey(key).replaceAll(' ', '');
    let passed = 0;
    let tried = 0;
    const other = (text: string) => {
      tried++;
      const outcome = total(() => decodeRecoveryKey(text));
      if (outcome instanceof Uint8Array) {
        passed++;
        expect(outcome.join()).not.toBe(key.join());
      } else expect(outcome.code).toBe('bad-recovery-key');
    };
    for (let i = 0; i < symbols.length; i++) {
      for (const symbol of ALPHABET) {
        if (symbol !== symbols[i]) other(symbols.slice(0, i) + symbol + symbols.slice(i + 1));
      }
      const twice = symbols.slice(0, i) + symbols.charAt(i) + symbols.slice(i);
      expect(refusal(() => decodeRecoveryKey(twice)).code).toBe('bad-recovery-key');
      expect(refusal(() => decodeRecoveryKey(symbols.slice(0, i) + symbols.slice(i + 1))).code).toBe(
        'bad-recovery-key',
      );
    }
    // One byte of parity: about one in 256 passes.
    expect(tried).toBe(48 * 57);
    expect(passed).toBeLessThan(tried / 40);
  });
});

describe('refusals name the check', () => {
  it('and the length, in characters where there are too many or none', () => {
    const message = (text: string) => refusal(() => decodeRecoveryKey(text)).message;
    expect(message('')).toBe('recovery key: expected 48 characters, got 0');
    expect(message('1'.repeat(128))).toBe('recovery key: expected 48 characters, got 128');
    expect(message('1'.repeat(129))).toBe('recovery key: expected 48 characters, got 129');
  });

  it.each([
    ['alphabet', '0'],
    ['alphabet', 'EsT0'],
    ['alphabet', 'Il'],
    ['alphabet', 'Es-T'],
    ['alphabet', 'Es\u200bT'],
    ['alphabet', 'Esé'],
    ['length', ''],
    ['length', ' \n\t'],
    ['length', 'EsTL'],
    ['length', '1'.repeat(129)],
    ['length', '1'.repeat(48)],
    ['length', textOf(0x8b, 0x01, ...zeros, 0)],
    ['length', textOf(0x8b, 0x01, ...zeros.slice(1))],
    ['length', encodeRecoveryKey(new Uint8Array(32)) + '1'],
    ['prefix', textOf(0x8b, 0x02, ...zeros)],
    ['prefix', textOf(0x8a, 0x01, ...zeros)],
    ['prefix', textOf(0x01, 0x8b, ...zeros)],
    ['parity', base58.encode(Uint8Array.of(0x8b, 0x01, ...zeros, 0x8b))],
  ])('%s of %j', (check, text) => {
    const error = refusal(() => decodeRecoveryKey(text));
    expect(error).toMatchObject({ code: 'bad-recovery-key', check });
  });

  it.each([undefined, null, 48, {}, [], new Uint8Array(35)])('alphabet of %s', (value) => {
    expect(refusal(() => decodeRecoveryKey(value))).toMatchObject({ check: 'alphabet' });
  });

  it('finds any one flipped bit of the key by the parity', () => {
    const bytes = [0x8b, 0x01, ...zeros, 0x8a];
    for (let bit = 16; bit < 8 * 35; bit++) {
      const flipped = Uint8Array.from(bytes);
      flipped[bit >> 3] ^= 1 << (bit & 7);
      expect(refusal(() => decodeRecoveryKey(base58.encode(flipped)))).toMatchObject({ check: 'parity' });
    }
  });

  it('quotes nothing, and takes megabytes', () => {
    const error = refusal(() => decodeRecoveryKey(`EsTSECRETSECRET${'1'.repeat(5_000_000)}`));
    expect(error.check).toBe('length');
    expect(error.message).not.toContain('SECRET');
    expect(refusal(() => decodeRecoveryKey(' '.repeat(5_000_000))).check).toBe('length');
  });

  it('is total', () => {
    fc.assert(
      fc.property(fc.oneof(anyText, fc.anything()), (text) => {
        const outcome = total(() => decodeRecoveryKey(text));
        if (!(outcome instanceof Uint8Array)) expect(outcome.code).toBe('bad-recovery-key');
      }),
    );
  });

  it.each([31, 33, 0])('writes no key of %d bytes', (length) => {
    expect(refusal(() => encodeRecoveryKey(new Uint8Array(length))).code).toBe('bad-length');
  });
});

it('gives a plain array of its own, and leaves the key given alone', () => {
  const key = Buffer.alloc(32, 7);
  const text = encodeRecoveryKey(key);
  expect(key.every((byte) => byte === 7)).toBe(true);
  const decoded = decodeRecoveryKey(text);
  expect(Buffer.isBuffer(decoded)).toBe(false);
  decoded.fill(0);
  expect([...decodeRecoveryKey(text)]).toEqual(Array(32).fill(7));
});

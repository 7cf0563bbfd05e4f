import { base58 } from '@scure/base';
import { KeyBackupError, describe, type RecoveryKeyCheck } from '../errors.js';
import { concat, expectBytes, wipe } from '../encoding/bytes.js';

/**
 * The text form of a 32-byte key: base58 (the Bitcoin alphabet) of 0x8B 0x01, the key, and one parity byte.
 *
 * It is called "recovery key", but users hold TWO keys of this form: the backup decryption key and the secret storage
 * key. Only the public key or the secret storage MAC tells them apart.
 *
 * @see https://spec.matrix.org/v1.19/appendices/#cryptographic-key-representation
 */

const PREFIX = Uint8Array.of(0x8b, 0x01);
const LENGTH = PREFIX.length + 32 + 1;

/** Far above the 48 characters of a key, because base58 decoding takes quadratic time. */
const MAX_CHARACTERS = 128;

/**
 * Writes a key as text.
 *
 * @param key - 32 bytes.
 * @returns 48 characters in groups of four, with spaces: 59 in all. It starts with "Es".
 * @throws {@link KeyBackupError} `bad-length`.
 *
 * @example
 * ```ts
 * import { decodeRecoveryKey, encodeRecoveryKey } from 'megolm-backup/engine';
 *
 * const text = encodeRecoveryKey(new Uint8Array(32).fill(7));
 * console.log(text.length, decodeRecoveryKey(text.replaceAll(' ', '')).length); // 59 32
 * ```
 */
export function encodeRecoveryKey(key: Uint8Array): string {
  expectBytes(key, 32, 'key');
  const payload = concat(PREFIX, key);
  const bytes = concat(payload, Uint8Array.of(parityOf(payload)));
  const text = base58.encode(bytes);
  wipe(payload, bytes);
  return text.replace(/(.{4})(?=.)/g, '$1 ');
}

/**
 * Reads a key from its text form. All white space is ignored.
 *
 * The parity is one byte: about 0.4 % of mistyped characters pass it and give ANOTHER key. Only the backup's public key
 * or the secret storage MAC proves that a key is right.
 *
 * @param text - What was typed or pasted.
 * @returns 32 bytes; the caller owns and wipes them.
 * @throws {@link KeyBackupError} `bad-recovery-key`; `check` names the failed check, in this order:
 * `alphabet`, `length` (also for trailing bytes), `prefix`, `parity`.
 */
export function decodeRecoveryKey(text: unknown): Uint8Array {
  if (typeof text !== 'string') throw badKey('alphabet', `expected text, got ${describe(text)}`);
  // \s has every Unicode space but NEL (U+0085), and the byte order mark.
  const symbols = text.replace(/[\s\u0085]+/g, '');
  if (!/^[1-9A-HJ-NP-Za-km-z]*$/.test(symbols)) {
    throw badKey(
      'alphabet',
      caseFault(symbols) ?? 'expected base58 characters (no 0, O, I or l), got another one',
    );
  }
  if (symbols.length === 0 || symbols.length > MAX_CHARACTERS) {
    throw badKey('length', `expected 48 characters, got ${symbols.length}`);
  }
  const bytes = base58.decode(symbols);
  try {
    if (bytes.length !== LENGTH) {
      // One character more or less may be the same number of bytes.
      const size =
        Math.abs(symbols.length - 48) > 1
          ? `48 characters, got ${symbols.length}`
          : `${LENGTH} bytes, got ${bytes.length}`;
      throw badKey('length', caseFault(symbols) ?? `expected ${size}`);
    }
    if (bytes[0] !== PREFIX[0] || bytes[1] !== PREFIX[1]) {
      throw badKey(
        'prefix',
        caseFault(symbols) ?? 'expected a key that starts with "Es", got another prefix',
      );
    }
    if (parityOf(bytes) !== 0) throw badKey('parity', 'expected a parity of zero: a character is mistyped');
    return bytes.slice(PREFIX.length, LENGTH - 1);
  } finally {
    wipe(bytes);
  }
}

/** A key in capital or in small letters only, as some keyboards and forms make it. */
export function caseFault(symbols: string): string | undefined {
  if (!/^es[a-z0-9]{45,47}$/i.test(symbols)) return undefined;
  const [isUpper, isLower] = [symbols === symbols.toUpperCase(), symbols === symbols.toLowerCase()];
  if (isUpper === isLower) return undefined;
  return `expected capital and small letters, which differ in a key, got ${isUpper ? 'capitals' : 'small letters'} only`;
}

/** XOR of all bytes; over a whole text form, parity included, it is zero. */
function parityOf(bytes: Uint8Array): number {
  return bytes.reduce((parity, byte) => parity ^ byte, 0);
}

function badKey(check: RecoveryKeyCheck, message: string): KeyBackupError {
  return new KeyBackupError('bad-recovery-key', `recovery key: ${message}`, { check });
}

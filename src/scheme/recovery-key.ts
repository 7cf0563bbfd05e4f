import { base58 } from '@scure/base';
import { KeyBackupError, describe, type RecoveryKeyCheck } from '../errors.js';
import { concat, expectBytes, wipe } from '../encoding/bytes.js';

/**
 * The text form of a 32-byte key: base58 (the Bitcoin alphabet) of 0x8B 0x01, the key, and one parity byte.
 *
 * People call it "recovery key", but they hold TWO keys of this form: the backup decryption key and the secret
 * storage key. Nothing in the text tells them apart; only the public key or the secret storage MAC does.
 *
 * @see https://spec.matrix.org/v1.19/appendices/#cryptographic-key-representation
 */

const PREFIX = Uint8Array.of(0x8b, 0x01);
const LENGTH = PREFIX.length + 32 + 1;

/** Far above the 48 characters of a key. Base58 decoding takes quadratic time, so the bound comes first. */
const MAX_CHARACTERS = 128;

/**
 * Writes a key as text.
 *
 * @param key - 32 bytes.
 * @returns 48 characters in groups of four, a space between: 59 in all. It starts with "Es".
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
 * Reads a key from its text form. White space of every kind is ignored, also in the middle.
 *
 * The parity is one byte: about 0.4 % of mistyped characters pass it, and then give ANOTHER key. Only comparing
 * with the backup's public key (or the secret storage MAC) tells that a key is the right one.
 *
 * @param text - What was typed or pasted; anything but a text is refused.
 * @returns 32 bytes; the caller owns and wipes them.
 * @throws {@link KeyBackupError} `bad-recovery-key` with `check` saying which check failed, in this order:
 * `alphabet`, `length` (also for trailing bytes), `prefix`, `parity`.
 */
export function decodeRecoveryKey(text: unknown): Uint8Array {
  if (typeof text !== 'string') throw refused('alphabet', `expected text, got ${describe(text)}`);
  // \s knows every Unicode space but NEL (U+0085), and the byte order mark besides.
  const symbols = text.replace(/[\s\u0085]+/g, '');
  if (!/^[1-9A-HJ-NP-Za-km-z]*$/.test(symbols)) {
    throw refused('alphabet', 'expected base58 characters (no 0, O, I or l), got another one');
  }
  if (symbols.length === 0 || symbols.length > MAX_CHARACTERS) {
    throw refused('length', `expected 48 characters, got ${symbols.length}`);
  }
  const bytes = base58.decode(symbols);
  try {
    if (bytes.length !== LENGTH) throw refused('length', `expected ${LENGTH} bytes, got ${bytes.length}`);
    if (bytes[0] !== PREFIX[0] || bytes[1] !== PREFIX[1]) {
      throw refused('prefix', 'expected a key that starts with "Es", got another prefix');
    }
    if (parityOf(bytes) !== 0) throw refused('parity', 'expected a parity of zero: a character is mistyped');
    return bytes.slice(PREFIX.length, LENGTH - 1);
  } finally {
    wipe(bytes);
  }
}

/** XOR of all bytes; over a whole text form, parity included, it is zero. */
function parityOf(bytes: Uint8Array): number {
  return bytes.reduce((parity, byte) => parity ^ byte, 0);
}

function refused(check: RecoveryKeyCheck, message: string): KeyBackupError {
  return new KeyBackupError('bad-recovery-key', `recovery key: ${message}`, { check });
}

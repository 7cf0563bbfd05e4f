import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { base64Decode, base64Encode } from '../encoding/base64.js';
import { equal, wipe } from '../encoding/bytes.js';
import { KeyBackupError, describe } from '../errors.js';

/**
 * A session key: 0x01, u32 big-endian index, 128 bytes ratchet, 32 bytes Ed25519 key.
 *
 * The ratchet has four parts of 32 bytes. The last one advances with every message, and each part before it 256 times
 * less often. It only advances, so the earlier of two keys of a session gives the later one.
 *
 * @see https://gitlab.matrix.org/matrix-org/olm/blob/master/docs/megolm.md#session-export-format
 * @see https://gitlab.matrix.org/matrix-org/olm/blob/master/docs/megolm.md#the-megolm-ratchet-algorithm
 */

const LENGTH = 165;
const VERSION = 1;
const RATCHET_AT = 5;
const PARTS = 4;
const PART = 32;
const ID_AT = RATCHET_AT + PARTS * PART;

/** What a session key says about itself. */
export interface SessionKeyFacts {
  /** Unpadded base64 of the Ed25519 key inside. */
  readonly session_id: string;
  /** 0 to 2^32 − 1. */
  readonly first_message_index: number;
}

/**
 * Reads a megolm session export.
 *
 * @see https://gitlab.matrix.org/matrix-org/olm/blob/master/docs/megolm.md#session-export-format
 * @param sessionKey - Base64 of 165 bytes: 0x01, u32 big-endian index, 128 bytes ratchet, 32 bytes Ed25519 key.
 * @throws {@link KeyBackupError} `bad-session-key`.
 *
 * @example
 * ```ts
 * import { readFile } from 'node:fs/promises';
 * import { readSessionKey } from 'megolm-backup/engine';
 *
 * const [session] = JSON.parse(await readFile('export.json', 'utf8'));
 * console.log(readSessionKey(session.session_key).session_id === session.session_id); // true
 * ```
 */
export function readSessionKey(sessionKey: unknown): SessionKeyFacts {
  const bytes = decodeSessionKey(sessionKey);
  const facts = { session_id: base64Encode(bytes.subarray(ID_AT)), first_message_index: indexOf(bytes) };
  wipe(bytes);
  return facts;
}

/** The caller wipes the bytes. */
function decodeSessionKey(sessionKey: unknown): Uint8Array {
  if (typeof sessionKey !== 'string' || sessionKey.length > 2 * LENGTH) {
    const got = typeof sessionKey === 'string' ? `${sessionKey.length} characters` : describe(sessionKey);
    throw badSessionKey(`base64 of ${LENGTH} bytes`, got);
  }
  let bytes: Uint8Array;
  try {
    bytes = base64Decode(sessionKey, 'session_key');
  } catch (cause) {
    throw badSessionKey('standard base64', 'other characters', cause);
  }
  const { length, 0: version } = bytes;
  if (length === LENGTH && version === VERSION) return bytes;
  wipe(bytes);
  throw length === LENGTH
    ? badSessionKey('export version 1', `version ${version}`)
    : badSessionKey(`${LENGTH} bytes`, String(length));
}

function badSessionKey(expected: string, got: string, cause?: unknown): KeyBackupError {
  return new KeyBackupError('bad-session-key', `session_key: expected ${expected}, got ${got}`, { cause });
}

function indexOf(bytes: Uint8Array): number {
  return ((bytes[1] << 24) | (bytes[2] << 16) | (bytes[3] << 8) | bytes[4]) >>> 0;
}

/**
 * Whether two session keys are of one session and one ratchet: whether the earlier one, advanced to the index of the
 * later one, equals it. Takes at most about a thousand hashes.
 *
 * The later key is not enough to forge an earlier one that passes. The holder of an earlier one can spoil parts that are
 * replaced before the later one, which hides messages but forges none.
 *
 * @param a - A session key as in an export.
 * @throws {@link KeyBackupError} `bad-session-key`.
 */
export function areConnected(a: string, b: string): boolean {
  const keys: Uint8Array[] = [];
  try {
    for (const key of [a, b]) keys.push(decodeSessionKey(key));
    const [earlier, later] = keys.sort((x, y) => indexOf(x) - indexOf(y));
    advance(earlier.subarray(RATCHET_AT, ID_AT), indexOf(earlier), indexOf(later));
    return equal(earlier.subarray(RATCHET_AT), later.subarray(RATCHET_AT));
  } finally {
    wipe(...keys);
  }
}

/** Advances a ratchet in place. `to` is not below `from`. */
function advance(ratchet: Uint8Array, from: number, to: number): void {
  let index = from;
  for (let part = 0; part < PARTS; part++) {
    // Part p advances at the multiples of 2^(8 (3 - p)), and then replaces all parts after it.
    const period = 2 ** (8 * (PARTS - 1 - part));
    const steps = Math.floor(to / period) - Math.floor(index / period);
    if (steps === 0) continue;
    for (let step = 1; step < steps; step++) derive(ratchet, part, part);
    for (let later = PARTS - 1; later >= part; later--) derive(ratchet, part, later);
    index = Math.floor(to / period) * period;
  }
}

function derive(ratchet: Uint8Array, from: number, to: number): void {
  const key = ratchet.subarray(PART * from, PART * (from + 1));
  ratchet.set(hmac(sha256, key, Uint8Array.of(to)), PART * to);
}

import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { base64Decode } from '../encoding/base64.js';
import { equal, wipe } from '../encoding/bytes.js';
import { readSessionKey } from './room-key.js';

/**
 * The ratchet inside a session key: four parts of 32 bytes, of which the last turns with every message and each one
 * before it 256 times more seldom. It turns forward only, so of two keys of one session the earlier one gives the
 * later one.
 *
 * @see https://gitlab.matrix.org/matrix-org/olm/blob/master/docs/megolm.md#the-megolm-ratchet-algorithm
 */

const PARTS = 4;
const PART = 32;
const RATCHET = PARTS * PART;

/**
 * Whether two session keys are of one session and one ratchet: whether the earlier one, turned on to the index of
 * the later one, is the later one. Takes at most about a thousand hashes.
 *
 * The later key alone is not enough to make an earlier one that passes. Who has an earlier one can spoil parts of it
 * that turn into nothing before the later one; that hides messages and forges none.
 *
 * @param a - A session key as an export has it.
 * @throws {@link KeyBackupError} `bad-session-key`.
 */
export function areConnected(a: string, b: string): boolean {
  const [first, second] = [readSessionKey(a), readSessionKey(b)];
  if (first.session_id !== second.session_id) return false;
  const indexes = [first.first_message_index, second.first_message_index];
  const [earlier, later] = indexes[0] <= indexes[1] ? [a, b] : [b, a];
  const turned = ratchetOf(earlier);
  const expected = ratchetOf(later);
  turn(turned, Math.min(...indexes), Math.max(...indexes));
  const connected = equal(turned, expected);
  wipe(turned, expected);
  return connected;
}

function ratchetOf(sessionKey: string): Uint8Array {
  const bytes = base64Decode(sessionKey, 'session_key');
  const ratchet = bytes.slice(5, 5 + RATCHET);
  wipe(bytes);
  return ratchet;
}

/** Turns a ratchet from one index on to another, in place. `to` is not below `from`. */
export function turn(ratchet: Uint8Array, from: number, to: number): void {
  let index = from;
  for (let part = 0; part < PARTS; part++) {
    // Part p turns at the multiples of 2^(8 (3 - p)), and then gives all parts after it anew.
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

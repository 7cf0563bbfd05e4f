import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { base64Decode } from '../encoding/base64.js';
import { equal, wipe } from '../encoding/bytes.js';
import { readSessionKey } from './room-key.js';

/**
 * The ratchet in a session key: four parts of 32 bytes. The last one advances with every message, and each part before
 * it 256 times less often. It only advances, so the earlier of two keys of a session gives the later one.
 *
 * @see https://gitlab.matrix.org/matrix-org/olm/blob/master/docs/megolm.md#the-megolm-ratchet-algorithm
 */

const PARTS = 4;
const PART = 32;
const RATCHET = PARTS * PART;

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
  const [first, second] = [readSessionKey(a), readSessionKey(b)];
  if (first.session_id !== second.session_id) return false;
  const indexes = [first.first_message_index, second.first_message_index];
  const [earlier, later] = indexes[0] <= indexes[1] ? [a, b] : [b, a];
  const advanced = ratchetOf(earlier);
  const expected = ratchetOf(later);
  advance(advanced, Math.min(...indexes), Math.max(...indexes));
  const connected = equal(advanced, expected);
  wipe(advanced, expected);
  return connected;
}

function ratchetOf(sessionKey: string): Uint8Array {
  const bytes = base64Decode(sessionKey, 'session_key');
  const ratchet = bytes.slice(5, 5 + RATCHET);
  wipe(bytes);
  return ratchet;
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

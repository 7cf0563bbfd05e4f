import { beforeAll, describe, expect, test } from 'vitest';
import { areConnected } from '../../src/formats/session-key.js';
import { libolm, type MegolmExports } from '../support/peers.js';

const INDEXES = [
  0,
  1,
  2,
  255,
  256,
  257,
  511,
  512,
  65_535,
  65_536,
  65_793,
  2 ** 24 - 1,
  2 ** 24,
  2 ** 24 + 66_000,
  2 ** 31,
  2 ** 32 - 1,
];
let session: MegolmExports;
let other: MegolmExports;

beforeAll(async () => {
  const olm = await libolm();
  session = olm.megolmSession(...INDEXES);
  other = olm.megolmSession(0, 300);
});

/** The key with one byte changed. */
function changed(sessionKey: string, at: number): string {
  const bytes = Buffer.from(sessionKey, 'base64');
  bytes[at] ^= 1;
  return bytes.toString('base64').replace(/=+$/, '');
}

describe('two session keys', () => {
  test('of two sessions are not connected', () => {
    expect(areConnected(session.session_keys[0], other.session_keys[0])).toBe(false);
    // Nor when somebody gives the one the identity of the other.
    const forged = Buffer.from(other.session_keys[0], 'base64');
    forged.set(Buffer.from(session.session_id, 'base64'), 133);
    expect(areConnected(session.session_keys[1], forged.toString('base64'))).toBe(false);
  });

  test.each([1, 4, 5, 36, 37, 68, 69, 100, 101, 132, 133, 164])('are not when byte %i is changed', (at) => {
    const [first, , third] = session.session_keys;
    expect(areConnected(changed(first, at), third)).toBe(false);
    expect(areConnected(first, changed(third, at))).toBe(false);
    expect(areConnected(changed(first, at), first)).toBe(false);
  });

  test('of one are, at all indexes and in either order, as libolm turned them', () => {
    for (const [i, a] of session.session_keys.entries()) {
      for (const b of session.session_keys.slice(i)) {
        expect(areConnected(a, b)).toBe(true);
        expect(areConnected(b, a)).toBe(true);
      }
    }
    expect(areConnected(other.session_keys[0], other.session_keys[1])).toBe(true);
  });

  test('that are none are refused', () => {
    expect(() => areConnected('AAAA', session.session_keys[0])).toThrow(/session_key/);
  });
});

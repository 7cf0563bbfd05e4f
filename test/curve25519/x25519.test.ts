import { x25519 } from '@noble/curves/ed25519.js';
import { randomBytes } from '@noble/hashes/utils.js';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import * as x25519Module from '../../src/curve25519/x25519.js';
import { x25519Contract } from '../contracts/x25519.js';
import { allocations } from '../support/allocations.js';

const BASE = Uint8Array.of(9, ...new Uint8Array(31));

/** The number of tables that a function builds. */
async function tablesBuilt(run: () => unknown): Promise<number> {
  const made = await allocations(run);
  return made.filter((array) => array instanceof Float64Array && array.length === TABLE).length;
}

/** Length of a table: 51 windows of 16 multiples. */
const TABLE = 51 * 16 * 12;

x25519Contract('pure JavaScript', x25519Module);

describe('a table is built', () => {
  // Each test has a module that has built no table yet.
  let { encapsulateMany, hasTable, publicKeyOf } = x25519Module;

  beforeEach(async () => {
    vi.resetModules();
    ({ encapsulateMany, hasTable, publicKeyOf } = await import('../../src/curve25519/x25519.js'));
  });

  test('not for a single agreement but for many', () => {
    const recipient = x25519.getPublicKey(randomBytes(32));
    encapsulateMany(recipient, randomBytes(32));
    expect(hasTable(recipient)).toBe(false);
    encapsulateMany(recipient, randomBytes(32 * 100));
    expect(hasTable(recipient)).toBe(true);
  });

  test('with the 24th agreement', () => {
    const recipient = x25519.getPublicKey(randomBytes(32));
    encapsulateMany(recipient, randomBytes(32 * 23));
    expect(hasTable(recipient)).toBe(false);
    encapsulateMany(recipient, randomBytes(32));
    expect(hasTable(recipient)).toBe(true);
  });

  test('for many single agreements with the same recipient', () => {
    const recipient = x25519.getPublicKey(randomBytes(32));
    for (let i = 0; i < 100; i++) encapsulateMany(recipient, randomBytes(32));
    expect(hasTable(recipient)).toBe(true);
  });

  test('not for single agreements with changing recipients', () => {
    const recipients = [randomBytes(32), randomBytes(32)].map((key) => x25519.getPublicKey(key));
    for (let i = 0; i < 100; i++) encapsulateMany(recipients[i % 2], randomBytes(32));
    expect(recipients.map(hasTable)).toEqual([false, false]);
  });

  test('and replaces the least recently used one of eight', () => {
    const recipients = Array.from({ length: 9 }, () => x25519.getPublicKey(randomBytes(32)));
    for (const recipient of recipients) encapsulateMany(recipient, randomBytes(32 * 24));
    expect(recipients.map(hasTable)).toEqual([false, ...Array<boolean>(8).fill(true)]);
  });

  test('not for the first 23 public keys, and once after that', async () => {
    for (let i = 1; i <= 26; i++) {
      const key = randomBytes(32);
      let publicKey: Uint8Array | undefined;
      const built = await tablesBuilt(() => (publicKey = publicKeyOf(key)));
      expect(publicKey).toEqual(x25519.getPublicKey(key));
      expect(built, `with public key ${i}`).toBe(i === 24 ? 1 : 0);
    }
  });

  test('for the base point with that of the recipient', async () => {
    const recipient = x25519.getPublicKey(randomBytes(32));
    expect(await tablesBuilt(() => encapsulateMany(recipient, randomBytes(32)))).toBe(0);
    expect(await tablesBuilt(() => encapsulateMany(recipient, randomBytes(32 * 24)))).toBe(2);
  });

  test('not for empty input', async () => {
    const none = () => encapsulateMany(BASE, new Uint8Array(0));
    expect(none().sharedSecrets).toHaveLength(0);
    expect(await tablesBuilt(() => Array.from({ length: 30 }, none))).toBe(0);
  });
});

test.each([0, 1, 2, 2048, 2049, 5000])('generates %i distinct private keys', (count) => {
  const keys = x25519Module.generatePrivateKeys(count);
  expect(keys).toHaveLength(32 * count);
  const names = Array.from({ length: count }, (_, i) => keys.subarray(32 * i, 32 * i + 32).join());
  expect(new Set(names).size).toBe(count);
});

import { x25519 } from '@noble/curves/ed25519.js';
import { randomBytes } from '@noble/hashes/utils.js';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { encapsulateWithTable, hasTable, releaseTables } from '../../src/engine/fixed-recipient.js';
import { agreeMany, encapsulateMany, generatePrivateKeys, publicKeyOf } from '../../src/engine/x25519.js';
import { x25519Contract } from '../contracts/x25519.js';

const BASE = Uint8Array.of(9, ...new Uint8Array(31));

/** The public keys whose tables were built. */
const built: Uint8Array[] = vi.hoisted(() => []);
vi.mock(import('../../src/engine/recipient-table.js'), async (original) => {
  const real = await original();
  return {
    ...real,
    buildTable: (publicKey, point, width) => {
      built.push(publicKey);
      return real.buildTable(publicKey, point, width);
    },
  };
});

x25519Contract('pure JavaScript', { agreeMany, encapsulateMany });

describe('when a table is built', () => {
  beforeEach(() => {
    releaseTables();
    built.length = 0;
  });

  test('not for a single agreement, but for many', () => {
    const recipient = x25519.getPublicKey(randomBytes(32));
    encapsulateMany(recipient, randomBytes(32));
    expect(hasTable(recipient)).toBe(false);
    encapsulateMany(recipient, randomBytes(32 * 100));
    expect(hasTable(recipient)).toBe(true);
  });

  test('with the 24th agreement, and then for one too', () => {
    const recipient = x25519.getPublicKey(randomBytes(32));
    encapsulateMany(recipient, randomBytes(32 * 23));
    expect(hasTable(recipient)).toBe(false);
    encapsulateMany(recipient, randomBytes(32));
    expect(hasTable(recipient)).toBe(true);
    releaseTables();
    expect(hasTable(recipient)).toBe(false);
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

  test('the oldest goes when too many are kept', () => {
    const recipients = Array.from({ length: 9 }, () => x25519.getPublicKey(randomBytes(32)));
    for (const recipient of recipients) encapsulateWithTable(recipient, randomBytes(32));
    expect(recipients.map(hasTable)).toEqual([false, ...Array<boolean>(8).fill(true)]);
  });

  test('not for the first 23 public keys, and once for all that follow', () => {
    for (let i = 1; i <= 26; i++) {
      const key = randomBytes(32);
      expect(publicKeyOf(key)).toEqual(x25519.getPublicKey(key));
      expect(built, `after ${i} public keys`).toHaveLength(i < 24 ? 0 : 1);
    }
    expect(built[0]).toEqual(Uint8Array.of(9, ...new Uint8Array(31)));
  });

  test('for the base point too where the recipient has one', () => {
    const recipient = x25519.getPublicKey(randomBytes(32));
    encapsulateMany(recipient, randomBytes(32));
    expect(built).toEqual([]);
    encapsulateMany(recipient, randomBytes(32 * 24));
    expect(built).toHaveLength(2);
  });

  test('not for no public keys', () => {
    for (let i = 0; i < 30; i++)
      expect(encapsulateMany(BASE, new Uint8Array(0)).sharedSecrets).toHaveLength(0);
    expect(built).toEqual([]);
  });
});

test.each([0, 1, 2, 2048, 2049, 5000])('%i private keys, whatever the generator gives at once', (count) => {
  const keys = generatePrivateKeys(count);
  expect(keys).toHaveLength(32 * count);
  const names = Array.from({ length: count }, (_, i) => keys.subarray(32 * i, 32 * i + 32).join());
  expect(new Set(names).size).toBe(count);
});

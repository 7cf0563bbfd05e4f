import { pbkdf2Sync, randomBytes } from 'node:crypto';
import { describe, expect, test, vi } from 'vitest';
import { nodeBackend } from '../../src/backends/node.js';
import { pureBackend } from '../../src/batch/backend.js';
import { hasTable, publicKeyOf } from '../../src/curve25519/x25519.js';
import { backendContract } from '../contracts/backend.js';
import { x25519Contract } from '../contracts/x25519.js';

/** The private keys that were given to OpenSSL, as they were given. */
const imported: unknown[] = vi.hoisted(() => []);
vi.mock(import('node:crypto'), async (original) => {
  const real = await original();
  const createPrivateKey: typeof real.createPrivateKey = (key) => {
    imported.push((key as { key: unknown }).key);
    return real.createPrivateKey(key);
  };
  return { ...real, createPrivateKey };
});

const { encapsulateMany, agreeMany, seal, open, pbkdf2 } = nodeBackend();
const randomKey = () => new Uint8Array(randomBytes(32));

// First of all, because the first texts are OpenSSL's alone.
test('the first texts are sealed and opened as by the engine, and so are later ones', () => {
  for (let length = 0; length < 60; length++) {
    const [secret, plaintext] = [randomKey(), new Uint8Array(randomBytes(length))];
    const sealed = seal(secret, plaintext);
    expect(sealed).toEqual(pureBackend.seal(secret, plaintext));
    const { ciphertext, mac } = sealed;
    expect(open(secret, ciphertext, mac)).toEqual(pureBackend.open(secret, ciphertext, mac));
    expect(open(randomKey(), ciphertext, mac)).toBeUndefined();
  }
});

test('OpenSSL makes the first agreements with a recipient, and a table later ones', async () => {
  const recipient = publicKeyOf(randomKey());
  imported.length = 0;
  for (let made = 1; made <= 30; made++) {
    const key = randomKey();
    expect(await encapsulateMany(recipient, key)).toEqual({
      ephemeralPublicKeys: publicKeyOf(key),
      sharedSecrets: await agreeMany(key, recipient),
    });
    expect(hasTable(recipient)).toBe(made >= 24);
  }
  // One each of `agreeMany`.
  expect(imported).toHaveLength(23 + 30);
});

x25519Contract('node:crypto', { encapsulateMany, agreeMany });
backendContract('node:crypto', nodeBackend);

describe('the symmetric part by node:crypto', () => {
  test.each([0, 1, 15, 16, 17, 31, 32, 700, 70_000])('%i bytes are sealed as by the engine', (length) => {
    const secret = new Uint8Array(randomBytes(32));
    const plaintext = new Uint8Array(randomBytes(length));
    const sealed = seal(secret, plaintext);
    expect(sealed).toEqual(pureBackend.seal(secret, plaintext));
    expect(open(secret, sealed.ciphertext, sealed.mac)).toEqual(
      pureBackend.open(secret, sealed.ciphertext, sealed.mac),
    );
  });

  test('every wrong bit of the MAC is seen, and longer and shorter MACs are compared as far as they go', () => {
    const secret = new Uint8Array(randomBytes(32));
    const { ciphertext, mac } = seal(secret, Uint8Array.of(1));
    for (let bit = 0; bit < 64; bit++) {
      const wrong = mac.slice();
      wrong[bit >> 3] ^= 1 << (bit & 7);
      expect(open(secret, ciphertext, wrong)).toBeUndefined();
    }
    expect(open(secret, ciphertext, mac.slice(0, 1))).toBeDefined();
    expect(open(secret, ciphertext, Uint8Array.of(...mac, 0, 0))).toBeUndefined();
  });

  test('what it gives is no Buffer and shares no pool', () => {
    const secret = new Uint8Array(randomBytes(32));
    const { ciphertext, mac } = seal(secret, new Uint8Array(3));
    for (const bytes of [ciphertext, mac, open(secret, ciphertext, mac)]) {
      expect(Buffer.isBuffer(bytes)).toBe(false);
      expect(bytes?.buffer.byteLength).toBe(bytes?.length);
    }
  });

  test('PBKDF2 is PBKDF2-HMAC-SHA-512', async () => {
    const [passphrase, salt] = [new Uint8Array(randomBytes(9)), new Uint8Array(randomBytes(32))];
    const expected = new Uint8Array(pbkdf2Sync(passphrase, salt, 1000, 32, 'sha512'));
    expect(await pbkdf2(passphrase, salt, 1000, 32, {})).toEqual(expected);
  });
});

test('private keys go to OpenSSL as bytes, which are wiped', async () => {
  imported.length = 0;
  const publicKeys = Uint8Array.of(9, ...new Uint8Array(31));
  await agreeMany(new Uint8Array(randomBytes(32)), publicKeys);
  expect(imported.length).toBeGreaterThan(0);
  for (const key of imported) {
    expect(key).toBeInstanceOf(Uint8Array);
    expect((key as Uint8Array).every((byte) => byte === 0)).toBe(true);
  }
});

test('a private key is imported once for many chunks, and again after another', async () => {
  const privateKey = new Uint8Array(randomBytes(32));
  const publicKeys = Uint8Array.of(9, ...new Uint8Array(31));
  imported.length = 0;
  for (const byte of [1, 1, 2, 1]) {
    privateKey.fill(byte);
    expect(await agreeMany(privateKey.slice(), publicKeys)).toEqual(publicKeyOf(privateKey));
  }
  expect(imported).toHaveLength(3);
});

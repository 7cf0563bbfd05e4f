import { createCipheriv, randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { AesCbc } from '../../../src/backends/simd/aes-cbc.js';
import { DERIVED } from '../../../src/backends/simd/derived-keys.js';
import { Kernel } from '../../../src/backends/simd/kernel.js';
import { enableRelaxedSimd } from '../../support/platforms.js';
import { runs } from '../../support/runs.js';

enableRelaxedSimd();

const kernel = await Kernel.make();
const aes = new AesCbc(kernel);

function byOpenSsl(derived: Uint8Array, plaintexts: readonly Uint8Array[]): Buffer[] {
  return plaintexts.map((plaintext, slot) => {
    const [key, iv] = [derived.subarray(DERIVED * slot, DERIVED * slot + 32), 32 + DERIVED * slot];
    const cipher = createCipheriv('aes-256-cbc', key, derived.subarray(iv, iv + 16));
    return Buffer.concat([cipher.update(plaintext), cipher.final()]);
  });
}

function expectAsOpenSsl(derived: Uint8Array, plaintexts: readonly Uint8Array[]): void {
  const expected = byOpenSsl(derived, plaintexts);
  const ciphertexts = aes.encryptMany(derived, plaintexts);
  expect(ciphertexts.map((bytes) => Buffer.from(bytes))).toEqual(expected);
  const padded = aes.decryptMany(derived, ciphertexts);
  expect(ciphertexts.map((bytes) => Buffer.from(bytes))).toEqual(expected);
  padded.forEach((bytes, slot) => {
    const { length } = plaintexts[slot];
    expect(Buffer.compare(bytes.subarray(0, length), plaintexts[slot])).toBe(0);
    expect([...bytes.subarray(length)]).toEqual(Array(bytes.length - length).fill(bytes.length - length));
  });
}

const derivedOf = (count: number) => new Uint8Array(randomBytes(DERIVED * count));

test('encrypts the example of FIPS 197, C.3', () => {
  const derived = new Uint8Array(DERIVED).map((_, i) => (i < 32 ? i : 0));
  const plaintext = Uint8Array.from({ length: 16 }, (_, i) => 0x11 * i);
  const [ciphertext] = aes.encryptMany(derived, [plaintext]);
  expect(Buffer.from(ciphertext.subarray(0, 16)).toString('hex')).toBe('8ea2b7ca516745bfeafc49904b496089');
});

test.each([0, 1, 2, 3, runs(40)])(
  'encrypts and decrypts %i messages of all lengths as OpenSSL does',
  (count) => {
    const lengths = Array.from({ length: count }, (_, i) => i * 17);
    expectAsOpenSsl(
      derivedOf(count),
      lengths.map((length) => new Uint8Array(randomBytes(length))),
    );
  },
);

test('every byte in every place of a block, under keys that hold every byte', () => {
  const count = 256;
  const derived = derivedOf(count);
  const texts = Array.from({ length: count }, (_, byte) => {
    derived.fill(byte, DERIVED * byte, DERIVED * byte + 32);
    return new Uint8Array(16).fill(byte ^ 0x5a);
  });
  expectAsOpenSsl(derived, texts);
});

test('a long message beside a short one, and a message in many parts', () => {
  const lengths = [40_000, 3, 4096, 4095, 8192, 100_001];
  expectAsOpenSsl(
    derivedOf(lengths.length),
    lengths.map((length) => new Uint8Array(randomBytes(length))),
  );
});

test('leaves nothing in the memory of the kernel', () => {
  const texts = [10, 5000, 70].map((length) => new Uint8Array(randomBytes(length)));
  const before = kernel.bytes.slice();
  aes.encryptMany(derivedOf(3), texts);
  aes.decryptMany(derivedOf(1), [new Uint8Array(randomBytes(160))]);
  expect(Buffer.compare(kernel.bytes, before)).toBe(0);
});

import { createHmac, hkdfSync } from 'node:crypto';
import { fc } from '@fast-check/vitest';
import { expect, it } from 'vitest';
import { deriveKeys } from '../../src/scheme/derived-keys.js';
import { bytes32 } from '../support/samples.js';

it('is HKDF-SHA-256 and the HMAC of nothing, as node:crypto has them, however many came before', () => {
  fc.assert(
    fc.property(fc.array(bytes32, { minLength: 1, maxLength: 5 }), (secrets) => {
      const derived = secrets.map(deriveKeys);
      secrets.forEach((secret, i) => {
        const all = Buffer.from(hkdfSync('sha256', secret, Buffer.alloc(32), '', 80));
        expect(derived[i].aesKey.join()).toBe(all.subarray(0, 32).join());
        expect(derived[i].iv.join()).toBe(all.subarray(64).join());
        const mac = createHmac('sha256', all.subarray(32, 64)).digest();
        expect(derived[i].mac.join()).toBe(mac.join());
      });
    }),
  );
});

it('gives memory that nothing else shares, all of it behind `all`', () => {
  const [one, two] = [1, 2].map((byte) => deriveKeys(new Uint8Array(32).fill(byte)));
  const before = two.aesKey.join();
  one.all.fill(0);
  for (const part of [one.aesKey, one.iv, one.mac]) expect(part.every((byte) => byte === 0)).toBe(true);
  expect(two.aesKey.join()).toBe(before);
  expect(two.aesKey).toHaveLength(32);
});

import { createCipheriv } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { nodeBackend } from '../../src/backends/node.js';
import { webCryptoBackend } from '../../src/backends/webcrypto.js';
import { AesCtr, aesCtr } from '../../src/formats/aes-ctr.js';
import { concat, copyBytes } from '../../src/encoding/bytes.js';
import { bytes32 } from '../support/samples.js';

const ivs = fc.oneof(
  fc.uint8Array({ minLength: 16, maxLength: 16 }),
  // Counters that carry into all that is left of them, and past the first byte.
  fc
    .integer({ min: 0, max: 16 })
    .map((zeros) => Uint8Array.from({ length: 16 }, (_, i) => (i < zeros ? 0 : 255))),
);
const pieces = fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 8 });

const reference = (key: Uint8Array, iv: Uint8Array, bytes: Uint8Array) => {
  const cipher = createCipheriv('aes-256-ctr', key, iv);
  return concat(cipher.update(bytes), cipher.final());
};

const BACKENDS = [
  ['pure JavaScript', undefined],
  ['node:crypto', nodeBackend()],
  ['WebCrypto', webCryptoBackend()],
] as const;

async function inPieces(cipher: AesCtr, pieces: readonly Uint8Array[]): Promise<Uint8Array> {
  const came: Uint8Array[] = [];
  for (const piece of pieces) came.push(copyBytes(await cipher.update(piece)));
  return concat(...came, await cipher.final());
}

describe('AES-256-CTR', () => {
  it.each(BACKENDS)('is what OpenSSL makes of it, in pieces of any size, by %s', async (_, backend) => {
    await fc.assert(
      fc.asyncProperty(bytes32, ivs, pieces, async (key, iv, given) => {
        const whole = concat(...given);
        const expected = reference(key, iv, whole);
        expect(aesCtr(key, iv, whole)).toEqual(expected);
        expect(await inPieces(new AesCtr(key, iv, backend), given)).toEqual(expected);
      }),
    );
  });

  it.each(BACKENDS)('counts with all 16 bytes of the counter by %s', async (_, backend) => {
    const key = new Uint8Array(32).fill(7);
    for (let last = 0; last < 16; last++) {
      const iv = Uint8Array.from({ length: 16 }, (_, i) => (i > last ? 255 : i));
      const came = await inPieces(
        new AesCtr(key, iv, backend),
        [1, 2, 3].map(() => new Uint8Array(16 * 300)),
      );
      expect(Buffer.compare(came, reference(key, iv, new Uint8Array(3 * 16 * 300)))).toBe(0);
    }
  });

  it('goes on in pure JavaScript where WebCrypto fails', async () => {
    const encrypt = vi.spyOn(crypto.subtle, 'encrypt').mockRejectedValue(new Error('no AES-CTR'));
    const [key, iv] = [new Uint8Array(32).fill(1), new Uint8Array(16).fill(255)];
    const came = await inPieces(new AesCtr(key, iv, webCryptoBackend()), [new Uint8Array(40)]);
    expect(encrypt).toHaveBeenCalled();
    expect(came).toEqual(reference(key, iv, new Uint8Array(40)));
    encrypt.mockRestore();
  });

  it('rejects a result of another length, and names what failed', async () => {
    const key = new Uint8Array(32);
    const short = { name: 'short', aesCtr: () => new Uint8Array(15) };
    await expect(new AesCtr(key, key.subarray(16), short).update(new Uint8Array(16))).rejects.toThrow(
      'backend short: aesCtr: expected 16 bytes',
    );
    const failing = { name: 'failing', aesCtr: () => Promise.reject(new Error('no')) };
    await expect(new AesCtr(key, key.subarray(16), failing).update(new Uint8Array(16))).rejects.toThrow(
      'backend failing: aesCtr failed',
    );
  });

  it('takes copies of key and counter, and leaves both as they are', async () => {
    const [key, iv] = [new Uint8Array(32).fill(1), new Uint8Array(16).fill(255)];
    const expected = reference(key, iv, new Uint8Array(40));
    const cipher = new AesCtr(key, iv);
    key.fill(2);
    iv.fill(2);
    expect(await inPieces(cipher, [new Uint8Array(33), new Uint8Array(7)])).toEqual(expected);
    expect(key).toEqual(new Uint8Array(32).fill(2));
    expect(iv).toEqual(new Uint8Array(16).fill(2));
  });

  it('gives an array of its own for nothing', () => {
    expect(aesCtr(new Uint8Array(32), new Uint8Array(16), new Uint8Array(0))).toEqual(new Uint8Array(0));
  });
});

import { createHash, createPrivateKey, createPublicKey, sign as nodeSign, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { ed25519 } from '@noble/curves/ed25519.js';
import { describe, expect, it } from 'vitest';
import { expectSignedBy, isSignedBy, publicSigningKeyOf, sign } from '../../src/curve25519/ed25519.js';
import { runs } from '../support/runs.js';
import { bytes32, refusal, withBitFlipped } from '../support/samples.js';

const nodeKey = (seed: Uint8Array) =>
  createPrivateKey({
    key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]),
    format: 'der',
    type: 'pkcs8',
  });

describe('signing', () => {
  it('equals node:crypto', () => {
    fc.assert(
      fc.property(bytes32, fc.uint8Array(), (seed, message) => {
        const key = nodeKey(seed);
        const der = createPublicKey(key).export({ format: 'der', type: 'spki' });
        expect(publicSigningKeyOf(seed).join()).toBe(der.subarray(-32).join());
        expect(sign(seed, message).join()).toBe(nodeSign(null, message, key).join());
        expect(isSignedBy(publicSigningKeyOf(seed), message, sign(seed, message))).toBe(true);
      }),
      { numRuns: 30 },
    );
  });
});

describe('verifying', () => {
  const seed = new Uint8Array(32).fill(3);
  const publicKey = publicSigningKeyOf(seed);
  const message = new TextEncoder().encode('message');
  const signature = sign(seed, message);

  it('rejects any flipped bit of signature, key or message', () => {
    // Every bit, or one in nine, which reaches every position in a byte.
    const step = runs(9) === 9 ? 1 : 9;
    for (let bit = 0; bit < 512; bit += step) {
      expect(isSignedBy(publicKey, message, withBitFlipped(signature, bit))).toBe(false);
    }
    for (let bit = 0; bit < 256; bit += step) {
      expect(isSignedBy(withBitFlipped(publicKey, bit), message, signature)).toBe(false);
    }
    for (let bit = 0; bit < 8 * message.length; bit += step) {
      expect(isSignedBy(publicKey, withBitFlipped(message, bit), signature)).toBe(false);
    }
  });

  it('rejects S plus the order of the group', () => {
    const order = 2n ** 252n + 27742317777372353535851937790883648493n;
    let s = BigInt(`0x${Buffer.from(signature.slice(32)).reverse().toString('hex')}`) + order;
    const grown = Uint8Array.from(signature);
    for (let i = 32; i < 64; i++) {
      grown[i] = Number(s & 255n);
      s >>= 8n;
    }
    expect(isSignedBy(publicKey, message, grown)).toBe(false);
  });

  it('rejects every key of small order, which noble accepts by default', () => {
    const small = [
      '0100000000000000000000000000000000000000000000000000000000000000',
      'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
      '0000000000000000000000000000000000000000000000000000000000000080',
      '0000000000000000000000000000000000000000000000000000000000000000',
      'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
      'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa',
      '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
      '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85',
      // Encodings with y from p on, and with a sign although x is 0.
      '0100000000000000000000000000000000000000000000000000000000000080',
      'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',
      'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
      'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',
      'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
      'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',
    ].map((hex) => new Uint8Array(Buffer.from(hex, 'hex')));
    // R is the neutral element and S zero: a forgery that a key of small order verifies.
    let fooled = 0;
    for (const key of small) {
      for (const r of small) {
        const forged = Uint8Array.of(...r, ...new Uint8Array(32));
        expect(isSignedBy(key, message, forged)).toBe(false);
        if (ed25519.verify(forged, message, key)) fooled++;
      }
    }
    expect(fooled).toBeGreaterThan(0);
  });

  it.each([
    [new Uint8Array(31), signature],
    [new Uint8Array(33), signature],
    [publicKey, signature.slice(1)],
    [publicKey, new Uint8Array(0)],
    [new Uint8Array(32).fill(2), signature],
  ])('rejects malformed keys and signatures', (key, other) => {
    expect(isSignedBy(key, message, other)).toBe(false);
  });

  it('returns false for arbitrary input', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 40 }),
        fc.uint8Array(),
        fc.uint8Array({ maxLength: 70 }),
        (k, m, s) => {
          expect(isSignedBy(k, m, s)).toBe(false);
        },
      ),
    );
  });

  it('expectSignedBy throws bad-signature', () => {
    expectSignedBy(publicKey, message, signature);
    expect(
      refusal(() => {
        expectSignedBy(publicKey, message, new Uint8Array(64));
      }).code,
    ).toBe('bad-signature');
  });
});

it('rejects a non-canonical point in a signature, which noble accepts by default', () => {
  const seed = new Uint8Array(32).fill(3);
  const message = Uint8Array.of(1, 2, 3);
  const publicKey = publicSigningKeyOf(seed);
  const { ORDER } = ed25519.Point.Fn;
  // R is the neutral point, y = 1, encoded as p + 1; S = k a then verifies.
  const r = new Uint8Array(32).fill(0xff);
  r[0] = 0xee;
  r[31] = 0x7f;
  const hash = createHash('sha512').update(r).update(publicKey).update(message).digest();
  const k = BigInt(`0x${hash.reverse().toString('hex')}`);
  const { scalar } = ed25519.utils.getExtendedPublicKey(seed);
  const s = Buffer.from(((k * scalar) % ORDER).toString(16).padStart(64, '0'), 'hex').reverse();
  const signature = Uint8Array.of(...r, ...s);
  expect(ed25519.verify(signature, message, publicKey)).toBe(true);
  expect(isSignedBy(publicKey, message, signature)).toBe(false);
});

describe('points with a component of small order', () => {
  const { Point } = ed25519;
  const { ORDER } = Point.Fn;
  const number = (bytes: Uint8Array) => BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`);
  const generator = Point.fromHex('26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05');
  const torsion = Array.from({ length: 8 }, (_, i) => generator.multiplyUnsafe(BigInt(i)));

  const opensslAccepts = (publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array) => {
    const key = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), publicKey]);
    return verify(null, message, createPublicKey({ key, format: 'der', type: 'spki' }), signature);
  };

  /** A signature by the owner of a key; it always satisfies 8 S B = 8 R + 8 k A. */
  const signed = (seed: Uint8Array, inKey: number, inR: number, message: Uint8Array, nonce: bigint) => {
    const { scalar, point } = ed25519.utils.getExtendedPublicKey(seed);
    const publicKey = point.add(torsion[inKey]).toBytes();
    const r = Point.BASE.multiplyUnsafe(nonce).add(torsion[inR]).toBytes();
    const hash = createHash('sha512').update(r).update(publicKey).update(message).digest();
    const k = number(hash) % ORDER;
    const s = Point.Fn.toBytes((nonce + k * scalar) % ORDER);
    return { publicKey, signature: Uint8Array.of(...r, ...s) };
  };
  const part = fc.integer({ min: 0, max: 7 });
  const nonces = fc.bigInt({ min: 1n, max: ORDER - 1n });

  it('are rejected in the key and in R, although noble and sometimes OpenSSL accept them', () => {
    let byOpenssl = 0;
    let rejected = 0;
    fc.assert(
      fc.property(bytes32, fc.uint8Array(), part, part, nonces, (seed, message, inKey, inR, nonce) => {
        const { publicKey, signature } = signed(seed, inKey, inR, message, nonce);
        expect(ed25519.verify(signature, message, publicKey, { zip215: false })).toBe(true);
        const accepted = isSignedBy(publicKey, message, signature);
        expect(accepted).toBe(inKey === 0 && inR === 0);
        const others = opensslAccepts(publicKey, message, signature);
        if (accepted) expect(others).toBe(true);
        else rejected++;
        if (others) byOpenssl++;
      }),
      {
        numRuns: 8 + runs(60),
        examples: torsion.map((_, inKey) => [new Uint8Array(32), Uint8Array.of(1), inKey, 0, 5n]),
      },
    );
    expect(rejected).toBeGreaterThan(byOpenssl);
  });

  it('are rejected where R has small order', () => {
    for (let inR = 0; inR < 8; inR++) {
      const { publicKey, signature } = signed(new Uint8Array(32).fill(3), 0, inR, Uint8Array.of(1), 0n);
      expect(ed25519.verify(signature, Uint8Array.of(1), publicKey, { zip215: false })).toBe(true);
      expect(isSignedBy(publicKey, Uint8Array.of(1), signature)).toBe(false);
    }
  });

  it('are rejected in every vector', () => {
    const bytes = (hex: string) => new Uint8Array(Buffer.from(hex, 'hex'));
    const file = readFileSync(new URL('../../vectors/ed25519.json', import.meta.url), 'utf8');
    const { cases } = JSON.parse(file) as { cases: Record<string, string>[] };
    const rejected = cases.filter(({ code }) => code === 'bad-signature');
    expect(rejected.filter(({ id }) => id.startsWith('mixed-order')).length).toBe(15);
    for (const { id, public_key, message, signature } of rejected) {
      expect(isSignedBy(bytes(public_key), bytes(message), bytes(signature)), id).toBe(false);
    }
  });
});

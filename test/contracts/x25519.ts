import type { Encapsulated } from '../../src/curve25519/x25519.js';
import { ed25519, x25519 } from '@noble/curves/ed25519.js';
import { bytesToHex, hexToBytes, randomBytes } from '@noble/hashes/utils.js';
import { describe, expect, test } from 'vitest';
import { concat } from '../../src/encoding/bytes.js';
import { runs } from '../support/runs.js';

/** What every way to do X25519 in this package offers. */
export interface X25519Implementation {
  readonly encapsulateMany: (
    recipient: Uint8Array,
    ephemeralPrivateKeys: Uint8Array,
  ) => Encapsulated | Promise<Encapsulated>;
  readonly agreeMany: (privateKey: Uint8Array, publicKeys: Uint8Array) => Uint8Array | Promise<Uint8Array>;
}

const P = 2n ** 255n - 19n;
const L = 2n ** 252n + 27742317777372353535851937790883648493n;
const HIGH_BIT = 2n ** 255n;

/** 32 bytes, little-endian. */
export function bytesOf(value: bigint): Uint8Array {
  return Uint8Array.from({ length: 32 }, (_, i) => Number((value >> BigInt(8 * i)) & 255n));
}

/** The number that 32 bytes are, bit 255 left out. */
export function uOf(bytes: Uint8Array): bigint {
  return bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n) & (HIGH_BIT - 1n);
}

/** The u-coordinates whose agreements are all zero, on the curve and on its twist. */
const LOW_ORDER: readonly bigint[] = [
  0n,
  1n,
  P - 1n,
  325606250916557431795983626356110631294008115727848805560023387167927233504n,
  39382357235489614581723060781553021112529911719440698176882885853963445705823n,
];

/** Every encoding of a low-order point: canonical or not, with bit 255 and without. */
export const LOW_ORDER_ENCODINGS: readonly Uint8Array[] = LOW_ORDER.flatMap((u) =>
  [u, u + P].filter((value) => value < HIGH_BIT).flatMap((value) => [value, value + HIGH_BIT]),
).map(bytesOf);

/** All encodings of the u-coordinates from p to 2^255 - 1, with bit 255 and without. */
const NON_CANONICAL = Array.from({ length: 19 }, (_, i) => P + BigInt(i)).flatMap((u) => [u, u + HIGH_BIT]);

const EXTREME_SCALARS: readonly Uint8Array[] = [
  new Uint8Array(32),
  new Uint8Array(32).fill(255),
  new Uint8Array(32).fill(0x55),
  new Uint8Array(32).fill(0xaa),
  ...[
    1n,
    2n ** 254n,
    2n ** 254n + 8n,
    2n ** 255n - 8n,
    L,
    8n * (L - 2n ** 251n),
    8n * ((L - 1n) / 2n),
    8n * ((L + 1n) / 2n),
  ].map(bytesOf),
];

/** What noble gives, and 32 zero bytes where it refuses. */
export function reference(privateKey: Uint8Array, publicKey: Uint8Array): Uint8Array {
  return LOW_ORDER.includes(uOf(publicKey) % P)
    ? new Uint8Array(32)
    : once(`${bytesToHex(privateKey)} ${bytesToHex(publicKey)}`, () =>
        x25519.getSharedSecret(privateKey, publicKey),
      );
}

function referencePublicKey(privateKey: Uint8Array): Uint8Array {
  return once(bytesToHex(privateKey), () => x25519.getPublicKey(privateKey));
}

/** What the reference said is kept: noble takes longer than what is tested, and the same is asked for every kernel. */
function once(question: string, answer: () => Uint8Array): Uint8Array {
  const known = answers.get(question) ?? answer();
  answers.set(question, known);
  return known;
}

const answers = new Map<string, Uint8Array>();

/** `count` keys of 32 random bytes. */
export function randomKeys(count: number): Uint8Array[] {
  return Array.from({ length: count }, () => randomBytes(32));
}

/** The first `count` of the random keys that in one process every implementation is asked, so that answers are known. */
function keptKeys(count: number): Uint8Array[] {
  if (keys.length < count) keys.push(...randomKeys(count - keys.length));
  return keys.slice(0, count);
}

/** A private key that is not one of the {@link keptKeys}. */
function anotherKey(count: number): Uint8Array {
  return keptKeys(count + 1)[count];
}

const keys: Uint8Array[] = [];

/** A random u-coordinate of the curve whose point has a part of order 8. */
function withTorsion(): Uint8Array {
  const torsion = ed25519.Point.fromHex('26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05');
  const point = ed25519.Point.BASE.multiply((uOf(randomBytes(32)) % (L - 1n)) + 1n).add(torsion);
  return ed25519.utils.toMontgomery(point.toBytes());
}

/** A random u-coordinate of the twist. */
function onTwist(): Uint8Array {
  const { Fp } = ed25519.Point;
  for (;;) {
    const bytes = randomBytes(32);
    const u = uOf(bytes);
    if (Fp.pow(Fp.create(u * u * u + 486662n * u * u + u), (P - 1n) / 2n) === P - 1n) return bytes;
  }
}

const torsionPoints = Array.from({ length: 8 }, withTorsion);
const twistPoints = Array.from({ length: 8 }, onTwist);

/** Holds agreements with one recipient, and the ephemeral public keys, against the reference. */
export async function expectEncapsulated(
  { encapsulateMany }: X25519Implementation,
  recipient: Uint8Array,
  privateKeys: readonly Uint8Array[],
): Promise<void> {
  const { ephemeralPublicKeys, sharedSecrets } = await encapsulateMany(recipient, concat(...privateKeys));
  expect(ephemeralPublicKeys).toEqual(concat(...privateKeys.map(referencePublicKey)));
  expect(sharedSecrets).toEqual(concat(...privateKeys.map((key) => reference(key, recipient))));
}

/** Holds agreements of one private key against the reference. */
export async function expectAgreed(
  { agreeMany }: Pick<X25519Implementation, 'agreeMany'>,
  privateKey: Uint8Array,
  publicKeys: readonly Uint8Array[],
): Promise<void> {
  const secrets = await agreeMany(privateKey, concat(...publicKeys));
  expect(secrets).toEqual(concat(...publicKeys.map((key) => reference(privateKey, key))));
}

/** What every X25519 of this package must do. */
export function x25519Contract(name: string, implementation: X25519Implementation): void {
  const { agreeMany, encapsulateMany } = implementation;
  const holds = (recipient: Uint8Array, privateKeys: readonly Uint8Array[]): Promise<void> =>
    expectEncapsulated(implementation, recipient, privateKeys);
  const agreesWithAll = (privateKey: Uint8Array, publicKeys: readonly Uint8Array[]): Promise<void> =>
    expectAgreed(implementation, privateKey, publicKeys);

  describe(`X25519: ${name}`, () => {
    test.each([
      [
        'a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4',
        'e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c',
        'c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552',
      ],
      [
        '4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d',
        'e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493',
        '95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957',
      ],
    ])('RFC 7748, section 5.2: %s', async (scalar, u, expected) => {
      expect(await agreeMany(hexToBytes(scalar), hexToBytes(u))).toEqual(hexToBytes(expected));
      const { sharedSecrets } = await encapsulateMany(hexToBytes(u), hexToBytes(scalar));
      expect(sharedSecrets).toEqual(hexToBytes(expected));
    });

    test('RFC 7748, section 5.2: 1 and 1,000 iterations', async () => {
      let k = bytesOf(9n);
      let u = bytesOf(9n);
      const count = runs(1000);
      for (let i = 1; i <= count; i++) {
        const before = [k, u] as const;
        [k, u] = [await agreeMany(k, u), k];
        if (i === 1) {
          expect(k).toEqual(hexToBytes('422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079'));
        }
        // The document does not say what lies between; the reference does.
        if (count < 1000) expect(k).toEqual(reference(...before));
      }
      if (count === 1000) {
        expect(k).toEqual(hexToBytes('684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51'));
      }
    });

    test('RFC 7748, section 6.1', async () => {
      const bob = hexToBytes('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb');
      const alice = hexToBytes('8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a');
      const secret = hexToBytes('4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742');
      expect(await agreeMany(bob, alice)).toEqual(secret);
      expect(await encapsulateMany(alice, bob)).toEqual({
        ephemeralPublicKeys: hexToBytes('de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f'),
        sharedSecrets: secret,
      });
    });

    test('nothing in, nothing out', async () => {
      const none = new Uint8Array(0);
      expect(await agreeMany(bytesOf(9n), none)).toEqual(none);
      expect(await encapsulateMany(bytesOf(9n), none)).toEqual({
        ephemeralPublicKeys: none,
        sharedSecrets: none,
      });
    });

    test('low order: zero, whatever the encoding, and the public keys come all the same', async () => {
      expect(LOW_ORDER_ENCODINGS).toHaveLength(14);
      const privateKeys = keptKeys(40);
      for (const recipient of LOW_ORDER_ENCODINGS) {
        await holds(recipient, privateKeys.slice(0, 1));
        await holds(recipient, privateKeys);
      }
    });

    test('low order at every position of a batch, and all at once', async () => {
      const privateKey = anotherKey(14);
      const good = keptKeys(14).map(referencePublicKey);
      for (const [i, low] of LOW_ORDER_ENCODINGS.entries())
        await agreesWithAll(privateKey, [...good.slice(0, i), low, ...good.slice(i + 1)]);
      await agreesWithAll(privateKey, LOW_ORDER_ENCODINGS);
      await agreesWithAll(privateKey, [...LOW_ORDER_ENCODINGS, good[0]]);
    });

    test('non-canonical u, with bit 255 and without', async () => {
      const privateKeys = keptKeys(30);
      await agreesWithAll(privateKeys[0], NON_CANONICAL.map(bytesOf));
      for (const u of NON_CANONICAL) await holds(bytesOf(u), privateKeys.slice(0, 2));
      for (const u of [P + 2n, P + 9n + HIGH_BIT, HIGH_BIT - 1n]) await holds(bytesOf(u), privateKeys);
    });

    test('extreme u and extreme scalars', async () => {
      const values = [2n, 9n, P - 2n, P - 9n, 2n ** 254n, 486662n, P - 486662n, (P - 1n) / 2n];
      for (const scalar of EXTREME_SCALARS) await agreesWithAll(scalar, values.map(bytesOf));
      for (const u of values) await holds(bytesOf(u), EXTREME_SCALARS);
      for (const u of values.slice(0, 4)) {
        await holds(bytesOf(u), [...EXTREME_SCALARS, ...EXTREME_SCALARS, ...EXTREME_SCALARS]);
      }
    });

    test('points of the twist', async () => {
      await agreesWithAll(anotherKey(40), twistPoints);
      await holds(twistPoints[0], keptKeys(1));
      await holds(twistPoints[1], keptKeys(40));
    });

    test('points with a torsion part', async () => {
      await agreesWithAll(anotherKey(30), torsionPoints);
      for (const point of torsionPoints.slice(0, 4)) await holds(point, keptKeys(30));
    });

    test('500 random pairs or a part of them, in batches of all sizes', async () => {
      const sizes = [1, 2, 3, 7, 23, 24, 25, 31, 32, 33, 64, 255];
      expect(sizes.reduce((sum, size) => sum + size)).toBe(500);
      const few = runs(500);
      for (const size of sizes.filter((size) => size < few || few === 500)) {
        await holds(referencePublicKey(anotherKey(size)), keptKeys(size));
      }
      await agreesWithAll(anotherKey(few), keptKeys(few));
    });

    test('the inputs are not changed and the outputs are new', async () => {
      const privateKeys = randomBytes(64);
      const recipient = x25519.getPublicKey(randomBytes(32));
      recipient[31] |= 128;
      const copies = [privateKeys.slice(), recipient.slice()];
      const { sharedSecrets } = await encapsulateMany(recipient, privateKeys);
      const agreed = await agreeMany(privateKeys.subarray(0, 32), recipient);
      expect([privateKeys, recipient]).toEqual(copies);
      expect(sharedSecrets.slice(0, 32)).toEqual(agreed);
      expect(sharedSecrets.buffer).not.toBe(privateKeys.buffer);
    });
  });
}

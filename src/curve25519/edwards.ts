import { eddsa, edwards, type EdDSA } from '@noble/curves/abstract/edwards.js';
import { sha512 } from '@noble/hashes/sha2.js';
import { LIMBS, add, fromBytes, invert, isZeroElement, setSmall, subtract, toBytes } from './field.js';
import {
  multiply,
  multiplyDifference,
  multiplyDifferenceMinus,
  square,
  squareMinusTwo,
} from './field-mul.js';
import { legendre } from './legendre.js';

let made: EdDSA | undefined;

/**
 * The curve edwards25519 and Ed25519 on it (RFC 7748, section 4.1; RFC 8032, section 5.1), in noble's arithmetic.
 *
 * Noble's own module with both needs a TextEncoder when it is imported, which Hermes may lack, and precomputes what is
 * not used here. So they are made at the first call.
 */
export function ed25519(): EdDSA {
  return (made ??= eddsa(edwards(CURVE), sha512, { adjustScalarBytes: clamp, zip215: false }));
}

// Shifts, because transpilers for older engines turn `**` into Math.pow, which rejects BigInt.
const CURVE = {
  p: (1n << 255n) - 19n,
  n: (1n << 252n) + 27742317777372353535851937790883648493n,
  h: 8n,
  a: (1n << 255n) - 20n,
  d: 37095705934669439343138083508754565189542113879843219016388785533085940283555n,
  Gx: 15112221349535400772501151409588531511454012693041857206046113283949847762202n,
  Gy: 46316835694926478169428394003475163141307993866256225615783033603165251855960n,
};

function clamp(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  bytes[0] &= 248;
  bytes[31] &= 127;
  bytes[31] |= 64;
  return bytes as Uint8Array<ArrayBuffer>;
}

/** The points of small order on Curve25519 and its twist, by their reduced u. */
const LOW_ORDER: readonly bigint[] = [
  0n,
  1n,
  325606250916557431795983626356110631294008115727848805560023387167927233504n,
  39382357235489614581723060781553021112529911719440698176882885853963445705823n,
  CURVE.p - 1n,
];

/**
 * Whether a 32-byte u-coordinate, canonical or not, with or without bit 255, is a point of small order. An agreement with
 * one gives zeros for every private key, so the "secret" is known to everyone.
 */
export function isLowOrder(publicKey: Uint8Array): boolean {
  return LOW_ORDER.includes(uCoordinate(publicKey) % CURVE.p);
}

/** The number in 32 bytes, little-endian, without bit 255. Not constant-time: for public keys only. */
export function uCoordinate(publicKey: Uint8Array): bigint {
  let u = 0n;
  for (let i = 31; i >= 0; i--) u = (u << 8n) | BigInt(publicKey[i]);
  return u & ((1n << 255n) - 1n);
}

/** A number in 32 bytes, without noble, which takes longer to make the curve than its first use here takes. */
export function littleEndian(number: bigint): Uint8Array {
  return Uint8Array.from({ length: 32 }, (_, i) => Number((number >> BigInt(8 * i)) & 255n));
}

// Offsets of the elements in the working array of isCurvePoint.
const ONE = 0;
const D_AT = LIMBS;
const Y2 = 2 * LIMBS;
const T = 3 * LIMBS;
const U = 4 * LIMBS;
const ELEMENTS = 5;

let work: Float64Array | undefined;

function constants(): Float64Array {
  const f = new Float64Array(ELEMENTS * LIMBS);
  setSmall(f, ONE, 1);
  fromBytes(f, D_AT, littleEndian(CURVE.d), 0);
  return f;
}

/**
 * Whether 32 bytes decode to a point of the Ed25519 curve, as leniently as deployed readers: an unreduced y and a
 * negative zero pass. For public data that other implementations reject otherwise; never for verifying.
 *
 * x^2 = (y^2 - 1) / (d y^2 + 1) has a root if the product of numerator and denominator is a square modulo p or 0.
 * Without an inversion or a root this takes far less than decoding the point.
 */
export function isCurvePoint(bytes: Uint8Array): boolean {
  const f = (work ??= constants());
  fromBytes(f, T, bytes, 0);
  square(f, Y2, f, T);
  subtract(f, U, f, Y2, f, ONE);
  multiply(f, T, f, Y2, f, D_AT);
  add(f, T, f, T, f, ONE);
  multiply(f, U, f, U, f, T);
  const product = new Uint8Array(32);
  toBytes(product, 0, f, U);
  const symbol = legendre(product);
  return symbol === undefined ? decodes(bytes) : symbol >= 0;
}

function decodes(bytes: Uint8Array): boolean {
  try {
    ed25519().Point.fromBytes(bytes, true);
    return true;
  } catch {
    return false;
  }
}

/**
 * Length of a point of curve25519 in short Weierstrass form: the elements x = u + A/3 and y = v, both carried. In this
 * form an addition needs no constant of the curve.
 */
export const POINT = 2 * LIMBS;

/** Arrays that {@link addPoints} overwrites. */
export interface SumScratch {
  /** One element more than additions. */
  readonly prefix: Float64Array;
  readonly few: Float64Array;
}

/** Scratch for up to `count` additions at once. */
export function sumScratch(count: number): SumScratch {
  return { prefix: new Float64Array((count + 1) * LIMBS), few: new Float64Array(7 * LIMBS) };
}

/**
 * sum(i) = sum(i) + other(i) for `count` pairs of points, with one inversion, and 5 products and a square per pair.
 *
 * No pair may be equal or opposite, or contain the neutral element, which has no affine form. Equal and opposite points
 * have the same x, which makes the product of all differences zero.
 *
 * @returns Whether that product was not zero. If it was zero, `sum` is unchanged.
 */
export function addPoints(
  sum: Float64Array,
  sumAt: number,
  other: Float64Array,
  otherAt: number,
  count: number,
  scratch: SumScratch,
): boolean {
  const { prefix, few } = scratch;
  const running = 0;
  const inverse = LIMBS;
  const slope = 2 * LIMBS;
  const product = count * LIMBS;
  // Forward: prefix(i) is the product of the differences x2 - x1 before i.
  setSmall(prefix, 0, 1);
  for (let i = 0; i < count; i++) {
    const p = sumAt + i * POINT;
    const q = otherAt + i * POINT;
    multiplyDifference(prefix, (i + 1) * LIMBS, other, q, sum, p, prefix, i * LIMBS);
  }
  if (isZeroElement(prefix, product) === 1) return false;
  invert(few, running, prefix, product, few.subarray(3 * LIMBS));
  // Backward: running is the inverse of the product of the differences up to i.
  for (let i = count - 1; i >= 0; i--) {
    const p = sumAt + i * POINT;
    const q = otherAt + i * POINT;
    multiply(few, inverse, few, running, prefix, i * LIMBS);
    multiplyDifference(few, running, other, q, sum, p, few, running);
    // k = (y2 - y1) / (x2 - x1); x3 = k^2 - x1 - x2; y3 = k (x2 - x3) - y2
    multiplyDifference(few, slope, other, q + LIMBS, sum, p + LIMBS, few, inverse);
    squareMinusTwo(sum, p, few, slope, sum, p, other, q);
    multiplyDifferenceMinus(sum, p + LIMBS, other, q, sum, p, few, slope, other, q + LIMBS);
  }
  return true;
}

/**
 * The group of edwards25519 (RFC 8032, section 5.1) on plain integers: for points and signatures that no library
 * makes. Slow, and not for secrets.
 */
import { createHash } from 'node:crypto';

const P = 2n ** 255n - 19n;

/** The order of the base point. */
export const GROUP_ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;

const modulo = (n, modulus) => ((n % modulus) + modulus) % modulus;

function power(base, exponent) {
  let [result, square] = [1n, modulo(base, P)];
  for (let rest = exponent; rest > 0n; rest >>= 1n) {
    if (rest & 1n) result = (result * square) % P;
    square = (square * square) % P;
  }
  return result;
}

/** By the extended Euclidean algorithm. */
function inverse(n) {
  let [a, b, x, y] = [modulo(n, P), P, 1n, 0n];
  while (a > 1n) {
    const quotient = b / a;
    [a, b, x, y] = [b - quotient * a, a, y - quotient * x, x];
  }
  return modulo(x, P);
}

const D = modulo(-121665n * inverse(121666n), P);

/** Little-endian bytes as a number. */
export function toNumber(bytes) {
  return BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`);
}

/** A number as 32 little-endian bytes. */
export function toBytes(number) {
  return Buffer.from(number.toString(16).padStart(64, '0'), 'hex').reverse();
}

/** The point that bytes stand for, also where y is not reduced. */
export function decode(bytes) {
  const number = toNumber(bytes);
  const y = (number & (2n ** 255n - 1n)) % P;
  const square = modulo((y * y - 1n) * inverse(D * y * y + 1n), P);
  let x = power(square, (P + 3n) / 8n);
  if ((x * x) % P !== square) x = (x * power(2n, (P - 1n) / 4n)) % P;
  if ((x * x) % P !== square) throw new Error('no point');
  return { x: (x & 1n) === number >> 255n ? x : modulo(-x, P), y };
}

export function encode({ x, y }) {
  return toBytes(y | ((x & 1n) << 255n));
}

export function add(one, other) {
  const product = D * one.x * other.x * one.y * other.y;
  // One inversion for both coordinates.
  const inverted = inverse((1n + product) * (1n - product));
  return {
    x: modulo((one.x * other.y + other.x * one.y) * (1n - product) * inverted, P),
    y: modulo((one.y * other.y + one.x * other.x) * (1n + product) * inverted, P),
  };
}

export function multiply(number, point) {
  let [result, double] = [{ x: 0n, y: 1n }, point];
  for (let rest = number; rest > 0n; rest >>= 1n) {
    if (rest & 1n) result = add(result, double);
    double = add(double, double);
  }
  return result;
}

export const BASE_POINT = decode(Buffer.from(`58${'66'.repeat(31)}`, 'hex'));

/** The secret scalar of a seed. */
export function scalarOf(seedBytes) {
  const half = createHash('sha512').update(seedBytes).digest().subarray(0, 32);
  half[0] &= 248;
  half[31] = (half[31] & 127) | 64;
  return toNumber(half);
}

/** k = SHA-512(R || A || M) mod l. */
export function challenge(r, publicKey, message) {
  return toNumber(createHash('sha512').update(r).update(publicKey).update(message).digest()) % GROUP_ORDER;
}

/** R || S with S = nonce + k a: what R and the public key are beyond multiples of the base point is left out. */
export function signAround(r, nonce, publicKey, scalar, message) {
  return Buffer.concat([r, toBytes((nonce + challenge(r, publicKey, message) * scalar) % GROUP_ORDER)]);
}

/** Which of the two equations of RFC 8032, section 5.1.7 a signature satisfies. */
export function equations(publicKey, message, signature) {
  const [r, s] = [signature.subarray(0, 32), signature.subarray(32)];
  const left = multiply(toNumber(s), BASE_POINT);
  const right = add(decode(r), multiply(challenge(r, publicKey, message), decode(publicKey)));
  const equal = (one, other) => one.x === other.x && one.y === other.y;
  return {
    cofactored: equal(multiply(8n, left), multiply(8n, right)),
    cofactorless: equal(left, right),
  };
}

/** The scheme by `node:crypto`, with every step open to be done wrongly. */
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  hkdfSync,
} from 'node:crypto';
import { encode } from './file.mjs';

const PRIVATE_PREFIX = Buffer.from('302e020100300506032b656e04220420', 'hex');
const PUBLIC_PREFIX = Buffer.from('302a300506032b656e032100', 'hex');

function privateKeyObject(bytes) {
  return createPrivateKey({ key: Buffer.concat([PRIVATE_PREFIX, bytes]), format: 'der', type: 'pkcs8' });
}

/** X25519(private, 9). */
export function publicKeyOf(privateKey) {
  const der = createPublicKey(privateKeyObject(privateKey)).export({ format: 'der', type: 'spki' });
  return Buffer.from(der.subarray(-32));
}

/** X25519. OpenSSL refuses points of small order; for those the secret is all zero, by definition. */
export function agree(privateKey, publicKey) {
  const key = createPublicKey({
    key: Buffer.concat([PUBLIC_PREFIX, publicKey]),
    format: 'der',
    type: 'spki',
  });
  return diffieHellman({ privateKey: privateKeyObject(privateKey), publicKey: key });
}

/** AES key, MAC key and IV. */
export function derive(sharedSecret) {
  const bytes = Buffer.from(hkdfSync('sha256', sharedSecret, Buffer.alloc(32), Buffer.alloc(0), 80));
  return { aesKey: bytes.subarray(0, 32), macKey: bytes.subarray(32, 64), iv: bytes.subarray(64, 80) };
}

/** HMAC-SHA-256, all 32 bytes. The scheme's message is the empty string. */
export function hmac(key, message = Buffer.alloc(0)) {
  return createHmac('sha256', key).update(message).digest();
}

/** AES-256-CBC of whole blocks. */
export function encryptBlocks(aesKey, iv, blocks) {
  const cipher = createCipheriv('aes-256-cbc', aesKey, iv).setAutoPadding(false);
  return Buffer.concat([cipher.update(blocks), cipher.final()]);
}

/** The inverse of {@link encryptBlocks}. */
export function decryptBlocks(aesKey, iv, blocks) {
  const decipher = createDecipheriv('aes-256-cbc', aesKey, iv).setAutoPadding(false);
  return Buffer.concat([decipher.update(blocks), decipher.final()]);
}

/** PKCS#7 to blocks of 16 bytes. */
export function padded(bytes) {
  const filler = 16 - (bytes.length % 16);
  return Buffer.concat([bytes, Buffer.alloc(filler, filler)]);
}

/** All parts of a right encryption from its shared secret, for the caller to spoil. */
export function sealWithSecret(sharedSecret, plaintext) {
  const keys = derive(sharedSecret);
  return {
    ...keys,
    ciphertext: encryptBlocks(keys.aesKey, keys.iv, padded(plaintext)),
    mac: hmac(keys.macKey),
  };
}

/** A right `session_data`, as bytes and in wire form. */
export function seal(ephemeralPrivateKey, publicKey, plaintext) {
  const parts = sealWithSecret(agree(ephemeralPrivateKey, publicKey), plaintext);
  const ephemeral = publicKeyOf(ephemeralPrivateKey);
  return { ...parts, ephemeral, wire: wire(ephemeral, parts.ciphertext, parts.mac.subarray(0, 8)) };
}

/** `session_data` of bytes. */
export function wire(ephemeral, ciphertext, mac) {
  return { ephemeral: encode(ephemeral), ciphertext: encode(ciphertext), mac: encode(mac) };
}

const PRIME = 2n ** 255n - 19n;

/** 32 bytes, little-endian. */
export function littleEndian(number) {
  return Buffer.from(number.toString(16).padStart(64, '0'), 'hex').reverse();
}

/** The same u with bit 255 set, which X25519 ignores. */
export function withHighBit(u) {
  const copy = Buffer.from(u);
  copy[31] |= 0x80;
  return copy;
}

/** u = p + n: another spelling of n, for n below 19. */
export function nonCanonical(n) {
  return littleEndian(PRIME + BigInt(n));
}

/** The seven encodings of points of small order below 2^255. */
export const LOW_ORDER_POINTS = [
  ['u = 0', littleEndian(0n)],
  ['u = 1', littleEndian(1n)],
  [
    'order 8, the first',
    littleEndian(325606250916557431795983626356110631294008115727848805560023387167927233504n),
  ],
  [
    'order 8, the second',
    littleEndian(39382357235489614581723060781553021112529911719440698176882885853963445705823n),
  ],
  ['u = p - 1', littleEndian(PRIME - 1n)],
  ['u = p, which is 0', littleEndian(PRIME)],
  ['u = p + 1, which is 1', littleEndian(PRIME + 1n)],
];

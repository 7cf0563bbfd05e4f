import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  hkdfSync,
  pbkdf2,
  timingSafeEqual,
  type KeyObject,
} from 'node:crypto';
import type { Backend, Encapsulated, Sealed } from '../engine/backend.js';
import { concat, wipe } from '../engine/bytes.js';
import { encapsulateMany as encapsulateManyPurely } from '../engine/x25519.js';

/**
 * From so many agreements with one recipient on, the pure tables of the engine beat OpenSSL, which needs two whole
 * ladders and a key import (about 75 µs) for each.
 */
const TABLES_FROM = 24;

const MAC_LENGTH = 8;
const NO_SALT = new Uint8Array(32);
const EMPTY = new Uint8Array(0);
const BASE_POINT = Uint8Array.of(9, ...new Uint8Array(31));

/**
 * node:crypto behind the engine's seam: OpenSSL's X25519 for decryption and small encryptions, its HKDF, AES, HMAC
 * and PBKDF2 for everything. Large encryptions stay with the engine's tables, which are faster.
 *
 * The calls were chosen by measurement (Node 20.20 and 22.23, microseconds a call):
 * diffieHellman with ready KeyObjects 26; a public key from JWK 4.3 / 1.9, from DER 63 / 4.9; a private key from
 * JWK 21 / 19, from DER 290 / 22. The ephemeral public key is a second diffieHellman, with base point 9, because
 * generateKeyPairSync with a JWK export hung in 7 of 10 runs of 50,000 on Node 20. hkdfSync 8.3, the same from four
 * HMACs 7.4: the one call is kept.
 *
 * @returns A frozen object without state; one serves everybody.
 *
 * @example
 * ```ts
 * import { BackupDecryptionKey, decryptSessions, type BackupRecord } from 'megolm-backup';
 * import { nodeBackend } from 'megolm-backup/node';
 *
 * async function restore(records: BackupRecord[], key: BackupDecryptionKey) {
 *   for await (const result of decryptSessions(records, key, { backend: nodeBackend() })) console.log(result.ok);
 * }
 * ```
 */
export function nodeBackend(): Backend {
  return Object.freeze({
    name: 'node:crypto',
    // These are asynchronous because the seam is: OpenSSL itself answers at once.
    encapsulateMany: (recipient: Uint8Array, ephemeralPrivateKeys: Uint8Array) =>
      Promise.resolve(encapsulateMany(recipient, ephemeralPrivateKeys)),
    agreeMany: (privateKey: Uint8Array, publicKeys: Uint8Array) =>
      Promise.resolve(agreeMany(privateKey, publicKeys)),
    seal,
    open,
    pbkdf2: derive,
  });
}

function encapsulateMany(recipient: Uint8Array, ephemeralPrivateKeys: Uint8Array): Encapsulated {
  if (ephemeralPrivateKeys.length >= 32 * TABLES_FROM)
    return encapsulateManyPurely(recipient, ephemeralPrivateKeys);
  const basePoint = importPublicKey(BASE_POINT);
  const publicKey = importPublicKey(recipient);
  const ephemeralPublicKeys = new Uint8Array(ephemeralPrivateKeys.length);
  const sharedSecrets = new Uint8Array(ephemeralPrivateKeys.length);
  for (let i = 0; i < ephemeralPrivateKeys.length; i += 32) {
    const privateKey = importPrivateKey(ephemeralPrivateKeys.subarray(i, i + 32));
    agree(privateKey, basePoint, ephemeralPublicKeys, i);
    agree(privateKey, publicKey, sharedSecrets, i);
  }
  return { ephemeralPublicKeys, sharedSecrets };
}

function agreeMany(privateKey: Uint8Array, publicKeys: Uint8Array): Uint8Array {
  const imported = importPrivateKey(privateKey);
  const sharedSecrets = new Uint8Array(publicKeys.length);
  for (let i = 0; i < publicKeys.length; i += 32) {
    agree(imported, importPublicKey(publicKeys.subarray(i, i + 32)), sharedSecrets, i);
  }
  return sharedSecrets;
}

/** Leaves 32 zero bytes where the public key is of low order, for which OpenSSL throws. */
function agree(privateKey: KeyObject, publicKey: KeyObject, into: Uint8Array, offset: number): void {
  try {
    const secret = diffieHellman({ privateKey, publicKey });
    into.set(secret, offset);
    wipe(secret);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== LOW_ORDER) throw error;
  }
}

/** What Node says when OpenSSL refuses an all-zero shared secret. Nothing else may pass for a low-order key. */
const LOW_ORDER = 'ERR_OSSL_FAILED_DURING_DERIVATION';

function importPrivateKey(bytes: Uint8Array): KeyObject {
  // `x` has to be there, and is not looked at.
  const key = { kty: 'OKP', crv: 'X25519', x: base64url(BASE_POINT), d: base64url(bytes) };
  return createPrivateKey({ key, format: 'jwk' });
}

function importPublicKey(bytes: Uint8Array): KeyObject {
  return createPublicKey({ key: { kty: 'OKP', crv: 'X25519', x: base64url(bytes) }, format: 'jwk' });
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64url');
}

interface DerivedKeys {
  readonly all: Uint8Array;
  readonly aesKey: Uint8Array;
  readonly iv: Uint8Array;
  /** All 32 bytes of HMAC-SHA-256 of the EMPTY string; the wire has the first 8. It covers no ciphertext. */
  readonly mac: Uint8Array;
}

function deriveKeys(sharedSecret: Uint8Array): DerivedKeys {
  const all = new Uint8Array(hkdfSync('sha256', sharedSecret, NO_SALT, EMPTY, 80));
  const mac = createHmac('sha256', all.subarray(32, 64)).digest();
  return { all, aesKey: all.subarray(0, 32), iv: all.subarray(64, 80), mac };
}

function seal(sharedSecret: Uint8Array, plaintext: Uint8Array): Sealed {
  const { all, aesKey, iv, mac } = deriveKeys(sharedSecret);
  const cipher = createCipheriv('aes-256-cbc', aesKey, iv);
  const ciphertext = concat(cipher.update(plaintext), cipher.final());
  wipe(all);
  return { ciphertext, mac: Uint8Array.from(mac.subarray(0, MAC_LENGTH)) };
}

function open(sharedSecret: Uint8Array, ciphertext: Uint8Array, mac: Uint8Array): Uint8Array | undefined {
  const { all, aesKey, iv, mac: whole } = deriveKeys(sharedSecret);
  let padded: Uint8Array | undefined;
  if (timingSafeEqual(whole.subarray(0, mac.length), mac)) {
    const decipher = createDecipheriv('aes-256-cbc', aesKey, iv).setAutoPadding(false);
    padded = concat(decipher.update(ciphertext), decipher.final());
  }
  wipe(all);
  return padded;
}

/** OpenSSL cannot be interrupted and says nothing until it is done; the engine stops waiting when aborted. */
const derive: NonNullable<Backend['pbkdf2']> = (passphrase, salt, iterations, length, { onProgress }) =>
  new Promise((resolve, reject) => {
    pbkdf2(passphrase, salt, iterations, length, 'sha512', (error, key) => {
      if (error) {
        reject(error);
        return;
      }
      onProgress?.({ done: iterations, total: iterations, failed: 0 });
      resolve(Uint8Array.from(key));
      wipe(key);
    });
  });

/**
 * The expensive operations by node:crypto.
 *
 * @packageDocumentation
 */

import { hasTable } from '../curve25519/x25519.js';
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  pbkdf2,
  type KeyObject,
} from 'node:crypto';
import { pureBackend, type CompleteBackend } from '../batch/backend.js';
import { concat, equal, plainBytes, wipe } from '../encoding/bytes.js';
import { isLowOrder } from '../curve25519/edwards.js';
import { deriveKeys, MAC_LENGTH } from '../scheme/session-data.js';
import { pkcs8 } from './pkcs8.js';

/**
 * From this many agreements with one recipient on, a table of its multiples beats OpenSSL, which needs two ladders and a
 * key import for each: 95 µs, against 3 ms for the table and 45 µs for each agreement.
 */
const TABLE_FROM = 64;

/** The same where the table exists already. */
const KEPT_TABLE_FROM = 3;

/** The major version. */
const NODE = Number(process.versions.node.split('.')[0]);

/** From this many bytes on, OpenSSL's AES beats pure JavaScript: setting up a cipher takes 2 µs, but 13 µs on Node 24. */
const AES_FROM = NODE >= 24 ? 1024 : 0;

const BASE_POINT = Uint8Array.of(9, ...new Uint8Array(31));

/**
 * node:crypto: OpenSSL's X25519 for decryption and small encryptions, its AES and PBKDF2. Large encryptions stay with
 * the engine's tables, which are faster, and so do HKDF and the MAC of such short inputs.
 *
 * Microseconds a call on Node 20.20, 22.23 and 24.21: diffieHellman 30, 27, 29; a public key from JWK 5.6, 2.9, 26, from
 * DER 69, 5.1, 28; a private key from JWK 31, 28, 52, from DER 311, 29, 53; HKDF and the MAC by node:crypto 8.9, 6.0, 20,
 * by the engine 8.8, 6.7, 6.7. A private key is never made from JWK, which would leave it behind in a string; so on Node
 * 20 all encryptions stay with the engine. The ephemeral public key is a second diffieHellman, with base point 9, because
 * generateKeyPairSync with a JWK export hung in 7 of 10 runs of 50,000 on Node 20.
 *
 * @returns A frozen object without state, to be shared freely.
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
export function nodeBackend(): CompleteBackend {
  return Object.freeze({ name: 'node:crypto', encapsulateMany, agreeMany, seal, open, pbkdf2: derive });
}

const encapsulateMany: CompleteBackend['encapsulateMany'] = (recipient, ephemeralPrivateKeys) => {
  if (NODE < 22) return pureBackend.encapsulateMany(recipient, ephemeralPrivateKeys);
  const tableFrom = hasTable(recipient) ? KEPT_TABLE_FROM : TABLE_FROM;
  if (ephemeralPrivateKeys.length >= 32 * tableFrom)
    return pureBackend.encapsulateMany(recipient, ephemeralPrivateKeys);
  const basePoint = importPublicKey(BASE_POINT);
  const publicKey = importPublicKey(recipient);
  const ephemeralPublicKeys = new Uint8Array(ephemeralPrivateKeys.length);
  const sharedSecrets = new Uint8Array(ephemeralPrivateKeys.length);
  try {
    for (let i = 0; i < ephemeralPrivateKeys.length; i += 32) {
      const privateKey = importPrivateKey(ephemeralPrivateKeys.subarray(i, i + 32));
      agree(privateKey, basePoint, ephemeralPublicKeys, i);
      agree(privateKey, publicKey, sharedSecrets, i);
    }
    return { ephemeralPublicKeys, sharedSecrets };
  } catch (error) {
    wipe(sharedSecrets);
    throw error;
  }
};

const agreeMany: CompleteBackend['agreeMany'] = (privateKey, publicKeys) => {
  const imported = importOnce(privateKey);
  const sharedSecrets = new Uint8Array(publicKeys.length);
  try {
    for (let i = 0; i < publicKeys.length; i += 32) {
      agree(imported, importPublicKey(publicKeys.subarray(i, i + 32)), sharedSecrets, i);
    }
    return sharedSecrets;
  } catch (error) {
    wipe(sharedSecrets);
    throw error;
  }
};

/** A public key for OpenSSL, and its bytes. */
interface PublicKey {
  readonly object: KeyObject;
  readonly bytes: Uint8Array;
}

/** Leaves 32 zero bytes where the public key is of low order, for which OpenSSL throws. */
function agree(privateKey: KeyObject, publicKey: PublicKey, into: Uint8Array, offset: number): void {
  try {
    const secret = diffieHellman({ privateKey, publicKey: publicKey.object });
    into.set(secret, offset);
    wipe(secret);
  } catch (error) {
    // Not by the error's code: each runtime has its own, and no other failure may pass for a low-order key.
    if (!isLowOrder(publicKey.bytes)) throw error;
  }
}

/** The key imported from an array, and the hash of the array's bytes then. */
const imports = new WeakMap<Uint8Array, { readonly hash: Buffer; readonly object: KeyObject }>();

/** Imports a key once while its array stays the same: a batch passes it with every chunk. */
function importOnce(bytes: Uint8Array): KeyObject {
  const hash = createHash('sha256').update(bytes).digest();
  const known = imports.get(bytes);
  if (known?.hash.equals(hash)) return known.object;
  const object = importPrivateKey(bytes);
  imports.set(bytes, { hash, object });
  return object;
}

/** As DER, which can be wiped: a JWK holds the key in a string. */
function importPrivateKey(bytes: Uint8Array): KeyObject {
  const key = pkcs8(bytes);
  try {
    return createPrivateKey({ key: key as Buffer, format: 'der', type: 'pkcs8' });
  } finally {
    wipe(key);
  }
}

function importPublicKey(bytes: Uint8Array): PublicKey {
  const key = { kty: 'OKP', crv: 'X25519', x: base64url(bytes) };
  return { object: createPublicKey({ key, format: 'jwk' }), bytes };
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64url');
}

const seal: CompleteBackend['seal'] = (sharedSecret, plaintext) => {
  if (plaintext.length < AES_FROM) return pureBackend.seal(sharedSecret, plaintext);
  const keys = deriveKeys(sharedSecret);
  const { aesKey, iv, mac } = keys;
  try {
    const cipher = createCipheriv('aes-256-cbc', aesKey, iv);
    return { ciphertext: concat(cipher.update(plaintext), cipher.final()), mac: mac.slice(0, MAC_LENGTH) };
  } finally {
    wipe(keys.all);
  }
};

const open: CompleteBackend['open'] = (sharedSecret, ciphertext, mac) => {
  if (ciphertext.length < AES_FROM) return pureBackend.open(sharedSecret, ciphertext, mac);
  const keys = deriveKeys(sharedSecret);
  const { aesKey, iv, mac: whole } = keys;
  try {
    if (!equal(whole.subarray(0, mac.length), mac)) return undefined;
    const decipher = createDecipheriv('aes-256-cbc', aesKey, iv).setAutoPadding(false);
    // Without padding `update` gives every block, and `final` adds nothing.
    const padded = plainBytes(decipher.update(ciphertext));
    decipher.final();
    return padded;
  } finally {
    wipe(keys.all);
  }
};

/** OpenSSL cannot be interrupted; on abort the engine stops waiting. */
const derive: CompleteBackend['pbkdf2'] = (passphrase, salt, iterations, length) =>
  new Promise((resolve, reject) => {
    pbkdf2(passphrase, salt, iterations, length, 'sha512', (error, key) => {
      if (error) {
        reject(error);
        return;
      }
      resolve(Uint8Array.from(key));
      wipe(key);
    });
  });

/**
 * The expensive operations by node:crypto.
 *
 * @packageDocumentation
 */

import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  hkdfSync,
  pbkdf2,
  type KeyObject,
} from 'node:crypto';
import { promisify } from 'node:util';
import { pureBackend, type CompleteBackend } from '../batch/backend.js';
import { concat, copyBytes, equal, plainBytes, wipe } from '../encoding/bytes.js';
import { isLowOrder } from '../curve25519/edwards.js';
import { BASE_POINT, isWorthATable } from '../curve25519/x25519.js';
import { deriveKeys, MAC_LENGTH } from '../scheme/session-data.js';
import { pkcs8 } from './pkcs8.js';

/** From this many bytes on, OpenSSL's AES beats pure JavaScript: setting up a cipher takes 2 µs, but 13 µs on Node 24. */
const AES_FROM = Number(process.versions.node.split('.')[0]) >= 24 ? 1024 : 0;

/**
 * node:crypto: OpenSSL's X25519, its AES and PBKDF2. From the 24th session to one recipient on, encryption takes the
 * engine's tables, which beat two ladders and a key import of OpenSSL; HKDF and the MAC of such short inputs are the
 * engine's too.
 *
 * Microseconds a call on Node 20.20, 22.23 and 24.21: diffieHellman 30, 27, 29; a public key from JWK 5.6, 2.9, 26, from
 * DER 69, 5.1, 28; HKDF and the MAC by node:crypto 8.9, 6.0, 20, by the engine 8.8, 6.7, 6.7. A private key is never made
 * from JWK, which would leave it behind in a string.
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
  return Object.freeze({
    ...pureBackend,
    name: 'node:crypto',
    encapsulateMany,
    agreeMany,
    seal,
    open,
    pbkdf2: derivePassphrase,
    aesCtr,
    hmacSha256,
  });
}

/** OpenSSL's ladders need no warming up: the first two in JavaScript take as long as libolm with its module to compile. */
const encapsulateMany: CompleteBackend['encapsulateMany'] = (recipient, ephemeralPrivateKeys) => {
  const { length } = ephemeralPrivateKeys;
  if (isWorthATable(recipient, length / 32))
    return pureBackend.encapsulateMany(recipient, ephemeralPrivateKeys);
  const made = { ephemeralPublicKeys: new Uint8Array(length), sharedSecrets: new Uint8Array(length) };
  try {
    for (let i = 0; i < length; i += 32) {
      const privateKey = importPrivateKey(ephemeralPrivateKeys.subarray(i, i + 32));
      agree(privateKey, BASE_POINT, made.ephemeralPublicKeys, i);
      agree(privateKey, recipient, made.sharedSecrets, i);
    }
    return made;
  } catch (error) {
    wipe(made.sharedSecrets);
    throw error;
  }
};

const agreeMany: CompleteBackend['agreeMany'] = (privateKey, publicKeys) => {
  const imported = importOnce(privateKey);
  const sharedSecrets = new Uint8Array(publicKeys.length);
  try {
    for (let i = 0; i < publicKeys.length; i += 32) {
      agree(imported, publicKeys.subarray(i, i + 32), sharedSecrets, i);
    }
    return sharedSecrets;
  } catch (error) {
    wipe(sharedSecrets);
    throw error;
  }
};

/** Leaves 32 zero bytes where the public key is of low order, for which OpenSSL throws. */
function agree(privateKey: KeyObject, bytes: Uint8Array, into: Uint8Array, offset: number): void {
  const publicKey = importPublicKey(bytes);
  try {
    const secret = diffieHellman({ privateKey, publicKey });
    into.set(secret, offset);
    wipe(secret);
  } catch (error) {
    // Not by the error's code: each runtime has its own, and no other failure may pass for a low-order key.
    if (!isLowOrder(bytes)) throw error;
  }
}

/** The last key that was imported, until the garbage collector takes it, and its hash. */
let last: { readonly hash: Buffer; readonly object: WeakRef<KeyObject> } | undefined;

/** Imports a key once for many chunks: a batch passes it with each, and in workers each comes with a copy. */
function importOnce(bytes: Uint8Array): KeyObject {
  const hash = createHash('sha256').update(bytes).digest();
  const known = last?.hash.equals(hash) === true ? last.object.deref() : undefined;
  if (known) return known;
  const object = importPrivateKey(bytes);
  last = { hash, object: new WeakRef(object) };
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

function importPublicKey(bytes: Uint8Array): KeyObject {
  const x = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64url');
  return createPublicKey({ key: { kty: 'OKP', crv: 'X25519', x }, format: 'jwk' });
}

/** Texts of which OpenSSL does all: JavaScript that never ran takes some milliseconds. */
const COLD = 16;
let texts = 0;

/** Counts a text, and tells whether pure JavaScript does all of it. */
function isWarmAndShort({ length }: Uint8Array): boolean {
  texts++;
  return texts > COLD && length < AES_FROM;
}

/** As {@link deriveKeys}. */
function derive(sharedSecret: Uint8Array): ReturnType<typeof deriveKeys> {
  if (texts > COLD) return deriveKeys(sharedSecret);
  const all = new Uint8Array(112);
  const [aesKey, macKey, iv, mac] = [0, 32, 64, 80].map((at, i) =>
    all.subarray(at, at + [32, 32, 16, 32][i]),
  );
  all.set(new Uint8Array(hkdfSync('sha256', sharedSecret, new Uint8Array(32), '', 80)));
  mac.set(createHmac('sha256', macKey).digest());
  return { aesKey, iv, mac, all };
}

const seal: CompleteBackend['seal'] = (sharedSecret, plaintext) => {
  if (isWarmAndShort(plaintext)) return pureBackend.seal(sharedSecret, plaintext);
  const keys = derive(sharedSecret);
  const { aesKey, iv, mac } = keys;
  try {
    const cipher = createCipheriv('aes-256-cbc', aesKey, iv);
    return { ciphertext: concat(cipher.update(plaintext), cipher.final()), mac: mac.slice(0, MAC_LENGTH) };
  } finally {
    wipe(keys.all);
  }
};

const open: CompleteBackend['open'] = (sharedSecret, ciphertext, mac) => {
  if (isWarmAndShort(ciphertext)) return pureBackend.open(sharedSecret, ciphertext, mac);
  const keys = derive(sharedSecret);
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

const aesCtr: NonNullable<CompleteBackend['aesCtr']> = (key, counter, bytes) =>
  plainBytes(createCipheriv('aes-256-ctr', key, counter).update(bytes));

const hmacSha256: NonNullable<CompleteBackend['hmacSha256']> = (key) => createHmac('sha256', key);

/** OpenSSL cannot be interrupted; on abort the engine stops waiting. */
const derivePassphrase: CompleteBackend['pbkdf2'] = async (passphrase, salt, iterations, length) => {
  const key = await promisify(pbkdf2)(passphrase, salt, iterations, length, 'sha512');
  const bytes = copyBytes(key);
  wipe(key);
  return bytes;
};

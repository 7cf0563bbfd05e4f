/**
 * The expensive operations by the browser's own WebCrypto.
 *
 * @packageDocumentation
 */

import type { Backend, CompleteBackend } from '../batch/backend.js';
import { concat, equal, wipe } from '../encoding/bytes.js';
import { aesCtr as aesCtrInJavaScript } from '../formats/aes-ctr.js';
import { agreeMany as agreeManyInJavaScript, publicKeyOf } from '../curve25519/x25519.js';
import { pbkdf2Sha512 } from '../scheme/passphrase.js';
import { pkcs8 } from './pkcs8.js';

/**
 * The browser's own X25519, which works on threads of its own: with many agreements under way it decrypts faster
 * than pure JavaScript. Agreements, PBKDF2 and the AES of key exports gain: HKDF and AES of a room key take longer through
 * promises than in pure JavaScript, and for encryption the engine's tables are faster.
 *
 * Where the browser has no X25519, or its results differ from the engine's, every operation is done in pure JavaScript
 * instead. The browser is not asked before the first operation.
 *
 * @returns A frozen object. What the browser can do is found out once.
 *
 * @example
 * ```ts
 * import { BackupDecryptionKey, decryptSessions, type BackupRecord } from 'megolm-backup';
 * import { webCryptoBackend } from 'megolm-backup/webcrypto';
 *
 * async function restore(records: BackupRecord[], key: BackupDecryptionKey) {
 *   for await (const result of decryptSessions(records, key, { backend: webCryptoBackend() })) console.log(result.ok);
 * }
 * ```
 */
export function webCryptoBackend(): Backend & Pick<CompleteBackend, 'agreeMany'> {
  return Object.freeze({
    name: 'WebCrypto',
    pipeline: { chunk: 256, depth: 2 },
    agreeMany,
    aesCtr,
    // Pure JavaScript tells how far it is, so it is named where there is no WebCrypto.
    get pbkdf2() {
      const subtle = findSubtle();
      return subtle ? derive.bind(undefined, subtle) : pbkdf2Sha512;
    },
  });
}

/** The part of `crypto.subtle` that is used. */
interface Subtle {
  generateKey(algorithm: object, extractable: boolean, usages: string[]): Promise<unknown>;
  importKey(
    format: string,
    data: Uint8Array,
    algorithm: object,
    extractable: boolean,
    usages: string[],
  ): Promise<object>;
  deriveBits(algorithm: object, key: object, length: number): Promise<ArrayBuffer>;
  encrypt(algorithm: object, key: object, data: Uint8Array): Promise<ArrayBuffer>;
}

const X25519 = { name: 'X25519' };

let capability: Promise<boolean> | undefined;

/** Whether WebCrypto here has an X25519 with the engine's results. Tested once, by using it. */
export function webCryptoHasX25519(): Promise<boolean> {
  return (capability ??= probe());
}

async function probe(): Promise<boolean> {
  const subtle = findSubtle();
  if (!subtle) return false;
  try {
    await subtle.generateKey(X25519, false, ['deriveBits']);
    const privateKey = Uint8Array.from({ length: 32 }, (_, i) => (i * 151 + 89) & 255);
    // A point of large order and one of small order, whose rejection must be told from other failures.
    const publicKeys = concat(publicKeyOf(privateKey), new Uint8Array(32));
    const sharedSecrets = await agreeManyNatively(subtle, privateKey, publicKeys);
    return equal(sharedSecrets, agreeManyInJavaScript(privateKey, publicKeys));
  } catch {
    return false;
  }
}

async function agreeMany(privateKey: Uint8Array, publicKeys: Uint8Array): Promise<Uint8Array> {
  const subtle = findSubtle();
  if (subtle && (await webCryptoHasX25519())) {
    try {
      return await agreeManyNatively(subtle, privateKey, publicKeys);
    } catch {
      // The engine does it instead, whatever the reason.
    }
  }
  return agreeManyInJavaScript(privateKey, publicKeys);
}

/** All at once: the browser queues them for its own threads. */
async function agreeManyNatively(
  subtle: Subtle,
  privateKey: Uint8Array,
  publicKeys: Uint8Array,
): Promise<Uint8Array> {
  // WebCrypto imports no raw private keys.
  const encoded = pkcs8(privateKey);
  const importing = subtle.importKey('pkcs8', encoded, X25519, false, ['deriveBits']);
  const imported = await importing.finally(() => {
    wipe(encoded);
  });
  const sharedSecrets = new Uint8Array(publicKeys.length);
  const agree = async (offset: number) => {
    const bytes = publicKeys.subarray(offset, offset + 32);
    const publicKey = await subtle.importKey('raw', bytes, X25519, false, []);
    const secret = await deriveOrZero(subtle, imported, publicKey);
    sharedSecrets.set(secret, offset);
    wipe(secret);
  };
  const agreements: Promise<void>[] = [];
  for (let offset = 0; offset < publicKeys.length; offset += 32) agreements.push(agree(offset));
  try {
    await Promise.all(agreements);
    return sharedSecrets;
  } catch (error) {
    // Wait for the last, which could write after the wiping.
    await Promise.allSettled(agreements);
    wipe(sharedSecrets);
    throw error;
  }
}

/** 32 zero bytes where the public key is of low order, for which WebCrypto gives an OperationError. */
async function deriveOrZero(subtle: Subtle, privateKey: object, publicKey: object): Promise<Uint8Array> {
  try {
    return new Uint8Array(await subtle.deriveBits({ ...X25519, public: publicKey }, privateKey, 256));
  } catch (error) {
    if ((error as Error).name === 'OperationError') return new Uint8Array(32);
    throw error;
  }
}

/** The browser cannot be interrupted; on abort the engine stops waiting. */
async function derive(
  subtle: Subtle,
  ...[passphrase, salt, iterations, length, options]: Parameters<CompleteBackend['pbkdf2']>
): Promise<Uint8Array> {
  try {
    const key = await subtle.importKey('raw', passphrase, { name: 'PBKDF2' }, false, ['deriveBits']);
    const algorithm = { name: 'PBKDF2', hash: 'SHA-512', salt, iterations };
    return new Uint8Array(await subtle.deriveBits(algorithm, key, 8 * length));
  } catch {
    return pbkdf2Sha512(passphrase, salt, iterations, length, options);
  }
}

/** For pieces of some kilobytes: a call takes longer than a block. */
async function aesCtr(...task: Parameters<NonNullable<Backend['aesCtr']>>): Promise<Uint8Array> {
  const [raw, counter, bytes] = task;
  const subtle = findSubtle();
  try {
    if (subtle) {
      const name = 'AES-CTR';
      const key = await subtle.importKey('raw', raw, { name }, false, ['encrypt']);
      return new Uint8Array(await subtle.encrypt({ name, counter, length: 128 }, key, bytes));
    }
  } catch {
    // Pure JavaScript does it instead, whatever the reason.
  }
  return aesCtrInJavaScript(...task);
}

/** Absent outside secure contexts. */
function findSubtle(): Subtle | undefined {
  return (globalThis as { crypto?: { subtle?: Subtle } }).crypto?.subtle;
}

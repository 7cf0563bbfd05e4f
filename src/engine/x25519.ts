import { x25519 } from '@noble/curves/ed25519.js';
import { randomBytes } from '@noble/hashes/utils.js';
import type { Encapsulated } from './backend.js';

/**
 * X25519 in pure JavaScript: the default behind the seam of {@link Backend}. Keys travel many to an array, 32
 * bytes each. A point of low order gives 32 zero bytes here; who asks has to refuse them (`low-order-key`).
 */

/** `count` private keys from the platform's secure generator, 32 bytes each. */
export function generatePrivateKeys(count: number): Uint8Array {
  const keys = new Uint8Array(32 * count);
  // getRandomValues gives at most 64 KiB a call.
  for (let i = 0; i < keys.length; i += 65536) keys.set(randomBytes(Math.min(65536, keys.length - i)), i);
  return keys;
}

/** X25519(private key, 9): 32 bytes. */
export function publicKeyOf(privateKey: Uint8Array): Uint8Array {
  return x25519.getPublicKey(privateKey);
}

/** One agreement for each ephemeral private key with one recipient. */
export function encapsulateMany(recipient: Uint8Array, ephemeralPrivateKeys: Uint8Array): Encapsulated {
  const ephemeralPublicKeys = new Uint8Array(ephemeralPrivateKeys.length);
  const sharedSecrets = new Uint8Array(ephemeralPrivateKeys.length);
  for (let i = 0; i < ephemeralPrivateKeys.length; i += 32) {
    const privateKey = ephemeralPrivateKeys.subarray(i, i + 32);
    ephemeralPublicKeys.set(publicKeyOf(privateKey), i);
    sharedSecrets.set(agree(privateKey, recipient), i);
  }
  return { ephemeralPublicKeys, sharedSecrets };
}

/** One private key's agreement with each public key. */
export function agreeMany(privateKey: Uint8Array, publicKeys: Uint8Array): Uint8Array {
  const sharedSecrets = new Uint8Array(publicKeys.length);
  for (let i = 0; i < publicKeys.length; i += 32) {
    sharedSecrets.set(agree(privateKey, publicKeys.subarray(i, i + 32)), i);
  }
  return sharedSecrets;
}

function agree(privateKey: Uint8Array, publicKey: Uint8Array): Uint8Array {
  try {
    return x25519.getSharedSecret(privateKey, publicKey);
  } catch {
    // With arrays of 32 bytes the one thing left to throw for is a low-order point.
    return new Uint8Array(32);
  }
}

import { copyBytes, equal } from '../encoding/bytes.js';
import { TABLE_FROM, encapsulateWithTable, hasTable, publicKeysOf, type Encapsulated } from './fixed-base.js';
import { ladderMany } from './montgomery-ladder.js';

/**
 * X25519 in pure JavaScript: the default behind the seam of {@link Backend}. Keys travel many to an array, 32
 * bytes each. A point of low order gives 32 zero bytes here; who asks has to refuse them (`low-order-key`).
 *
 * Multiples of the base point, and of a recipient, come from a table as soon as there are enough of them to pay for
 * it; all else is a ladder.
 */

export type { Encapsulated };

let lastRecipient: Uint8Array | undefined;
/** Counted from the last change of recipient. */
let agreements = 0;

interface SecureGenerator {
  getRandomValues?(array: Uint8Array): unknown;
}

/** `count` private keys from the platform's secure generator, 32 bytes each. */
export function generatePrivateKeys(count: number): Uint8Array {
  const { crypto } = globalThis as { crypto?: SecureGenerator };
  if (typeof crypto?.getRandomValues !== 'function')
    throw new Error('crypto.getRandomValues must be defined');
  const keys = new Uint8Array(32 * count);
  // In place, so that no copy stays behind; at most 64 KiB a call.
  for (let i = 0; i < keys.length; i += 65536) crypto.getRandomValues(keys.subarray(i, i + 65536));
  return keys;
}

/** X25519(private key, 9): 32 bytes. */
export function publicKeyOf(privateKey: Uint8Array): Uint8Array {
  return publicKeysOf(privateKey);
}

/** One agreement for each ephemeral private key with one recipient. */
export function encapsulateMany(recipient: Uint8Array, ephemeralPrivateKeys: Uint8Array): Encapsulated {
  if (isWorthATable(recipient, ephemeralPrivateKeys.length / 32)) {
    return encapsulateWithTable(recipient, ephemeralPrivateKeys);
  }
  return {
    ephemeralPublicKeys: publicKeysOf(ephemeralPrivateKeys),
    sharedSecrets: ladderMany(ephemeralPrivateKeys, recipient),
  };
}

/** One private key's agreement with each public key. */
export function agreeMany(privateKey: Uint8Array, publicKeys: Uint8Array): Uint8Array {
  return ladderMany(privateKey, publicKeys);
}

function isWorthATable(recipient: Uint8Array, count: number): boolean {
  if (hasTable(recipient)) return true;
  if (lastRecipient === undefined || !equal(recipient, lastRecipient)) {
    lastRecipient = copyBytes(recipient);
    agreements = 0;
  }
  agreements += count;
  return agreements >= TABLE_FROM;
}

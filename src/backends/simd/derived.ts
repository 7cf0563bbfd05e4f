import { cbc } from '@noble/ciphers/aes.js';
import type { CompleteBackend } from '../../batch/backend.js';
import { equal, plainBytes, wipe } from '../../encoding/bytes.js';
import { MAC_LENGTH, deriveKeys } from '../../scheme/session-data.js';

/** What is derived from a secret: the AES key (32 bytes), the IV (16) and the HMAC of the EMPTY string (32). */

/** Bytes of it. */
export const DERIVED = 80;

/** From this many bytes on, another backend's AES may be faster by more than the derivation takes. */
const LONG = 1024;

function partsOf(derived: Uint8Array, slot: number) {
  const at = DERIVED * slot;
  const [aesKey, iv, mac] = [
    derived.subarray(at, at + 32),
    derived.subarray(at + 32, at + 48),
    derived.subarray(at + 48, at + 80),
  ];
  return { aesKey, iv, mac };
}

/** Whether what is in a slot is what pure JavaScript derives from the secret. */
export function areDerived(derived: Uint8Array, slot: number, sharedSecret: Uint8Array): boolean {
  const own = partsOf(derived, slot);
  const { all, ...expected } = deriveKeys(sharedSecret);
  const names = ['aesKey', 'iv', 'mac'] as const;
  const areSame = names.map((name) => equal(own[name], expected[name])).every((isSame) => isSame);
  wipe(all);
  return areSame;
}

/** `seal` with derived keys. */
export function sealWith(derived: Uint8Array, slot: number, other: CompleteBackend): CompleteBackend['seal'] {
  return (sharedSecret, plaintext) => {
    if (plaintext.length >= LONG) return other.seal(sharedSecret, plaintext);
    const { aesKey, iv, mac } = partsOf(derived, slot);
    return { ciphertext: cbc(aesKey, iv).encrypt(plainBytes(plaintext)), mac: mac.slice(0, MAC_LENGTH) };
  };
}

/** `open` with derived keys. */
export function openWith(derived: Uint8Array, slot: number, other: CompleteBackend): CompleteBackend['open'] {
  return (sharedSecret, ciphertext, mac) => {
    if (ciphertext.length >= LONG) return other.open(sharedSecret, ciphertext, mac);
    const own = partsOf(derived, slot);
    if (!equal(own.mac.subarray(0, mac.length), mac)) return undefined;
    return cbc(own.aesKey, own.iv, { disablePadding: true }).decrypt(ciphertext);
  };
}

import { plainBytes } from './bytes.js';
import { ed25519 } from './edwards25519.js';
import { KeyBackupError } from './errors.js';

/** Ed25519 by RFC 8032, verified strictly. */

/** The public key of a 32-byte seed: 32 bytes. */
export function publicSigningKeyOf(seed: Uint8Array): Uint8Array {
  return ed25519().getPublicKey(seed);
}

/** The signature of a message: 64 bytes. */
export function sign(seed: Uint8Array, message: Uint8Array): Uint8Array {
  return ed25519().sign(plainBytes(message), seed);
}

/**
 * Whether a key has signed a message, as RFC 8032 says and not as the library says by default: that would accept
 * a key of small order, which "signs" messages nobody ever signed.
 *
 * @param publicKey - 32 bytes.
 * @param signature - 64 bytes.
 */
export function isSignedBy(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  try {
    if (ed25519().Point.fromBytes(publicKey, false).isSmallOrder()) return false;
    return ed25519().verify(signature, message, publicKey, { zip215: false });
  } catch {
    // What is no point of the curve has signed nothing.
    return false;
  }
}

/** @throws {@link KeyBackupError} `bad-signature` unless {@link isSignedBy}. */
export function expectSignedBy(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): void {
  if (!isSignedBy(publicKey, message, signature)) {
    throw new KeyBackupError(
      'bad-signature',
      'signature: expected one by this key over this message, got another',
    );
  }
}

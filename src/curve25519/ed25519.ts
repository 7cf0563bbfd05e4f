import { plainBytes } from '../encoding/bytes.js';
import { ed25519 } from './edwards.js';
import { KeyBackupError } from '../errors.js';

/** Ed25519 by RFC 8032. */

/** The public key of a 32-byte seed: 32 bytes. */
export function publicSigningKeyOf(seed: Uint8Array): Uint8Array {
  return ed25519().getPublicKey(seed);
}

/** The signature of a message: 64 bytes. */
export function sign(seed: Uint8Array, message: Uint8Array): Uint8Array {
  return ed25519().sign(plainBytes(message), seed);
}

/**
 * Whether a key has signed a message, by RFC 8032, section 5.1.7, and only where every verifier says so.
 *
 * That section allows two equations: `8 S B = 8 R + 8 k A`, which the library checks, and `S B = R + k A`, which
 * libolm, vodozemac and OpenSSL check. They differ where A or R has a part of small order: the first always ignores
 * it, the second accepts where `R + k A` happens to cancel it, which for a key of mixed order is about one message in
 * eight. So A and R have to be of the prime order l. Between such points the two equations are one; signers that
 * follow section 5.1.6 make no others. Points of small order, with which anything is "signed" by nobody, are refused
 * with the rest. Bytes have to be canonical (section 5.1.3): y below p, no sign where x is 0, S below l.
 *
 * @see https://www.rfc-editor.org/rfc/rfc8032#section-5.1.7
 * @param publicKey - A, 32 bytes.
 * @param signature - R and S, 64 bytes.
 */
export function isSignedBy(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  try {
    return (
      ed25519().verify(signature, message, publicKey, { zip215: false }) &&
      hasPrimeOrder(publicKey) &&
      hasPrimeOrder(signature.subarray(0, 32))
    );
  } catch {
    // Bytes of another length.
    return false;
  }
}

function hasPrimeOrder(bytes: Uint8Array): boolean {
  const point = ed25519().Point.fromBytes(bytes, false);
  return !point.is0() && point.isTorsionFree();
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

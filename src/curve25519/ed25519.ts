import { plainBytes } from '../encoding/bytes.js';
import { ed25519 } from './edwards.js';
import { KeyBackupError } from '../errors.js';

/** The Ed25519 public key (RFC 8032) of a 32-byte seed: 32 bytes. */
export function publicSigningKeyOf(seed: Uint8Array): Uint8Array {
  return ed25519().getPublicKey(seed);
}

/** The signature of a message: 64 bytes. */
export function sign(seed: Uint8Array, message: Uint8Array): Uint8Array {
  return ed25519().sign(plainBytes(message), seed);
}

/**
 * Whether a key signed a message, by RFC 8032, section 5.1.7. True only if every verifier accepts the signature.
 *
 * That section allows two equations: `8 S B = 8 R + 8 k A`, which noble checks, and `S B = R + k A`, which libolm,
 * vodozemac and OpenSSL check. They differ if A or R has a component of small order: the first ignores it, the second
 * accepts only if `R + k A` happens to cancel it, for a key of mixed order in about one message of eight. So A and R must
 * have the prime order l. For such points the equations are equivalent, and signers that follow section 5.1.6 make no
 * others. This also rejects points of small order, which verify forged signatures. Encodings must be canonical (section
 * 5.1.3): y below p, no sign where x is 0, S below l.
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
    // A wrong length.
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

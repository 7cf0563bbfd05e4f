import { ed25519Signer, type Signer, type SigningKey } from './auth-data.js';
import { base64Decode, base64Encode } from './base64.js';
import { expectBytes } from './bytes.js';
import { publicSigningKeyOf } from './ed25519.js';

/**
 * The user's cross-signing master key, from the secret `m.cross_signing.master`.
 *
 * What a server says is the master key proves nothing; the one whose seed lies in the user's own secret storage is
 * theirs. Its signature makes a backup trusted, and it can sign one made here.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#cross-signing
 */
export interface MasterKey {
  /** Goes into the trusted keys of `verifyAuthData`. */
  readonly signingKey: SigningKey;
  /** Signs an `auth_data` as the master key. The seed stays in memory as long as this does. */
  readonly signer: (userId: string) => Signer;
}

/**
 * Reads the secret `m.cross_signing.master`.
 *
 * @param secret - Base64 of 32 bytes, the Ed25519 seed; padded or not.
 * @throws {@link KeyBackupError} `bad-base64`, `bad-length`; `bad-json` for what is no string.
 *
 * @example
 * ```ts
 * import { BackupDecryptionKey, createAuthData, readMasterKey, signAuthData, verifyAuthData } from 'megolm-backup';
 *
 * const master = readMasterKey('BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc'); // out of the secret storage
 * const userId = '@alice:example.org';
 * const authData = signAuthData(createAuthData(BackupDecryptionKey.generate().publicKey), [master.signer(userId)]);
 * console.log(verifyAuthData(authData, { userId, trustedKeys: [master.signingKey] }).by); // signature
 * ```
 */
export function readMasterKey(secret: string): MasterKey {
  // What is no string is the decoder's to refuse.
  const text: unknown = typeof secret === 'string' ? secret.trim() : secret;
  const seed = expectBytes(base64Decode(text, 'm.cross_signing.master'), 32, 'm.cross_signing.master');
  const publicKey = base64Encode(publicSigningKeyOf(seed));
  return {
    signingKey: { keyId: `ed25519:${publicKey}`, publicKey },
    signer: (userId) => ed25519Signer(userId, seed),
  };
}

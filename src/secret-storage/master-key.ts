import { ed25519Signer, type Signer, type SigningKey } from '../scheme/auth-data.js';
import { base64Decode, base64Encode } from '../encoding/base64.js';
import { expectBytes, wipe, DISPOSE, SecretBytes } from '../encoding/bytes.js';
import { publicSigningKeyOf } from '../curve25519/ed25519.js';

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
  /**
   * Signs an `auth_data` as the master key. Every signer has a copy of the seed, which the caller disposes of. Throws
   * `bad-parameters` after {@link MasterKey.dispose}.
   */
  readonly signer: (userId: string) => Signer;
  /** Overwrites the seed, not those of the signers. */
  readonly dispose: () => void;
  /** The same, for `using`. */
  readonly [DISPOSE]: () => void;
}

/**
 * Reads the secret `m.cross_signing.master`.
 *
 * @param secret - Base64 of 32 bytes, the Ed25519 seed; padded or not, white space around it ignored.
 * @returns The key; the caller disposes of it.
 * @throws {@link KeyBackupError} `bad-base64`, `bad-length`; `bad-json` for what is no string.
 *
 * @example
 * ```ts
 * import { BackupDecryptionKey, createAuthData, readMasterKey, signAuthData, verifyAuthData } from 'megolm-backup';
 *
 * const master = readMasterKey('BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc'); // out of the secret storage
 * const userId = '@alice:example.org';
 * const signer = master.signer(userId);
 * const authData = signAuthData(createAuthData(BackupDecryptionKey.generate().publicKey), [signer]);
 * console.log(verifyAuthData(authData, { userId, trustedKeys: [master.signingKey] }).by); // signature
 * signer.dispose();
 * master.dispose();
 * ```
 */
export function readMasterKey(secret: string): MasterKey {
  // What is no string is the decoder's to refuse.
  const text: unknown = typeof secret === 'string' ? secret.trim() : secret;
  const seed = base64Decode(text, 'm.cross_signing.master');
  try {
    expectBytes(seed, 32, 'm.cross_signing.master');
  } catch (error) {
    wipe(seed);
    throw error;
  }
  const kept = new SecretBytes(seed, 'master key');
  const publicKey = base64Encode(publicSigningKeyOf(seed));
  const dispose = () => {
    kept.dispose();
  };
  return {
    signingKey: { keyId: `ed25519:${publicKey}`, publicKey },
    signer: (userId) => ed25519Signer(userId, kept.value),
    dispose,
    [DISPOSE]: dispose,
  };
}

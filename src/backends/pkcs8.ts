import { concat } from '../encoding/bytes.js';

/** The PKCS#8 header of an X25519 private key (RFC 8410, section 7). */
const PREFIX = [48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 110, 4, 34, 4, 32];

/** An X25519 private key in the one form that every platform reads. The caller wipes it. */
export function pkcs8(privateKey: Uint8Array): Uint8Array {
  return concat(Uint8Array.from(PREFIX), privateKey);
}

import { pureBackend, type Backend } from '../batch/backend.js';
import { hasSimd, simdBackend } from './simd/index.js';
import { webCryptoBackend, webCryptoHasX25519 } from './webcrypto.js';

/** The fastest backend on one thread of a browser. */
export async function localBackend(): Promise<Backend> {
  const otherwise = (await webCryptoHasX25519()) ? webCryptoBackend() : pureBackend;
  // Asked now, because WebCrypto wants other chunks.
  return (await hasSimd()) ? simdBackend({ otherwise }) : otherwise;
}

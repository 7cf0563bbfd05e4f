import { pureBackend, type Backend } from '../batch/backend.js';
import { webCryptoBackend, webCryptoHasX25519 } from './webcrypto.js';

/** The fastest backend on one thread of a browser. */
export async function localBackend(): Promise<Backend> {
  const otherwise = (await webCryptoHasX25519()) ? webCryptoBackend() : pureBackend;
  try {
    const { hasSimd, simdBackend } = await import('./simd/index.js');
    // Asked now, because WebCrypto wants other chunks.
    return (await hasSimd()) ? simdBackend({ otherwise }) : otherwise;
  } catch {
    // The file is not where the bundler put it.
    return otherwise;
  }
}

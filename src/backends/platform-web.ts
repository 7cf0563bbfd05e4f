import { pureBackend, type Backend } from '../batch/backend.js';
import type { WorkerListener, WorkerThread } from './platform.js';
import { webCryptoBackend, webCryptoHasX25519 } from './webcrypto.js';
import { transferOf, type Job, type Reply } from './worker-protocol.js';

/** `#platform` for browsers. */

/** The part of the web's Worker that is used. */
interface WebWorker {
  postMessage(message: unknown, transfer: ArrayBuffer[]): void;
  terminate(): void;
  onmessage: ((event: { data: Reply }) => void) | null;
  onerror: ((event: { message?: string }) => void) | null;
  onmessageerror: (() => void) | null;
}

declare const Worker: new (url: URL, options: { type: 'module' }) => WebWorker;

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

export function processors(): number {
  const { navigator } = globalThis as { navigator?: { hardwareConcurrency?: number } };
  return typeof Worker === 'undefined' ? 0 : (navigator?.hardwareConcurrency ?? 2);
}

export function startWorker(listener: WorkerListener, url?: URL): WorkerThread {
  // Written so that bundlers find the file.
  const worker = url
    ? new Worker(url, { type: 'module' })
    : new Worker(new URL('./worker-web.js', import.meta.url), { type: 'module' });
  worker.onmessage = ({ data }) => {
    listener.onReply(data);
  };
  worker.onerror = ({ message }) => {
    listener.onDeath(new Error(message ?? 'the worker could not be loaded'));
  };
  worker.onmessageerror = () => {
    listener.onDeath(new Error('a message from the worker could not be read'));
  };
  return {
    post(job: Job) {
      worker.postMessage(job, transferOf(job));
    },
    // Workers do not keep a page alive.
    hold: () => undefined,
    terminate() {
      worker.terminate();
    },
  };
}

import type { WorkerListener, WorkerThread } from './platform.js';
import { threadOf, type WebWorker } from './web-worker.js';

/** `#platform` for browsers. */

export { localBackend } from './local-web.js';

declare const Worker: new (url: URL, options: { type: 'module' }) => WebWorker;

export function processors(): number {
  const { navigator } = globalThis as { navigator?: { hardwareConcurrency?: number } };
  return typeof Worker === 'undefined' ? 0 : (navigator?.hardwareConcurrency ?? 2);
}

export function startWorker(listener: WorkerListener, url?: URL): WorkerThread {
  // Written so that bundlers find the file.
  const worker = url
    ? new Worker(url, { type: 'module' })
    : new Worker(new URL('./worker-web.js', import.meta.url), { type: 'module' });
  return threadOf(worker, listener);
}

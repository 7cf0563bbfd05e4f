import type { WorkerListener, WorkerThread } from '../../src/backends/platform.js';
import { threadOf, type WebWorker } from '../../src/backends/web-worker.js';

/** `#platform` for the page: its worker starts others that run the same code. */

export { localBackend } from '../../src/backends/local-web.js';

let workerUrl = '';

/** Sets the code of the workers. A page that was opened as a file cannot give its own worker a URL for it. */
export function setWorkerCode(code: Blob): void {
  workerUrl = URL.createObjectURL(code);
}

/** The page's worker and two others: more would only take memory, since the first reads and seals what all decrypt. */
export function processors(): number {
  return workerUrl === '' ? 0 : Math.min(3, navigator.hardwareConcurrency);
}

/** They end with the worker that started them. */
export function startWorker(listener: WorkerListener): WorkerThread {
  return threadOf(new Worker(workerUrl) as unknown as WebWorker, listener);
}

import type { WorkerListener, WorkerThread } from './platform.js';
import { transferOf, type Job, type Reply } from './worker-protocol.js';

/** The part of the web's Worker that is used. */
export interface WebWorker {
  postMessage(message: unknown, transfer: ArrayBuffer[]): void;
  terminate(): void;
  onmessage: ((event: { data: Reply }) => void) | null;
  onerror: ((event: { message?: string; preventDefault?: () => void }) => void) | null;
  onmessageerror: (() => void) | null;
}

/** A worker of the web as the thread that started it sees it. */
export function threadOf(worker: WebWorker, listener: WorkerListener): WorkerThread {
  worker.onmessage = ({ data }) => {
    listener.onReply(data);
  };
  worker.onerror = (event) => {
    const { message } = event;
    // Handled here: it is no uncaught error of this thread too.
    event.preventDefault?.();
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

import type { Backend } from '../batch/backend.js';
import type { Job, Reply } from './worker-protocol.js';

/**
 * Where the runtimes differ. The import `#platform` is one of the three files beside this one, chosen by the conditions in
 * package.json, so that a bundle for browsers contains nothing of Node's.
 */

/** A worker, as the thread that started it sees it. */
export interface WorkerThread {
  post(job: Job): void;
  /** Whether it keeps the process alive. */
  hold(holding: boolean): void;
  terminate(): void;
}

/** Receives what a worker sends. Jobs are answered in the order in which they were posted. */
export interface WorkerListener {
  onReply(reply: Reply): void;
  /** It could not start, or died. No reply follows. */
  onDeath(reason: unknown): void;
}

/** What each of the three files exports. */
export interface Platform {
  /** The fastest backend on one thread. */
  localBackend(): Promise<Backend>;
  /** How many workers can work at the same time; 0 where there are none. */
  processors(): number;
  /** @param url - The worker's file, if a bundler moved it. */
  startWorker(listener: WorkerListener, url?: URL): WorkerThread;
}

import type { Backend } from '../batch/backend.js';
import type { Job, Reply } from './worker-protocol.js';

/**
 * What the runtimes differ in. The import `#platform` means one of the three files beside this one, chosen by the
 * conditions in package.json, so that a bundle for browsers never holds a word of Node's.
 */

/** A worker from the side of who started it. */
export interface WorkerThread {
  post(job: Job): void;
  /** Whether it keeps the process alive. */
  hold(holding: boolean): void;
  terminate(): void;
}

/** Who started a worker hears from it here. Jobs are answered in the order in which they were posted. */
export interface WorkerListener {
  onReply(reply: Reply): void;
  /** It could not start, or died; nothing comes from it any more. */
  onDeath(reason: unknown): void;
}

/** What each of the three files exports. */
export interface Platform {
  /** What is fastest on one thread here. */
  localBackend(): Promise<Backend>;
  /** How many workers can work at the same time; 0 where there are none. */
  processors(): number;
  /** @param url - The worker's file, where a bundler moved it. */
  startWorker(listener: WorkerListener, url?: URL): WorkerThread;
}

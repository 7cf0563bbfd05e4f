import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { Backend } from '../batch/backend.js';
import { nodeBackend } from './node.js';
import { simdBackend } from './simd/index.js';
import type { WorkerListener, WorkerThread } from './platform.js';
import { transferOf, type Job, type Reply } from './worker-protocol.js';

/** `#platform` for Node and compatible runtimes. */

/** The compiler of earlier versions keeps too few vectors in registers: OpenSSL's ladder is faster there. */
const SIMD_FROM = 24;

export function localBackend(): Promise<Backend> {
  const otherwise = nodeBackend();
  const version = Number(process.versions.node.split('.')[0]);
  return Promise.resolve(version < SIMD_FROM ? otherwise : simdBackend({ otherwise }));
}

export function processors(): number {
  return availableParallelism();
}

/** A worker's garbage is young. Without this limit each worker would collect 48 MB of it and be no faster. */
const LIMITS = { maxYoungGenerationSizeMb: 16 };

export function startWorker(listener: WorkerListener, url?: URL): WorkerThread {
  const worker = new Worker(url ?? new URL('./worker-node.js', import.meta.url), {
    resourceLimits: LIMITS,
    // Not the hooks and debuggers that the process was started with. NODE_OPTIONS stays: Yarn's resolver is in it.
    execArgv: [],
  });
  worker.on('message', (reply: Reply) => {
    listener.onReply(reply);
  });
  const die = (reason: unknown) => {
    listener.onDeath(reason);
  };
  worker.on('error', die);
  worker.on('messageerror', die);
  worker.on('exit', (code) => {
    die(new Error(`the worker ended with exit code ${code}`));
  });
  return {
    post(job: Job) {
      worker.postMessage(job, transferOf(job));
    },
    hold(holding) {
      if (holding) worker.ref();
      else worker.unref();
    },
    terminate() {
      void worker.terminate();
    },
  };
}

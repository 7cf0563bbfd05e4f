import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { Backend } from '../batch/backend.js';
import { nodeBackend } from './node.js';
import { simdBackend } from './simd/index.js';
import type { WorkerListener, WorkerThread } from './platform.js';
import { transferOf, type Job, type Reply } from './worker-protocol.js';

/** `#platform` for Node and compatible runtimes. */

export function localBackend(): Promise<Backend> {
  return Promise.resolve(backendOf(Number(process.versions.node.split('.')[0])));
}

/**
 * Earlier versions have no relaxed SIMD. The compiler of Node 22 keeps too few vectors in registers: OpenSSL's ladder is
 * faster there, but encryption by tables takes 0.7 of the time.
 */
function backendOf(version: number): Backend {
  const otherwise = nodeBackend();
  if (version < 22) return otherwise;
  const simd = simdBackend({ otherwise });
  return version < 24 ? { ...otherwise, name: simd.name, encryptMany: simd.encryptMany } : simd;
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

import { parentPort } from 'node:worker_threads';
import { nodeBackend } from './node.js';
import { perform, transferOf, type Job } from './worker-job.js';

/** The file that a worker thread of Node runs. One job after the other, in the order of their coming. */

const backend = nodeBackend();
let last: Promise<void> = Promise.resolve();

parentPort?.on('message', (job: Job) => {
  last = last.then(async () => {
    const reply = await perform(job, backend);
    parentPort?.postMessage(reply, transferOf(reply));
  });
});

import { localBackend } from './platform-web.js';
import { perform, transferOf, type Job, type Reply } from './worker-job.js';

/** The file that a browser's worker runs. One job after the other, in the order of their coming. */

interface Scope {
  onmessage: ((event: { data: Job }) => void) | null;
  postMessage(message: Reply, transfer: ArrayBuffer[]): void;
}

const scope = globalThis as unknown as Scope;
let last: Promise<void> = Promise.resolve();

scope.onmessage = ({ data: job }) => {
  last = last.then(async () => {
    const reply = await perform(job, await localBackend());
    scope.postMessage(reply, transferOf(reply));
  });
};

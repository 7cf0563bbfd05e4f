import { localBackend } from './local-web.js';
import { answering, type Job, type Reply } from './worker-protocol.js';

/** The file that a browser's worker runs. */

interface Scope {
  onmessage: ((event: { data: Job }) => void) | null;
  postMessage(message: Reply, transfer: ArrayBuffer[]): void;
}

const scope = globalThis as unknown as Scope;
const answer = answering(localBackend, (reply, transfer) => {
  scope.postMessage(reply, transfer);
});

scope.onmessage = ({ data }) => {
  answer(data);
};

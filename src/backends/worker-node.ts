import { parentPort } from 'node:worker_threads';
import { nodeBackend } from './node.js';
import { answering, type Reply } from './worker-protocol.js';

/** The file that a worker thread of Node runs. */

const backend = nodeBackend();
const post = (reply: Reply, transfer: ArrayBuffer[]) => parentPort?.postMessage(reply, transfer);

parentPort?.on(
  'message',
  answering(() => Promise.resolve(backend), post),
);

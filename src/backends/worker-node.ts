import { parentPort } from 'node:worker_threads';
import { localBackend } from './platform-node.js';
import { answering, type Reply } from './worker-protocol.js';

/** The file that a worker thread of Node runs. */

const post = (reply: Reply, transfer: ArrayBuffer[]) => parentPort?.postMessage(reply, transfer);

parentPort?.on('message', answering(localBackend, post));

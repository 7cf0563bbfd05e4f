import { localBackend } from '../../src/backends/local-web.js';
import { answering, type Job } from '../../src/backends/worker-protocol.js';
import type { Start } from './messages.js';
import { setWorkerCode } from './platform.js';
import { rescue } from './rescue.js';

/** The worker's side: one task of the page, or the jobs of a worker that has one. */

const answer = answering(localBackend, (reply, transfer) => {
  self.postMessage(reply, { transfer });
});

self.onmessage = ({ data }: MessageEvent<Start | Job>) => {
  if ('direction' in data) {
    answer(data);
    return;
  }
  setWorkerCode(data.workerCode);
  void rescue(data.task, (message) => {
    self.postMessage(message);
  });
};

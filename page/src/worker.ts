import type { Task } from './messages.js';
import { rescue } from './rescue.js';

/** The worker's side: one task, then the page ends it. */
self.onmessage = ({ data }: MessageEvent<Task>) => {
  void rescue(data, (answer) => {
    self.postMessage(answer);
  });
};

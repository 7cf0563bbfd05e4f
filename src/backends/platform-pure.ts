import { pureBackend, type Backend } from '../batch/backend.js';
import { KeyBackupError } from '../errors.js';
import type { WorkerThread } from './platform.js';

/** `#platform` for React Native and other runtimes without workers and `import.meta`. */

export function localBackend(): Promise<Backend> {
  return Promise.resolve(pureBackend);
}

export function processors(): number {
  return 0;
}

export function startWorker(): WorkerThread {
  throw new KeyBackupError('backend-failed', 'workers: expected a platform that has them');
}

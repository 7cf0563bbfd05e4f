/**
 * Whole sessions in workers, Node's or the browser's.
 *
 * @packageDocumentation
 */

import type { Backend } from '../batch/backend.js';
import { KeyBackupError, numberOr } from '../errors.js';
import { expectOptions } from '../encoding/arguments.js';
import { Pool, workerCount } from './pool.js';
import { pack, resultsOf } from './worker-protocol.js';

/** How to make a pool of workers. */
export interface WorkersOptions {
  /** How many workers. Default: one a processor, at most 8. */
  readonly count?: number | undefined;
  /** The worker's file, for bundlers that do not find it: a copy of `worker-web.js` or `worker-node.js`. */
  readonly url?: URL | undefined;
}

/** A backend with workers, to be disposed of. */
export interface WorkersBackend extends Backend {
  readonly encryptMany: NonNullable<Backend['encryptMany']>;
  readonly decryptMany: NonNullable<Backend['decryptMany']>;
  /**
   * Ends the workers. Operations under way and later ones fail with `backend-failed`. Idle workers do not keep a process
   * alive, so a program may also just end.
   */
  dispose(): void;
}

/** Keys in a message: few enough to keep several workers busy, enough that messages cost only 2 %. */
const CHUNK = 250;

/**
 * Encrypts and decrypts whole chunks in workers: Node's `worker_threads` or the browser's `Worker`. It pays from some
 * thousands of sessions on, because starting workers takes some tenths of a second. JSON stays on this thread. Results,
 * errors and order are the same.
 *
 * A worker that dies, or does not answer for over a minute, fails its operations with `backend-failed` and is replaced.
 *
 * @throws {@link KeyBackupError} `bad-parameters` for a `count` that is not 1 to 64.
 *
 * @example
 * ```ts
 * import { encryptSessions, type BackupPublicKey, type ExportedSessionData } from 'megolm-backup';
 * import { workersBackend } from 'megolm-backup/workers';
 *
 * async function backUp(sessions: ExportedSessionData[], publicKey: BackupPublicKey) {
 *   const backend = workersBackend({ count: 2 });
 *   try {
 *     for await (const result of encryptSessions(sessions, publicKey, { backend })) console.log(result.ok);
 *   } finally {
 *     backend.dispose();
 *   }
 * }
 * ```
 */
export function workersBackend(options: WorkersOptions = {}): WorkersBackend {
  expectOptions(options);
  const { count = workerCount(), url } = options;
  if (!Number.isInteger(count) || count < 1 || count > 64) {
    throw new KeyBackupError('bad-parameters', `count: expected 1 to 64 workers, got ${numberOr(count)}`);
  }
  const pool = new Pool(count, url);
  return Object.freeze({
    name: `${count} workers`,
    // Two for each worker, so that the next one waits there, and two being prepared.
    pipeline: { chunk: CHUNK, depth: 2 * count + 2 },
    async encryptMany(recipient, plaintexts, { signal }) {
      const job = { direction: 'encrypt', recipient, plaintexts: pack(plaintexts) } as const;
      return (await pool.run(job, signal)).sessionData;
    },
    async decryptMany(privateKey, parsed, { signal }) {
      const sessionData = pack(
        parsed.flatMap(({ ephemeral, ciphertext, mac }) => [ephemeral, ciphertext, mac]),
      );
      const salvage = parsed.map((one) => one.salvage);
      return resultsOf(await pool.run({ direction: 'decrypt', privateKey, sessionData, salvage }, signal));
    },
    dispose() {
      pool.dispose();
    },
  } satisfies WorkersBackend);
}

import { localBackend, processors } from '#platform';
import { decryptMany, encryptMany, type Backend } from '../batch/backend.js';
import {
  decryptSessions as decryptBatch,
  type BackupRecord,
  type DecryptResult,
  type DecryptSettings,
} from '../batch/decrypt.js';
import {
  encryptSessions as encryptBatch,
  type EncryptResult,
  type EncryptSettings,
} from '../batch/encrypt.js';
import type { BatchOptions, ChosenBackend, RunOptions } from '../batch/run.js';
import { isJsonObject } from '../encoding/json.js';
import { KeyBackupError } from '../errors.js';
import type { ExportedSessionData } from '../formats/room-key.js';
import type { BackupDecryptionKey, BackupPublicKey } from '../scheme/keys.js';
import { workersBackend, type WorkersBackend } from './workers.js';

/** The engine's batches by the fastest means that the platform has. */

/**
 * From this many sessions on, workers save more time than starting them takes. On two processors, pool started for the
 * batch, by OpenSSL: 5,000 took 500 ms instead of 420, 10,000 took 660 instead of 720, 20,000 1,000 instead of 1,380. SIMD
 * takes about half of the time, so what workers save comes to the same at twice as many.
 */
const WORKERS_FROM = 20_000;

/**
 * Encrypts sessions to a backup's public key by the fastest means of the platform: SIMD, else node:crypto on
 * Node, workers where 20,000 sessions or more are known to come, otherwise pure JavaScript.
 *
 * @param sessions - `ExportedSessionData`, in an array, an iterable or an async iterable. At most some
 * thousands are held at a time, so a caller who streams needs little memory.
 * @param options - `backend` overrides the choice: `pureBackend` from here, or one from `megolm-backup/node`, `megolm-backup/webcrypto` or `megolm-backup/workers`.
 * @returns One result per session, in order.
 * @throws {@link KeyBackupError} `aborted`; `backend-failed`; `wrong-key` for another backup's `macKey`;
 * `bad-parameters`; and whatever the input itself throws.
 *
 * @example
 * ```ts
 * import { BackupDecryptionKey, encryptSessions, type ExportedSessionData } from 'megolm-backup';
 *
 * async function backUp(sessions: ExportedSessionData[], key: BackupDecryptionKey) {
 *   for await (const result of encryptSessions(sessions, key.publicKey)) {
 *     if (result.ok) console.log(result.session_id, result.key_backup_data.session_data.mac);
 *     else console.error(result.session_id, result.error.code);
 *   }
 * }
 * ```
 */
export function encryptSessions(
  sessions: Iterable<ExportedSessionData> | AsyncIterable<ExportedSessionData>,
  publicKey: BackupPublicKey,
  options: BatchOptions & EncryptSettings = {},
): AsyncGenerator<EncryptResult, void, void> {
  return encryptBatch(sessions, publicKey, choosing(sessions, options));
}

/**
 * Decrypts records of a backup by the fastest means of the platform: SIMD, else node:crypto on Node and
 * WebCrypto in browsers that have X25519, workers where 20,000 records or more are known to come, otherwise pure JavaScript.
 * Every key that cannot be read comes out with the one reason why, and every key that can says whether it is
 * `authenticated`: only what carries a right `backup_mac`, and no declaration against it, is.
 *
 * @param records - In an array, an iterable or an async iterable; at most some thousands are held at a time.
 * @param key - The backup's decryption key; compare it with the `auth_data` first (`expectMatch`), or a wrong
 * key will show as `mac-mismatch` on every record.
 * @param options - `backend` overrides the choice.
 * @returns One result per record, in order.
 * @throws {@link KeyBackupError} `aborted`; `backend-failed`; `bad-parameters` when the key is disposed; and whatever
 * the input itself throws.
 *
 * @example
 * ```ts
 * import { BackupDecryptionKey, decryptSessions, type BackupRecord } from 'megolm-backup';
 *
 * async function restore(records: BackupRecord[], key: BackupDecryptionKey, auth_data: unknown) {
 *   key.expectMatch(auth_data); // a wrong key is one error, not one for every record
 *   for await (const result of decryptSessions(records, key)) {
 *     if (result.ok) console.log(result.session.session_id, result.authenticated);
 *     else console.error(result.session_id, result.error.code);
 *   }
 * }
 * ```
 */
export function decryptSessions(
  records: Iterable<BackupRecord> | AsyncIterable<BackupRecord>,
  key: BackupDecryptionKey,
  options: BatchOptions & DecryptSettings = {},
): AsyncGenerator<DecryptResult, void, void> {
  return decryptBatch(records, key, choosing(records, options));
}

/** Options with which a batch chooses its backend, unless the caller names one. */
function choosing<Options extends BatchOptions>(inputs: object, options: Options): Options & RunOptions {
  // Spreading another value would make an object of it, and hide it from the check.
  if (!isJsonObject(options)) return options;
  return { ...options, choose: () => choose(inputs, options) };
}

async function choose(inputs: object, options: BatchOptions): Promise<ChosenBackend> {
  const local = await localBackend();
  const total = options.total ?? (Array.isArray(inputs) ? inputs.length : 0);
  return total < WORKERS_FROM || processors() < 2 ? local : orLocally(workersBackend(), local);
}

/** Workers as long as they work: a policy may forbid them, and a bundle may lack their file. */
function orLocally(workers: WorkersBackend, local: Backend): WorkersBackend {
  let working = true;
  async function either<Result>(byWorkers: () => Promise<Result>, locally: () => Promise<Result>) {
    if (!working) return locally();
    try {
      return await byWorkers();
    } catch (error) {
      if (error instanceof KeyBackupError && error.code === 'aborted') throw error;
      working = false;
      return locally();
    }
  }
  return {
    ...workers,
    name: `${workers.name} or ${local.name}`,
    encryptMany: (...task) =>
      either(
        () => workers.encryptMany(...task),
        () => encryptMany(local, ...task),
      ),
    decryptMany: (...task) =>
      either(
        () => workers.decryptMany(...task),
        () => decryptMany(local, ...task),
      ),
  };
}

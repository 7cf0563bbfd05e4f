import { run, runSync, type BatchOptions, type Outcome } from './run.js';
import {
  decryption,
  encryption,
  type BackupRecord,
  type DecryptSettings,
  type DecryptedSession,
  type EncryptSettings,
  type EncryptedSession,
} from './directions.js';
import type { BackupDecryptionKey, BackupPublicKey } from '../scheme/keys.js';
import type { ExportedSessionData } from '../formats/room-key.js';

export type {
  BackupRecord,
  DecryptSettings,
  DecryptedSession,
  EncryptSettings,
  EncryptedSession,
  Provenance,
} from './directions.js';

/**
 * Many room keys at once: in order, one result per key, never an error thrown for one bad key. The expensive
 * agreements are made a chunk at a time; the thread is shared between chunks.
 */

/** One result of {@link encryptSessions}. */
export type EncryptResult = Outcome<EncryptedSession>;

/** One result of {@link decryptSessions}. */
export type DecryptResult = Outcome<DecryptedSession>;

/**
 * Encrypts one session to a backup's public key: the whole `KeyBackupData` and where it belongs.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#backup-algorithm-mmegolm_backupv1curve25519-aes-sha2
 * @param session - An `ExportedSessionData`; nothing about it is assumed, and it is not changed.
 * @param publicKey - The backup's, once it is known to be the user's own (`verifyAuthData`).
 * @throws {@link KeyBackupError} `missing-field`, `bad-json`, `unsupported-algorithm`, `bad-session-key`,
 * `session-id-mismatch`, `too-large`; `wrong-key` for another backup's `macKey`, `bad-parameters`.
 *
 * @example
 * ```ts
 * import { readFile } from 'node:fs/promises';
 * import { BackupDecryptionKey, decryptSession, encryptSession } from 'megolm-backup';
 *
 * const [session] = JSON.parse(await readFile('export.json', 'utf8'));
 * const key = BackupDecryptionKey.generate();
 * const record = encryptSession(session, key.publicKey);
 * const restored = decryptSession(record, key);
 * console.log(restored.session.session_key === session.session_key, restored.authenticity); // true no-mac
 * ```
 */
export function encryptSession(
  session: ExportedSessionData,
  publicKey: BackupPublicKey,
  settings: EncryptSettings = {},
): EncryptedSession {
  return only(encryptSessionsSync([session], publicKey, settings));
}

/**
 * Decrypts one record of a backup, and checks that it is the key of its session.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#backup-algorithm-mmegolm_backupv1curve25519-aes-sha2
 * @param record - The `KeyBackupData` as it came from the server, and the ids under which it stood there.
 * @param key - The backup's decryption key.
 * @throws {@link KeyBackupError} the codes of {@link decryptSessionData} and {@link readRoomKey};
 * `room-id-mismatch`; with `requireAuthenticated` also `not-authenticated`.
 */
export function decryptSession(
  record: BackupRecord,
  key: BackupDecryptionKey,
  options: DecryptSettings = {},
): DecryptedSession {
  return only(decryptSessionsSync([record], key, options));
}

function only<Output>([outcome]: Outcome<Output>[]): Output {
  if (!outcome.ok) throw outcome.error;
  const { ok: _ok, index: _index, ...output } = outcome;
  return output as unknown as Output;
}

/**
 * Encrypts sessions to a backup's public key.
 *
 * @param sessions - `ExportedSessionData`, in an array, an iterable or an async iterable. No more than some
 * hundreds are held at a time, so a caller who streams needs little memory.
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
  return run(sessions, () => encryption(publicKey, options), options);
}

/**
 * {@link encryptSessions} in one synchronous call, in pure JavaScript. It holds the thread until it is done.
 *
 * @returns One result per session, in order.
 * @throws {@link KeyBackupError} `wrong-key` for another backup's `macKey`; `bad-parameters`.
 */
export function encryptSessionsSync(
  sessions: Iterable<ExportedSessionData>,
  publicKey: BackupPublicKey,
  settings: EncryptSettings = {},
): EncryptResult[] {
  return runSync(sessions, encryption(publicKey, settings));
}

/**
 * Decrypts records of a backup. Every key that cannot be read comes out with the one reason why, and every key that
 * can says whether it is `authenticated`: only what carries a right `backup_mac`, and no declaration against it, is.
 *
 * @param records - In an array, an iterable or an async iterable; no more than some hundreds are held at a time.
 * @param key - The backup's decryption key; compare it with the `auth_data` first (`expectMatch`), or a wrong
 * key will show as `mac-mismatch` on every record.
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
  return run(records, () => decryption(key, options), options);
}

/**
 * {@link decryptSessions} in one synchronous call, in pure JavaScript. It holds the thread until it is done.
 *
 * @returns One result per record, in order.
 * @throws {@link KeyBackupError} `bad-parameters` when the key is disposed.
 */
export function decryptSessionsSync(
  records: Iterable<BackupRecord>,
  key: BackupDecryptionKey,
  options: DecryptSettings = {},
): DecryptResult[] {
  const direction = decryption(key, options);
  try {
    return runSync(records, direction);
  } finally {
    direction.dispose();
  }
}

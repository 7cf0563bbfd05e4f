import { wipe } from './bytes.js';
import { run, runSync, type BatchOptions, type Direction, type Outcome } from './chunks.js';
import { KeyBackupError } from './errors.js';
import { expectObject, expectString, ownValue } from './json.js';
import type { BackupDecryptionKey, BackupPublicKey } from './keys.js';
import {
  prepareRoomKey,
  readRoomKey,
  type ExportedSessionData,
  type KeyBackupData,
  type PreparedRoomKey,
  type RoomKeyFlag,
} from './room-key.js';
import {
  checkPlaintext,
  parseSessionData,
  type OpenedSessionData,
  type ParsedSessionData,
  type ReadOptions,
  type SessionData,
} from './session-data.js';
import { openingBy, openingSync, sealingBy, sealingSync } from './session-data-batch.js';

/**
 * Many room keys at once: in order, one result per key, never an error thrown for one bad key. The expensive
 * agreements are made a chunk at a time; the thread is shared between chunks.
 */

/** What encryption accepts besides. */
export interface EncryptSettings {
  /** `is_verified` of what is written: whether the device that gave the key was verified. Default false. */
  readonly isVerified?: boolean | ((session: ExportedSessionData) => boolean);
}

/** A session on its way into a backup. */
export interface EncryptedSession {
  readonly room_id: string;
  readonly session_id: string;
  readonly key_backup_data: KeyBackupData;
}

/** One result of {@link encryptSessions}. */
export type EncryptResult = Outcome<EncryptedSession>;

/** A record of a backup with the place it came from, nothing about it checked yet. */
export interface BackupRecord {
  readonly room_id: string;
  readonly session_id: string;
  /** The `KeyBackupData` as the server gave it. */
  readonly key_backup_data: unknown;
}

/** A session out of a backup. */
export interface DecryptedSession {
  readonly room_id: string;
  readonly session_id: string;
  readonly session: ExportedSessionData;
  /** What had to be overlooked; empty unless salvage was asked for and needed. */
  readonly flags: readonly RoomKeyFlag[];
}

/** One result of {@link decryptSessions}. */
export type DecryptResult = Outcome<DecryptedSession>;

/**
 * Encrypts one session to a backup's public key: the whole `KeyBackupData` and where it belongs.
 *
 * @throws {@link KeyBackupError} `missing-field`, `bad-json`, `unsupported-algorithm`, `bad-session-key`,
 * `session-id-mismatch`, `too-large`.
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
 * @throws {@link KeyBackupError} the codes of {@link decryptSessionData} and {@link readRoomKey}.
 */
export function decryptSession(
  record: BackupRecord,
  key: BackupDecryptionKey,
  options: ReadOptions = {},
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
 * @throws {@link KeyBackupError} `aborted`; `backend-failed`; and whatever the input itself throws.
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
export async function* encryptSessions(
  sessions: Iterable<ExportedSessionData> | AsyncIterable<ExportedSessionData>,
  publicKey: BackupPublicKey,
  options: BatchOptions & EncryptSettings = {},
): AsyncGenerator<EncryptResult, void, void> {
  yield* run(sessions, encryption(publicKey, options), options);
}

/**
 * {@link encryptSessions} in one synchronous call, in pure JavaScript. It holds the thread until it is done.
 *
 * @returns One result per session, in order.
 */
export function encryptSessionsSync(
  sessions: Iterable<ExportedSessionData>,
  publicKey: BackupPublicKey,
  settings: EncryptSettings = {},
): EncryptResult[] {
  return runSync(sessions, encryption(publicKey, settings));
}

/**
 * Decrypts records of a backup. Every key that cannot be read comes out with the one reason why.
 *
 * @param records - In an array, an iterable or an async iterable; no more than some hundreds are held at a time.
 * @param key - The backup's decryption key; compare it with the `auth_data` first (`expectMatch`), or a wrong
 * key will show as `mac-mismatch` on every record.
 * @returns One result per record, in order.
 * @throws {@link KeyBackupError} `aborted`; `backend-failed`; and whatever the input itself throws.
 */
export async function* decryptSessions(
  records: Iterable<BackupRecord> | AsyncIterable<BackupRecord>,
  key: BackupDecryptionKey,
  options: BatchOptions & ReadOptions = {},
): AsyncGenerator<DecryptResult, void, void> {
  const privateKey = key.toBytes();
  try {
    yield* run(records, decryption(privateKey, options), options);
  } finally {
    wipe(privateKey);
  }
}

/**
 * {@link decryptSessions} in one synchronous call, in pure JavaScript. It holds the thread until it is done.
 *
 * @returns One result per record, in order.
 */
export function decryptSessionsSync(
  records: Iterable<BackupRecord>,
  key: BackupDecryptionKey,
  options: ReadOptions = {},
): DecryptResult[] {
  const privateKey = key.toBytes();
  try {
    return runSync(records, decryption(privateKey, options));
  } finally {
    wipe(privateKey);
  }
}

function encryption(
  publicKey: BackupPublicKey,
  { isVerified = false }: EncryptSettings,
): Direction<ExportedSessionData, PreparedRoomKey, SessionData, EncryptedSession> {
  const recipient = publicKey.toBytes();
  return {
    before(session) {
      const prepared = prepareRoomKey(session);
      checkPlaintext(prepared.plaintext);
      return prepared;
    },
    workSync: (ready) => sealingSync(recipient, ready.map(plaintextOf)),
    work: (ready, backend, options) => sealingBy(backend, recipient, ready.map(plaintextOf), options),
    pipeline: ({ pipeline, encryptMany, encapsulateMany }) =>
      (encryptMany ?? encapsulateMany) ? pipeline : undefined,
    after(session, { room_id, session_id, plaintext: _, ...metadata }, session_data) {
      const is_verified = typeof isVerified === 'function' ? isVerified(session) : isVerified;
      return { room_id, session_id, key_backup_data: { ...metadata, is_verified, session_data } };
    },
  };
}

function plaintextOf({ plaintext }: PreparedRoomKey): Uint8Array {
  return plaintext;
}

function decryption(
  privateKey: Uint8Array,
  { salvage }: ReadOptions,
): Direction<BackupRecord, ParsedSessionData, OpenedSessionData, DecryptedSession> {
  return {
    before(input) {
      const record = expectObject(input, 'record');
      expectString(record, 'room_id', 'record');
      expectString(record, 'session_id', 'record');
      const keyBackupData = expectObject(ownValue(record, 'key_backup_data'), 'key_backup_data');
      const session_data = ownValue(keyBackupData, 'session_data');
      if (session_data === undefined) {
        throw new KeyBackupError(
          'missing-field',
          'key_backup_data.session_data: expected an object, got nothing',
        );
      }
      return parseSessionData(session_data, { salvage });
    },
    workSync: (ready) => openingSync(privateKey, ready),
    work: (ready, backend, options) => openingBy(backend, privateKey, ready, options),
    pipeline: ({ pipeline, decryptMany, agreeMany }) => ((decryptMany ?? agreeMany) ? pipeline : undefined),
    after({ room_id, session_id }, _, opened) {
      const { session, flags } = readRoomKey(opened.plaintext, room_id, session_id, { salvage });
      return { room_id, session_id, session, flags: [...opened.flags, ...flags] };
    },
  };
}

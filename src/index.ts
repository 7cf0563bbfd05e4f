/**
 * The engine: Matrix server-side key backup, algorithm `m.megolm_backup.v1.curve25519-aes-sha2`, as pure
 * functions over bytes and JSON. No input or output, no platform interfaces needed.
 *
 * @packageDocumentation
 */

export {
  KeyBackupError,
  type EngineCode,
  type KeyBackupErrorOptions,
  type RecoveryKeyCheck,
} from './engine/errors.js';
export type {
  AbortSignalLike,
  Backend,
  Encapsulated,
  Progress,
  Sealed,
  WaitOptions,
} from './engine/backend.js';
export { base64Decode, base64Encode } from './engine/base64.js';
export { canonicalJson } from './engine/canonical-json.js';
export { BackupDecryptionKey, BackupPublicKey } from './engine/keys.js';
export { decodeRecoveryKey, encodeRecoveryKey } from './engine/recovery-key.js';
export {
  MAX_ITERATIONS,
  derivePassphraseKey,
  type DeriveOptions,
  type PassphraseParameters,
} from './engine/passphrase.js';
export {
  MAX_PLAINTEXT_BYTES,
  decryptSessionData,
  encryptSessionData,
  type OpenedSessionData,
  type ReadOptions,
  type SessionData,
  type SessionDataFlag,
} from './engine/session-data.js';
export {
  MEGOLM_ALGORITHM,
  prepareRoomKey,
  readRoomKey,
  readSessionKey,
  type ExportedSessionData,
  type KeyBackupData,
  type PreparedRoomKey,
  type RestoredRoomKey,
  type RoomKeyFlag,
  type SessionKeyFacts,
} from './engine/room-key.js';
export {
  BACKUP_ALGORITHM,
  createAuthData,
  ed25519Signer,
  signAuthData,
  verifyAuthData,
  type AuthData,
  type AuthDataVerdict,
  type SignatureState,
  type SignatureVerdict,
  type Signer,
  type SigningKey,
  type VerifyOptions,
} from './engine/auth-data.js';
export type { BatchOptions, FailedSession, Outcome } from './engine/chunks.js';
export {
  decryptSession,
  decryptSessions,
  decryptSessionsSync,
  encryptSession,
  encryptSessions,
  encryptSessionsSync,
  type BackupRecord,
  type DecryptResult,
  type DecryptedSession,
  type EncryptResult,
  type EncryptSettings,
  type EncryptedSession,
} from './engine/batch.js';

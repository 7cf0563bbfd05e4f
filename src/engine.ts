/**
 * The engine alone: Matrix server-side key backup, algorithm `m.megolm_backup.v1.curve25519-aes-sha2`, as pure
 * functions over bytes and JSON. No input or output, no platform interfaces needed.
 *
 * @packageDocumentation
 */

export {
  KeyBackupError,
  type ErrorCode,
  type KeyBackupErrorOptions,
  type RecoveryKeyCheck,
} from './errors.js';
export type { AbortSignalLike, Progress, SignalOptions, WaitOptions } from './async.js';
export { pureBackend, type Backend, type CompleteBackend, type Pipeline } from './batch/backend.js';
export type { Encapsulated } from './curve25519/fixed-base.js';
export { base64Decode, base64Encode } from './encoding/base64.js';
export type { JsonObject } from './encoding/json.js';
export { canonicalJson } from './encoding/canonical-json.js';
export { BackupDecryptionKey, BackupPublicKey } from './scheme/keys.js';
export { decodeRecoveryKey, encodeRecoveryKey } from './scheme/recovery-key.js';
export {
  MAX_ITERATIONS,
  derivePassphraseKey,
  type DeriveOptions,
  type PassphraseParameters,
  type Pbkdf2Backend,
} from './scheme/passphrase.js';
export {
  MAX_PLAINTEXT_BYTES,
  decryptSessionData,
  encryptSessionData,
  type OpenedSessionData,
  type ParsedSessionData,
  type ReadOptions,
  type Sealed,
  type SessionData,
  type SessionDataFlag,
} from './scheme/session-data.js';
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
} from './formats/room-key.js';
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
} from './scheme/auth-data.js';
export {
  BACKUP_MAC_SECRET,
  BackupMacKey,
  addBackupMac,
  checkBackupMac,
  type Authenticity,
  type MacNames,
} from './scheme/backup-mac.js';
export type { UnauthenticatedSource } from './scheme/provenance.js';
export type { BatchOptions, FailedSession, Outcome } from './batch/run.js';
export {
  encryptSession,
  encryptSessions,
  encryptSessionsSync,
  type EncryptResult,
  type EncryptSettings,
  type EncryptedSession,
} from './batch/encrypt.js';
export {
  decryptSession,
  decryptSessions,
  decryptSessionsSync,
  type BackupRecord,
  type DecryptResult,
  type DecryptSettings,
  type DecryptedSession,
  type Provenance,
} from './batch/decrypt.js';

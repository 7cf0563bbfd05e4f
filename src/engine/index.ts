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
export type {
  AbortSignalLike,
  Backend,
  Encapsulated,
  Pipeline,
  Progress,
  Sealed,
  SignalOptions,
  WaitOptions,
} from './backend.js';
export { pureBackend } from './backend.js';
export { base64Decode, base64Encode } from './base64.js';
export type { JsonObject } from './json.js';
export { canonicalJson } from './canonical-json.js';
export { BackupDecryptionKey, BackupPublicKey } from './keys.js';
export { decodeRecoveryKey, encodeRecoveryKey } from './recovery-key.js';
export {
  MAX_ITERATIONS,
  derivePassphraseKey,
  type DeriveOptions,
  type PassphraseParameters,
} from './passphrase.js';
export {
  MAX_PLAINTEXT_BYTES,
  decryptSessionData,
  encryptSessionData,
  type OpenedSessionData,
  type ParsedSessionData,
  type ReadOptions,
  type SessionData,
  type SessionDataFlag,
} from './session-data.js';
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
} from './room-key.js';
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
} from './auth-data.js';
export { decryptManySync, encryptManySync, type DecryptedSessionData } from './session-data-batch.js';
export {
  BACKUP_MAC_SECRET,
  BackupMacKey,
  addBackupMac,
  checkBackupMac,
  type Authenticity,
  type MacNames,
} from './backup-mac.js';
export type { UnauthenticatedSource } from './provenance.js';
export type { BatchOptions, FailedSession, Outcome } from './chunks.js';
export {
  decryptSession,
  decryptSessions,
  decryptSessionsSync,
  encryptSession,
  encryptSessions,
  encryptSessionsSync,
  type DecryptResult,
  type EncryptResult,
} from './batch.js';
export type {
  BackupRecord,
  DecryptSettings,
  DecryptedSession,
  EncryptSettings,
  EncryptedSession,
  Provenance,
} from './directions.js';

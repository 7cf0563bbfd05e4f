/**
 * Matrix server-side key backup, algorithm `m.megolm_backup.v1.curve25519-aes-sha2`: what a client needs. Batches take
 * the fastest means that the platform has. The parts are in `megolm-backup/engine`.
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
export type { JsonObject } from './encoding/json.js';
export { BackupDecryptionKey, BackupPublicKey, type PublicKeyFlag } from './scheme/keys.js';
export type { DeriveOptions } from './scheme/passphrase.js';
export type { ReadOptions, SessionData, SessionDataFlag } from './scheme/session-data.js';
export {
  BACKUP_ALGORITHM,
  addSignature,
  authDataBytes,
  createAuthData,
  ed25519Signer,
  signAuthData,
  verifyAuthData,
  type AsyncSigner,
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
  type Authenticity,
  type MacNames,
  type UnauthenticatedSource,
} from './scheme/backup-mac.js';
export type { ExportedSessionData, KeyBackupData, RoomKeyFlag } from './formats/room-key.js';
export type { SenderFlag } from './formats/sender-fields.js';
export type { ExportEntry } from './formats/exported-session.js';
export type { ExportPassphraseForm } from './formats/export-passwords.js';
export {
  readKeyExport,
  writeKeyExport,
  type ExportFile,
  type ExportResult,
  type ReadExportOptions,
  type WriteExportOptions,
} from './formats/key-export.js';
export { decryptSessions, encryptSessions } from './backends/auto.js';
export {
  encryptSession,
  encryptSessionsSync,
  type EncryptResult,
  type EncryptSettings,
  type EncryptedSession,
} from './batch/encrypt.js';
export {
  decryptSession,
  decryptSessionsSync,
  type BackupRecord,
  type DecryptResult,
  type DecryptSettings,
  type DecryptedSession,
  type Provenance,
} from './batch/decrypt.js';
export type { BatchOptions, FailedSession, Outcome } from './batch/run.js';
export { groupByRoom, recordsIn, type RankedRecord, type RecordsByRoom } from './batch/rooms.js';
export type { KeyRank } from './formats/replacement.js';
export {
  authenticateSessions,
  type AuthenticateOptions,
  type AuthenticatedRecord,
  type Authentication,
  type TrustedCopyOf,
} from './batch/reencrypt.js';
export {
  BACKUP_SECRET,
  MASTER_KEY_SECRET,
  SECRET_STORAGE_ALGORITHM,
  defaultKeyId,
  keyDescription,
  type AccountData,
  type KeyDescription,
} from './secret-storage/key-description.js';
export {
  SecretStorageKey,
  type EncryptedSecret,
  type KeyCheck,
  type StorageWriteOptions,
} from './secret-storage/secret-storage.js';
export {
  readMacKeySecret,
  readMasterKey,
  type Attempt,
  type MasterKey,
  type UnlockedBy,
  type UnlockedKey,
} from './secret-storage/account-secrets.js';
export type { OtherFormOptions, PassphraseForm } from './scheme/passphrase-forms.js';
export type { Mistake } from './secret-storage/recovery-key-typo.js';
export {
  unlock,
  type NotUnlocked,
  type Suggestion,
  type UnlockOptions,
  type Unlocked,
  type UnprovenKey,
} from './secret-storage/unlock.js';

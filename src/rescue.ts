/**
 * What leads from the things people hold to their keys: secret storage, encrypted key exports, and one way in for
 * every kind of key and phrase; and what vouches for the keys of an existing backup. Like the engine it is pure; it
 * stands apart so that who only backs up and restores does not load it.
 *
 * @packageDocumentation
 */

export {
  prepareExportedSession,
  readExportedSession,
  type ExportEntry,
  type ExportFlag,
} from './formats/exported-session.js';
export {
  EXPORT_ITERATIONS,
  MAX_EXPORT_BYTES,
  MIN_EXPORT_ITERATIONS,
  decryptKeyExport,
  type ExportFile,
  type ReadExportOptions,
} from './formats/export-file.js';
export {
  readKeyExport,
  writeKeyExport,
  type ExportResult,
  type WriteExportOptions,
} from './formats/key-export.js';
export {
  SECRET_STORAGE_ALGORITHM,
  defaultKeyId,
  keyDescription,
  type AccountData,
  type KeyDescription,
} from './secret-storage/key-description.js';
export {
  BACKUP_SECRET,
  MASTER_KEY_SECRET,
  SecretStorageKey,
  type EncryptedSecret,
  type KeyCheck,
  type StorageWriteOptions,
} from './secret-storage/secret-storage.js';
export { readMacKeySecret, type MacKeySecret } from './secret-storage/mac-key-secret.js';
export { readMasterKey, type MasterKey } from './secret-storage/master-key.js';
export type { Opened, UnlockedBy } from './secret-storage/locks.js';
export type { Mistake } from './secret-storage/recovery-key-typo.js';
export {
  unlock,
  type Attempt,
  type NotUnlocked,
  type Suggestion,
  type UnlockOptions,
  type Unlocked,
  type UnprovenKey,
} from './secret-storage/unlock.js';
export {
  authenticateSessions,
  type AuthenticateOptions,
  type AuthenticatedRecord,
  type Authentication,
  type TrustedCopyOf,
} from './batch/reencrypt.js';

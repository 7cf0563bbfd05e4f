/**
 * The client: the key backup API as clients need it, over `fetch`.
 *
 * @packageDocumentation
 */

export { RequestError, type AnswerFacts, type RequestCode } from './http-error.js';

export { Homeserver, type HomeserverOptions, type HttpRequest } from './http.js';
export type { BodyReader, Fetch, FetchOptions, FetchResponse } from './fetch-attempt.js';
export type { Retry, RetryNotice, RetryOptions } from './retry.js';
export { accountData, ownUserId, setAccountData } from './account.js';
export { discoverHomeserver } from './discovery.js';
export { RoomKeys, type CallOptions, type Page } from './api.js';
export {
  isBackupEnabled,
  createBackup,
  checkBackupTrust,
  replaceBackup,
  setBackupEnabled,
  signBackup,
  trustedPublicKey,
  updateAuthData,
  type BackupVerdict,
  type BackupWish,
  type NewBackup,
  type Trust,
} from './backup.js';
export {
  fetchBackupMacKey,
  fetchSecretStorage,
  storeBackupKey,
  storeBackupMacKey,
  type SecretStorageOptions,
} from './secret-storage.js';
export type { FailedUpload } from './batch-sender.js';
export {
  uploadSessions,
  type FlaggedUpload,
  type UploadOptions,
  type UploadOutcome,
  type UploadState,
} from './upload.js';
export { UploadQueue, type UploadQueueOptions } from './upload-queue.js';
export {
  authenticateBackup,
  type AuthenticateBackupOptions,
  type AuthenticateOutcome,
  type AuthenticateResult,
} from './authenticate.js';
export { downloadKeys, type DownloadOptions, type DownloadedKey } from './download.js';
export {
  Restore,
  restoreKey,
  restoreKeys,
  type RestoreOptions,
  type RestoreResult,
  type RestoreState,
  type RestoreSummary,
  type RestoredKey,
  type UnrestoredKey,
} from './restore.js';
export type { AuthenticityCounts } from '../report/report.js';
export { copyBackup, type CopyOptions, type CopyOutcome } from './copy-backup.js';
export { KeyLookup, type KeyLookupOptions } from './key-lookup.js';
export { diagnose, type DiagnoseOptions, type Diagnosis, type KeysDiagnosis } from './diagnose.js';
export type { Finding, FindingCode } from './findings.js';
export {
  readBackup,
  type BackupFault,
  type BackupForm,
  type BackupEntry,
  type BackupItem,
  type BackupReaderOptions,
} from '../wire/backup-reader.js';
export { SessionIdSet } from '../wire/session-id-set.js';
export type {
  KeyBackupData,
  KeyBackups,
  KeysChanged,
  NewVersion,
  OpaqueObject,
  RoomKeyBackup,
  VersionInfo,
} from '../wire/types.js';

/**
 * The client: the key backup API as clients need it, over `fetch`.
 *
 * @packageDocumentation
 */

export { RequestError, type AnswerFacts, type RequestCode } from './http-error.js';

export { Homeserver, type HomeserverOptions, type HttpRequest } from './http.js';
export type { BodyReader, Fetch, FetchOptions, FetchResponse } from './fetch-attempt.js';
export type { Retry, RetryNotice, RetryOptions } from './retry.js';
export {
  accountData,
  fetchBackupMacKey,
  fetchSecretStorage,
  ownUserId,
  setAccountData,
  storeBackupKey,
  storeBackupMacKey,
  type SecretStorageOptions,
} from './account.js';
export { discoverHomeserver, type DiscoveryOptions } from './discovery.js';
export { RoomKeys, type CallOptions, type Page } from './api.js';
export {
  isBackupEnabled,
  createBackup,
  replaceBackup,
  setBackupEnabled,
  signBackup,
  trustedPublicKey,
  type NewBackup,
  type Trust,
} from './backup.js';
export type { BatchLimits, FailedUpload } from './batch-sender.js';
export {
  uploadSessions,
  type Checkpoint,
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
export {
  Restore,
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
export {
  checkBackupTrust,
  diagnose,
  type BackupVerdict,
  type DiagnoseOptions,
  type Diagnosis,
  type Finding,
  type FindingCode,
  type KeysDiagnosis,
} from './diagnose.js';
export type {
  BackupEntry,
  BackupFault,
  BackupForm,
  BackupItem,
  BackupReaderOptions,
} from '../wire/backup-item.js';
export { readBackup } from '../wire/read-backup.js';
export type {
  KeyBackupData,
  KeyBackups,
  KeysChanged,
  NewVersion,
  OpaqueObject,
  RoomKeyBackup,
  VersionInfo,
} from '../wire/types.js';

/**
 * EXPERIMENTAL: backups of the second algorithm of the open proposal MSC4048, whose every record proves where it
 * comes from. No other client reads them yet, and they may change with the proposal. What is here may change in any
 * version.
 *
 * @packageDocumentation
 */

export {
  AUTHENTICATED_BACKUP_ALGORITHM,
  createAuthenticatedVersion,
  decryptAuthenticated,
  encryptAuthenticated,
  expectAuthenticatedVersion,
  moveToAuthenticated,
  type AuthenticatedEncryptSettings,
  type AuthenticatedEncryptedSession,
  type AuthenticatedKeyBackupData,
  type AuthenticatedSessionData,
  type MoveOptions,
  type MovedSession,
} from './engine/msc4048.js';
export {
  createAuthenticatedBackup,
  restoreAuthenticated,
  uploadAuthenticated,
  type AuthenticatedRestoreOptions,
  type AuthenticatedUploadOptions,
  type NewAuthenticatedBackup,
} from './client/authenticated-backup.js';
export {
  moveBackup,
  type MoveBackupOptions,
  type MoveOutcome,
  type MoveResult,
} from './client/move-backup.js';

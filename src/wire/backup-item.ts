import type { KeyBackupError } from '../errors.js';

/** A record that was read. */
export interface BackupEntry {
  /** From the map key; in an array the field of the record, `undefined` when it is no string. */
  readonly room_id: string | undefined;
  readonly session_id: string | undefined;
  /** The JSON path in the body. */
  readonly path: string;
  /** Any JSON value, not yet checked. In the form `array` the whole element: what is in an export file is a session. */
  readonly key_backup_data: unknown;
  readonly error?: undefined;
}

/** A place in the body that holds no readable record, and why. */
export interface BackupFault extends Omit<BackupEntry, 'key_backup_data' | 'error'> {
  readonly error: KeyBackupError;
}

/** What `readBackup` yields. */
export type BackupItem = BackupEntry | BackupFault;

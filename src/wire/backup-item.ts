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

/**
 * What the body holds:
 * - `rooms`: `{"rooms":{ROOM:{"sessions":{SESSION:KeyBackupData}}}}`, the answer of `GET /room_keys/keys`;
 * - `sessions`: `{"sessions":{SESSION:KeyBackupData}}`, the answer for one room;
 * - `array`: `[{"room_id":...,"session_id":...}, ...]`, what an export file holds, or `{"sessions":[...]}`.
 */
export type BackupForm = 'rooms' | 'sessions' | 'array';

/** Which body it is, and how much memory it may take. */
export interface BackupReaderOptions {
  /** Default `rooms`. */
  readonly form?: BackupForm | undefined;
  /** The room of the form `sessions`, which the body does not name. */
  readonly roomId?: string | undefined;
  /** Most bytes of one record or id; default 2 MiB. A larger one is skipped and comes out as `too-large`. */
  readonly maxRecordBytes?: number | undefined;
  /** Most levels of nesting inside a record; default 64. */
  readonly maxDepth?: number | undefined;
}

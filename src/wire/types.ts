/**
 * The wire shapes of the key backup API under the specification's names.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#server-side-key-backups
 */

/** What a server may hold as `session_data`: opaque to it. For v1: `ephemeral`, `ciphertext`, `mac`. */
export type OpaqueObject = Readonly<Record<string, unknown>>;

/** One backed-up key. Unknown fields travel along. */
export interface KeyBackupData {
  readonly first_message_index: number;
  readonly forwarded_count: number;
  readonly is_verified: boolean;
  readonly session_data: OpaqueObject;
  readonly [unknown: string]: unknown;
}

/** The keys of one room, by session id. */
export interface RoomKeyBackup {
  readonly sessions: Readonly<Record<string, KeyBackupData>>;
}

/** The keys of many rooms, by room id. The maps have a null prototype: any string is a legal id. */
export interface KeyBackups {
  readonly rooms: Readonly<Record<string, RoomKeyBackup>>;
}

/** Body of `POST /room_keys/version`. */
export interface NewVersion {
  readonly algorithm: string;
  readonly auth_data: OpaqueObject;
}

/** Answer of `GET /room_keys/version` and `GET /room_keys/version/{version}`. */
export interface VersionInfo extends NewVersion {
  readonly version: string;
  /** Changes when keys change; empty if the server sends none. */
  readonly etag: string;
  /** How many keys the backup has; `undefined` if the server does not count them. */
  readonly count: number | undefined;
}

/** Answer of every write and delete of keys. */
export interface KeysChanged {
  /** Empty if the server sends none. */
  readonly etag: string;
  readonly count: number;
}

/** A Matrix error body. */
export interface ErrorBody {
  readonly errcode: string;
  readonly error: string;
  readonly current_version?: string;
  readonly retry_after_ms?: number;
}

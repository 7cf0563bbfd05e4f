import { createAuthData, type AuthData } from './auth-data.js';
import { BackupMacKey, type Authenticity, type MacNames } from './backup-mac.js';
import { run, type BatchOptions, type Outcome } from './chunks.js';
import {
  decryption,
  encryption,
  type BackupRecord,
  type DecryptSettings,
  type DecryptedSession,
  type EncryptSettings,
  type Provenance,
  type Scheme,
} from './directions.js';
import { KeyBackupError } from './errors.js';
import type { JsonObject } from './json.js';
import { BackupPublicKey, type BackupDecryptionKey } from './keys.js';
import type { ExportedSessionData, KeyBackupData } from './room-key.js';
import { rewrite, type Plan } from './rewrite.js';
import { parseSessionData, type SessionData } from './session-data.js';

/**
 * EXPERIMENTAL: the second algorithm of the open proposal MSC4048. Nothing else reads it, and it may change with
 * the proposal.
 *
 * It is the scheme of `m.megolm_backup.v1.curve25519-aes-sha2` without the `mac` that covers nothing, and with a
 * `backup_mac` that every record needs: one without a right one counts as not there.
 *
 * @see https://github.com/matrix-org/matrix-spec-proposals/pull/4048
 */

/** The name of the algorithm: with the proposal's prefix while it is open, without it once it is accepted. */
export const AUTHENTICATED_BACKUP_ALGORITHM: Readonly<Record<MacNames, string>> = Object.freeze({
  unstable: 'org.matrix.msc4048.curve25519-aes-sha2',
  stable: 'm.backup.v2.curve25519-aes-sha2',
});

/** `session_data` of this algorithm: v1's without its `mac`. */
export interface AuthenticatedSessionData extends Omit<SessionData, 'mac' | 'unsigned'> {
  /** With the `backup_mac`. */
  readonly unsigned: JsonObject;
}

/** One record of such a backup. A record moved from v1 unchanged still has its `mac`, which is not looked at. */
export interface AuthenticatedKeyBackupData extends Omit<KeyBackupData, 'session_data'> {
  readonly session_data: AuthenticatedSessionData;
}

/** What encryption accepts; a MAC key it needs. */
export type AuthenticatedEncryptSettings = EncryptSettings & { readonly macKey: BackupMacKey };

/** A session on its way into such a backup. */
export interface AuthenticatedEncryptedSession {
  readonly room_id: string;
  readonly session_id: string;
  readonly key_backup_data: AuthenticatedKeyBackupData;
}

/** In what the algorithm differs from v1. */
export const AUTHENTICATED_SCHEME: Scheme = {
  wire: ({ mac: _, ...wire }) => wire as SessionData,
  parse(sessionData) {
    // Any eight bytes: what has no mac is parsed like what has one, and then none is compared.
    const parsed = parseSessionData({ ...sessionData, mac: 'AAAAAAAAAAA' });
    return { ...parsed, mac: new Uint8Array(0) };
  },
  needsMac: true,
};

/**
 * The body of `POST /room_keys/version` for a new backup of this algorithm. Its `auth_data` is v1's; sign it with
 * `signAuthData`, check it with `verifyAuthData`.
 *
 * @param extra - Further fields of the `auth_data`.
 */
export function createAuthenticatedVersion(
  publicKey: BackupPublicKey,
  { extra = {}, names = 'unstable' }: { readonly extra?: JsonObject; readonly names?: MacNames } = {},
): { readonly algorithm: string; readonly auth_data: AuthData } {
  return {
    algorithm: AUTHENTICATED_BACKUP_ALGORITHM[names],
    auth_data: createAuthData(publicKey, extra),
  };
}

/** @throws {@link KeyBackupError} `unsupported-algorithm` unless a version is of this algorithm, under either name. */
export function expectAuthenticatedVersion(version: { readonly algorithm: string }): void {
  if (!Object.values(AUTHENTICATED_BACKUP_ALGORITHM).includes(version.algorithm)) {
    throw new KeyBackupError(
      'unsupported-algorithm',
      `algorithm: expected ${AUTHENTICATED_BACKUP_ALGORITHM.unstable}, got another`,
    );
  }
}

/**
 * Encrypts sessions to a backup of this algorithm, as `encryptSessions` does for v1.
 *
 * @throws {@link KeyBackupError} `bad-parameters` without a MAC key; `wrong-key` when it is another backup's;
 * `aborted`; `backend-failed`; and whatever the input itself throws.
 *
 * @example
 * ```ts
 * import { BackupDecryptionKey, BackupMacKey, type ExportedSessionData } from 'megolm-backup';
 * import { encryptAuthenticated } from 'megolm-backup/experimental';
 *
 * async function backUp(sessions: ExportedSessionData[], key: BackupDecryptionKey) {
 *   const macKey = BackupMacKey.fromDecryptionKey(key);
 *   for await (const result of encryptAuthenticated(sessions, key.publicKey, { macKey })) {
 *     if (result.ok) console.log(result.session_id, result.key_backup_data.session_data.unsigned);
 *   }
 * }
 * ```
 */
export function encryptAuthenticated(
  sessions: Iterable<ExportedSessionData> | AsyncIterable<ExportedSessionData>,
  publicKey: BackupPublicKey,
  options: BatchOptions & AuthenticatedEncryptSettings,
): AsyncGenerator<Outcome<AuthenticatedEncryptedSession>, void, void> {
  const open = () => {
    expectMacKey(options.macKey);
    return encryption(publicKey, options, AUTHENTICATED_SCHEME);
  };
  // What the scheme and the MAC key make of the records.
  return run(sessions, open, options) as AsyncGenerator<Outcome<AuthenticatedEncryptedSession>, void, void>;
}

/** @throws {@link KeyBackupError} `bad-parameters` for what is no MAC key: without one nothing can be written. */
export function expectMacKey(macKey: unknown): asserts macKey is BackupMacKey {
  if (macKey instanceof BackupMacKey) return;
  throw new KeyBackupError('bad-parameters', 'macKey: expected a BackupMacKey, got something else');
}

/**
 * Decrypts records of a backup of this algorithm. What has no right `backup_mac` is refused with
 * `not-authenticated` before anything in it is decrypted: count it as not there.
 *
 * @param key - The backup's decryption key; compare it with the `auth_data` first (`expectMatch`), or a wrong key
 * will show as `not-authenticated` on every record.
 * @returns One result per record, in order. A key that its writer does not vouch for comes out
 * `declared-unauthenticated`, unless `requireAuthenticated` says that it should not.
 * @throws {@link KeyBackupError} `aborted`; `backend-failed`; and whatever the input itself throws.
 */
export function decryptAuthenticated(
  records: Iterable<BackupRecord> | AsyncIterable<BackupRecord>,
  key: BackupDecryptionKey,
  options: BatchOptions & Omit<DecryptSettings, 'salvage'> = {},
): AsyncGenerator<Outcome<DecryptedSession>, void, void> {
  // Salvage is for what old clients wrote, and there are none of this algorithm.
  const { requireAuthenticated } = options;
  return run(records, () => decryption(key, { requireAuthenticated }, AUTHENTICATED_SCHEME), options);
}

/** A record on its way from a v1 backup into one of this algorithm. */
export interface MovedSession extends Provenance {
  readonly room_id: string;
  readonly session_id: string;
  /** What to upload. Its `is_verified` is false unless the record moved unchanged: nothing proved the old one. */
  readonly key_backup_data: AuthenticatedKeyBackupData;
  /** Whether the record is the old one, byte for byte. */
  readonly unchanged: boolean;
  /** What the old record proved. One that `wrong-mac` says of was changed, or written by somebody without the key. */
  readonly was: Authenticity;
}

/** Where to move to, and how. */
export interface MoveOptions extends BatchOptions {
  /** The decryption key of the new backup; the old one's by default. */
  readonly to?: BackupDecryptionKey | undefined;
  /** The names of the proposal to write. Default `unstable`. */
  readonly macNames?: MacNames | undefined;
  /** Writes a copy of the room id into what is encrypted anew. Default false. */
  readonly bindRoomId?: boolean | undefined;
}

/**
 * Moves the records of a v1 backup into a backup of this algorithm.
 *
 * A record with a right `backup_mac` moves unchanged when the decryption key stays the same, and otherwise is
 * encrypted anew with what its writer said of it. Everything else becomes `m.legacy-v1`, whatever it said of
 * itself: moving makes nothing authentic.
 *
 * @see https://github.com/matrix-org/matrix-spec-proposals/pull/4048
 * @returns One result per record, in order, with the `authenticity` that it has in the new backup.
 * @throws {@link KeyBackupError} `aborted`; `backend-failed`; and whatever the input itself throws.
 */
export async function* moveToAuthenticated(
  records: Iterable<BackupRecord> | AsyncIterable<BackupRecord>,
  key: BackupDecryptionKey,
  options: MoveOptions = {},
): AsyncGenerator<Outcome<MovedSession>, void, void> {
  const { to = key, macNames, bindRoomId, ...batch } = options;
  const macKey = BackupMacKey.fromDecryptionKey(to);
  const stays = to.publicKey.equals(key.publicKey);
  const settings = { ...batch, macKey, macNames, bindRoomId };
  try {
    yield* rewrite(records, key, batch, {
      plan: (result, record) => planMove(result, record, stays),
      encrypt: (sessions, unauthenticated) =>
        encryptAuthenticated(sessions, to.publicKey, { ...settings, onProgress: undefined, unauthenticated }),
    });
  } finally {
    macKey.dispose();
  }
}

function planMove(
  result: DecryptedSession,
  { key_backup_data }: BackupRecord,
  stays: boolean,
): Plan<MovedSession, AuthenticatedEncryptedSession> {
  const { room_id, session_id, session, authenticated, authenticity, source } = result;
  const isRight = authenticity === 'verified' || authenticity === 'declared-unauthenticated';
  if (isRight && stays) {
    const provenance = { authenticated, authenticity, ...(source && { source }) };
    // A record that was read has this shape, and its MAC was right.
    const unchanged = key_backup_data as AuthenticatedKeyBackupData;
    const done = { room_id, session_id, key_backup_data: unchanged, unchanged: true, was: authenticity };
    return { done: { ...done, ...provenance } };
  }
  const from = isRight ? source : 'm.legacy-v1';
  const done = (encrypted: AuthenticatedEncryptedSession): MovedSession => ({
    ...encrypted,
    unchanged: false,
    was: authenticity,
    ...provenanceOf(from),
  });
  return { session, source: from, done };
}

function provenanceOf(source: Provenance['source']): Provenance {
  return source === undefined
    ? { authenticated: true, authenticity: 'verified' }
    : { authenticated: false, authenticity: 'declared-unauthenticated', source };
}

import { BackupMacKey, type Authenticity, type MacNames } from './backup-mac.js';
import { encryptSessions } from './batch.js';
import type { BatchOptions, Outcome } from './chunks.js';
import type { BackupRecord, DecryptedSession, EncryptedSession } from './directions.js';
import { canonicalJson } from './canonical-json.js';
import type { BackupDecryptionKey } from './keys.js';
import { areConnected } from './megolm-ratchet.js';
import { readUnauthenticated } from './provenance.js';
import { rewrite, type Plan } from './rewrite.js';
import { readSessionKey, type ExportedSessionData } from './room-key.js';

/**
 * An existing v1 backup made authentic, as far as the user's own trusted copies of its sessions reach.
 */

/**
 * What became of a record:
 *
 * - `authenticated`: the trusted copy agrees with it; here is a record with a `backup_mac` to put in its place.
 * - `declared`: nothing vouches for it; here is a record that says so under a `backup_mac`. Only when asked for.
 * - `already`: it has a right `backup_mac`.
 * - `unknown`: there is no trusted copy. It stays as it is.
 * - `conflicting`: the trusted copy says something else. It stays as it is, and is not to be believed.
 */
export type Authentication = 'authenticated' | 'declared' | 'already' | 'unknown' | 'conflicting';

/** One record after {@link authenticateSessions}. */
export interface AuthenticatedRecord {
  readonly room_id: string;
  readonly session_id: string;
  readonly authentication: Authentication;
  /** What the old record proved. One that `wrong-mac` says of was changed, or written by somebody without the key. */
  readonly was: Authenticity;
  /** Why, for people: with `conflicting`, the field that differs. */
  readonly reason: string;
  /** The record to have in the backup: a new one, or the old one as it was. */
  readonly key_backup_data: unknown;
  /** Whether `key_backup_data` is a new one. */
  readonly changed: boolean;
}

/** How to authenticate. */
export interface AuthenticateOptions extends BatchOptions {
  /** The names of the proposal to write. Default `unstable`. */
  readonly macNames?: MacNames | undefined;
  /** Writes a copy of the room id into the new records. Default false. */
  readonly bindRoomId?: boolean | undefined;
  /** `is_verified` of the new records. Default false. */
  readonly isVerified?: boolean | undefined;
  /** Also writes records of what is `unknown`, declared `m.legacy-v1`. Default false. */
  readonly declareUnknown?: boolean | undefined;
}

/**
 * Walks a backup and writes anew, with a `backup_mac`, what the user has a trusted copy of.
 *
 * A record agrees with its trusted copy when room, session, sender and claimed keys are the same and the session
 * keys are of one ratchet. The new record is made of the trusted copy, with the session key of the two that reads
 * more; nothing else of the old record gets into it. A copy that declares itself unauthenticated vouches for
 * nothing, and one with a forwarding chain is written as `m.forwarded_room_key`.
 *
 * @param trusted - The trusted copy of a session, from the user's own store; `undefined` where there is none.
 * @returns One result per record, in order. What cannot be read fails with its reason, as in `decryptSessions`.
 * @throws {@link KeyBackupError} `aborted`; `backend-failed`; and whatever the input itself throws.
 *
 * @example
 * ```ts
 * import { readFile } from 'node:fs/promises';
 * import { BackupDecryptionKey, authenticateSessions, encryptSessionsSync, type ExportedSessionData } from 'megolm-backup';
 *
 * // The user's own store.
 * const sessions: ExportedSessionData[] = JSON.parse(await readFile('export.json', 'utf8')).slice(0, 1);
 * const key = BackupDecryptionKey.generate();
 * const records = encryptSessionsSync(sessions, key.publicKey).filter((result) => result.ok); // a backup without backup_mac
 *
 * const trusted = (_roomId: string, sessionId: string) => sessions.find(({ session_id }) => session_id === sessionId);
 * for await (const result of authenticateSessions(records, key, trusted)) {
 *   if (result.ok) console.log(result.authentication, result.was); // authenticated no-mac
 * }
 * ```
 */
export async function* authenticateSessions(
  records: Iterable<BackupRecord> | AsyncIterable<BackupRecord>,
  key: BackupDecryptionKey,
  trusted: (roomId: string, sessionId: string) => ExportedSessionData | undefined,
  options: AuthenticateOptions = {},
): AsyncGenerator<Outcome<AuthenticatedRecord>, void, void> {
  const { macNames, bindRoomId, isVerified = false, declareUnknown = false, ...batch } = options;
  const macKey = BackupMacKey.fromDecryptionKey(key);
  const settings = { macKey, macNames, bindRoomId, isVerified, ...batch, onProgress: undefined };
  try {
    yield* rewrite(records, key, batch, {
      plan: (result, record) =>
        planFor(result, record, trusted(result.room_id, result.session_id), declareUnknown),
      encrypt: (sessions, unauthenticated) =>
        encryptSessions(sessions, key.publicKey, { ...settings, unauthenticated }),
    });
  } finally {
    macKey.dispose();
  }
}

function planFor(
  result: DecryptedSession,
  { key_backup_data }: BackupRecord,
  copy: ExportedSessionData | undefined,
  declareUnknown: boolean,
): Plan<AuthenticatedRecord, EncryptedSession> {
  const { room_id, session_id, session, authenticity } = result;
  const stays = (
    authentication: Authentication,
    reason: string,
  ): Plan<AuthenticatedRecord, EncryptedSession> => ({
    done: { room_id, session_id, authentication, was: authenticity, reason, key_backup_data, changed: false },
  });
  const becomes = (authentication: Authentication, reason: string) => (encrypted: EncryptedSession) => ({
    ...encrypted,
    authentication,
    was: authenticity,
    reason,
    changed: true,
  });
  const isRight = authenticity === 'verified' || authenticity === 'declared-unauthenticated';
  if (isRight) return stays('already', 'it has a right backup_mac');
  if (!copy || readUnauthenticated(copy) !== undefined) {
    const reason = copy ? 'its copy is declared unauthenticated' : 'there is no trusted copy of it';
    if (!declareUnknown) return stays('unknown', reason);
    return { session, source: 'm.legacy-v1', done: becomes('declared', reason) };
  }
  const difference = differenceOf(session, copy);
  if (difference !== undefined) return stays('conflicting', `${difference} differs from the trusted copy's`);
  const [a, b] = [copy, session].map(({ session_key }) => readSessionKey(session_key).first_message_index);
  const source = isForwarded(copy) ? 'm.forwarded_room_key' : undefined;
  return {
    session: { ...copy, session_key: a <= b ? copy.session_key : session.session_key },
    source,
    done: becomes('authenticated', 'it agrees with the trusted copy'),
  };
}

/** A chain that does not read is no proof of a direct way. */
function isForwarded({ forwarding_curve25519_key_chain: chain }: Partial<ExportedSessionData>): boolean {
  return chain !== undefined && !(Array.isArray(chain) && chain.length === 0);
}

/** The first field in which a record and its trusted copy differ. */
function differenceOf(record: ExportedSessionData, copy: ExportedSessionData): string | undefined {
  const fields = ['algorithm', 'room_id', 'session_id', 'sender_key', 'sender_claimed_keys'] as const;
  const differing = fields.find((field) => !isSame(record[field], copy[field]));
  if (differing !== undefined) return differing;
  return areConnected(record.session_key, copy.session_key) ? undefined : 'session_key';
}

function isSame(a: unknown, b: unknown): boolean {
  return canonicalJson(a ?? null) === canonicalJson(b ?? null);
}

import { abortable, callback, raceAbort } from '../async.js';
import { expectFunction, expectIterable, expectOptions } from '../encoding/arguments.js';
import { canonicalJson } from '../encoding/canonical-json.js';
import { KeyBackupError } from '../errors.js';
import type { ExportedSessionData } from '../formats/room-key.js';
import { mendSender } from '../formats/sender-fields.js';
import { areConnected, readSessionKey } from '../formats/session-key.js';
import {
  BackupMacKey,
  readUnauthenticated,
  type Authenticity,
  type MacNames,
  type UnauthenticatedSource,
} from '../scheme/backup-mac.js';
import type { BackupDecryptionKey } from '../scheme/keys.js';
import { tryRecord } from './backend.js';
import { decryptSessions, type BackupRecord, type DecryptResult, type DecryptedSession } from './decrypt.js';
import { encryptSessions, forwardedSource, type EncryptResult } from './encrypt.js';
import type { BatchOptions, Outcome } from './run.js';

/** Adds a `backup_mac` to those records of a backup of which the user has trusted copies. */

/**
 * What became of a record:
 *
 * - `authenticated`: the trusted copy agrees with it. Here is a new record, which reads as `verified`.
 * - `declared`: nothing vouches for it. Here is a new record, which reads as `declared-unauthenticated`: its trusted copy
 *   was forwarded, or is missing and `declareUnknown` is set.
 * - `already`: it has a right `backup_mac`.
 * - `unknown`: there is no trusted copy. It stays as it is.
 * - `conflicting`: the trusted copy differs. It stays as it is. Do not trust it.
 */
export type Authentication = 'authenticated' | 'declared' | 'already' | 'unknown' | 'conflicting';

/** One record after {@link authenticateSessions}. */
export interface AuthenticatedRecord {
  readonly room_id: string;
  readonly session_id: string;
  readonly authentication: Authentication;
  /** What the old record proved. With `wrong-mac` it was changed, or written without the key. */
  readonly previousAuthenticity: Authenticity;
  /** Why, for people: with `conflicting`, the field that differs. */
  readonly reason: string;
  /** The record for the backup: a new one, or the old one unchanged. */
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
  /** Also writes new records, declared `m.legacy-v1`, for those that are `unknown`. Default false. */
  readonly declareUnknown?: boolean | undefined;
}

/** Gives the trusted copy of a session from the user's own store, or `undefined`. */
export type TrustedCopyOf = (
  roomId: string,
  sessionId: string,
) => ExportedSessionData | undefined | Promise<ExportedSessionData | undefined>;

/** How many records are looked up and encrypted together. */
const CHUNK = 256;

/**
 * Decrypts the records of a backup, compares each with the user's trusted copy, and makes a new record with a
 * `backup_mac` where they agree.
 *
 * They agree when room, session, sender and claimed keys are the same and the session keys are of one ratchet. The new
 * record is made from the trusted copy, with whichever session key reads more; it takes nothing else from the old record.
 * A copy that declares itself unauthenticated is ignored. A copy with a forwarding chain does not vouch: its new record
 * is declared `m.forwarded_room_key`.
 *
 * @see https://github.com/matrix-org/matrix-spec-proposals/pull/4048
 * @param trusted - Gives the trusted copy of a session, at once or as a promise. It is called for 256 records at a time.
 * @returns One result per record, in order. What cannot be read fails with its reason, as in `decryptSessions`.
 * @throws {@link KeyBackupError} `aborted`; `backend-failed`; `bad-parameters` when the key is disposed; and whatever
 * the input or `trusted` throws.
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
 *   if (result.ok) console.log(result.authentication, result.previousAuthenticity); // authenticated no-mac
 * }
 * ```
 */
export async function* authenticateSessions(
  records: Iterable<BackupRecord> | AsyncIterable<BackupRecord>,
  key: BackupDecryptionKey,
  trusted: TrustedCopyOf,
  options: AuthenticateOptions = {},
): AsyncGenerator<Outcome<AuthenticatedRecord>, void, void> {
  expectIterable(records, 'records');
  expectFunction(trusted, 'trusted');
  expectOptions(options);
  const { macNames, bindRoomId, isVerified = false, declareUnknown = false, ...batch } = options;
  const total = options.total ?? (Array.isArray(records) ? records.length : undefined);
  const macKey = BackupMacKey.fromDecryptionKey(key);
  const settings = { ...batch, onProgress: undefined, macKey, macNames, bindRoomId, isVerified };
  const waiting: BackupRecord[] = [];
  async function* inputs() {
    for await (const record of abortable(records, options.signal)) {
      waiting.push(record);
      yield record;
    }
  }
  // Not asynchronous: what `trusted` throws ends the batch before it is called again.
  const copyOf = ({ result }: Decrypted) =>
    Promise.resolve(result.ok ? callback(() => trusted(result.room_id, result.session_id)) : undefined);
  async function* conclude(chunk: readonly Decrypted[]) {
    const copies = await raceAbort(Promise.all(chunk.map(copyOf)), options.signal);
    const verdicts = chunk.map(({ result }, i) =>
      // A copy that cannot be read fails its record, like a record that cannot be read.
      result.ok ? tryRecord(() => compare(result, copies[i], declareUnknown)) : result.error,
    );
    const sources = new Map<ExportedSessionData, UnauthenticatedSource | undefined>();
    for (const verdict of verdicts) {
      if (!(verdict instanceof KeyBackupError) && verdict.session)
        sources.set(verdict.session, verdict.source);
    }
    const unauthenticated = (session: ExportedSessionData) => sources.get(session);
    const encrypted = encryptSessions(sources.keys(), key.publicKey, { ...settings, unauthenticated });
    try {
      for (const [i, verdict] of verdicts.entries()) yield await outcomeOf(chunk[i], verdict, encrypted);
    } finally {
      await encrypted.return();
    }
  }
  try {
    let chunk: Decrypted[] = [];
    for await (const result of decryptSessions(inputs(), key, { ...batch, total })) {
      const [record] = waiting.splice(0, 1);
      chunk.push({ result, record });
      if (chunk.length < CHUNK) continue;
      yield* conclude(chunk);
      chunk = [];
    }
    yield* conclude(chunk);
  } finally {
    macKey.dispose();
  }
}

interface Decrypted {
  readonly result: DecryptResult;
  readonly record: BackupRecord;
}

/** What to make of a record: `session` is to be encrypted in its place. */
interface Verdict extends Pick<AuthenticatedRecord, 'authentication' | 'reason'> {
  readonly session?: ExportedSessionData;
  readonly source?: UnauthenticatedSource | undefined;
}

function compare(
  { session, authenticity }: DecryptedSession,
  copy: ExportedSessionData | undefined,
  declareUnknown: boolean,
): Verdict {
  if (authenticity === 'verified' || authenticity === 'declared-unauthenticated') {
    return { authentication: 'already', reason: 'it has a right backup_mac' };
  }
  if (!copy || readUnauthenticated(copy) !== undefined) {
    const reason = copy ? 'its copy is declared unauthenticated' : 'there is no trusted copy of it';
    if (!declareUnknown) return { authentication: 'unknown', reason };
    return { authentication: 'declared', reason, session, source: 'm.legacy-v1' };
  }
  const difference = differenceOf(session, copy);
  if (difference !== undefined) {
    return { authentication: 'conflicting', reason: `${difference} differs from the trusted copy's` };
  }
  const [a, b] = [copy, session].map(({ session_key }) => readSessionKey(session_key).first_message_index);
  const better = { ...copy, session_key: a <= b ? copy.session_key : session.session_key };
  const source = forwardedSource(copy);
  return source === undefined
    ? { authentication: 'authenticated', reason: 'it agrees with the trusted copy', session: better }
    : { authentication: 'declared', reason: 'its trusted copy was forwarded', session: better, source };
}

/** @param encrypted - The next of these is the record's, if its session was to be encrypted. */
async function outcomeOf(
  { result, record }: Decrypted,
  verdict: Verdict | KeyBackupError,
  encrypted: AsyncIterator<EncryptResult>,
): Promise<Outcome<AuthenticatedRecord>> {
  if (!result.ok) return result;
  const { index, room_id, session_id, authenticity: previousAuthenticity } = result;
  const place = { index, room_id, session_id };
  if (verdict instanceof KeyBackupError) return { ok: false, ...place, wellFormed: true, error: verdict };
  const { authentication, reason, session } = verdict;
  const about = { authentication, previousAuthenticity, reason };
  if (!session) {
    return { ok: true, ...place, ...about, key_backup_data: record.key_backup_data, changed: false };
  }
  const written = (await encrypted.next()).value as EncryptResult;
  return written.ok ? { ...written, ...about, index, changed: true } : { ...written, index };
}

/** The first field in which a record and its trusted copy differ. */
function differenceOf(record: ExportedSessionData, copy: ExportedSessionData): string | undefined {
  const fields = ['algorithm', 'room_id', 'session_id', 'sender_key', 'sender_claimed_keys'] as const;
  // A record that was written of the copy has its sender mended.
  const mended = tryRecord(() => mendSender(copy, 'copy'));
  const written = mended instanceof KeyBackupError ? copy : { ...copy, ...mended.fields };
  const differing = fields.find(
    (field) => !isSame(record[field], copy[field]) && !isSame(record[field], written[field]),
  );
  if (differing !== undefined) return differing;
  return areConnected(record.session_key, copy.session_key) ? undefined : 'session_key';
}

function isSame(a: unknown, b: unknown): boolean {
  return canonicalJson(a ?? null) === canonicalJson(b ?? null);
}

import { callback, raceAbort, abortable } from '../async.js';
import { expectFunction, expectIterable, expectOptions } from '../encoding/arguments.js';
import {
  BackupMacKey,
  readUnauthenticated,
  type Authenticity,
  type MacNames,
  type UnauthenticatedSource,
} from '../scheme/backup-mac.js';
import { decryptSessions, type BackupRecord, type DecryptResult, type DecryptedSession } from './decrypt.js';
import { encryptSessions, type EncryptSettings } from './encrypt.js';
import { tryRecord } from './backend.js';
import type { BatchOptions, Outcome } from './run.js';
import { canonicalJson } from '../encoding/canonical-json.js';
import { KeyBackupError } from '../errors.js';
import type { BackupDecryptionKey, BackupPublicKey } from '../scheme/keys.js';
import { areConnected } from '../formats/megolm-ratchet.js';
import { readSessionKey, type ExportedSessionData } from '../formats/room-key.js';
import { ClaimedKeys, mendSender } from '../formats/sender-fields.js';

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
  async function* conclude(chunk: readonly Decrypted[]) {
    const copies = await raceAbort(Promise.all(chunk.map(copyOf)), options.signal);
    const plans = chunk.map((decrypted, i) => planFor(decrypted, copies[i], declareUnknown));
    yield* carryOut(plans, key.publicKey, settings);
  }
  // Not asynchronous: what `trusted` throws ends the batch before it is called again.
  const copyOf = ({ result }: Decrypted) =>
    Promise.resolve(result.ok ? callback(() => trusted(result.room_id, result.session_id)) : undefined);
  try {
    let chunk: Decrypted[] = [];
    for await (const result of decryptSessions(inputs(), key, { ...batch, total })) {
      if (waiting.length === 0) throw new Error('a batch gave more results than it was given records');
      chunk.push({ result, record: waiting.splice(0, 1)[0] });
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

/** A result already, or a session to encrypt. */
type Plan =
  | { readonly done: Outcome<AuthenticatedRecord> }
  | {
      readonly index: number;
      readonly session: ExportedSessionData;
      readonly source: UnauthenticatedSource | undefined;
      readonly about: Pick<AuthenticatedRecord, 'authentication' | 'previousAuthenticity' | 'reason'>;
    };

/** A copy that cannot be read fails its record, like a record that cannot be read. */
function planFor(
  { result, record }: Decrypted,
  copy: ExportedSessionData | undefined,
  declareUnknown: boolean,
): Plan {
  if (!result.ok) return { done: result };
  const plan = tryRecord(() => compare(result, record, copy, declareUnknown));
  if (!(plan instanceof KeyBackupError)) return plan;
  const { index, room_id, session_id } = result;
  return { done: { ok: false, index, room_id, session_id, wellFormed: true, error: plan } };
}

function compare(
  result: DecryptedSession & { readonly index: number },
  { key_backup_data }: BackupRecord,
  copy: ExportedSessionData | undefined,
  declareUnknown: boolean,
): Plan {
  const { index, room_id, session_id, session, authenticity: previousAuthenticity } = result;
  const place = { index, room_id, session_id };
  const unchanged = (authentication: Authentication, reason: string): Plan => ({
    done: {
      ok: true,
      ...place,
      authentication,
      previousAuthenticity,
      reason,
      key_backup_data,
      changed: false,
    },
  });
  if (previousAuthenticity === 'verified' || previousAuthenticity === 'declared-unauthenticated') {
    return unchanged('already', 'it has a right backup_mac');
  }
  if (!copy || readUnauthenticated(copy) !== undefined) {
    const reason = copy ? 'its copy is declared unauthenticated' : 'there is no trusted copy of it';
    if (!declareUnknown) return unchanged('unknown', reason);
    return {
      index,
      session,
      source: 'm.legacy-v1',
      about: { authentication: 'declared', previousAuthenticity, reason },
    };
  }
  const difference = differenceOf(session, copy);
  if (difference !== undefined) {
    return unchanged('conflicting', `${difference} differs from the trusted copy's`);
  }
  const [a, b] = [copy, session].map(({ session_key }) => readSessionKey(session_key).first_message_index);
  const better = { ...copy, session_key: a <= b ? copy.session_key : session.session_key };
  if (isForwarded(copy)) {
    const about = {
      authentication: 'declared',
      previousAuthenticity,
      reason: 'its trusted copy was forwarded',
    } as const;
    return { index, session: better, source: 'm.forwarded_room_key', about };
  }
  const about = {
    authentication: 'authenticated',
    previousAuthenticity,
    reason: 'it agrees with the trusted copy',
  } as const;
  return { index, session: better, source: undefined, about };
}

/** Encrypts the sessions of the plans, and gives all results in order. */
async function* carryOut(
  plans: readonly Plan[],
  publicKey: BackupPublicKey,
  settings: BatchOptions & EncryptSettings,
): AsyncGenerator<Outcome<AuthenticatedRecord>, void, void> {
  const sources = new Map<ExportedSessionData, UnauthenticatedSource | undefined>();
  for (const plan of plans) if ('session' in plan) sources.set(plan.session, plan.source);
  const unauthenticated = (session: ExportedSessionData) => sources.get(session);
  const encrypted = encryptSessions([...sources.keys()], publicKey, { ...settings, unauthenticated });
  try {
    for (const plan of plans) {
      if ('done' in plan) {
        yield plan.done;
        continue;
      }
      const next = await encrypted.next();
      if (next.done === true) throw new Error('a batch gave fewer results than it was given sessions');
      const { index, about } = plan;
      yield next.value.ok ? { ...next.value, ...about, index, changed: true } : { ...next.value, index };
    }
  } finally {
    await encrypted.return();
  }
}

/** A chain that cannot be read does not prove that the key came straight from its sender. */
function isForwarded({ forwarding_curve25519_key_chain: chain }: Partial<ExportedSessionData>): boolean {
  return chain !== undefined && !(Array.isArray(chain) && chain.length === 0);
}

/** The first field in which a record and its trusted copy differ. */
function differenceOf(record: ExportedSessionData, copy: ExportedSessionData): string | undefined {
  const fields = ['algorithm', 'room_id', 'session_id', 'sender_key', 'sender_claimed_keys'] as const;
  // A record that was written of the copy has its sender mended.
  const mended = tryRecord(() => mendSender(copy, 'copy', new ClaimedKeys()));
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

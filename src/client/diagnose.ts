import { expectInstance, expectOptions } from '../encoding/arguments.js';
import { decryptSessions } from '../backends/auto.js';
import type { BatchOptions } from '../batch/run.js';
import { excerpt, quote } from '../encoding/quote.js';
import { KeyBackupError } from '../errors.js';
import type { ExportedSessionData } from '../formats/room-key.js';
import { noAuthenticity, type AuthenticityCounts } from '../report/report.js';
import { KeyMatchCounter, TWICE } from '../report/rescue.js';
import {
  BACKUP_ALGORITHM,
  verifyAuthData,
  type AuthDataVerdict,
  type VerifyOptions,
} from '../scheme/auth-data.js';
import type { BackupDecryptionKey } from '../scheme/keys.js';
import { replaces, type KeyRank } from '../formats/replacement.js';
import type { VersionInfo } from '../wire/types.js';
import { RoomKeys } from './api.js';
import { expectInfo, isBackupEnabled } from './backup.js';
import { downloadKeys, recordsOf, type DownloadedItem } from './download.js';
import { rankOfRecord, rankOfSession } from './stored-keys.js';

/** What can be found. */
export type FindingCode =
  | 'no-backup'
  | 'backup-unwanted'
  | 'unknown-algorithm'
  | 'bad-public-key'
  | 'wrong-key'
  | 'untrusted'
  | 'invalid-signature'
  | 'count-differs'
  | 'damaged-keys'
  | 'wrong-mac'
  | 'partly-authenticated'
  | 'better-local-keys'
  | 'keys-not-backed-up';

/** One problem, and what to do about it. */
export interface Finding {
  readonly code: FindingCode;
  /**
   * `error`: keys cannot be restored, or must not be uploaded; `warning`: some keys are affected; `note`: nothing is
   * wrong.
   */
  readonly severity: 'error' | 'warning' | 'note';
  /** How many keys are affected; `undefined` if it is not about keys. */
  readonly count: number | undefined;
  /** What is wrong, for people. */
  readonly message: string;
  /** What to do about it, for people. */
  readonly advice: string;
}

/** What trying the keys has shown. */
export interface KeysDiagnosis {
  /** How many the server gave. */
  readonly total: number;
  /** Absent without a key to try. */
  readonly readable: number | undefined;
  /** How many of the readable ones prove where they come from. Absent without a key to try. */
  readonly authenticity: Readonly<AuthenticityCounts> | undefined;
  /** How many are damaged, by error code. */
  readonly damage: Readonly<Record<string, number>>;
}

/** The state of a user's backup. */
export interface Diagnosis {
  /** `none`: there is no backup; `broken`: an error was found; `damaged`: a warning; `healthy`: neither. */
  readonly state: 'none' | 'broken' | 'damaged' | 'healthy';
  readonly info: VersionInfo | undefined;
  /** Whether the user wants a backup, see {@link isBackupEnabled}; `undefined` without `userId`. */
  readonly wish: boolean | undefined;
  /** Absent without a backup, or for another algorithm. */
  readonly authData: AuthDataVerdict | undefined;
  /** Absent without the right key and without local sessions. */
  readonly keys: KeysDiagnosis | undefined;
  /** Errors first, then warnings, then notes. */
  readonly findings: readonly Finding[];
}

/** What to diagnose with. */
export interface DiagnoseOptions
  extends Omit<BatchOptions, 'total'>, Partial<Omit<VerifyOptions, 'decryptionKey'>> {
  /** With it, every key of the backup is tried. */
  readonly key?: BackupDecryptionKey | undefined;
  /** Local sessions, to compare with the backup. */
  readonly sessions?: Iterable<ExportedSessionData> | undefined;
}

/**
 * Diagnoses a user's backup: its state, each problem, and what to do about it.
 *
 * @throws {@link RequestError} when a request fails; `aborted`. Problems of the backup are never thrown.
 *
 * @example
 * ```ts
 * import type { BackupDecryptionKey } from 'megolm-backup';
 * import { diagnose, type RoomKeys } from 'megolm-backup/client';
 *
 * async function explain(roomKeys: RoomKeys, key: BackupDecryptionKey) {
 *   const { state, findings } = await diagnose(roomKeys, { userId: '@a:example.org', key });
 *   console.log(state);
 *   for (const { message, advice } of findings) console.log(`${message}. ${advice}.`);
 * }
 * ```
 */
export async function diagnose(roomKeys: RoomKeys, options: DiagnoseOptions = {}): Promise<Diagnosis> {
  expectInstance(roomKeys, RoomKeys, 'roomKeys');
  expectOptions(options);
  const { signal, userId } = options;
  const info = await roomKeys.currentVersion({ signal });
  const wish = userId === undefined ? undefined : await isBackupEnabled(roomKeys, userId, { signal });
  if (!info) {
    const base = { info, wish, authData: undefined, keys: undefined };
    return {
      state: 'none',
      ...base,
      findings: wish === false ? [] : [finding('no-backup', 'There is no backup on the server')],
    };
  }
  const findings: Finding[] = [];
  if (wish === false) {
    findings.push(
      finding('backup-unwanted', 'There is a backup, although the user has turned backup off (m.key_backup)'),
    );
  }
  const { trustedKeys, knownKeys, key } = options;
  const trust = { userId: userId ?? '', trustedKeys, knownKeys, decryptionKey: key };
  const { authData, findings: problems } = checkBackupTrust(info, trust);
  findings.push(...problems);
  // A key that cannot be compared is tried on the records.
  const tried = authData && authData.keyMatches !== false ? key : undefined;
  let keys: KeysDiagnosis | undefined;
  if (tried || options.sessions) {
    const examined = await examineKeys(roomKeys, info, tried, options);
    keys = examined.keys;
    if (!examined.fits) findings.push(otherKey());
    findings.push(...keyFindings(info, examined));
  }
  findings.sort((a, b) => WEIGHTS.indexOf(a.severity) - WEIGHTS.indexOf(b.severity));
  const has = (severity: Finding['severity']) => findings.some((finding) => finding.severity === severity);
  const state = has('error') ? 'broken' : has('warning') ? 'damaged' : 'healthy';
  return { state, info, wish, authData, keys, findings };
}

const WEIGHTS: readonly Finding['severity'][] = ['error', 'warning', 'note'];

/** What one pass over the keys of a backup shows. */
interface Examined {
  readonly keys: KeysDiagnosis;
  /** How many local keys are better than in the backup. */
  readonly better: number;
  /** How many local keys are not in the backup. */
  readonly missing: number;
  /** False if every record was encrypted to another key. */
  readonly fits: boolean;
}

/** Tries each key, and compares it with the local copy. */
async function examineKeys(
  roomKeys: RoomKeys,
  info: VersionInfo,
  key: BackupDecryptionKey | undefined,
  { sessions = [], signal, backend, onProgress }: DiagnoseOptions,
): Promise<Examined> {
  const local = localRanks(sessions);
  const damage = new Map<string, number>();
  const authenticity = noAuthenticity();
  const waiting: DownloadedItem[] = [];
  const fit = new KeyMatchCounter();
  let total = 0;
  let readable = 0;
  let better = 0;
  const conclude = (item: DownloadedItem | undefined, failure: KeyBackupError | undefined): void => {
    total++;
    if (item && takeLocal(local, item)) better++;
    const reason = item?.error ?? failure;
    if (reason) damage.set(reason.code, (damage.get(reason.code) ?? 0) + 1);
  };
  const download = downloadKeys(roomKeys, info.version, { signal });
  if (key) {
    const batch = { signal, backend, onProgress, total: info.count };
    for await (const result of decryptSessions(recordsOf(download, waiting), key, batch)) {
      fit.add(result);
      if (result.ok) {
        readable++;
        authenticity[result.authenticity]++;
      }
      conclude(waiting.shift(), result.ok ? undefined : result.error);
    }
  } else {
    for await (const { key_backup_data } of recordsOf(download, waiting)) {
      conclude(waiting.shift(), rankOfRecord(key_backup_data) ? undefined : NO_RECORD);
    }
  }
  const tried = key ? { readable, authenticity } : { readable: undefined, authenticity: undefined };
  const keys = { total, ...tried, damage: Object.fromEntries(damage) };
  return { keys, better, missing: local.size, fits: fit.fits };
}

function* keyFindings({ count }: VersionInfo, { keys, better, missing, fits }: Examined): Generator<Finding> {
  const { total, damage, authenticity = noAuthenticity() } = keys;
  if (count !== undefined && total !== count) {
    const message = `The server counts ${count} keys and gave ${total}`;
    yield finding('count-differs', message, Math.abs(count - total));
  }
  for (const [code, damaged] of Object.entries(damage)) {
    if (!fits && code === 'mac-mismatch') continue;
    const [what, advice = UPLOAD_AGAIN] = DAMAGE[code] ?? ['cannot be read'];
    yield finding('damaged-keys', `${damaged} keys ${what} (${code})`, damaged, advice);
  }
  const { verified, 'declared-unauthenticated': declared } = authenticity;
  const { 'wrong-mac': wrong, 'no-mac': without } = authenticity;
  if (wrong > 0) {
    const message = `${wrong} keys carry a wrong backup_mac (wrong-mac): somebody without the key wrote or changed them`;
    yield finding('wrong-mac', message, wrong);
  }
  // Almost every backup has no MAC at all: that is not a finding.
  if (without > 0 && verified + declared + wrong > 0) {
    const message =
      `${without} keys have no backup_mac (no-mac), beside ${verified} that are verified: they may come from a ` +
      'client that writes none, or from anyone who knows the public key, or the server removed their MACs';
    yield finding('partly-authenticated', message, without);
  }
  if (better > 0)
    yield finding('better-local-keys', `${better} local keys are better than in the backup`, better);
  if (missing > 0)
    yield finding('keys-not-backed-up', `${missing} local keys are not in the backup`, missing);
}

/** Whether the local copy is better. It is removed: what is left at the end is not in the backup. */
function takeLocal(local: Map<string, KeyRank>, item: DownloadedItem): boolean {
  const id = JSON.stringify([item.room_id, item.session_id]);
  const rank = local.get(id);
  if (!rank) return false;
  local.delete(id);
  const stored = item.error ? undefined : rankOfRecord(item.key_backup_data);
  // Compares what the copies can decrypt, whatever their `is_verified`.
  return !stored || replaces({ ...rank, is_verified: stored.is_verified }, stored);
}

const NO_RECORD = new KeyBackupError('bad-json', 'expected a KeyBackupData, got something else');

function localRanks(sessions: Iterable<ExportedSessionData>): Map<string, KeyRank> {
  const ranks = new Map<string, KeyRank>();
  for (const session of sessions) {
    const id = JSON.stringify([session.room_id, session.session_id]);
    const rank = rankOfSession(session, false);
    if (!rank) continue;
    const known = ranks.get(id);
    if (!known || replaces(rank, known)) ranks.set(id, rank);
  }
  return ranks;
}

/** A backup, and whether to encrypt to it. */
export interface BackupVerdict {
  readonly info: VersionInfo;
  /** Absent for another algorithm. */
  readonly authData: AuthDataVerdict | undefined;
  /** Whether keys may be encrypted to it; `undefined` if no key was given to check with. */
  readonly usable: boolean | undefined;
  /** What is wrong with it. */
  readonly findings: readonly Finding[];
}

/**
 * Checks whether a version is one to encrypt to, and what is wrong with it; {@link diagnose} also checks its keys.
 *
 * @param trust - Without a decryption key and trusted keys it is not checked whether the backup is trusted.
 */
export function checkBackupTrust(info: VersionInfo, trust: VerifyOptions): BackupVerdict {
  expectInfo(info);
  if (info.algorithm !== BACKUP_ALGORITHM) {
    const message = `The backup has the algorithm ${quote(info.algorithm)}, which is not supported here`;
    const unknown = finding('unknown-algorithm', message);
    return { info, authData: undefined, usable: false, findings: [unknown] };
  }
  const authData = verifyAuthData(info.auth_data, trust);
  const { publicKey, keyMatches, trusted, reason, signatures, flags } = authData;
  const { decryptionKey, trustedKeys = [] } = trust;
  const asked = decryptionKey !== undefined || trustedKeys.length > 0;
  const findings: Finding[] = [];
  if (!publicKey) {
    const fault =
      flags.length > 0
        ? `The public key of the backup is ${TWICE}`
        : `The backup has no usable public key: ${reason}`;
    findings.push(finding('bad-public-key', fault));
  }
  if (keyMatches === false) findings.push(otherKey());
  if (publicKey && asked && !trusted) {
    findings.push(finding('untrusted', `The backup is not trusted: ${reason}`));
  }
  for (const { keyId, state, reason: why } of signatures) {
    if (state !== 'invalid') continue;
    findings.push(finding('invalid-signature', `The signature by ${excerpt(keyId)} is invalid: ${why}`));
  }
  return { info, authData, usable: publicKey && !asked ? undefined : trusted, findings };
}

function otherKey(): Finding {
  return finding('wrong-key', 'The decryption key is the key of another backup');
}

function finding(code: FindingCode, message: string, count?: number, advice?: string): Finding {
  const [severity, usual] = ADVICE[code];
  return { code, severity, count, message, advice: advice ?? usual };
}

const UPLOAD_AGAIN =
  'If a device still has them, replace them from it (delete these, then upload); otherwise leave them as they are';
const UPLOAD_OR_SALVAGE = `${UPLOAD_AGAIN}; salvage may read some`;

const ADVICE: Readonly<Record<FindingCode, readonly [severity: Finding['severity'], advice: string]>> = {
  'no-backup': [
    'error',
    'Is it the right account, and the right homeserver? A device that has keys can begin a backup',
  ],
  'backup-unwanted': ['warning', 'Its keys can be read all the same; turn backup on again to add new ones'],
  'unknown-algorithm': ['error', 'Use the client that made it'],
  'bad-public-key': [
    'error',
    'Its keys can be read: restore them with its decryption key. Nothing can be added to it; new keys need a backup ' +
      'beside it, made after these are safe',
  ],
  'wrong-key': [
    'error',
    'The backup itself is fine: look for its own key, on another device, in secret storage, or among other keys you saved',
  ],
  untrusted: [
    'error',
    'If it is your own, give its decryption key, or sign it with a verified device or the master key. Until then upload ' +
      'nothing to it; reading it is safe',
  ],
  'invalid-signature': ['warning', 'Sign the backup again with that key'],
  'count-differs': [
    'warning',
    'Ask again in case keys were just added; if it stays, the server has lost track of its keys',
  ],
  'damaged-keys': ['warning', UPLOAD_AGAIN],
  'wrong-mac': [
    'warning',
    'Do not believe who sent what only they decrypt: restore without them (requireAuthenticated), and rewrite them ' +
      'from copies that came straight from their senders (authenticate)',
  ],
  'partly-authenticated': [
    'note',
    'Rewrite them from copies that came straight from their senders (authenticate), or restore without them ' +
      '(requireAuthenticated)',
  ],
  'better-local-keys': ['warning', 'Upload them; where the server keeps its copy, delete that first'],
  'keys-not-backed-up': ['warning', 'Upload them'],
};

/** What each error code means for people, and what to do unless it is to upload them again. */
const DAMAGE: Readonly<Record<string, readonly [what: string, advice?: string] | undefined>> = {
  'mac-mismatch': [
    'were encrypted to another public key, or not by a client at all',
    'They came from another backup of the same account: try its key, or upload them again',
  ],
  'bad-padding': ['were changed after their encryption, or encrypted wrongly', UPLOAD_OR_SALVAGE],
  'session-id-mismatch': ['are stored under the id of another session'],
  'missing-field': ['lack a field', UPLOAD_OR_SALVAGE],
  'bad-mac-length': ['have a MAC of the wrong length', UPLOAD_OR_SALVAGE],
  'bad-json': ['are not JSON, or JSON of another shape'],
  'bad-base64': ['contain invalid base64'],
  'bad-session-key': ['contain an invalid session key'],
  'low-order-key': ['were encrypted with an ephemeral key of small order'],
  'unsupported-algorithm': ['have another algorithm', 'Use a client that supports it'],
  'too-large': ['are far larger than any key'],
};

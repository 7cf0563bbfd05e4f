import type { Progress } from '../async.js';
import { expectInstance, expectOptions } from '../encoding/arguments.js';
import { decryptSessions } from '../backends/auto.js';
import { noAuthenticity, type AuthenticityCounts } from '../report/report.js';
import { replaces, type KeyRank } from '../wire/replacement.js';
import type { BackupFault } from '../wire/backup-reader.js';
import type { VersionInfo } from '../wire/types.js';
import { type AuthDataVerdict, type SigningKey } from '../scheme/auth-data.js';
import type { Backend } from '../batch/backend.js';
import type { BackupRecord } from '../batch/decrypt.js';
import { KeyBackupError } from '../errors.js';
import type { BackupDecryptionKey } from '../scheme/keys.js';
import type { ExportedSessionData } from '../formats/room-key.js';
import { isBackupEnabled, checkBackupTrust, type BackupWish } from './backup.js';
import { downloadKeys, type DownloadedKey } from './download.js';
import {
  betterLocally,
  countDiffers,
  damagedKeys,
  noBackup,
  notBackedUp,
  partlyAuthenticated,
  unwanted,
  wrongMac,
  type Finding,
} from './findings.js';
import { RoomKeys, type CallOptions } from './api.js';
import { rankOfRecord, rankOfSession } from './stored-keys.js';

/** What a look into the keys has shown. */
export interface KeysDiagnosis {
  /** How many came. */
  readonly total: number;
  /** Absent when there was no key to try. */
  readonly readable: number | undefined;
  /** How many of the readable ones prove where they come from. Absent when there was no key to try. */
  readonly authenticity: Readonly<AuthenticityCounts> | undefined;
  /** How many are damaged, by the code of the damage. */
  readonly damage: Readonly<Record<string, number>>;
}

/** The state of a user's backup. */
export interface Diagnosis {
  /** `none`: there is no backup; `broken`: an error was found; `damaged`: a warning; `healthy`: notes at most. */
  readonly state: 'none' | 'broken' | 'damaged' | 'healthy';
  readonly info: VersionInfo | undefined;
  /** Whether the user wants a backup; `undefined` also when no user was given. */
  readonly wish: BackupWish;
  /** Absent without a backup, or for another algorithm. */
  readonly authData: AuthDataVerdict | undefined;
  /** Absent when nobody looked: without a fitting key and without local sessions there is nothing to look for. */
  readonly keys: KeysDiagnosis | undefined;
  /** In the order of their weight. A healthy backup has notes at most. */
  readonly findings: readonly Finding[];
}

/** What a diagnosis is made with; the more, the more it says. */
export interface DiagnoseOptions extends CallOptions {
  /** Whose backup it is: for the signatures and the wish. */
  readonly userId?: string | undefined;
  readonly trustedKeys?: readonly SigningKey[] | undefined;
  readonly knownKeys?: readonly SigningKey[] | undefined;
  /** The decryption key: with it, every key of the backup is tried. */
  readonly key?: BackupDecryptionKey | undefined;
  /** Sessions held locally, to compare. */
  readonly sessions?: Iterable<ExportedSessionData> | undefined;
  readonly backend?: Backend | undefined;
  /** Is told how far it is, now and then and at the end. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/**
 * Says in what state a user's backup is and what to do about each thing that is not right.
 *
 * @throws {@link RequestError} when the server cannot be asked; `aborted`. What is wrong with the backup is never
 * thrown.
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
    return { state: 'none', ...base, findings: wish === false ? [] : [noBackup()] };
  }
  const findings: Finding[] = [];
  if (wish === false) findings.push(unwanted());
  const { userId: owner = '', trustedKeys, knownKeys, key } = options;
  const trust = { userId: owner, trustedKeys, knownKeys, decryptionKey: key };
  const { authData, findings: problems } = checkBackupTrust(info, trust);
  findings.push(...problems);
  const fits = authData?.keyMatches === true;
  let keys: KeysDiagnosis | undefined;
  if (fits || options.sessions) {
    const examination = new KeysExamination(roomKeys, info, options, fits);
    keys = await examination.run();
    findings.push(...examination.findings());
  }
  findings.sort((a, b) => WEIGHTS.indexOf(a.severity) - WEIGHTS.indexOf(b.severity));
  const has = (severity: Finding['severity']) => findings.some((finding) => finding.severity === severity);
  const state = has('error') ? 'broken' : has('warning') ? 'damaged' : 'healthy';
  return { state, info, wish, authData, keys, findings };
}

const WEIGHTS: readonly Finding['severity'][] = ['error', 'warning', 'note'];

/** One pass over the keys of a backup: tries each, and compares each with the copy held locally. */
class KeysExamination {
  readonly #roomKeys: RoomKeys;
  readonly #info: VersionInfo;
  readonly #options: DiagnoseOptions;
  readonly #key: BackupDecryptionKey | undefined;
  readonly #local: Map<string, KeyRank>;
  readonly #damage = new Map<string, number>();
  /** What the reader said about each record whose result is still to come. */
  readonly #pending: { readonly item: DownloadedKey | BackupFault; readonly localIsBetter: boolean }[] = [];
  #total = 0;
  #readable = 0;
  readonly #authenticity = noAuthenticity();
  #betterLocally = 0;

  constructor(roomKeys: RoomKeys, info: VersionInfo, options: DiagnoseOptions, fits: boolean) {
    this.#roomKeys = roomKeys;
    this.#info = info;
    this.#options = options;
    this.#key = fits ? options.key : undefined;
    this.#local = localRanks(options.sessions ?? []);
  }

  async run(): Promise<KeysDiagnosis> {
    if (this.#key) {
      const { signal, backend, onProgress } = this.#options;
      const total = this.#info.count;
      const batch = { signal, backend, onProgress, total };
      for await (const result of decryptSessions(this.#records(), this.#key, batch)) {
        if (result.ok) {
          this.#readable++;
          this.#authenticity[result.authenticity]++;
        }
        this.#conclude(result.ok ? undefined : result.error);
      }
    } else {
      for await (const { key_backup_data } of this.#records()) {
        this.#conclude(rankOfRecord(key_backup_data) ? undefined : NO_RECORD);
      }
    }
    return {
      total: this.#total,
      readable: this.#key && this.#readable,
      authenticity: this.#key && { ...this.#authenticity },
      damage: Object.fromEntries(this.#damage),
    };
  }

  /** What the pass has shown. */
  *findings(): Generator<Finding, void, undefined> {
    const { count } = this.#info;
    if (this.#total !== count) yield countDiffers(count, this.#total);
    for (const [code, damaged] of this.#damage) yield damagedKeys(code, damaged);
    const { verified, 'declared-unauthenticated': declared } = this.#authenticity;
    const { 'wrong-mac': wrong, 'no-mac': none } = this.#authenticity;
    if (wrong > 0) yield wrongMac(wrong);
    // Almost every backup has no MAC at all: that is how the algorithm is, and nothing to be said of one backup.
    if (none > 0 && verified + declared + wrong > 0) yield partlyAuthenticated(none, verified);
    if (this.#betterLocally > 0) yield betterLocally(this.#betterLocally);
    if (this.#local.size > 0) yield notBackedUp(this.#local.size);
  }

  async *#records(): AsyncGenerator<BackupRecord, void, undefined> {
    const { signal } = this.#options;
    for await (const item of downloadKeys(this.#roomKeys, this.#info.version, { signal })) {
      this.#total++;
      const { room_id = '', session_id = '' } = item;
      const key_backup_data = item.error ? undefined : item.value;
      this.#pending.push({ item, localIsBetter: this.#compare(room_id, session_id, key_backup_data) });
      yield { room_id, session_id, key_backup_data };
    }
  }

  #conclude(error: KeyBackupError | undefined): void {
    const pending = this.#pending.shift();
    const reason = pending?.item.error ?? error;
    if (reason) this.#damage.set(reason.code, (this.#damage.get(reason.code) ?? 0) + 1);
    if (pending?.localIsBetter) this.#betterLocally++;
  }

  /** Takes the local copy away: what is left in the end is not in the backup. */
  #compare(roomId: string, sessionId: string, record: unknown): boolean {
    const id = JSON.stringify([roomId, sessionId]);
    const local = this.#local.get(id);
    if (!local) return false;
    this.#local.delete(id);
    const stored = rankOfRecord(record);
    // Whether the sender was verified says nothing about which copy reads more.
    return !stored || replaces({ ...local, is_verified: stored.is_verified }, stored);
  }
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

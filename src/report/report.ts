import type { Authenticity } from '../scheme/backup-mac.js';
import type { KeyBackupError } from '../errors.js';

/** One key that failed, or that came out with flags. */
export interface ReportedKey {
  readonly room_id: string | null;
  readonly session_id: string | null;
  /** The JSON path in the input. */
  readonly path: string;
  /** Absent on a key that came out. */
  readonly code?: string;
  readonly reason: string;
  readonly flags: readonly string[];
  /** Whether a key that came out proves where it comes from; absent if that was not checked. */
  readonly authenticity?: Authenticity;
}

/** A place in the input. */
export interface Place {
  readonly room_id: string | undefined;
  readonly session_id: string | undefined;
  readonly path: string;
}

/** Whether `salvage` may overlook a failure. Of the fields, it does without the sender's key. */
function isSalvageable({ code, message }: KeyBackupError): boolean {
  if (code === 'missing-field') return message.startsWith('plaintext.sender_key');
  return code === 'bad-mac-length' || code === 'bad-padding';
}

/** What became of every key: totals, and a line with the reason for each that failed or was flagged. */
export class Report {
  /** The end of {@link Report.json}, after the last line. */
  static readonly TAIL = '\n]}\n';
  ok = 0;
  failed = 0;
  flagged = 0;
  /** How many failed, by code. */
  readonly codes = new Map<string, number>();
  /** Why the input ended before its end. */
  cut: KeyBackupError | undefined;
  /** How many of those that failed `salvage` may read, by code. */
  readonly salvageable = new Map<string, number>();
  /** How many of those that came out prove where they come from, and how many do not. */
  readonly authenticity = noAuthenticity();
  readonly #lines: string[] = [];
  readonly #list: (line: string) => void;
  readonly #onRefused: ((place: Place, error: KeyBackupError) => void) | undefined;

  /**
   * @param onRefused - Called at once for every key that could not be read.
   * @param list - Called at once with every JSON line, which is then not kept: the lines of a large backup may not fit
   * in memory. Then `json` lacks them.
   */
  constructor(onRefused?: (place: Place, error: KeyBackupError) => void, list?: (line: string) => void) {
    this.#onRefused = onRefused;
    this.#list = list ?? ((line) => this.#lines.push(line));
  }

  /** Adds a key that came out, with what had to be overlooked. */
  succeeded(place: Place, overlooked: readonly string[] = [], authenticity?: Authenticity): void {
    this.ok++;
    if (authenticity) this.authenticity[authenticity]++;
    const flags = flagsOf(overlooked, authenticity);
    if (flags.length === 0) return;
    this.flagged++;
    this.#add({
      ...named(place),
      path: rooted(place.path),
      reason: reasonOf(flags),
      flags,
      ...(authenticity && { authenticity }),
    });
  }

  /** Adds a key that could not be read. */
  refused(place: Place, error: KeyBackupError): void {
    this.failed++;
    for (const codes of isSalvageable(error) ? [this.codes, this.salvageable] : [this.codes]) {
      codes.set(error.code, (codes.get(error.code) ?? 0) + 1);
    }
    if (error.code === 'truncated') this.cut = error;
    this.#add({
      ...named(place),
      path: rooted(place.path),
      code: error.code,
      reason: error.message,
      flags: [],
    });
    this.#onRefused?.(place, error);
  }

  /** The totals. */
  get summary() {
    const { ok, failed, flagged } = this;
    return { total: ok + failed, ok, failed, flagged };
  }

  /** 1 if a key failed or has a wrong `backup_mac`. */
  get exitCode(): 0 | 1 {
    return this.failed === 0 && this.authenticity['wrong-mac'] === 0 ? 0 : 1;
  }

  /** The totals for people, with the failures by code. */
  get text(): string {
    const { total, ok, failed, flagged } = this.summary;
    const codes = [...this.codes].map(([code, count]) => `  ${count} ${code}\n`).join('');
    const notes = flagged > 0 ? `, ${flagged} of them flagged` : '';
    return `${ok} of ${total} keys${notes}; ${failed} failed\n${codes}${this.cutText}`;
  }

  /** Why the input ended before its end, and how much was read; empty if it did not. */
  get cutText(): string {
    return this.cut ? `${this.cut.message}: ${this.ok} keys recovered\n` : '';
  }

  /** {@link authenticityCountsText}, and a warning about wrong MACs. */
  get authenticityText(): string {
    const wrong = this.authenticity['wrong-mac'];
    const warning =
      wrong > 0 ? `${wrong} keys carry a wrong backup_mac: somebody without the key wrote them\n` : '';
    return authenticityCountsText(this.authenticity) + warning;
  }

  /** The report file, with a line for every listed key. */
  get json(): string {
    return `${this.head}${this.#lines.join(',\n')}${Report.TAIL}`;
  }

  /** The beginning of {@link Report.json}, with the totals. */
  get head(): string {
    const { summary, authenticity } = this;
    const head = JSON.stringify({ format: 'megolm-backup-report/1', ...summary, authenticity, keys: [] });
    return `${head.slice(0, -2)}\n`;
  }

  #add(key: ReportedKey): void {
    this.#list(JSON.stringify(key));
  }
}

function named({ room_id, session_id }: Place) {
  return { room_id: room_id ?? null, session_id: session_id ?? null };
}

/** A path from the root `$`; the readers of files and answers leave it out. */
export function rooted(path: string): string {
  if (path === '') return '$';
  return path.startsWith('[') ? `$${path}` : `$.${path}`;
}

/** How many keys have which authenticity. */
export type AuthenticityCounts = Record<Authenticity, number>;

/** Counts of zero. */
export function noAuthenticity(): AuthenticityCounts {
  return { verified: 0, 'declared-unauthenticated': 0, 'wrong-mac': 0, 'no-mac': 0 };
}

/** The flags of a key that came out. A wrong `backup_mac` is one: somebody without the key wrote or changed it. */
export function flagsOf(overlooked: readonly string[], authenticity?: Authenticity): readonly string[] {
  return authenticity === 'wrong-mac' ? [...overlooked, authenticity] : overlooked;
}

/** Flags that say what follows from the others, and how a reason says it. */
const CONSEQUENCES: Readonly<Record<string, string>> = {
  'unreadable-by-others': 'other implementations cannot read this record',
  'no-claimed-ed25519': 'matrix-nio refuses an export file over a session without a claimed ed25519 key',
  'wrong-mac': 'its backup_mac is wrong: somebody without the key wrote it',
};

/** Why a key with flags is listed, for people. */
export function reasonOf(flags: readonly string[]): string {
  const malformed = flags.filter((flag) => !Object.hasOwn(CONSEQUENCES, flag));
  const reasons = malformed.length > 0 ? [`malformed: ${malformed.join(', ')}`] : [];
  for (const flag of flags) if (Object.hasOwn(CONSEQUENCES, flag)) reasons.push(CONSEQUENCES[flag]);
  return reasons.join('; ');
}

/** The counts for people, in one line; empty if no key has a `backup_mac`, as in almost every backup. */
export function authenticityCountsText(authenticity: AuthenticityCounts): string {
  const counts = Object.entries(authenticity).filter(([, count]) => count > 0);
  if (counts.every(([name]) => name === 'no-mac')) return '';
  return `authenticity: ${counts.map(([name, count]) => `${count} ${name}`).join(', ')}\n`;
}

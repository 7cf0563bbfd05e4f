import { authenticityText, flagsOf, noAuthenticity, reasonOf } from './authenticity.js';
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
  /** Whether a key that came out proves where it comes from; absent where nobody asked. */
  readonly authenticity?: Authenticity;
}

/** A place in the input. */
export interface Place {
  readonly room_id: string | undefined;
  readonly session_id: string | undefined;
  readonly path: string;
}

/** What reading with `salvage` overlooks, so that asking for it may be worth while. */
const SALVAGEABLE = ['bad-mac-length', 'bad-padding', 'missing-field'];

/** What became of every key: numbers for all, names and reasons for those that failed or were flagged. */
export class Report {
  /** What stands in {@link Report.json} behind the last line. */
  static readonly TAIL = '\n]}\n';
  ok = 0;
  failed = 0;
  flagged = 0;
  /** How many failed, by code. */
  readonly codes = new Map<string, number>();
  /** How many that came out prove where they come from, and how many do not. */
  readonly authenticity = noAuthenticity();
  readonly #lines: string[] = [];
  readonly #list: (line: string) => void;
  readonly #onRefused: ((place: Place, error: KeyBackupError) => void) | undefined;

  /**
   * @param onRefused - Hears of every key that could not be read, at once.
   * @param list - Takes the JSON of every key that is listed, at once, instead of this: where all of a large backup
   * may fail they take too much memory. Then `json` lacks them.
   */
  constructor(onRefused?: (place: Place, error: KeyBackupError) => void, list?: (line: string) => void) {
    this.#onRefused = onRefused;
    this.#list = list ?? ((line) => this.#lines.push(line));
  }

  /**
   * Takes in a key that came out, with what had to be overlooked. A wrong `backup_mac` is a flag too: such a key was
   * changed, or written by somebody who does not have the key.
   */
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

  /** Takes in a key that could not be read. */
  refused(place: Place, error: KeyBackupError): void {
    this.failed++;
    this.codes.set(error.code, (this.codes.get(error.code) ?? 0) + 1);
    this.#add({
      ...named(place),
      path: rooted(place.path),
      code: error.code,
      reason: error.message,
      flags: [],
    });
    this.#onRefused?.(place, error);
  }

  /** Of those that failed, by code: how many a salvage may read. */
  get salvageable(): [code: string, count: number][] {
    return [...this.codes].filter(([code]) => SALVAGEABLE.includes(code));
  }

  /** The numbers. */
  get summary() {
    const { ok, failed, flagged } = this;
    return { total: ok + failed, ok, failed, flagged };
  }

  /** How a command ends: 1 when a key failed, or carries a `backup_mac` that does not hold. */
  get exitCode(): 0 | 1 {
    return this.failed === 0 && this.authenticity['wrong-mac'] === 0 ? 0 : 1;
  }

  /** The numbers for people: what failed, by code. */
  get text(): string {
    const { total, ok, failed, flagged } = this.summary;
    const codes = [...this.codes].map(([code, count]) => `  ${count} ${code}\n`).join('');
    const notes = flagged > 0 ? `, ${flagged} of them flagged` : '';
    return `${ok} of ${total} keys${notes}; ${failed} failed\n${codes}`;
  }

  /** The numbers of keys that came out by authenticity, for people; nothing where no key has any. */
  get authenticityText(): string {
    return authenticityText(this.authenticity);
  }

  /** The report file: a line for every key that is listed. */
  get json(): string {
    return `${this.head}${this.#lines.join(',\n')}${Report.TAIL}`;
  }

  /** What stands before the first line of {@link Report.json}; it says how many keys there were. */
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

/** The path with its root: the readers of files and answers name places below it. */
export function rooted(path: string): string {
  if (path === '') return '$';
  return path.startsWith('[') ? `$${path}` : `$.${path}`;
}

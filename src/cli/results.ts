import type { Report } from '../report/report.js';
import type { OutputPaths } from './outputs.js';
import type { Terminal } from './terminal.js';

const INTERVAL = 200;

/** A line on the terminal that says how far it is, how fast, and how long it will take; nowhere else. */
export class ProgressLine {
  readonly #terminal: Terminal;
  readonly #started = Date.now();
  #printed = 0;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  /**
   * @param keys - Keys done so far.
   * @param share - Share of the whole, 0 to 1; `undefined` when unknown.
   */
  update(keys: number, share: number | undefined): void {
    const now = Date.now();
    if (!this.#terminal.isTerminal || now - this.#printed < INTERVAL) return;
    this.#printed = now;
    const seconds = Math.max((now - this.#started) / 1000, 0.001);
    const rate = `${Math.round(keys / seconds)} keys/s`;
    const left = share === undefined || share <= 0 ? '' : `, ${clock((seconds * (1 - share)) / share)} left`;
    const percent = share === undefined ? '' : `${Math.floor(100 * share)} % `;
    this.#terminal.progress(`${percent}${keys} keys, ${rate}${left}`);
  }

  /** Takes the line away. */
  clear(): void {
    if (this.#printed > 0) this.#terminal.progress('');
  }
}

/** Shows a progress line during the work. */
export async function withProgress<T>(
  terminal: Terminal,
  work: (progress: ProgressLine) => Promise<T>,
): Promise<T> {
  const progress = new ProgressLine(terminal);
  try {
    return await work(progress);
  } finally {
    progress.clear();
  }
}

/** Share of the keys that are done, where their number is known. */
export function shareOf({ done, total }: { done: number; total?: number | undefined }): number | undefined {
  return total === undefined || total === 0 ? undefined : Math.min(1, done / total);
}

function clock(seconds: number): string {
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`;
}

/** Whether the summary is JSON on standard output: `--json` was given, and neither result nor report goes there. */
export function isJsonSummary({
  json,
  output = '-',
  report,
}: OutputPaths & { readonly json: boolean }): boolean {
  return json && output !== '-' && report !== '-';
}

/** The summary as JSON. */
export function summaryJson({ summary, codes }: Report, more: Readonly<Record<string, unknown>>): string {
  return `${JSON.stringify({ ...summary, ...more, codes: Object.fromEntries(codes) })}\n`;
}

/** Says at the end what became of the keys: as JSON, else for people. */
export function tellSummary(
  report: Report,
  options: Parameters<typeof isJsonSummary>[0],
  terminal: Terminal,
  more: Readonly<Record<string, unknown>> = {},
): void {
  const { authenticity, authenticityText, text } = report;
  if (isJsonSummary(options)) terminal.stdout(summaryJson(report, { authenticity, ...more }));
  else terminal.stderr(text + authenticityText);
}

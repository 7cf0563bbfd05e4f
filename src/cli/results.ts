import type { Report } from '../report/report.js';
import type { OutputPaths } from './outputs.js';
import type { Terminal } from './terminal.js';

const INTERVAL = 200;

/** Shows how many keys are done, and which share of the whole, 0 to 1, if that is known. */
export type ShowProgress = (keys: number, share: number | undefined) => void;

/** Shows progress, rate and time left in a line on the terminal while the work runs. */
export async function withProgress<T>(
  terminal: Terminal,
  work: (show: ShowProgress) => Promise<T>,
): Promise<T> {
  const started = Date.now();
  let printed = 0;
  const show: ShowProgress = (keys, share) => {
    const now = Date.now();
    if (!terminal.isTerminal || now - printed < INTERVAL) return;
    printed = now;
    const seconds = Math.max((now - started) / 1000, 0.001);
    const rate = `${Math.round(keys / seconds)} keys/s`;
    const left = share === undefined || share <= 0 ? '' : `, ${clock((seconds * (1 - share)) / share)} left`;
    const percent = share === undefined ? '' : `${Math.floor(100 * share)} % `;
    terminal.progress(`${percent}${keys} keys, ${rate}${left}`);
  };
  try {
    return await work(show);
  } finally {
    terminal.progress('');
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

/** What a command that reads a backup knows besides its report. */
interface Reading {
  readonly json: boolean;
  /** Whether malformed keys were read; absent in a command that has no such option. */
  readonly salvage?: boolean;
  /** How many keys the server counts, if it was asked for all of them. */
  readonly count?: number | undefined;
  /** Whether only some rooms were read. */
  readonly isPart?: boolean;
}

const EMPTY =
  'the backup is empty; is it the right account? Another backup may be in files that you saved, or on another homeserver';

/**
 * {@link tellSummary} of a command that reads a backup: also where the keys come from, and what else there is. Returns
 * the exit code.
 */
export function tellReading(
  report: Report,
  { json, salvage, count = 0, isPart = false }: Reading,
  terminal: Terminal,
  more: Readonly<Record<string, unknown>> = {},
  text = report.text,
): 0 | 1 {
  const missing = report.cut ? 0 : Math.max(0, count - report.ok - report.failed);
  if (missing > 0) terminal.stderr(`the server counts ${missing} more keys than it sent\n`);
  if (!isPart && missing === 0 && report.ok + report.failed === 0) terminal.stderr(`${EMPTY}\n`);
  const salvageable = salvage === true ? [] : [...report.salvageable];
  const sum = salvageable.reduce((all, [, count]) => all + count, 0);
  const codes = salvageable.map(([code, count]) => `${count} ${code}`).join(', ');
  const how = salvage === undefined ? '"decrypt" or "restore" and --salvage' : '--salvage';
  const hint = sum === 0 ? '' : `${sum} more can perhaps be read with ${how}: ${codes}\n`;
  const { authenticity, authenticityText } = report;
  const all = { authenticity, ...more, salvageable: Object.fromEntries(salvageable) };
  tellSummary(report, json, terminal, all, text + authenticityText + hint);
  return missing > 0 ? 1 : report.exitCode;
}

/** Says at the end what became of the keys, for people or as JSON, which also has `more`. */
export function tellSummary(
  report: Report,
  json: boolean,
  terminal: Terminal,
  more: Readonly<Record<string, unknown>> = {},
  text = report.text,
): void {
  const { summary, codes } = report;
  if (json) terminal.stdout(`${JSON.stringify({ ...summary, ...more, codes: Object.fromEntries(codes) })}\n`);
  else terminal.stderr(text);
}

import type { Report } from '../report/report.js';
import type { Terminal } from './terminal.js';

/** What a command says at the end with `--json`. */
export function summaryJson(
  { summary, authenticity, codes }: Report,
  more: Readonly<Record<string, unknown>> = {},
): string {
  return `${JSON.stringify({ ...summary, authenticity, ...more, codes: Object.fromEntries(codes) })}\n`;
}

/** Says at the end what became of the keys: on standard output as JSON, else for people. */
export function tellSummary(report: Report, json: boolean, terminal: Terminal): void {
  if (json) terminal.stdout(summaryJson(report));
  else terminal.stderr(report.text + report.authenticityText);
}

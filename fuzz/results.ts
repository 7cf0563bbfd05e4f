import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** What is recorded of a run. */
export interface Recorded {
  readonly target: string;
  readonly seed: number;
  /** Whether coverage decided what was kept. */
  readonly guided: boolean;
  readonly executions: number;
  readonly seconds: number;
  readonly slowestMilliseconds: number;
  readonly outcomes: Readonly<Record<string, number>>;
  readonly covered: number;
  /** Of the corpus after the run. */
  readonly files: number;
  readonly bytes: number;
  readonly findings: readonly { readonly file: string; readonly message: string }[];
}

const DATA = join('fuzz', 'results.json');
const TABLE = join('fuzz', 'RESULTS.md');

/** Adds a run to the record, and writes the table of all of them anew. */
export function recordRun(run: Recorded & { readonly corpus?: unknown }): void {
  const { corpus: _corpus, ...recorded } = run;
  const before = existsSync(DATA) ? (JSON.parse(readFileSync(DATA, 'utf8')) as Recorded[]) : [];
  const all = [...before, { date: new Date().toISOString().slice(0, 10), ...recorded }];
  writeFileSync(DATA, `${JSON.stringify(all, null, 1)}\n`);
  writeFileSync(TABLE, table(all));
}

function table(runs: readonly Recorded[]): string {
  const names = [...new Set(runs.map(({ target }) => target))].sort();
  const rows = names.map((name) => {
    const own = runs.filter(({ target }) => target === name);
    const sum = (of: (run: Recorded) => number) => own.reduce((total, run) => total + of(run), 0);
    const outcomes = new Map<string, number>();
    for (const run of own) {
      for (const [outcome, count] of Object.entries(run.outcomes)) {
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + count);
      }
    }
    const { files, bytes } = own[own.length - 1];
    return [
      name,
      Math.round(sum(({ seconds }) => seconds)),
      sum(({ executions }) => executions),
      Math.max(...own.map(({ slowestMilliseconds }) => slowestMilliseconds)),
      `${files} (${bytes} bytes)`,
      sum(({ findings }) => findings.length),
      [...outcomes].map(([outcome, count]) => `${outcome} ${count}`).join(', '),
    ];
  });
  const head = [
    'Target',
    'Seconds',
    'Inputs',
    'Slowest, ms',
    'Corpus',
    'Findings',
    'What became of the inputs',
  ];
  return [
    '# What the fuzzing did',
    '',
    'Written by `npm run fuzz -- TARGET SECONDS --keep` from `results.json`: every recorded run of a target added up.',
    'One input may be read in several ways, each of which is counted in the last column. Seconds are of processor time;',
    'what took more than 4 seconds was on the clock, in runs during which the process was stopped now and then.',
    '',
    ...[head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`),
    '',
  ].join('\n');
}

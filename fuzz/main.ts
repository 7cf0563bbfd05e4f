/**
 * `npm run fuzz -- TARGET SECONDS [--keep] [--seed N] [--blind]`: fuzzes one parser. `TARGET` may be `all`. With
 * `--keep` the corpus is replaced by what was found to reach the most code, and the run is recorded.
 */
import { parseArgs } from 'node:util';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import { Coverage } from './coverage.js';
import { readCorpus, writeCorpus, writeFinding } from './corpus.js';
import { fuzz, processorTime, type Run } from './loop.js';
import { recordRun } from './results.js';
import { targets } from './targets/index.js';

/** A reader that needs more processor time than this for one input of some kilobytes hangs, in milliseconds. */
const PATIENCE = 10_000;
/** And one that is not back after this time on the clock waits for something that never comes. */
const LONGEST_WAIT = 600_000;

interface Job {
  readonly name: string;
  readonly seconds: number;
  readonly seed: number;
  readonly blind: boolean;
  /** How many inputs were begun, the length of the last one, and its bytes. */
  readonly shared: SharedArrayBuffer;
}

if (isMainThread) await supervise();
else await work(workerData as Job);

async function supervise(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { keep: { type: 'boolean' }, blind: { type: 'boolean' }, seed: { type: 'string' } },
  });
  const [name, seconds = '60'] = positionals;
  const chosen = targets.filter((target) => name === 'all' || target.name === name);
  if (chosen.length === 0 || !(Number(seconds) > 0)) {
    console.error('usage: npm run fuzz -- TARGET SECONDS [--keep] [--seed N] [--blind]\n');
    for (const target of targets) console.error(`  ${target.name.padEnd(18)}${target.reads}`);
    process.exitCode = 2;
    return;
  }
  for (const target of chosen) {
    const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
    const blind = values.blind === true;
    const run = await watched(target.name, Number(seconds), seed, blind);
    const findings = run.findings.map(({ input, message }) => ({
      file: writeFinding(target.name, input),
      message,
    }));
    const kept = values.keep ? writeCorpus(target.name, run.corpus) : undefined;
    if (kept) recordRun({ target: target.name, seed, guided: !blind, ...run, ...kept, findings });
    report(target.name, run, findings);
    if (findings.length > 0) process.exitCode = 1;
  }
}

function report(name: string, run: Run, findings: readonly { file: string; message: string }[]): void {
  const rate = Math.round(run.executions / run.seconds);
  console.log(
    `${name}: ${run.executions} inputs in ${run.seconds} s (${rate}/s), slowest ${run.slowestMilliseconds} ms, ` +
      `${run.corpus.length} in the pool, ${run.covered} characters of code, ${findings.length} findings`,
  );
  for (const [outcome, count] of Object.entries(run.outcomes)) console.log(`  ${outcome}: ${count}`);
  for (const { file, message } of findings) console.log(`  FOUND ${file}\n    ${message}`);
}

/** Runs a target in a thread of its own, which can be ended when it hangs. */
function watched(name: string, seconds: number, seed: number, blind: boolean): Promise<Run> {
  const shared = new SharedArrayBuffer(8 + (1 << 17));
  const [counters, bytes] = [new Int32Array(shared, 0, 2), new Uint8Array(shared, 8)];
  const job: Job = { name, seconds, seed, blind, shared };
  const worker = new Worker(new URL(import.meta.url), { workerData: job });
  return new Promise((resolve, reject) => {
    let last = -1;
    let [since, worked] = [Date.now(), processorTime()];
    const timer = setInterval(() => {
      const current = Atomics.load(counters, 0);
      if (current !== last) {
        last = current;
        [since, worked] = [Date.now(), processorTime()];
      } else if (processorTime() - worked > PATIENCE || Date.now() - since > LONGEST_WAIT) {
        clearInterval(timer);
        const input = bytes.slice(0, counters[1]);
        void worker.terminate();
        resolve({
          executions: current,
          seconds,
          slowestMilliseconds: Date.now() - since,
          outcomes: {},
          findings: [{ input, message: `hangs: no end after ${Date.now() - since} ms` }],
          corpus: readCorpus(name),
          covered: 0,
        });
      }
    }, 500);
    worker.on('message', (run: Run) => {
      clearInterval(timer);
      resolve(run);
    });
    worker.on('error', reject);
  });
}

async function work({ name, seconds, seed, blind, shared }: Job): Promise<void> {
  const target = targets.find((one) => one.name === name);
  if (!target) throw new Error(`no target ${name}`);
  const [counters, bytes] = [new Int32Array(shared, 0, 2), new Uint8Array(shared, 8)];
  const coverage = blind ? undefined : new Coverage(/fuzz-bundle[^/]*\.mjs$/);
  const run = await fuzz(target, {
    seconds,
    seed,
    corpus: readCorpus(name),
    coverage,
    onInput(input) {
      bytes.set(input.subarray(0, bytes.length));
      counters[1] = Math.min(input.length, bytes.length);
      Atomics.add(counters, 0, 1);
    },
  });
  coverage?.stop();
  parentPort?.postMessage(run);
}

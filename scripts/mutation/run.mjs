// Mutation testing: `npm run mutation -- src/engine/base64.ts [FILE...]`, without a file all of src/engine and src/api.
// Every mutant of a file is run against the tests that tests.mjs names for it, in a process of their own (runner.mjs).
// What comes of it goes to results.json; report.mjs makes docs/mutation-testing.md of that.
import { fork } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { RESULTS, SOURCES, hashOf, readResults } from './sources.mjs';
import { testsOf } from './tests.mjs';

/** Processor time a mutant may take where not even a loop of ours turns, as in a regular expression. */
const MOST_SECONDS = 120;
/** As ps counts processor time on Linux; where there is no /proc nobody watches. */
const TICKS_A_SECOND = 100;

const asked = process.argv.slice(2);
for (const file of asked) {
  if (!SOURCES.includes(file)) throw new Error(`${file}: expected a file of src/engine or src/api`);
}
const files = asked.length > 0 ? asked : SOURCES;
for (const file of files) {
  if (testsOf(file).length === 0)
    throw new Error(`${file}: no tests, name some in scripts/mutation/tests.mjs`);
}

let from = 0;
let outcomes = [];
while (files.length > 0) from = await run();

/**
 * Runs a process for the files that are left. One that does not survive a mutant is replaced by the next, which goes on
 * with the mutant that is returned.
 */
async function run() {
  const child = fork(new URL('runner.mjs', import.meta.url), [String(from), ...files]);
  let mutants;
  let begun;
  let hash;
  let since = 0;
  child.on('message', (message) => {
    begun = message.begun === undefined ? undefined : message;
    since = secondsOf(child.pid);
    if (message.mutants !== undefined) {
      mutants = message.mutants;
      hash = hashOf(message.file);
      console.log(`${message.file}: ${mutants} mutants, after ${since.toFixed(0)} s of processor time`);
    } else if (message.ended !== undefined) {
      outcomes.push(message);
      if (process.env.VERBOSE)
        console.log(message.said.line, message.said.replacement, message.status, message.by);
    }
    if (outcomes.length === mutants) {
      keep(files.shift(), hash, outcomes);
      outcomes = [];
      mutants = undefined;
    }
  });
  const watch = setInterval(() => {
    if (begun && secondsOf(child.pid) - since > MOST_SECONDS) child.kill('SIGKILL');
  }, 1000);
  const code = await new Promise((resolve) => child.once('exit', (exit) => resolve(exit)));
  clearInterval(watch);
  if (begun && code === null) outcomes.push({ ...begun, status: 'endless' });
  else if (code !== 0) throw new Error(`${files[0]}: the runner ended with ${code}`);
  if (outcomes.length > 0 && outcomes.length === mutants) {
    keep(files.shift(), hash, outcomes);
    outcomes = [];
  }
  return outcomes.length;
}

/** Writes the row of a file. */
function keep(file, hash, outcomes) {
  const count = (status) => outcomes.filter((outcome) => outcome.status === status).length;
  const survivors = outcomes
    .filter(({ status }) => status === 'survived' || status === 'uncovered')
    .map(({ said, status }) => ({ ...said, ...(status === 'uncovered' ? { uncovered: true } : {}) }));
  const mutants = outcomes.length;
  const row = { hash, mutants, killed: count('killed'), endless: count('endless'), survivors };
  const results = { ...readResults(), [file]: row };
  const sorted = Object.fromEntries(
    SOURCES.filter((path) => results[path]).map((path) => [path, results[path]]),
  );
  writeFileSync(RESULTS, `${JSON.stringify(sorted, undefined, 2)}\n`);
  for (const { line, text, replacement } of survivors)
    console.log(`${file}:${line}: ${text} → ${replacement}`);
  const score = ((100 * (mutants - survivors.length)) / mutants).toFixed(1);
  console.log(`${file}: ${score} % of ${mutants} mutants killed`);
}

/** The processor time of a process. */
function secondsOf(pid) {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS_A_SECOND;
  } catch {
    return 0;
  }
}

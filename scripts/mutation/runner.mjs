// Runs the mutants of one source file in this process, from the mutant with the given number on, and tells its parent
// how each ended: `node scripts/mutation/runner.mjs FILE NUMBER`, started by run.mjs.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { Instrumenter } from '@stryker-mutator/instrumenter';
import { compile, evaluation, prepare, turns } from './modules.mjs';
import { testsOf } from './tests.mjs';
import { collect, restore } from './vitest.mjs';

const [file, from] = process.argv.slice(2);
const path = resolve(file);
const text = readFileSync(path, 'utf8');
const testFiles = testsOf(file).map((name) => resolve(name));

// An error that nobody caught belongs to the test that runs.
let uncaught;
const seen = (error) => {
  uncaught ??= { error };
};

/** What is pending when nothing is left that could settle it. */
let stuck = () => undefined;
process.on('beforeExit', () => {
  setImmediate(stuck);
});

/** Waits for a body; a promise that nothing can settle any more is refused. */
async function settled(body) {
  const given = body({});
  if (typeof given?.then !== 'function') return;
  await Promise.race([
    given,
    new Promise((_, reject) => {
      stuck = () => {
        reject(new Error('nothing is left to wait for'));
      };
    }),
  ]);
}

/** The test files, with another text for the module under test. */
function collectTests(changed) {
  const required = evaluation(path, changed);
  return testFiles.flatMap((name) => collect(name, () => required(name)));
}

const suitesOf = ({ suite }) => {
  const suites = [];
  for (let at = suite; at; at = at.parent) suites.unshift(at);
  return suites;
};

/** Runs one test with the hooks around it; throws what fails. */
async function runTest(test) {
  const suites = suitesOf(test);
  uncaught = undefined;
  turns.endless = false;
  try {
    for (const suite of suites) {
      if (!suite.begun) {
        suite.begun = true;
        for (const hook of suite.beforeAll) await settled(hook);
      }
    }
    for (const { beforeEach } of suites) for (const hook of beforeEach) await settled(hook);
    await settled(test.body);
  } finally {
    for (const { afterEach } of suites.reverse()) for (const hook of afterEach) await settled(hook);
  }
  if (turns.endless) turns.usedUp();
  if (uncaught) throw uncaught.error;
}

/** What `afterAll` takes down again. */
async function end(tests) {
  turns.left = Infinity;
  for (const suite of new Set(tests.flatMap(suitesOf))) {
    if (suite.begun) for (const hook of suite.afterAll) await settled(hook);
  }
  restore();
  // Gives a rejection that nobody handles the time to be seen.
  await new Promise((resolve) => setImmediate(resolve));
}

/** Runs all tests, in the given order, on a text that must pass; gives processor time and turns of each. */
async function measure(changed, order, before = () => undefined) {
  const tests = collectTests(changed);
  const measured = [];
  for (const i of order ?? tests.keys()) {
    before(i);
    turns.left = Number.MAX_SAFE_INTEGER;
    const start = process.cpuUsage();
    try {
      await runTest(tests[i]);
    } catch (error) {
      throw new Error(`${nameOf(tests[i])} fails without any mutant`, { cause: error });
    }
    const { user, system } = process.cpuUsage(start);
    measured[i] = { micros: user + system, turns: Number.MAX_SAFE_INTEGER - turns.left };
  }
  await end(tests);
  return measured;
}

const nameOf = (test) => [...suitesOf(test).map(({ name }) => name), test.name].join(' > ');

/** The text with the mutant in its place. An expression keeps its operators to itself. */
function mutated({ location, replacement, mutatorName }) {
  const starts = [0];
  for (let i = text.indexOf('\n'); i >= 0; i = text.indexOf('\n', i + 1)) starts.push(i + 1);
  const at = ({ line, column }) => starts[line] + column;
  const isStatement = mutatorName === 'BlockStatement' || /^(?:case\b|default:)/.test(replacement);
  const inPlace = isStatement ? replacement : `(${replacement})`;
  return text.slice(0, at(location.start)) + inPlace + text.slice(at(location.end));
}

for (const name of testFiles) await prepare(name);
await prepare(path);

const log = () => undefined;
const logger = { isDebugEnabled: () => false, debug: log, info: log, warn: log, error: log };
const { files, mutants } = await new Instrumenter(logger).instrument(
  [{ name: path, mutate: true, content: text }],
  {
    excludedMutations: [],
    ignorers: [],
    noHeader: true,
    plugins: null,
  },
);

process.on('uncaughtException', seen);
process.on('unhandledRejection', seen);

// Which tests come by which mutant; what runs while modules are loaded or suites begin, all of them may see.
const everywhere = new Set();
let covered = everywhere;
const coverage = [];
const probes = {
  stryMutAct_9fa48: () => false,
  stryCov_9fa48: (...ids) => {
    for (const id of ids) covered.add(id);
  },
};
const instrumented = compile(path, files[0].content, probes);
const before = await measure(instrumented, undefined, (i) => {
  covered = coverage[i] = new Set();
});
// Once more as it is, in another order: no test may need one before it.
const order = [...before.keys()].sort((a, b) => before[a].micros - before[b].micros);
const original = compile(path, text);
const costs = await measure(original, order);
const mostTurns = Math.max(...before.map(({ turns: count }) => count));
const limits = before.map(({ turns: count }, i) => 8 * Math.max(count, costs[i].turns) + 5000);

/** How likely each test finds a mutant, judged by the mutants just before. */
const chances = costs.map(() => 0.2);

async function fate(mutant) {
  let changed;
  let tests;
  turns.left = 8 * mostTurns + 5000;
  turns.endless = false;
  uncaught = undefined;
  changed = compile(path, mutated(mutant));
  try {
    tests = collectTests(changed);
  } catch (error) {
    return { status: turns.endless ? 'endless' : 'killed', by: `loading: ${error}` };
  }
  const all = everywhere.has(mutant.id) || tests.length !== costs.length;
  const chosen = [...tests.keys()].filter((i) => all || coverage[i].has(mutant.id));
  const rank = (i) => (costs[i]?.micros ?? 0) / (chances[i] ?? 1);
  chosen.sort((a, b) => rank(a) - rank(b));
  let outcome = { status: chosen.length > 0 ? 'survived' : 'uncovered' };
  for (const i of chosen) {
    let found = false;
    turns.left = limits[i] ?? 8 * mostTurns + 5000;
    // The first test of a suite also does what the suite begins with.
    if (suitesOf(tests[i]).some(({ begun, beforeAll }) => !begun && beforeAll.length > 0))
      turns.left += 8 * mostTurns;
    try {
      await runTest(tests[i]);
    } catch (error) {
      found = true;
      outcome = { status: turns.endless ? 'endless' : 'killed', by: nameOf(tests[i]), error: String(error) };
    }
    chances[i] = 0.7 * chances[i] + (found ? 0.3 : 0.003);
    if (found) break;
  }
  try {
    await end(tests);
  } catch {
    // A suite that a mutant broke need not be taken down well.
  }
  if (outcome.status === 'survived' && uncaught)
    return { status: 'killed', by: 'an error that nobody caught' };
  return outcome;
}

const lines = text.split('\n');
process.send({ mutants: mutants.length, tests: costs.length });
for (const [i, mutant] of mutants.entries()) {
  if (i < Number(from)) continue;
  const { location, replacement, mutatorName } = mutant;
  const said = {
    line: location.start.line + 1,
    text: lines[location.start.line].trim(),
    replacement: replacement.replace(/\s+/g, ' '),
    mutator: mutatorName,
  };
  process.send({ begun: i, said });
  process.send({ ended: i, said, ...(await fate(mutant)) });
}
process.exit();

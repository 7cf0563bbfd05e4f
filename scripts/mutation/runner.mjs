// Runs the mutants of source files in this process and tells its parent how each ended. Started by run.mjs as
// `node scripts/mutation/runner.mjs NUMBER FILE...`, where the number is the mutant of the first file to begin with.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { Instrumenter } from '@stryker-mutator/instrumenter';
import { compile, evaluation, prepare, turns } from './modules.mjs';
import { FIRST, LEFT_OUT, testsOf } from './tests.mjs';
import { collect, restore } from './vitest.mjs';

/** How many times more turns a loop may take than without a mutant, and how many on top. */
const MORE_TURNS = 8;
const SOME_TURNS = 5000;

// An error that nobody caught belongs to the test that runs.
let uncaught;
const seen = (error) => {
  uncaught ??= { error };
};
process.on('uncaughtException', seen);
process.on('unhandledRejection', seen);

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

const suitesOf = ({ suite }) => {
  const suites = [];
  for (let at = suite; at; at = at.parent) suites.unshift(at);
  return suites;
};

const nameOf = (test) => [...suitesOf(test).map(({ name }) => name), test.name].join(' > ');

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

/** A source file with the tests that decide about it. */
class Subject {
  constructor(file) {
    this.path = resolve(file);
    this.text = readFileSync(this.path, 'utf8');
    this.testFiles = testsOf(file);
  }

  /** Finds the mutants, and for each test what it costs and by which mutants it comes. */
  async prepare() {
    for (const name of this.testFiles) await prepare(resolve(name));
    await prepare(this.path);
    const log = () => undefined;
    const logger = { isDebugEnabled: () => false, debug: log, info: log, warn: log, error: log };
    const { files, mutants } = await new Instrumenter(logger).instrument(
      [{ name: this.path, mutate: true, content: this.text }],
      { excludedMutations: [], ignorers: [], noHeader: true, plugins: null },
    );
    this.mutants = mutants;
    // What runs while modules are loaded, all tests may see.
    this.everywhere = new Set();
    let covered = this.everywhere;
    const probes = {
      stryMutAct_9fa48: () => false,
      stryCov_9fa48: (...ids) => {
        for (const id of ids) covered.add(id);
      },
    };
    const instrumented = compile(this.path, files[0].content, probes);
    this.facts = [];
    for (let i = 0; ; i++) {
      // Each with modules that were just loaded: what they keep hides the code that made it from later tests.
      covered = this.everywhere;
      const test = this.collect(instrumented)[i];
      if (!test) break;
      covered = new Set();
      turns.left = Number.MAX_SAFE_INTEGER;
      const start = process.cpuUsage();
      try {
        await runTest(test);
      } catch (error) {
        throw new Error(`${nameOf(test)} fails without any mutant`, { cause: error });
      }
      const { user, system } = process.cpuUsage(start);
      const cost = user + system;
      // `chance`: how likely it finds a mutant, judged by the mutants just before.
      this.facts[i] = { cost, covered, turns: Number.MAX_SAFE_INTEGER - turns.left, chance: 0.2 };
      await end([test]);
    }
    const most = Math.max(...this.facts.map((fact) => fact.turns));
    this.mostTurns = MORE_TURNS * most + SOME_TURNS;
  }

  /** The tests, with another text for the module under test. */
  collect(changed) {
    const required = evaluation(this.path, changed);
    return this.testFiles
      .flatMap((name) => collect(name, () => required(resolve(name))))
      .filter((test) => !LEFT_OUT.some((pattern) => pattern.test(nameOf(test))));
  }

  /** The text with the mutant in its place. An expression keeps its operators to itself. */
  mutated({ location, replacement, mutatorName }) {
    const starts = [0];
    for (let i = this.text.indexOf('\n'); i >= 0; i = this.text.indexOf('\n', i + 1)) starts.push(i + 1);
    const at = ({ line, column }) => starts[line] + column;
    const code = replacement.replace(/^(?:\s*\/\/.*\n)+/, '');
    const isStatement = mutatorName === 'BlockStatement' || /^\s*(?:case|default|do|for|while)\b/.test(code);
    const inPlace = isStatement ? replacement : `(${replacement})`;
    return this.text.slice(0, at(location.start)) + inPlace + this.text.slice(at(location.end));
  }

  /** Whether a test finds the mutant: the first that does ends it. */
  async fate(mutant) {
    const changed = compile(this.path, this.mutated(mutant));
    let tests;
    turns.left = this.mostTurns;
    turns.endless = false;
    uncaught = undefined;
    try {
      tests = this.collect(changed);
    } catch (error) {
      return { status: turns.endless ? 'endless' : 'killed', by: String(error) };
    }
    const isSame = tests.length === this.facts.length;
    const isChosen = ({ covered }) => covered.has(mutant.id) || this.everywhere.has(mutant.id);
    const chosen = isSame
      ? this.facts.map((fact, i) => ({ fact, test: tests[i] })).filter(({ fact }) => isChosen(fact))
      : tests.map((test) => ({ test, fact: { cost: 1, chance: 1, turns: this.mostTurns } }));
    const rank = ({ test, fact }) =>
      FIRST.some((pattern) => pattern.test(nameOf(test))) ? 0 : fact.cost / fact.chance;
    chosen.sort((a, b) => rank(a) - rank(b));
    let outcome = { status: chosen.length > 0 ? 'survived' : 'uncovered' };
    for (const { test, fact } of chosen) {
      turns.left = MORE_TURNS * fact.turns + SOME_TURNS;
      // The first test of a suite also does what the suite begins with.
      if (suitesOf(test).some(({ begun, beforeAll }) => !begun && beforeAll.length > 0)) {
        turns.left += this.mostTurns;
      }
      fact.chance *= 0.7;
      try {
        await runTest(test);
        fact.chance += 0.003;
      } catch {
        fact.chance += 0.3;
        outcome = { status: turns.endless ? 'endless' : 'killed', by: nameOf(test) };
        break;
      }
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
}

async function run(from, files) {
  for (const [k, file] of files.entries()) {
    const subject = new Subject(file);
    await subject.prepare();
    const { mutants, text } = subject;
    const lines = text.split('\n');
    process.send({ file, mutants: mutants.length });
    for (const [i, mutant] of mutants.entries()) {
      if (k === 0 && i < from) continue;
      const { line } = mutant.location.start;
      const replacement = mutant.replacement.replace(/\s+/g, ' ');
      const said = { line: line + 1, text: lines[line].trim(), replacement };
      process.send({ begun: i, said });
      process.send({ ended: i, said, ...(await subject.fate(mutant)) });
    }
  }
}

const [from, ...files] = process.argv.slice(2);
try {
  await run(Number(from), files);
  process.exit();
} catch (error) {
  console.error(error);
  process.exit(1);
}

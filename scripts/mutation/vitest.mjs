// What the tests import as `vitest`, `@fast-check/vitest` and `fast-check` while mutants are run: it only collects the
// tests, so that each can be run by itself, in any order and in this process.
import {
  ASYMMETRIC_MATCHERS_OBJECT,
  GLOBAL_EXPECT,
  JestAsymmetricMatchers,
  JestChaiExpect,
  JestExtend,
  chai,
  customMatchers,
  getState,
  setState,
} from '@vitest/expect';
import { fn, restoreAllMocks, spyOn } from '@vitest/spy';
import * as fastCheck from 'fast-check';

/** As often is a property tried, at most. */
const RUNS = 30;
/** Every mutant meets the same values. */
const SEED = 20240229;

for (const plugin of [JestExtend, JestChaiExpect, JestAsymmetricMatchers]) chai.use(plugin);
chai.config.includeStack = false;

const expect = (value, message) => chai.expect(value, message);
Object.assign(expect, chai.expect, globalThis[ASYMMETRIC_MATCHERS_OBJECT]);
expect.getState = () => getState(expect);
expect.setState = (state) => setState(state, expect);
expect.extend = (matchers) => chai.expect.extend(expect, matchers);
expect.unreachable = (message = 'expected not to be reached') => chai.assert.fail(message);
setState({ assertionCalls: 0 }, expect);
Object.defineProperty(globalThis, GLOBAL_EXPECT, { value: expect, configurable: true });
expect.extend(customMatchers);

/** Fewer runs, always the same, and no search for a smaller counterexample: that one was found is enough. */
function assert(property, options = {}) {
  const numRuns = Math.min(options.numRuns ?? 100, RUNS);
  return fastCheck.assert(property, { ...options, numRuns, seed: SEED, endOnFailure: true });
}

const fc = { ...(fastCheck.default ?? fastCheck), assert };

const stubbed = new Map();
const vi = {
  fn,
  spyOn,
  restoreAllMocks,
  stubGlobal(name, value) {
    if (!stubbed.has(name)) stubbed.set(name, Object.getOwnPropertyDescriptor(globalThis, name));
    Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: true });
  },
  unstubAllGlobals() {
    for (const [name, before] of stubbed) {
      if (before) Object.defineProperty(globalThis, name, before);
      else Reflect.deleteProperty(globalThis, name);
    }
    stubbed.clear();
  },
};

/** Takes back what a test that failed has left behind. */
export function restore() {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
}

/** The suite whose body runs just now. */
let suite;
/** The tests so far. */
let tests;

function newSuite(name, parent) {
  return { name, parent, beforeAll: [], beforeEach: [], afterEach: [], afterAll: [], begun: undefined };
}

/** The tests that a test file registers while `load` runs. */
export function collect(name, load) {
  suite = newSuite(name);
  tests = [];
  load();
  return tests;
}

function describe(name, ...rest) {
  suite = newSuite(name, suite);
  try {
    rest.find((given) => typeof given === 'function')();
  } finally {
    suite = suite.parent;
  }
}

function test(name, ...rest) {
  tests.push({ name: String(name), suite, body: rest.find((given) => typeof given === 'function') });
}

const each =
  (register) =>
  (rows) =>
  (name, ...rest) => {
    const body = rest.find((given) => typeof given === 'function');
    const spread = rows.every((row) => Array.isArray(row));
    rows.forEach((row, i) => {
      register(`${name} (${i})`, () => body(...(spread ? row : [row])));
    });
  };
const nothing = () => undefined;
for (const register of [describe, test]) {
  register.each = each(register);
  register.skip = nothing;
  register.skipIf = (skipped) => (skipped ? nothing : register);
  register.runIf = (wanted) => (wanted ? register : nothing);
}

/** `test.prop` of `@fast-check/vitest`. */
test.prop = (arbitraries, options) => (name, body) => {
  test(name, () =>
    assert(
      fc.asyncProperty(...arbitraries, async (...values) => body(...values)),
      options,
    ),
  );
};

const hook = (kind) => (body) => {
  suite[kind].push(body);
};

const vitest = {
  ...{ describe, suite: describe, it: test, test, expect, vi },
  ...{ beforeAll: hook('beforeAll'), beforeEach: hook('beforeEach') },
  ...{ afterEach: hook('afterEach'), afterAll: hook('afterAll') },
};

/** The modules that stand for the real ones. */
export const STAND_INS = {
  vitest,
  '@fast-check/vitest': { fc, test, it: test },
  'fast-check': { ...fc, default: fc },
};

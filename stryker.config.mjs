// Mutation testing, one source file at a time: `npm run mutation -- src/engine/base64.ts`. See docs/mutation-testing.md.
const name = process.env.MUTATION_NAME ?? 'all';

export default {
  testRunner: 'in-process',
  plugins: ['./scripts/mutation/runner.mjs'],
  coverageAnalysis: 'perTest',
  mutate: ['src/engine/**/*.ts', 'src/api/**/*.ts'],
  concurrency: Number(process.env.MUTATION_CONCURRENCY ?? 2),
  // An endless loop is found by how often its code runs, not by the clock: a busy machine must not kill mutants.
  timeoutMS: 30_000,
  timeoutFactor: 2,
  dryRunTimeoutMinutes: 10,
  reporters: ['json', 'html', 'clear-text'],
  clearTextReporter: { allowColor: false, logTests: false, reportTests: false, reportScoreTable: false },
  jsonReporter: { fileName: `mutation/${name}.json` },
  htmlReporter: { fileName: `mutation/${name}.html` },
  // What tests of the engine and of the first storey neither run nor read.
  ignorePatterns: ['benchmarks', 'docs', 'dist', 'fuzz', 'mutation', 'page', 'coverage', 'test-results'],
  allowConsoleColors: false,
};

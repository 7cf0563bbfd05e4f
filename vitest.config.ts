import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** `TIER=slow` runs what takes minutes; everything else is the quick tier. */
const slow = process.env.TIER === 'slow';

/**
 * Files that replace or reload modules. Each has its own process; most others share loaded modules, because loading takes
 * longer than most tests. In the slow tier only those in threads do.
 */
const ALONE = [
  'test/backends/auto.test.ts',
  'test/backends/entries.test.ts',
  'test/backends/simd/index.test.ts',
  'test/backends/simd/peers.test.ts',
  'test/backends/workers.test.ts',
  'test/curve25519/x25519.test.ts',
  'test/encoding/base64.test.ts',
  'test/encoding/utf8.test.ts',
];

/** What changes no working directory and loads no database runs in threads, which start sooner and share modules. */
const THREADS =
  /^test\/(client|encoding|curve25519|scheme|formats|batch|secret-storage|wire|report|vectors)\/(?!.*\.slow\.test\.ts$)/;

/** These take a minute or more. Begun last, one of them would run alone at the end. */
const LONGEST =
  /\/(?:runtimes\/runtimes|page\/page|package\/installed|backends\/many|curve25519\/x25519)\.slow\.test\.ts$/;

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isLong = ({ moduleId }: TestSpecification) => LONGEST.test(moduleId);
    return [...sorted.filter(isLong), ...sorted.filter((file) => !isLong(file))];
  }
}

/** Hundreds of command lines whose input is what matters: in processes they would take minutes and show nothing more. */
const IN_PROCESS = /^test\/cli\/(?:encodings|damaged|true-reasons)\.test\.ts$/;

/**
 * Files of the quick tier that do more in the slow one: properties are tried more often, what every implementation has
 * to pass is passed in full, and the command lines of most files are run in processes.
 */
function doesMore(path: string): boolean {
  if (IN_PROCESS.test(path)) return false;
  const source = readFileSync(new URL(path, import.meta.url), 'utf8');
  return /\bruns\(|\/contracts\/|\/workspace\.js'/.test(source);
}

const tier = readdirSync(new URL('test', import.meta.url), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.test.ts'))
  .map((name) => `test/${name.replaceAll('\\', '/')}`)
  .filter((path) => (path.endsWith('.slow.test.ts') ? slow : !slow || doesMore(path)));
const together = tier.filter((path) => !ALONE.includes(path));

export default defineConfig({
  // The sources are tested as they are; package.json names the built files.
  resolve: {
    alias: { '#platform': fileURLToPath(new URL('src/backends/platform-node.ts', import.meta.url)) },
  },
  test: {
    projects: [
      {
        extends: true,
        test: { name: 'shared', isolate: slow, include: together.filter((path) => !THREADS.test(path)) },
      },
      {
        extends: true,
        test: {
          name: 'threads',
          pool: 'threads',
          isolate: false,
          include: together.filter((path) => THREADS.test(path)),
        },
      },
      { extends: true, test: { name: 'alone', include: tier.filter((path) => ALONE.includes(path)) } },
    ],
    globalSetup: ['test/cli/build.ts'],
    sequence: { sequencer: LongestFirst },
    // By itself it would leave a processor idle, which on two is half of them.
    maxWorkers: '100%',
    testTimeout: slow ? 600_000 : 60_000,
    hookTimeout: slow ? 600_000 : 60_000,
    reporters: process.env.CI ? ['default', 'json'] : ['default'],
    outputFile: { json: `test-results/${slow ? 'slow' : 'quick'}.json` },
    coverage: {
      provider: 'v8',
      include: ['src/{encoding,curve25519,scheme,formats,batch,secret-storage}/**'],
      reporter: ['text', 'json-summary'],
    },
  },
});

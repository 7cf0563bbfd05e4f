import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

/** `TIER=slow` runs what takes minutes; everything else is the quick tier. */
const slow = process.env.TIER === 'slow';

/**
 * Files that replace or reload modules. In the quick tier each has its own process; all others share loaded modules,
 * because loading takes longer than most tests. In the slow tier every file has its own process.
 */
const ALONE = [
  'test/backends/auto.test.ts',
  'test/backends/simd/index.test.ts',
  'test/backends/workers.test.ts',
  'test/curve25519/x25519.test.ts',
  'test/encoding/base64.test.ts',
  'test/encoding/utf8.test.ts',
];

/** What changes no working directory and loads no database runs in threads in the quick tier, which start sooner. */
const THREADS = [
  'test/client/**/*.test.ts',
  'test/{encoding,curve25519,scheme,formats,batch,secret-storage,wire,report}/**/*.test.ts',
  'test/vectors/**/*.test.ts',
];

/**
 * Files of the quick tier that do more in the slow one: properties are tried more often, what every implementation has
 * to pass is passed in full, and every command line is run in a process.
 */
function withMoreRuns(): string[] {
  const names = readdirSync(new URL('test', import.meta.url), { recursive: true, encoding: 'utf8' });
  return names
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => `test/${name}`)
    .filter((path) =>
      /\bruns\(|\/contracts\/|\/workspace\.js'/.test(readFileSync(new URL(path, import.meta.url), 'utf8')),
    );
}

const tier = slow ? ['test/**/*.slow.test.ts', ...withMoreRuns()] : ['test/**/*.test.ts'];
const never = ['**/node_modules/**', ...(slow ? [] : ['test/**/*.slow.test.ts'])];

export default defineConfig({
  // The sources are tested as they are; package.json names the built files.
  resolve: {
    alias: { '#platform': fileURLToPath(new URL('src/backends/platform-node.ts', import.meta.url)) },
  },
  test: {
    projects: [
      {
        extends: true,
        test: {
          name: 'shared',
          isolate: slow,
          include: tier,
          exclude: [...never, ...ALONE, ...(slow ? [] : THREADS)],
        },
      },
      {
        extends: true,
        test: {
          name: 'threads',
          pool: 'threads',
          isolate: false,
          include: slow ? [] : THREADS,
          exclude: [...never, ...ALONE],
        },
      },
      {
        extends: true,
        test: {
          name: 'alone',
          include: ALONE.filter((path) => !slow || tier.includes(path)),
        },
      },
    ],
    globalSetup: ['test/cli/build.ts'],
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

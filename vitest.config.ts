import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

/** `TIER=slow` runs what takes minutes; everything else is the quick tier. */
const slow = process.env.TIER === 'slow';

/** Files of the quick tier whose properties are tried more often in the slow one. */
function withMoreRuns(): string[] {
  const names = readdirSync(new URL('test', import.meta.url), { recursive: true, encoding: 'utf8' });
  return names
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => `test/${name}`)
    .filter((path) => /\bruns\(|contracts\/store/.test(readFileSync(new URL(path, import.meta.url), 'utf8')));
}

export default defineConfig({
  // The sources are tested as they are; package.json names the built files.
  resolve: {
    alias: { '#platform': fileURLToPath(new URL('src/backends/platform-node.ts', import.meta.url)) },
  },
  test: {
    include: slow ? ['test/**/*.slow.test.ts', ...withMoreRuns()] : ['test/**/*.test.ts'],
    exclude: ['**/node_modules/**', ...(slow ? [] : ['test/**/*.slow.test.ts'])],
    globalSetup: ['test/cli/build.ts'],
    // By itself it would leave a processor idle, which on two is half of them.
    maxWorkers: '100%',
    testTimeout: slow ? 600_000 : 60_000,
    reporters: process.env.CI ? ['default', 'json'] : ['default'],
    outputFile: { json: `test-results/${slow ? 'slow' : 'quick'}.json` },
    coverage: {
      provider: 'v8',
      include: ['src/engine/**'],
      reporter: ['text', 'json-summary'],
    },
  },
});

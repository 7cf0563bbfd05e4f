import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

/** `TIER=slow` runs what takes minutes; everything else is the quick tier. */
const slow = process.env.TIER === 'slow';

export default defineConfig({
  // The sources are tested as they are; package.json names the built files.
  resolve: {
    alias: { '#platform': fileURLToPath(new URL('src/backends/platform-node.ts', import.meta.url)) },
  },
  test: {
    include: [slow ? 'test/**/*.slow.test.ts' : 'test/**/*.test.ts'],
    exclude: ['**/node_modules/**', ...(slow ? [] : ['test/**/*.slow.test.ts'])],
    globalSetup: ['test/cli/build.ts'],
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

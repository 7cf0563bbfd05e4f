import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

/** The tests that decide about a mutant. Files share the modules that one of them has loaded, since loading takes longest. */
export default defineConfig({
  resolve: {
    alias: { '#platform': fileURLToPath(new URL('src/backends/platform-node.ts', import.meta.url)) },
  },
  test: {
    include: ['test/{encoding,curve25519,scheme,formats,batch,secret-storage,wire,report}/**/*.test.ts'],
    exclude: ['**/*.slow.test.ts'],
    isolate: false,
  },
});

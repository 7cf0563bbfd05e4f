// Bundles the fuzzing program, so that what is measured is one script, and runs it.
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
process.chdir(root);
await build({
  entryPoints: ['fuzz/main.ts'],
  outfile: 'fuzz/.bundle/fuzz-bundle.mjs',
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  packages: 'external',
  alias: { '#platform': './src/backends/platform-node.ts' },
  logLevel: 'warning',
});
await import(new URL('.bundle/fuzz-bundle.mjs', import.meta.url).href);

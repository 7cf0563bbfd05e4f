// Fuzzes one target with jazzer.js, which coverage guides: `npm run fuzz -- TARGET [SECONDS]`.
// It starts from the corpus of the target, and keeps what it finds in `fuzz/.jazzer`.
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const JAZZER = '@jazzer.js/core@4.0.0';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
const [name, seconds = '60'] = process.argv.slice(2);
const folder = `fuzz/.jazzer/${name}`;
const outfile = `${folder}.cjs`;
await build({
  stdin: {
    contents: `
      import { inputsOf } from './corpus.js';
      import { Seen } from './target.js';
      import { targets } from './targets/index.js';
      const target = targets.find(({ name }) => name === ${JSON.stringify(name)});
      if (!target) throw new Error('unknown target; there are: ' + targets.map(({ name }) => name).join(', '));
      export const inputs = inputsOf(target);
      export const fuzz = (data) => target.run(Uint8Array.from(data), new Seen());`,
    resolveDir: 'fuzz',
  },
  outfile,
  bundle: true,
  format: 'cjs',
  platform: 'node',
  target: 'node20',
  alias: { '#platform': './src/backends/platform-node.ts' },
  logLevel: 'warning',
});
const { inputs } = createRequire(import.meta.url)(`../${outfile}`);
mkdirSync(folder, { recursive: true });
inputs.forEach((input, i) => writeFileSync(`${folder}/${i}`, input));
const jazzer = ['--yes', '--package', JAZZER, 'jazzer', outfile, folder];
const options = ['--', `-max_total_time=${seconds}`, `-artifact_prefix=${folder}-`];
const { status } = spawnSync('npx', [...jazzer, ...options], { stdio: 'inherit' });
process.exitCode = status ?? 1;

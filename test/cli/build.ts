import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** Builds the executable that the command line tests run, once for all of them, unless it is newer than its source. */
export function setup(): void {
  const built = `${ROOT}dist/cli/main.js`;
  const source = readdirSync(`${ROOT}src`, { recursive: true, encoding: 'utf8' });
  const newest = Math.max(...source.map((name) => statSync(`${ROOT}src/${name}`).mtimeMs));
  if (existsSync(built) && statSync(built).mtimeMs >= newest) return;
  execFileSync(process.execPath, [`${ROOT}node_modules/typescript/bin/tsc`, '-p', 'tsconfig.build.json'], {
    cwd: ROOT,
    stdio: 'inherit',
  });
}

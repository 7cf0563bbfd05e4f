import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { TestProject } from 'vitest/node';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

declare module 'vitest' {
  interface ProvidedContext {
    /** A folder for those in which command lines run. */
    workspaces: string;
  }
}

/** Makes the folder of all workspaces. It goes when the tests are over, also those that were broken off. */
export function setup({ provide }: TestProject): () => void {
  build();
  const folder = mkdtempSync(join(tmpdir(), 'megolm-backup-tests-'));
  provide('workspaces', folder);
  return () => {
    rmSync(folder, { recursive: true, force: true });
  };
}

/** Builds the executable that the command line tests run, once for all of them, unless it is newer than its source. */
function build(): void {
  const built = `${ROOT}dist/cli/main.js`;
  const source = readdirSync(`${ROOT}src`, { recursive: true, encoding: 'utf8' });
  const newest = Math.max(...source.map((name) => statSync(`${ROOT}src/${name}`).mtimeMs));
  if (existsSync(built) && statSync(built).mtimeMs >= newest) return;
  execFileSync(process.execPath, [`${ROOT}node_modules/typescript/bin/tsc`, '-b', 'tsconfig.build.json'], {
    cwd: ROOT,
    stdio: 'inherit',
  });
}

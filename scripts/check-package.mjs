// Packs the build and has the tarball looked at by those who know how packages go wrong.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'megolm-backup-pack-'));
const run = (program, args) => execFileSync(program, args, { cwd: root, stdio: 'inherit' });
try {
  const pack = ['pack', '--ignore-scripts', '--json', '--pack-destination', folder];
  const [{ filename }] = JSON.parse(execFileSync('npm', pack, { cwd: root, encoding: 'utf8' }));
  const tarball = join(folder, filename);
  run('node_modules/.bin/publint', [tarball, '--strict']);
  // ESM only: CommonJS gets it by `require` where Node allows that, and not by a second copy of the code.
  run('node_modules/.bin/attw', [tarball, '--profile', 'esm-only', '--quiet']);
  console.log('attw: nothing found');
} finally {
  rmSync(folder, { recursive: true, force: true });
}

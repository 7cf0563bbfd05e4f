import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { chromium, type Browser, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KeyBackupServer } from '../support/key-backup-server.js';
import { startServer } from './support.js';

const executablePath = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser'].find(
  (path) => path !== undefined && existsSync(path),
);
const source = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));

/** The client as a page has it: bundled, in a real browser, at another origin than the homeserver. */
describe.skipIf(executablePath === undefined)('in Chromium', () => {
  let browser: Browser;
  let page: Page;
  let pageServer: KeyBackupServer;
  const problems: string[] = [];

  beforeAll(async () => {
    const { outputFiles } = await build({
      entryPoints: [source('test/client/browser-entry.ts')],
      alias: { '#platform': source('src/backends/platform-web.ts') },
      bundle: true,
      write: false,
      logLevel: 'error',
      format: 'iife',
      platform: 'browser',
      target: 'es2022',
    });
    pageServer = await new KeyBackupServer().start();
    const args = ['--no-sandbox', '--disable-background-networking'];
    browser = await chromium.launch({ executablePath: executablePath!, args });
    page = await browser.newPage();
    page.on('pageerror', (error) => problems.push(String(error)));
    await page.goto(pageServer.url);
    await page.addScriptTag({ content: outputFiles[0].text });
  }, 120_000);

  afterAll(async () => {
    await browser.close();
    await pageServer.stop();
  });

  const ask = (task: string, ...args: readonly unknown[]): Promise<unknown> =>
    page.evaluate(`tasks.${task}(${args.map((arg) => JSON.stringify(arg)).join()})`);

  it('uploads and restores through faults without losing a key or giving one twice', async () => {
    const server = await startServer();
    server.faulty = (method, path) => method !== 'OPTIONS' && path.endsWith('/keys');
    server.faults = [
      { kind: 'drop-before' },
      { kind: 'drop-after' },
      { kind: 'answer', status: 502, body: '<html>', headers: { 'access-control-allow-origin': '*' } },
      { kind: 'then', effect: () => undefined },
      { kind: 'then', effect: () => undefined },
      { kind: 'cut', bytes: 300_000 },
      { kind: 'truncate', bytes: 100_000 },
    ];
    expect(await ask('roundTrip', server.url, 600)).toEqual({
      uploaded: 600,
      failed: 0,
      twice: 0,
      missing: 0,
      restored: 600,
      state: 'healthy',
    });
    expect(server.faults).toEqual([]);
    expect(server.keysOf(server.current!)).toHaveLength(600);
  });

  it('does not follow a redirect to another host', async () => {
    const [server, other] = [await startServer(), await startServer()];
    server.faulty = (method) => method !== 'OPTIONS';
    server.faults = [{ kind: 'answer', status: 302, body: '', headers: { location: other.url } }];
    expect(await ask('failure', server.url)).toBe('http');
    expect(other.seen).toEqual([]);
  });

  it.each([
    ['timeout', { kind: 'stall', bytes: 3 }],
    ['network', { kind: 'drop-before' }],
    ['bad-response', { kind: 'misreport', body: '<html>' }],
    ['unauthorized', { kind: 'answer', status: 401, body: '{}' }],
  ] as const)('says %s', async (code, fault) => {
    const server = await startServer();
    server.createVersion('m.other', {});
    server.faulty = (method) => method !== 'OPTIONS';
    server.faults = [fault];
    expect(await ask('failure', server.url)).toBe(code);
  });

  it('ends a request and its connection when it is aborted', async () => {
    const server = await startServer();
    server.faulty = (method) => method !== 'OPTIONS';
    server.faults = [{ kind: 'stall' }];
    expect(await ask('abort', server.url)).toBe('aborted');
    while (server.openAnswers > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  });

  it('leaves no error uncaught', () => {
    expect(problems).toEqual([]);
  });
});

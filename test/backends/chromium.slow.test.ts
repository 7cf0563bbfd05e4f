import { existsSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { chromium, type Browser, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bundleText } from './bundles.js';
import type { inBrowser } from './in-browser.js';
import { DAMAGES, damaged, sessions } from './sessions.js';

/** WebCrypto, SIMD and workers where they are meant for: in a real browser, from bundles of the sources. */

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';

type InBrowser = typeof inBrowser;

/** The strictest policy that runs scripts at all: nothing may be compiled. Then one that allows WebAssembly. */
const POLICIES = [
  ["default-src 'self'", false],
  ["default-src 'self'; script-src 'self' 'wasm-unsafe-eval'", true],
] as const;

describe.skipIf(!existsSync(CHROMIUM)).each(POLICIES)('in Chromium, by the policy %s', (policy, hasSimd) => {
  let server: Server;
  let browser: Browser;
  let page: Page;

  beforeAll(async () => {
    const answers = new Map([
      ['/', '<!doctype html><script type="module" src="/page.js"></script>'],
      ['/page.js', await bundleText(fileURLToPath(new URL('in-browser.ts', import.meta.url)))],
      ['/worker-web.js', await bundleText('backends/worker-web.ts')],
    ]);
    server = createServer(({ url = '/' }, response) => {
      const answer = answers.get(url);
      response.statusCode = answer === undefined ? 404 : 200;
      response.setHeader('content-type', url.endsWith('.js') ? 'text/javascript' : 'text/html');
      response.setHeader('content-security-policy', policy);
      response.end(answer);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    browser = await chromium.launch({
      executablePath: CHROMIUM,
      args: ['--no-sandbox', '--disable-background-networking'],
    });
    page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    await page.waitForFunction(() => 'inBrowser' in globalThis);
  });

  afterAll(async () => {
    await browser.close();
    server.close();
  });

  function run<Name extends keyof InBrowser>(name: Name, ...[argument]: Parameters<InBrowser[Name]>) {
    const call = ([method, own]: [string, unknown]) =>
      (globalThis as unknown as { inBrowser: Record<string, (own: unknown) => unknown> }).inBrowser[method](
        own,
      );
    return page.evaluate(call, [name, argument] as [string, unknown]) as Promise<
      Awaited<ReturnType<InBrowser[Name]>>
    >;
  }

  test('its X25519 is found and gives what the engine gives, low order included', async () => {
    expect(await run('agreements')).toEqual({ has: true, same: true, zero: [true, true, true, true] });
  });

  test('SIMD is used where the policy allows it, and gives what the engine gives', async () => {
    expect(await run('simd')).toEqual({
      has: hasSimd,
      chosen: hasSimd ? 'SIMD or WebCrypto' : 'WebCrypto',
      wrong: 0,
      mismatches: [],
    });
  });

  test('a batch chooses by itself, and tells every damage', async () => {
    const input = sessions(600);
    const { records, key } = await run('encrypt', { sessions: input });
    const kinds = Object.keys(DAMAGES);
    const spoilt = records.map((record, i) =>
      i < kinds.length ? damaged(record, DAMAGES[kinds[i]]) : record,
    );
    expect(await run('decrypt', { records: spoilt, key })).toEqual([...kinds, ...input.slice(kinds.length)]);
  });

  test('two workers give the same in the same order, and end when told', async () => {
    const input = sessions(2000);
    expect(await run('workers', input)).toEqual({ results: input, after: 'backend-failed' });
  });

  test('a worker that cannot be loaded is an error by its name', async () => {
    expect(await run('missingWorker')).toBe('backend-failed');
  });

  test('a page without workers does all the same', async () => {
    const input = sessions(600);
    await run('forbidWorkers');
    const { records, key } = await run('encrypt', { sessions: input, total: 20_000 });
    expect(await run('decrypt', { records, key })).toEqual(input);
  });
});

// The same measurement in Chromium: libolm, vodozemac, our WebCrypto and SIMD backends, in turn in one page.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';
import { makeSessions } from './sessions.mjs';

const path = (name) => fileURLToPath(new URL(name, import.meta.url));
const FILES = {
  '/olm.js': '../node_modules/@matrix-org/olm/olm.js',
  '/olm.wasm': '../node_modules/@matrix-org/olm/olm.wasm',
  '/vodozemac.wasm': '../node_modules/@matrix-org/matrix-sdk-crypto-wasm/pkg/matrix_sdk_crypto_wasm_bg.wasm',
};

/** What one page found, and the version of Chromium. */
export async function inChromium(task) {
  const { outputFiles } = await build({
    bundle: true,
    conditions: ['module'],
    entryPoints: [path('in-page.mjs')],
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    tsconfigRaw: {},
    write: false,
  });
  const files = new Map(Object.entries(FILES).map(([url, file]) => [url, readFileSync(path(file))]));
  files.set(
    '/',
    '<!doctype html><script src="/olm.js"></script><script type="module" src="/page.js"></script>',
  );
  files.set('/page.js', outputFiles[0].text);
  const types = { js: 'text/javascript', wasm: 'application/wasm' };
  const server = createServer(({ url }, response) => {
    response.statusCode = files.has(url) ? 200 : 404;
    response.setHeader('content-type', types[url.split('.')[1]] ?? 'text/html');
    response.end(files.get(url));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
  try {
    const page = await browser.newPage();
    page.on('pageerror', (error) => process.stderr.write(`${error}\n`));
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    await page.waitForFunction(() => 'measure' in globalThis);
    const found = await page.evaluate((own) => globalThis.measure(own), {
      ...task,
      sessions: makeSessions(task.size),
    });
    return { version: browser.version(), ...found };
  } finally {
    await browser.close();
    server.close();
  }
}

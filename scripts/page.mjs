/** Builds the page: one HTML file that holds everything, `dist/page/rescue.html`. */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (name) => readFileSync(`${root}page/${name}`, 'utf8');

async function bundle(entry, define = {}) {
  const { outputFiles } = await build({
    entryPoints: [`${root}page/src/${entry}`],
    alias: { '#platform': `${root}page/src/platform.ts` },
    bundle: true,
    charset: 'utf8',
    define,
    format: 'iife',
    legalComments: 'none',
    minify: true,
    platform: 'browser',
    target: 'es2022',
    write: false,
  });
  // What would end the script element early.
  return outputFiles[0].text.trim().replaceAll('</script', '<\\/script');
}

const worker = await bundle('worker.ts');
const script = await bundle('main.ts', { WORKER_SOURCE: JSON.stringify(worker) });
const style = read('style.css');
const hash = (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
const policy = [
  "default-src 'none'",
  // The second lets the worker compile its WebAssembly. It lets nothing be compiled from text.
  `script-src ${hash(script)} 'wasm-unsafe-eval'`,
  `style-src ${hash(style)}`,
  'worker-src blob:',
  'connect-src https: http://localhost:* http://127.0.0.1:*',
  "base-uri 'none'",
  "form-action 'none'",
].join('; ');

const parts = { CSP: policy, STYLE: style, SCRIPT: script };
// White space around a part would be part of what the policy's hash covers.
const html = read('index.html').replace(
  /\s*%(STYLE|SCRIPT)%\s*|%(CSP)%/g,
  (_, part, policy) => parts[part ?? policy],
);
mkdirSync(`${root}dist/page`, { recursive: true });
// Whole at every moment: several of these may run at once.
const partial = `${root}dist/page/rescue.${process.pid}.partial`;
writeFileSync(partial, html);
renameSync(partial, `${root}dist/page/rescue.html`);
// As `sha256sum rescue.html` writes it.
const sum = createHash('sha256').update(html).digest('hex');
writeFileSync(`${root}dist/page/rescue.html.sha256`, `${sum}  rescue.html\n`);
console.log(`dist/page/rescue.html: ${Math.round(Buffer.byteLength(html) / 1024)} KiB, SHA-256 ${sum}`);

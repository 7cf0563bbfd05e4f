// Measures the server over HTTP: npm run bench:server -- [OPTIONS] (in the root, which builds first).
//
//   --against DIR            another build, in turns with this one: a checkout with dist and node_modules
//   --beside NAME,URL,TOKEN  another server of the API on this machine, such as Synapse, in turns with this one; its
//                            account has no backup, and it has no rate limit
//   --postgres URL           this server on PostgreSQL, in turns with SQLite
//   --heavy                  up to a million keys; writes SERVER.md
//   --faults                 instead: what may take the service from others; writes a table into docs/running-the-server.md
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { keysOfRooms } from '../dist/server/put-body.js';
import { openSqliteStore } from '../dist/server/sqlite/index.js';
import {
  bodies,
  getKey,
  getKeys,
  newBatch,
  newVersion,
  putKey,
  putKeys,
  replacing,
  sendAll,
} from './requests.mjs';
import { measureFaults } from './faults.mjs';
import { runningServer, startServer } from './servers.mjs';

const string = { type: 'string' };
const { values } = parseArgs({
  options: {
    against: string,
    beside: string,
    postgres: string,
    heavy: { type: 'boolean' },
    faults: { type: 'boolean' },
  },
});

const TURNS = 7;
/** "At least as fast": the same build, measured against itself, may seem this much slower. */
const AS_FAST = 0.95;
/** Requests of 200 new keys in a turn. */
const TURN = 20;

const someKeys = (count) => (batches) => batches.flatMap(({ ids }) => ids).slice(0, count);

/**
 * What a turn sends once `stored` batches of 200 keys are stored, and how many times as fast as another build
 * (`--against`) or another server (`--beside`) this one must be.
 */
const WORK = [
  { title: 'GET of one key', stored: 5, items: someKeys(500), request: getKey, against: AS_FAST, beside: 4 },
  {
    title: 'GET of one key, 8 clients',
    stored: 5,
    clients: 8,
    items: someKeys(1000),
    request: getKey,
    against: AS_FAST,
    beside: 4,
  },
  { title: 'PUT of one key', stored: 1, items: () => newBatch(300).ids, request: putKey, beside: 4 },
  {
    title: 'PUT of 200 new keys',
    stored: 1,
    items: () => bodies(TURN),
    request: putKeys,
    against: 0.9,
    beside: 4,
  },
  { title: 'PUT of 200, 8 clients', stored: 1, clients: 8, items: () => bodies(40), request: putKeys },
  {
    title: 'PUT of 200, two thirds replaced',
    stored: 10,
    items: (batches) => batches.map(replacing),
    request: putKeys,
    beside: 10,
  },
  {
    title: 'GET of 10,000 keys',
    stored: 50,
    items: () => Array(5).fill(0),
    request: getKeys,
    against: AS_FAST,
    beside: 2,
  },
];

/** How large the backup is that 200 keys are added to, and the least ratio to another build. */
const SIZES = [
  [1_000, 0.9],
  [10_000, 0.9],
  [50_000, 0.9],
  ...(values.heavy
    ? [
        [300_000, 0.55],
        [1_000_000, 0.55],
      ]
    : []),
];

const PARTS = [firstWrite, requests, growth, memory, postgres];

const folder = mkdtempSync(join(tmpdir(), 'megolm-backup-bench-'));
const lines = [];
const targets = [];
/** Stopped at the end. */
const started = [];
try {
  say(
    `Node ${process.version}, ${cpus()[0].model}, ${availableParallelism()} processors for client and server`,
  );
  if (values.faults) await faults();
  else await benchmark();
} finally {
  for (const server of started) await server.stop();
  rmSync(folder, { recursive: true, force: true });
}

async function benchmark() {
  const servers = [await start('this build')];
  if (values.against) servers.push(await start('the other build', values.against));
  if (values.beside) servers.push(runningServer(...values.beside.split(',')));
  for (const part of PARTS) await part(servers);
  for (const { title, found, target, reached } of targets) {
    console.log(`${reached ? 'reached' : 'MISSED '} ${title}: ${found}, target ${target}`);
  }
  if (values.heavy) writeFileSync(new URL('SERVER.md', import.meta.url), document());
}

/** Writes the table of faults between its marks in the document. */
async function faults() {
  const rows = await measureFaults((row) => console.log(row));
  const path = new URL('../docs/running-the-server.md', import.meta.url);
  const [begin, end] = ['<!-- faults: written by `npm run bench:server -- --faults` -->', '<!-- /faults -->'];
  const [before, rest] = readFileSync(path, 'utf8').split(begin);
  const table = [
    '| fault | tried | longest wait of another client | memory | lost |',
    '| --- | --- | ---: | ---: | ---: |',
  ];
  const text = `${begin}\n\n${lines.join('\n')}\n\n${[...table, ...rows].join('\n')}\n\n${end}`;
  writeFileSync(path, `${before}${text}${rest.split(end)[1]}`);
}

async function start(name, build, database = ['--db', join(folder, `${started.length}.db`)]) {
  const server = await startServer(name, folder, database, build);
  started.push(server);
  return { ...server, file: database[1] };
}

function say(line) {
  lines.push(line);
  console.log(line);
}

/** Checks a figure against the least, or with `most` the largest, that it may be. */
function check(title, value, target, { unit = '', most = false, range = '' } = {}) {
  if (target === undefined) return;
  targets.push({
    title,
    found: `${value.toFixed(value < 10 ? 2 : 0)}${unit}${range}`,
    target: `at ${most ? 'most' : 'least'} ${target}${unit}`,
    reached: most ? value <= target : value >= target,
  });
}

/** How long the first write into a new file takes, and the disk that a small backup takes. */
async function firstWrite() {
  const times = [];
  for (let turn = 0; turn < 5; turn++) {
    const store = await openSqliteStore(join(folder, `first-${turn}.db`));
    const { version } = await store.createVersion('@bench:x', { algorithm: 'a', auth_data: '{}' }, {});
    const keys = await keysOfRooms(Buffer.from(newBatch(200).body), 65_536);
    const begun = performance.now();
    const { count } = await store.writeKeys('@bench:x', version, keys, {}, undefined);
    times.push(performance.now() - begun);
    if (count !== 200) throw new Error(`expected 200 keys, got ${count}`);
    await store.close();
  }
  check('first write of 200 keys into a new file', median(times), 15, { most: true, unit: ' ms' });
  const server = await start('a small backup');
  await sendAll(server, bodies(5), 1, putKeys(await newVersion(server)));
  const bytes = [server.file, `${server.file}-wal`].reduce((sum, file) => sum + statSync(file).size, 0);
  check('disk for 1,000 keys', bytes / 1e6, 6, { most: true, unit: ' MB' });
}

async function requests(servers) {
  for (const work of WORK) await measure(work, servers);
}

/** Every turn has a backup of its own, since a server may become slower as one grows. */
async function measure({ title, stored, clients = 1, items, request, ...least }, servers) {
  const found = servers.map(() => []);
  for (let turn = 0; turn <= TURNS; turn++) {
    const batches = Array.from({ length: stored }, () => newBatch(200, 5));
    const sent = items(batches);
    for (const [i, server] of servers.entries()) {
      const version = await newVersion(server);
      await sendAll(server, batches, 1, ({ body }) => putKeys(version)(body));
      const measured = await sendAll(server, sent, clients, request(version));
      // The first turn is the compiler's.
      if (turn > 0) found[i].push(measured);
      await server.call('DELETE', `/version/${version}`);
    }
  }
  compare(title, servers, found, values.against ? least.against : least.beside);
}

/** Adds to a backup as it grows. */
async function growth(servers) {
  const backups = [];
  for (const server of servers) backups.push({ server, put: putKeys(await newVersion(server)), stored: 0 });
  for (const [size, least] of SIZES) {
    for (const backup of backups) {
      for (; backup.stored < size; backup.stored += 1000)
        await sendAll(backup.server, bodies(5), 4, backup.put);
    }
    const found = backups.map(() => []);
    for (let turn = 0; turn < TURNS; turn++) {
      for (const [i, { server, put }] of backups.entries())
        found[i].push(await sendAll(server, bodies(TURN), 1, put));
    }
    const title = `PUT of 200 new keys, ${size.toLocaleString('en')} stored`;
    compare(title, servers, found, values.against && least);
    if (values.against) {
      const [ours, other] = found.map((turns) =>
        quantile(
          turns.flatMap(({ times }) => times),
          0.95,
        ),
      );
      check(`${title}: p95 to that of ${servers[1].name}`, ours / other, 1.05, { most: true });
    }
  }
}

/** While several clients read a large backup. */
async function memory([server]) {
  const keys = values.heavy ? 100_000 : 20_000;
  const version = await newVersion(server);
  for (let stored = 0; stored < keys; stored += 4000) await sendAll(server, bodies(20), 4, putKeys(version));
  let most = 0;
  const sampling = setInterval(() => (most = Math.max(most, server.memory())), 20);
  const measured = await sendAll(server, Array(8).fill(0), 8, getKeys(version));
  clearInterval(sampling);
  const title = `GET of ${keys.toLocaleString('en')} keys, 8 clients`;
  compare(title, [server], [[measured]]);
  check(`${title}: memory`, most, 150, { most: true, unit: ' MB' });
}

async function postgres([server]) {
  if (!values.postgres) return;
  const other = await start('PostgreSQL', undefined, ['--postgres', values.postgres]);
  const work = WORK.find(({ title }) => title === 'PUT of 200 new keys');
  await measure({ ...work, title: `${work.title}, PostgreSQL`, against: 0.5, beside: 0.5 }, [other, server]);
}

/** Prints what was measured of each server; the first of two is compared with the second, turn by turn. */
function compare(title, servers, found, least) {
  for (const [i, turns] of found.entries()) {
    const times = turns.flatMap((turn) => turn.times);
    const sum = (field) => turns.reduce((total, turn) => total + turn[field], 0);
    const at = (q) => quantile(times, q).toFixed(1);
    say(
      `${title.padEnd(38)} ${servers[i].name.padEnd(16)} ${(times.length / sum('seconds')).toFixed(1)} requests/s; ` +
        `ms p50 ${at(0.5)}, p95 ${at(0.95)}, p99 ${at(0.99)}; CPU ${((1000 * sum('cpu')) / times.length).toFixed(2)} ms a request`,
    );
  }
  if (found.length === 1) return;
  const ratios = found[0].map(({ seconds }, turn) => found[1][turn].seconds / seconds);
  const [low, high] = [Math.min(...ratios), Math.max(...ratios)];
  const range = ` (${low.toFixed(2)} to ${high.toFixed(2)})`;
  const cpu = found.map((turns) => turns.reduce((sum, turn) => sum + turn.cpu, 0));
  say(
    `${title.padEnd(38)} ratio ${median(ratios).toFixed(2)}${range}, of CPU ${(cpu[1] / cpu[0]).toFixed(2)}`,
  );
  check(`${title}, times as fast as ${servers[1].name}`, median(ratios), least, { range });
}

function quantile(numbers, q) {
  return numbers.toSorted((a, b) => a - b)[Math.min(numbers.length - 1, Math.floor(q * numbers.length))];
}

function median(numbers) {
  return quantile(numbers, 0.5);
}

function document() {
  const row = ({ title, found, target, reached }) =>
    `| ${title} | ${found} | ${target} | ${reached ? 'reached' : 'MISSED'} |`;
  return [
    '# The server, measured over HTTP',
    'Written by `npm run bench:server -- --heavy`, which also takes `--against`, `--beside` and `--postgres`; not to be edited.',
    `${new Date().toISOString().slice(0, 16).replace('T', ' ')} UTC. A key is about 1.2 KB of JSON; every acknowledged write is on the disk. Servers are measured in turns on one machine, each turn with a backup of its own; a ratio is the median of the turns, with their range.`,
    ['| | measured | target | |', '| --- | ---: | ---: | --- |', ...targets.map(row)].join('\n'),
    `\`\`\`text\n${lines.join('\n')}\n\`\`\`\n`,
  ].join('\n\n');
}

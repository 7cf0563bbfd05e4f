// Measures the server over HTTP, from outside: `npm run bench:server -- [--heavy] [--beside NAME URL TOKEN]`. With
// --heavy up to a million keys are stored, and SERVER.md is written. With --beside, another server of the API on this
// machine is measured in turns with ours, such as "Synapse 1.160.0" http://127.0.0.1:8008 TOKEN: with an account that
// has no backup, and no rate limit.
// Client and server share this machine. Requests are made before the clock starts.
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openSqliteStore } from '../dist/server/sqlite/index.js';
import { keysOfRooms } from '../dist/server/put-body.js';
import { startPostgres } from './postgres.mjs';
import { beside } from './server-beside.mjs';
import { runningServer, startHttpAlone, startServer } from './server-processes.mjs';
import {
  batches,
  getKey,
  getKeys,
  many,
  median,
  newBatch,
  newVersion,
  putKey,
  putKeys,
  replacing,
} from './server-requests.mjs';

const { values, positionals } = parseArgs({
  options: { heavy: { type: 'boolean' }, beside: { type: 'boolean' } },
  allowPositionals: true,
});
const [otherName, ...otherAddress] = positionals;
if (
  positionals.length !== (values.beside ? 3 : 0) ||
  (values.beside && !/^http:\/\/127\.0\.0\.1:\d+\/?$/.test(otherAddress[0]))
) {
  console.error('npm run bench:server -- [--heavy] [--beside NAME http://127.0.0.1:PORT TOKEN]');
  process.exit(2);
}
const directory = mkdtempSync(join(tmpdir(), 'bench-server-'));
/** Requests in a turn, and turns, where servers are compared. */
const TURN = 40;
const HALF_TURN = TURN / 2;
const TURNS = 5;

const lines = [];
/** What has to be reached on any machine, and rates that another server's on another machine set. */
const promises = [];
const rates = [];
/** Ratios to the least there could be. */
const compared = [];
const started = new Date();
try {
  say(
    `Node ${process.version}, ${cpus()[0].model}, ${availableParallelism()} processors, client and server share them`,
  );
  if (values.beside) await besideAnother();
  await onSqlite();
  await againstPostgres();
  say('');
  for (const { title, found, target, aim, reached } of [...promises, ...rates]) {
    say(
      `${(reached ? 'reached' : 'MISSED').padEnd(8)} ${title}: ${found}, ${target}${aim ? `, aim ${aim}` : ''}`,
    );
  }
  for (const { title, found } of compared) say(`${'ratio'.padEnd(8)} ${title}: ${found}`);
  if (values.heavy) writeFileSync(new URL('SERVER.md', import.meta.url), document());
} finally {
  rmSync(directory, { recursive: true, force: true });
}

function say(line) {
  lines.push(line);
  console.log(line);
}

/** A target set beforehand; `most` turns it into a ceiling. */
function promise(title, value, target, { aim, unit = '', most = false, to = promises } = {}) {
  const round = (number) => (number < 10 ? number.toFixed(2) : Math.round(number).toLocaleString('en'));
  const reached = most ? value <= target : value >= target;
  to.push({
    title,
    found: `${round(value)}${unit}`,
    target: `${most ? 'at most' : 'at least'} ${round(target)}${unit}`,
    aim: aim && `${round(aim)}${unit}`,
    reached,
  });
}

function document() {
  const row = ({ title, found, target, aim, reached }) =>
    `| ${title} | ${found} | ${target} | ${aim ?? '-'} | ${reached ? 'reached' : 'MISSED'} |`;
  const table = (rows) =>
    ['| | measured | target | aim | |', '| --- | ---: | ---: | ---: | --- |', ...rows.map(row)].join('\n');
  return (
    [
      '# The server, measured over HTTP',
      `Written by \`npm run bench:server -- --heavy${values.beside ? ' --beside NAME URL TOKEN' : ''}\`; not to be edited.`,
      `${started.toISOString().slice(0, 16).replace('T', ' ')} UTC. Every key is about 1.2 KB of JSON; every acknowledged write has been synchronized to the disk.`,
      table(promises),
      values.beside &&
        `What is against ${otherName} was sent to both servers in turns, on this machine, in this run; the ratio is that of the turn in the middle. Ours is \`serve\` on SQLite, the other is one process on SQLite without rate limits that logs warnings only. Every turn has a backup of its own, because the other becomes slower as one grows.`,
      'The requests are made before the clock starts and sent by a client that does little else than write and read. PostgreSQL is reached by a socket of this machine, and its log has been used before, as that of a database that has run for a while.',
      '## What the machine does to it',
      'These targets were set beforehand, on a machine that is not this one: four times what Synapse 1.160.0 did there for new keys, single reads and single writes, ten times for keys replaced, half its time for reading 10,000 keys.',
      table(rates),
      'Ratios to the least there could be, measured in turns with the requests. **node:http alone**: a server that parses what it gets, stores nothing, and answers with as many bytes from its memory. Ours also asks who it is, checks, compares with what is stored, counts, writes a log and keeps metrics.',
      compared.map(({ title, found }) => `- ${title}: ${found}`).join('\n'),
      '## All of it',
      `\`\`\`text\n${lines.slice(0, lines.indexOf('')).join('\n')}\n\`\`\``,
    ]
      .filter(Boolean)
      .join('\n\n') + '\n'
  );
}

async function besideAnother() {
  const servers = [
    await startServer(directory, ['--db', join(directory, 'turns.db')]),
    runningServer(...otherAddress),
  ];
  try {
    await beside(servers, ({ title, target, aim, ratios, rates: [ours, other] }) => {
      const range = `${Math.min(...ratios).toFixed(1)} to ${Math.max(...ratios).toFixed(1)}`;
      say(
        `${`${title}, ${otherName}`.padEnd(50)} ${other.toFixed(1)} requests/s, ours ${ours.toFixed(1)}; ratio ${range}`,
      );
      promise(`${title}, requests/s, against ${otherName}`, median(ratios), target, { aim });
    });
  } finally {
    for (const server of servers) await server.stop();
  }
}

async function onSqlite() {
  const database = ['--db', join(directory, 'backup.db')];
  let server = await startServer(directory, database);
  try {
    await beginning(server, database[1]);
    await singles(server, await newVersion(server));
    await writing(server);
    await server.stop();
    // What reading takes is measured in a process that has not just taken in a million keys.
    server = await startServer(directory, database);
    await reading(server);
  } finally {
    await server.stop();
  }
  const size = statSync(join(directory, 'backup.db')).size;
  say(`file: ${(size / 2 ** 20).toFixed(0)} MiB`);
}

/** The first write into a new file, and what a small backup takes on disk. */
async function beginning(server, file) {
  const times = [];
  for (let turn = 0; turn < 5; turn++) {
    const store = await openSqliteStore(join(directory, `first-${turn}.db`));
    const { version } = await store.createVersion('@bench:x', { algorithm: 'a', auth_data: '{}' }, {});
    const keys = keysOfRooms(Buffer.from(newBatch(200).body));
    const begun = performance.now();
    await store.writeKeys('@bench:x', version, keys, {}, undefined);
    times.push(performance.now() - begun);
    await store.close();
  }
  promise('first write of 200 keys into a new file', median(times), 15, { most: true, unit: ' ms' });
  const version = await newVersion(server);
  await many(server, batches(5), 1, putKeys(version));
  const megabytes = (statSync(file).size + statSync(`${file}-wal`).size) / 1e6;
  promise('disk for 1,000 keys', megabytes, 6, { most: true, unit: ' MB' });
  await server.call('DELETE', `/version/${version}`);
}

/** Bulk PUT, and how it grows: what is stored is in the version written to. */
async function writing(server) {
  const steps = values.heavy ? [1_000, 10_000, 100_000, 300_000, 1_000_000] : [1_000, 10_000, 50_000];
  // The first requests are the compiler's.
  const other = await newVersion(server);
  await many(server, batches(60), 1, putKeys(other));
  await server.call('DELETE', `/version/${other}`);
  const current = await newVersion(server);
  const putCurrent = putKeys(current);
  let stored = 0;
  const grown = [];
  for (const step of steps) {
    while (stored < step - TURN * 200) {
      const count = Math.min(50, Math.ceil((step - TURN * 200 - stored) / 200));
      await many(server, batches(count), 4, putCurrent);
      stored += count * 200;
    }
    const atThisSize = [];
    // Several times, because a checkpoint falls into some and not into others.
    for (let turn = 0; turn < 3; turn++) {
      const measured = await many(server, batches(TURN), 1, putCurrent);
      stored += TURN * 200;
      atThisSize.push(report(`PUT of 200 new keys, ${stored} stored`, measured, 200));
    }
    grown.push(median(atThisSize));
  }
  promise('PUT of 200 new keys, keys/s, least of all sizes', Math.min(...grown), 44_000, { to: rates });
  promise(
    `keys/s at ${steps.at(-1).toLocaleString('en')} keys stored against ${steps[0].toLocaleString('en')}, in turns`,
    await againstSmall(server, putCurrent, steps[0]),
    values.heavy ? 0.55 : 0.75,
  );
  await againstHttp('PUT of 200 new keys', server, putCurrent, () => batches(TURN));
  report('PUT of 200 new keys, 8 clients', await many(server, batches(80), 8, putCurrent), 200);

  const replaced = [];
  for (let turn = 0; turn < 3; turn++) {
    const seeds = Array.from({ length: 30 }, () => newBatch(200, 5));
    await many(
      server,
      seeds.map(({ body }) => body),
      1,
      putCurrent,
    );
    const better = seeds.map(({ ids }) => replacing(ids));
    replaced.push(report('PUT of 200, two thirds replaced', await many(server, better, 1, putCurrent), 200));
  }
  promise('PUT of 200, two thirds replaced, keys/s', median(replaced), 26_000, { aim: 36_000, to: rates });
}

async function singles(server, version) {
  const seeds = Array.from({ length: 15 }, () => newBatch(200));
  for (const { body } of seeds) await server.call('PUT', `/keys?version=${version}`, body);
  const get = getKey(version);
  const put = putKey(version);
  const ids = seeds.flatMap((seed) => seed.ids);
  // The first of each are the compiler's.
  await many(server, ids, 1, get);
  await many(server, newBatch(1500).ids, 1, put);
  const getOne = report('GET of one key', await many(server, ids, 1, get));
  const getMany = report('GET of one key, 8 clients', await many(server, [...ids, ...ids], 8, get));
  const putOne = report('PUT of one key', await many(server, newBatch(1500).ids, 1, put));
  await againstHttp('GET of one key', server, get, ids.slice(0, 500));
  await againstHttp('PUT of one key', server, put, () => newBatch(500).ids);
  report('PUT of one key, 8 clients', await many(server, newBatch(4000).ids, 8, put));
  promise('GET of one key, requests/s, one client', getOne, 3_320, { to: rates });
  promise('GET of one key, requests/s, 8 clients', getMany, 4_720, { to: rates });
  promise('PUT of one key, requests/s, one client', putOne, 1_470, { to: rates });
}

/**
 * A server whose backup is large in turns with one whose backup is small, so that the speed of the machine cancels out.
 * As many keys are written as fill the log a few times, so that checkpoints are in it.
 */
async function againstSmall(large, putLarge, size) {
  const small = await startServer(directory, ['--db', join(directory, 'small.db')]);
  const turns = Math.ceil((values.heavy ? 131_072 : 10_000) / 200 / HALF_TURN);
  const seconds = [0, 0];
  for (let turn = 0; turn <= turns; turn++) {
    const version = await newVersion(small);
    const putSmall = putKeys(version);
    // The first turn is the compiler's.
    await many(small, batches(turn === 0 ? 60 : size / 200), 1, putSmall);
    for (const [i, [server, put]] of [
      [large, putLarge],
      [small, putSmall],
    ].entries()) {
      const measured = await many(server, batches(HALF_TURN), 1, put);
      if (turn > 0) seconds[i] += measured.seconds;
    }
    await small.call('DELETE', `/version/${version}`);
  }
  await small.stop();
  return seconds[1] / seconds[0];
}

/** A server that does nothing else than HTTP and JSON, in turns with ours. */
async function againstHttp(title, server, request, items) {
  const alone = await startHttpAlone();
  const both = [];
  for (let turn = 0; turn <= TURNS; turn++) {
    const rate = [];
    for (const to of [server, alone]) {
      const some = items instanceof Function ? items() : items;
      rate.push(some.length / (await many(to, some, 1, request)).seconds);
    }
    // The first turn is the compiler's.
    if (turn > 0) both.push(rate);
  }
  await alone.stop();
  const least = median(both.map(([, rate]) => rate));
  say(`${`${title}, node:http alone`.padEnd(44)} ${least.toFixed(0)} requests/s`);
  compare(
    `${title}, requests/s, against node:http alone`,
    both.map(([ours, rate]) => ours / rate),
  );
}

function compare(title, ratios) {
  const [least, most] = [Math.min(...ratios), Math.max(...ratios)];
  compared.push({
    title,
    found: `${median(ratios).toFixed(2)} (${least.toFixed(2)} to ${most.toFixed(2)})`,
  });
}

async function reading(server) {
  const version = await newVersion(server);
  const put = putKeys(version);
  const get = getKeys(version);
  await many(server, batches(50), 1, put);
  await many(server, Array(5).fill(0), 1, get);
  const measured = await many(server, Array(30).fill(0), 1, get);
  report('GET of 10,000 keys', measured, 10_000);
  await againstHttp('GET of 10,000 keys', server, get, Array(5).fill(0));
  promise('GET of 10,000 keys, ms', median(measured.times), 105 / 2, {
    aim: 105 / 4,
    most: true,
    unit: ' ms',
    to: rates,
  });

  const keys = values.heavy ? 100_000 : 20_000;
  await many(server, batches(keys / 200 - 50), 4, put);
  await new Promise((resolve) => setTimeout(resolve, 1000));
  say(`server memory at rest: ${server.memory()} MB`);
  let most = 0;
  const sampling = setInterval(() => (most = Math.max(most, server.memory())), 20);
  const all = await many(server, Array(8).fill(0), 8, get);
  clearInterval(sampling);
  report(`GET of ${keys} keys, 8 clients`, all, keys);
  say(`server memory, most while 8 clients GET ${keys} keys each: ${most} MB`);
  promise(`memory while 8 clients GET ${keys.toLocaleString('en')} keys each`, most, 150, {
    most: true,
    unit: ' MB',
  });
}

/**
 * Both stores in turns, each with its server, so that whatever slows the machine down slows down both. All turns count
 * together: now and then one of them has to pay for bringing the log into the database.
 */
async function againstPostgres() {
  const postgres = await startPostgres(directory);
  if (!postgres) {
    say('PostgreSQL: no server programs found, not measured');
    return;
  }
  const servers = [
    await startServer(directory, ['--db', join(directory, 'beside.db')]),
    await startServer(directory, ['--postgres', postgres.url]),
  ];
  try {
    const seconds = servers.map(() => 0);
    const versions = [];
    for (const server of servers) versions.push(await newVersion(server));
    for (let turn = 0; turn <= TURNS; turn++) {
      for (const [i, server] of servers.entries()) {
        const measured = await many(server, batches(TURN), 1, putKeys(versions[i]));
        // The first turn is the compiler's.
        if (turn === 0) continue;
        report(`PUT of 200 new keys, ${['SQLite', 'PostgreSQL'][i]}`, measured, 200);
        seconds[i] += measured.seconds;
      }
    }
    promise(`${postgres.version} against SQLite, PUT of 200 new keys`, seconds[0] / seconds[1], 0.5);
  } finally {
    for (const server of servers) await server.stop();
    await postgres.stop();
  }
}

/** @returns Keys, or requests where each is of one key, a second. */
function report(name, { times, seconds, cpu }, keys = 1) {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))].toFixed(1);
  const perSecond = times.length / seconds;
  const rate = keys === 1 ? '' : `, ${Math.round(perSecond * keys)} keys/s`;
  say(
    `${name.padEnd(44)} ${perSecond.toFixed(perSecond < 10 ? 2 : 0)} requests/s${rate}; ` +
      `ms p50 ${at(0.5)}, p95 ${at(0.95)}, p99 ${at(0.99)}, most ${at(1)}; ` +
      `server CPU ${((cpu / times.length) * 1000).toFixed(2)} ms a request`,
  );
  return perSecond * keys;
}

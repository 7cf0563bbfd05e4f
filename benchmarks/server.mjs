// Measures the server over HTTP, from outside: `npm run bench:server -- [--heavy]`. With --heavy up to a million
// keys are stored, and SERVER.md is written.
// Client and server share this machine. Requests are made before the clock starts.
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { HttpClient } from './http-client.mjs';
import { keyData } from './key-data.mjs';
import { startPostgres } from './postgres.mjs';
import { startSqliteAlone } from './sqlite-alone.mjs';

const { values } = parseArgs({
  options: { heavy: { type: 'boolean' } },
});
const main = new URL('../dist/cli/main.js', import.meta.url).pathname;
const directory = mkdtempSync(join(tmpdir(), 'bench-server-'));
const token = 'bench';
/** What is compared in turns is so many requests at a time, and so many times. */
const TURN = 40;
const TURNS = 5;

const lines = [];
const promises = [];
/** Ratios to what was measured in turns with it: these do not depend on the machine. */
const compared = [];
const started = new Date();
try {
  say(
    `Node ${process.version}, ${cpus()[0].model}, ${availableParallelism()} processors, client and server share them`,
  );
  await onSqlite();
  await againstPostgres();
  say('');
  for (const { title, found, floor, aim, reached } of promises) {
    say(
      `${(reached ? 'reached' : 'MISSED').padEnd(8)} ${title}: ${found}, at least ${floor}${aim ? `, aim ${aim}` : ''}`,
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

/** A floor that was set beforehand; `most` turns it into a ceiling. */
function promise(title, value, floor, { aim, unit = '', most = false } = {}) {
  const round = (number) => (number < 10 ? number.toFixed(2) : Math.round(number).toLocaleString('en'));
  const reached = most ? value <= floor : value >= floor;
  promises.push({
    title,
    found: `${round(value)}${unit}`,
    floor: `${most ? 'at most ' : ''}${round(floor)}${unit}`,
    aim: aim && `${round(aim)}${unit}`,
    reached,
  });
}

function document() {
  const row = ({ title, found, floor, aim, reached }) =>
    `| ${title} | ${found} | ${floor} | ${aim ?? '-'} | ${reached ? 'reached' : 'MISSED'} |`;
  return (
    [
      '# The server, measured over HTTP',
      'Written by `npm run bench:server -- --heavy`; not to be edited.',
      `${started.toISOString().slice(0, 16).replace('T', ' ')} UTC. Every key is about 1.2 KB of JSON; every acknowledged write has been synchronized to the disk.`,
      'The floors come from another server of the same API (one process, SQLite, two processors shared with the client), which was measured before this one was written and not in this run: four times its rate for new keys, single reads and single writes, ten times for keys replaced, twice for reading 10,000 keys.',
      ['| | measured | floor | aim | |', '| --- | ---: | ---: | ---: | --- |', ...promises.map(row)].join(
        '\n',
      ),
      'The floors are absolute and the machine is not always the same. What hardly depends on it are ratios to the least there could be, measured in turns with the requests. **SQLite alone**: rows of the same form are put by one statement for 200 into a table with an ordinary unique index, in a process that does nothing else, with the same log and the same synchronization. **node:http alone**: a server that parses what it gets, stores nothing, and answers with as many bytes from its memory. Ours also asks who it is, checks, compares with what is stored, counts, writes a log and keeps metrics.',
      'The requests are made before the clock starts and sent by a client that does little else than write and read. PostgreSQL is reached by a socket of this machine, and its log has been used before, as that of a database that has run for a while; so is the log of SQLite here, which is made at its full length.',
      compared.map(({ title, found }) => `- ${title}: ${found}`).join('\n'),
      '## All of it',
      `\`\`\`text\n${lines.slice(0, lines.indexOf('')).join('\n')}\n\`\`\``,
    ].join('\n\n') + '\n'
  );
}

async function onSqlite() {
  const database = ['--db', join(directory, 'backup.db')];
  let server = await startServer(database);
  try {
    await singles(server, await newVersion(server));
    await writing(server);
    await server.stop();
    // What reading takes is measured in a process that has not just taken in a million keys.
    server = await startServer(database);
    await reading(server);
  } finally {
    await server.stop();
  }
  const size = statSync(join(directory, 'backup.db')).size;
  say(`file: ${(size / 2 ** 20).toFixed(0)} MiB`);
}

/** Bulk PUT, and how it grows: what is stored is in the version written to. */
async function writing(server) {
  const steps = values.heavy ? [1_000, 10_000, 100_000, 300_000, 1_000_000] : [1_000, 10_000, 50_000];
  // The first requests are the compiler's.
  const other = await newVersion(server);
  await many(server, batches(60), 1, (body) => ['PUT', `/keys?version=${other}`, body]);
  await server.call('DELETE', `/version/${other}`);
  const current = await newVersion(server);
  const putCurrent = (body) => ['PUT', `/keys?version=${current}`, body];
  let stored = 0;
  const grown = [];
  const alone = await startSqliteAlone(join(directory, 'alone.db'));
  alone.insert(60);
  const againstAlone = [];
  const aloneRates = [];
  for (const step of steps) {
    while (stored < step - TURN * 200) {
      const count = Math.min(50, Math.ceil((step - TURN * 200 - stored) / 200));
      await many(server, batches(count), 4, putCurrent);
      stored += count * 200;
    }
    const rates = [];
    // Several times, because a checkpoint falls into some and not into others.
    for (let turn = 0; turn < 3; turn++) {
      const measured = await many(server, batches(TURN), 1, putCurrent);
      stored += TURN * 200;
      rates.push(report(`PUT of 200 new keys, ${stored} stored`, measured, 200));
      aloneRates.push(alone.insert(TURN));
      againstAlone.push(rates.at(-1) / aloneRates.at(-1));
    }
    grown.push(median(rates));
  }
  alone.close();
  say(`${'200 new keys, SQLite alone'.padEnd(44)} ${Math.round(median(aloneRates))} keys/s`);
  promise('PUT of 200 new keys, keys/s, least of all sizes', Math.min(...grown), 44_000);
  promise(
    `keys/s at ${steps.at(-1).toLocaleString('en')} keys stored against ${steps[0].toLocaleString('en')}, in turns`,
    await againstSmall(server, putCurrent, steps[0]),
    0.9,
  );
  compare('PUT of 200 new keys, keys/s, against SQLite alone', againstAlone);
  await againstHttp('PUT of 200 new keys', server, putCurrent, () => batches(TURN));
  report('PUT of 200 new keys, 8 clients', await many(server, batches(80), 8, putCurrent), 200);

  const rates = [];
  for (let turn = 0; turn < 3; turn++) {
    const seeds = Array.from({ length: 30 }, () => newBatch(200, 5));
    await many(
      server,
      seeds.map(({ body }) => body),
      1,
      putCurrent,
    );
    const replacing = seeds.map(({ ids }) =>
      batchOf(ids.map((id, i) => ({ ...id, index: i % 3 === 0 ? 9 : 1 }))),
    );
    rates.push(report('PUT of 200, two thirds replaced', await many(server, replacing, 1, putCurrent), 200));
  }
  promise('PUT of 200, two thirds replaced, keys/s', median(rates), 26_000, { aim: 36_000 });
}

async function singles(server, version) {
  const seeds = Array.from({ length: 15 }, () => newBatch(200));
  for (const { body } of seeds) await server.call('PUT', `/keys?version=${version}`, body);
  const one = ({ room, session }) =>
    `/keys/${encodeURIComponent(room)}/${encodeURIComponent(session)}?version=${version}`;
  const get = (id) => ['GET', one(id)];
  const put = (id) => ['PUT', one(id), JSON.stringify(keyData(0))];
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
  promise('GET of one key, requests/s, one client', getOne, 3_320);
  promise('GET of one key, requests/s, 8 clients', getMany, 4_720);
  promise('PUT of one key, requests/s, one client', putOne, 1_470);
}

/** A server whose backup is large, in turns with one whose backup is small: what of it is growth, and what the machine. */
async function againstSmall(large, putLarge, size) {
  const small = await startServer(['--db', join(directory, 'small.db')]);
  const ratios = [];
  for (let turn = 0; turn <= 2 * TURNS; turn++) {
    const version = await newVersion(small);
    const putSmall = (body) => ['PUT', `/keys?version=${version}`, body];
    // The first turn is the compiler's.
    await many(small, batches(turn === 0 ? 60 : size / 200), 1, putSmall);
    const seconds = [];
    for (const [server, put] of [
      [large, putLarge],
      [small, putSmall],
    ]) {
      seconds.push((await many(server, batches(TURN / 2), 1, put)).seconds);
    }
    if (turn > 0) ratios.push(seconds[1] / seconds[0]);
    await small.call('DELETE', `/version/${version}`);
  }
  await small.stop();
  return median(ratios);
}

/** A server that does nothing else than HTTP and JSON, in turns with ours. */
async function againstHttp(title, server, request, items) {
  const alone = await startHttpAlone();
  const rates = [];
  for (let turn = 0; turn <= TURNS; turn++) {
    const rate = [];
    for (const to of [server, alone]) {
      const some = items instanceof Function ? items() : items;
      rate.push(some.length / (await many(to, some, 1, request)).seconds);
    }
    // The first turn is the compiler's.
    if (turn > 0) rates.push(rate);
  }
  await alone.stop();
  const least = median(rates.map(([, rate]) => rate));
  say(`${`${title}, node:http alone`.padEnd(44)} ${least.toFixed(0)} requests/s`);
  compare(
    `${title}, requests/s, against node:http alone`,
    rates.map(([ours, rate]) => ours / rate),
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
  const put = (body) => ['PUT', `/keys?version=${version}`, body];
  const get = () => ['GET', `/keys?version=${version}`];
  await many(server, batches(50), 1, put);
  await many(server, Array(5).fill(0), 1, get);
  const measured = await many(server, Array(30).fill(0), 1, get);
  report('GET of 10,000 keys', measured, 10_000);
  await againstHttp('GET of 10,000 keys', server, get, Array(5).fill(0));
  promise('GET of 10,000 keys, ms', median(measured.times), 105 / 2, {
    aim: 105 / 4,
    most: true,
    unit: ' ms',
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
    await startServer(['--db', join(directory, 'beside.db')]),
    await startServer(['--postgres', postgres.url]),
  ];
  try {
    const seconds = servers.map(() => 0);
    const versions = [];
    for (const server of servers) versions.push(await newVersion(server));
    for (let turn = 0; turn <= TURNS; turn++) {
      for (const [i, server] of servers.entries()) {
        const measured = await many(server, batches(TURN), 1, (body) => [
          'PUT',
          `/keys?version=${versions[i]}`,
          body,
        ]);
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

function median(numbers) {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1];
}

function batches(count) {
  return Array.from({ length: count }, () => newBatch(200).body);
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

/**
 * Sends a request for each item, so many at a time.
 *
 * @param request - Makes the method, path and body of an item.
 */
async function many({ client, ...server }, items, clients, request) {
  const requests = items.map((item) => client.request(...request(item)));
  const times = [];
  let next = 0;
  const cpu = server.cpu();
  const begin = performance.now();
  await Promise.all(
    Array.from({ length: clients }, async () => {
      while (next < requests.length) {
        const bytes = requests[next++];
        const begun = performance.now();
        await client.send(bytes);
        times.push(performance.now() - begun);
      }
    }),
  );
  return { times, seconds: (performance.now() - begin) / 1000, cpu: server.cpu() - cpu };
}

async function newVersion(server) {
  const body = JSON.stringify({ algorithm: 'm.megolm_backup.v1.curve25519-aes-sha2', auth_data: {} });
  return JSON.parse(await server.call('POST', '/version', body)).version;
}

function newBatch(count, index = 0) {
  const ids = Array.from({ length: count }, () => ({
    room: `!room${Math.floor(Math.random() * 200)}:example.org`,
    session: randomBytes(32).toString('base64').slice(0, 43),
    index,
  }));
  return { ids, body: batchOf(ids) };
}

function batchOf(ids) {
  const rooms = {};
  for (const { room, session, index } of ids) {
    (rooms[room] ??= { sessions: {} }).sessions[session] = keyData(index);
  }
  return JSON.stringify({ rooms });
}

async function startHttpAlone() {
  return serving([new URL('http-alone.mjs', import.meta.url).pathname]);
}

async function startServer(database) {
  const tokens = join(directory, 'tokens.json');
  const sha256 = createHash('sha256').update(token).digest('hex');
  writeFileSync(
    tokens,
    JSON.stringify([{ sha256, user_id: `@bench${process.pid}:x`, device_id: 'BENCHMARK' }]),
  );
  const options = ['--tokens', tokens, '--listen', '127.0.0.1:0', '--rate-limit', '0', '--json'];
  return serving([main, 'serve', ...database, ...options]);
}

/** A server in a process of its own, which prints its address first. */
async function serving(args) {
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'ignore'] });
  const line = await new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the server ended with ${code}`)));
    child.stdout.once('data', (chunk) => resolve(String(chunk)));
  });
  const client = new HttpClient(JSON.parse(line).url, token);
  return {
    client,
    call: (...request) => client.call(...request),
    memory: (field = 'VmRSS') => {
      const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
      return Math.round(Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)[1]) / 1024);
    },
    // Seconds of processor time: says more than the clock where the machine is shared.
    cpu: () => {
      const fields = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1].split(' ');
      return (Number(fields[11]) + Number(fields[12])) / 100;
    },
    stop: () =>
      new Promise((resolve) => {
        child.once('exit', resolve);
        child.kill('SIGTERM');
        client.close();
      }),
  };
}

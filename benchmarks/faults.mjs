// What may take the service from others: `node benchmarks/faults.mjs [--keys N]`, after a build. Each fault runs against
// `serve` in processes of its own; what is printed is the longest time that anything waited meanwhile.
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { openSqliteStore } from '../dist/server/sqlite/index.js';
import { keyData } from './key-data.mjs';
import { startServer } from './server-processes.mjs';
import { getKeys, newBatch, newVersion, putKeys } from './server-requests.mjs';

/** Each has a name and `run(directory, keys)`, which returns {@link watch}'s result. Others may be added. */
export const FAULTS = [
  { name: 'DELETE of a version beside 8 clients, SQLite', run: deleteBesideClients },
  { name: '2 servers on one SQLite file, 4 clients each', run: twoServers },
  { name: 'erase-user beside 8 clients, SQLite', run: eraseBesideClients },
];

async function deleteBesideClients(directory, keys) {
  const file = join(directory, 'delete.db');
  const version = await fill(file, USER, keys);
  const server = await startServer(directory, ['--db', file]);
  const small = await newVersion(server);
  const found = await watch([server], [small], 8, async () => {
    await server.call('DELETE', `/version/${version}`);
    await untilGone(file);
  });
  await server.stop();
  return found;
}

async function twoServers(directory) {
  const file = join(directory, 'two.db');
  const servers = [
    await startServer(directory, ['--db', file]),
    await startServer(directory, ['--db', file]),
  ];
  const version = await newVersion(servers[0]);
  const found = await watch(servers, [version, version], 4, () => setTimeout(20_000));
  for (const server of servers) await server.stop();
  return found;
}

async function eraseBesideClients(directory, keys) {
  const file = join(directory, 'erase.db');
  await fill(file, '@erased:x', keys);
  const server = await startServer(directory, ['--db', file]);
  const version = await newVersion(server);
  const found = await watch([server], [version], 8, async () => {
    const store = await openSqliteStore(file);
    await store.eraseUser('@erased:x');
    await store.close();
  });
  await server.stop();
  return found;
}

/** The user of {@link startServer}. */
const USER = `@bench${process.pid}:x`;

async function fill(file, user, keys) {
  const store = await openSqliteStore(file);
  const { version } = await store.createVersion(user, { algorithm: 'a', auth_data: '{}' }, {});
  const data = Buffer.from(JSON.stringify(keyData(0)));
  const rank = { first_message_index: 0, forwarded_count: 0, is_verified: false };
  for (let written = 0; written < keys; written += 5_000) {
    const batch = Array.from({ length: Math.min(5_000, keys - written) }, (_, i) => ({
      room_id: `!${i % 1_000}:x`,
      session_id: randomBytes(32).toString('base64url'),
      ...rank,
      data,
    }));
    await store.writeKeys(user, version, batch, {}, undefined);
  }
  await store.close();
  return version;
}

/** Waits until the keys of deleted versions are deleted. */
async function untilGone(file) {
  const { loadSqlite } = await import('../dist/server/sqlite/connection.js');
  const database = (await loadSqlite())(file);
  const left = `SELECT 1 FROM versions JOIN rooms ON rooms.version = versions.id WHERE deleted LIMIT 1`;
  while (database.first(left)) await setTimeout(200);
  database.close();
}

/** Sends mixed requests to servers, a number of clients each, and asks for their health, as long as a fault lasts. */
async function watch(servers, versions, clients, fault) {
  const longest = { health: 0, put: 0, get: 0, memory: 0 };
  let [requests, acknowledged, isOver] = [0, 0, false];
  const timed = async (what, request) => {
    const begun = performance.now();
    await request;
    requests += 1;
    longest[what] = Math.max(longest[what], performance.now() - begun);
  };
  const client = async (server, version, reads) => {
    while (!isOver) {
      if (reads) {
        await timed('get', server.call(...getKeys(version)()));
      } else {
        await timed('put', server.call(...putKeys(version)(newBatch(20).body)));
        acknowledged += 20;
      }
      await setTimeout(10);
    }
  };
  const health = async (server) => {
    while (!isOver) {
      await timed('health', answered(server.url));
      longest.memory = Math.max(longest.memory, server.memory());
      await setTimeout(5);
    }
  };
  const work = servers.flatMap((server, i) => [
    health(server),
    // A whole backup is large: one client in four reads it.
    ...Array.from({ length: clients }, (_, n) => client(server, versions[i], n % 4 === 3)),
  ]);
  const begun = performance.now();
  await Promise.race([fault(), Promise.all(work)]);
  isOver = true;
  await Promise.all(work);
  const seconds = (performance.now() - begun) / 1000;
  const text = await servers[0].call('GET', `/version/${versions[0]}`);
  const lost = acknowledged - JSON.parse(text).count;
  return { seconds, requests, ...longest, lost };
}

function answered(url) {
  return new Promise((resolve, reject) => {
    get(`${url}/health`, (response) => {
      response.resume().on('end', resolve);
    }).on('error', reject);
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { keys: { type: 'string', default: '100000' } } });
  const directory = mkdtempSync(join(tmpdir(), 'faults-'));
  try {
    console.log('| fault | s | requests | ms longest: health | PUT | GET | MB | lost |');
    console.log('| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |');
    for (const { name, run } of FAULTS) {
      const {
        seconds,
        requests,
        health,
        put,
        get: read,
        memory,
        lost,
      } = await run(directory, Number(values.keys));
      const times = [health, put, read].map((time) => time.toFixed(0)).join(' | ');
      console.log(`| ${name} | ${seconds.toFixed(1)} | ${requests} | ${times} | ${memory} | ${lost} |`);
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

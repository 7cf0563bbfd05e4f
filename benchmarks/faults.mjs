// What may take the service from others, for `npm run bench:server -- --faults`: each against `serve` on SQLite, in
// processes of its own, while another user asks for the version of a backup without a pause.
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSqliteStore } from '../dist/server/sqlite/index.js';
import { bodies, getKeys, newBatch, newVersion, putKeys, sendAll } from './requests.mjs';
import { startServer } from './servers.mjs';

const KEYS = 100_000;
/** As many as a large account has. */
const MANY = 1_000_000;
const KILLS = 60;
const MIB = 2 ** 20;
const PATH = '/_matrix/client/v3/room_keys';

/**
 * Each `run` gets a directory of its own and returns `tried` (what, and how often) and `lost` (acknowledged keys that are
 * missing, or answers that were wrong). {@link withServer} adds `stall`, the longest wait of another client in
 * milliseconds, and `memory`, the most in MB.
 */
const FAULTS = [
  {
    name: `a version of ${MANY.toLocaleString('en')} keys is deleted beside 8 clients`,
    run: async (directory) => {
      const version = await fill(directory, BENCH_USER, MANY);
      return withServer(directory, async (server) => {
        const small = await newVersion(server);
        return beside(server, small, 8, async () => {
          await server.call('DELETE', `/version/${version}`);
          await seconds(30);
        });
      });
    },
  },
  {
    name: `a user with ${KEYS.toLocaleString('en')} keys is erased beside 8 clients`,
    run: async (directory) => {
      await fill(directory, '@erased:x', KEYS);
      return withServer(directory, async (server) =>
        beside(server, await newVersion(server), 8, async () => {
          const store = await openSqliteStore(join(directory, 'backup.db'));
          await store.eraseUser('@erased:x');
          await store.close();
        }),
      );
    },
  },
  {
    name: 'two servers write to one file, 4 clients each',
    run: (directory) =>
      withServer(directory, async (server) => {
        const second = await startServer('the second', directory, ['--db', join(directory, 'backup.db')]);
        const version = await newVersion(server);
        const other = beside(second, version, 4, () => seconds(20));
        const found = await beside(server, version, 4, () => seconds(20));
        const lost = (await other).acknowledged + found.acknowledged - (await countOf(server, version));
        await second.stop();
        return { tried: `${found.requests} requests`, lost };
      }),
  },
  { name: `kill -9 under 8 writers`, run: killed },
  {
    name: `100 clients read ${KEYS.toLocaleString('en')} keys slowly`,
    run: (directory) =>
      withKeys(directory, async (server, version) => {
        const sockets = Array.from({ length: 100 }, () =>
          open(server, `GET ${PATH}/keys?version=${version}`),
        );
        const reading = setInterval(() => {
          // Some take a little, others nothing.
          for (const [i, { socket }] of sockets.entries()) if (i % 2 === 0) socket.read();
        }, 100);
        await seconds(15);
        clearInterval(reading);
        const lost = sockets.filter(({ status }) => status() !== 200).length;
        for (const { socket } of sockets) socket.destroy();
        return { tried: '100 downloads, 15 s', lost };
      }),
  },
  {
    name: `8 clients read ${KEYS.toLocaleString('en')} keys`,
    run: (directory) =>
      withKeys(directory, async (server, version) => {
        await sendAll(server, Array(8).fill(0), 8, getKeys(version));
        return { tried: '8 downloads', lost: 0 };
      }),
  },
  {
    name: 'one user holds 30 bodies of 10 MiB',
    run: (directory) =>
      withServer(directory, async (server) => {
        const head = `content-length: ${10 * MIB}`;
        const sockets = Array.from({ length: 30 }, () => open(server, `PUT ${PATH}/keys?version=x`, head));
        const body = Buffer.alloc(10 * MIB - 1, ' ');
        for (const { socket } of sockets) socket.write(body);
        await seconds(5);
        const refused = sockets.filter(({ status }) => status() === 429).length;
        for (const { socket } of sockets) socket.destroy();
        return { tried: `30 bodies, ${refused} refused with 429`, lost: 0 };
      }),
  },
  {
    name: 'one user stalls 20 downloads of a key of 45 MB',
    run: async (directory) => {
      const options = ['--max-body', String(64 * MIB), '--max-record', String(64 * MIB)];
      const database = ['--db', join(directory, 'backup.db')];
      const filling = await startServer('this build', directory, [...database, ...options]);
      const path = `/keys/!r:x/s?version=${await newVersion(filling)}`;
      const record = { first_message_index: 0, forwarded_count: 0, is_verified: false };
      const session_data = { ciphertext: 'x'.repeat(45_000_000) };
      await filling.call('PUT', path, JSON.stringify({ ...record, session_data }));
      await filling.stop();
      return withServer(directory, async (server) => {
        const sockets = Array.from({ length: 20 }, () => open(server, `GET ${PATH}${path}`));
        await seconds(5);
        const refused = sockets.filter(({ status }) => status() === 429).length;
        for (const { socket } of sockets) socket.destroy();
        return { tried: `20 downloads, ${refused} refused with 429`, lost: 0 };
      });
    },
  },
  {
    name: 'bodies of 10 MiB that take long to read',
    run: (directory) =>
      withServer(directory, async (server) => {
        const version = await newVersion(server);
        const members = (count, member) => Array.from({ length: count }, (_, i) => member(i)).join();
        const record = '{"first_message_index":0,"forwarded_count":0,"is_verified":false,"session_data":{}}';
        const keysOf = (text) => members(100_000, (i) => `"${i}":${text}`);
        const texts = [
          `{"rooms":{"!r:x":{"sessions":{${keysOf(record)}}}}}`,
          `{"rooms":{"!r:x":{"sessions":{${keysOf(record.replace('{}', '{"":"é"}'))}}}}}`,
          `{"rooms":{},${members(800_000, (i) => `"${i}":{}`)}}`,
          `{"rooms":{${members(300_000, (i) => `"${i}":{"sessions":{}}`)}}}`,
          '['.repeat(10 * MIB),
          `{"algorithm":"a","auth_data":{${members(800_000, (i) => `"${i}":{}`)}}}`,
        ];
        for (const text of texts) {
          // Any answer will do.
          await server.call('PUT', `/keys?version=${version}`, text).catch(() => undefined);
        }
        return { tried: `${texts.length} bodies`, lost: 0 };
      }),
  },
];

/** The user of {@link startServer}. */
const BENCH_USER = `@bench${process.pid}:x`;

/** Tries everything. Returns the rows of a table. */
export async function measureFaults(say) {
  const rows = [];
  for (const { name, run } of FAULTS) {
    const directory = mkdtempSync(join(tmpdir(), 'faults-'));
    try {
      const { tried, stall, memory, lost } = await run(directory);
      rows.push(`| ${name} | ${tried} | ${stall} ms | ${memory} MB | ${lost} |`);
      say(rows.at(-1));
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  }
  return rows;
}

/** Servers that are killed and started again; every key that was acknowledged has to be there at the end. */
async function killed(directory) {
  const database = ['--db', join(directory, 'backup.db')];
  let version;
  let [acknowledged, restart] = [0, 0];
  for (let kill = 0; kill < KILLS; kill++) {
    const begun = performance.now();
    const server = await startServer('this build', directory, database);
    restart = Math.max(restart, performance.now() - begun);
    version ??= await newVersion(server);
    const writers = Array.from({ length: 8 }, async () => {
      for (;;) {
        await server.call(...putKeys(version)(newBatch(20).body));
        acknowledged += 20;
      }
    });
    await seconds(0.2 + Math.random() * 0.5);
    server.kill();
    await Promise.allSettled(writers);
  }
  const server = await startServer('this build', directory, database);
  const lost = Math.max(0, acknowledged - (await countOf(server, version)));
  const memory = Math.round(server.memory('VmHWM'));
  await server.stop();
  return {
    tried: `${KILLS} kills, ${acknowledged} keys acknowledged`,
    stall: Math.round(restart),
    memory,
    lost,
  };
}

async function countOf(server, version) {
  return Number(/"count": *(\d+)/.exec(await server.call('GET', `/version/${version}`))[1]);
}

async function fill(directory, user, keys) {
  const store = await openSqliteStore(join(directory, 'backup.db'));
  const { version } = await store.createVersion(user, { algorithm: 'a', auth_data: '{}' }, {});
  const rank = { first_message_index: 0, forwarded_count: 0, is_verified: false };
  const data = Buffer.from(JSON.stringify({ ...rank, session_data: { ciphertext: 'x'.repeat(1_000) } }));
  for (let written = 0; written < keys; written += 5_000) {
    const batch = Array.from({ length: 5_000 }, (_, i) => ({
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

/** Mixed requests of several clients for as long as a fault lasts: one in four reads a whole backup. */
async function beside(server, version, clients, fault) {
  let [requests, acknowledged, isOver] = [0, 0, false];
  const before = await countOf(server, version);
  const work = Array.from({ length: clients }, async (_, n) => {
    while (!isOver) {
      if (n % 4 === 3) {
        await server.call(...getKeys(version)());
      } else {
        await server.call(...putKeys(version)(newBatch(20).body));
        acknowledged += 20;
      }
      requests++;
      await seconds(0.01);
    }
  });
  await Promise.race([fault(), Promise.all(work)]);
  isOver = true;
  await Promise.all(work);
  const lost = Math.max(0, acknowledged - ((await countOf(server, version)) - before));
  return { tried: `${requests} requests`, requests, acknowledged, lost };
}

async function withKeys(directory, run) {
  const database = ['--db', join(directory, 'backup.db')];
  const filling = await startServer('this build', directory, database);
  const version = await newVersion(filling);
  await sendAll(filling, bodies(KEYS / 200), 4, putKeys(version));
  await filling.stop();
  // In a process that has not just taken in the keys.
  return withServer(directory, (server) => run(server, version));
}

/** Runs against a server, and meanwhile asks it as another client. */
async function withServer(directory, run) {
  const server = await startServer('this build', directory, ['--db', join(directory, 'backup.db')]);
  let [stall, isRunning] = [0, true];
  const asking = (async () => {
    while (isRunning) {
      const begun = performance.now();
      await server.call('GET', '/version').catch(() => undefined);
      stall = Math.max(stall, performance.now() - begun);
      await seconds(0.01);
    }
  })();
  try {
    const result = await run(server);
    return { ...result, stall: Math.round(stall), memory: Math.round(server.memory('VmHWM')) };
  } finally {
    isRunning = false;
    await asking;
    await server.stop();
  }
}

/** A connection that has sent a request and reads no further than the operating system does for it. */
function open(server, request, ...headers) {
  const socket = connect(server.port, '127.0.0.1');
  socket.on('error', () => undefined);
  const lines = [`${request} HTTP/1.1`, 'host: 127.0.0.1', 'authorization: Bearer bench', ...headers];
  socket.write(`${lines.join('\r\n')}\r\n\r\n`);
  let begin = '';
  socket.once('readable', () => {
    begin = String(socket.read(16) ?? '');
  });
  return { socket, status: () => Number(begin.split(' ')[1]) };
}

function seconds(count) {
  return new Promise((resolve) => setTimeout(resolve, count * 1000));
}

// What the server bears from its clients over HTTP. Alone: `node benchmarks/faults-http.mjs`, after a build.
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bodies, getKeys, newVersion, putKeys, sendAll } from './requests.mjs';
import { startServer } from './servers.mjs';

const KEYS = 100_000;
const MIB = 2 ** 20;
const PATH = '/_matrix/client/v3/room_keys';

/**
 * Each `run` gets a directory of its own and gives `tried` (what, and how often), `stall` (the longest that another client
 * waited, in milliseconds), `memory` (the most, in MB) and `lost` (answers that were wrong, or keys that were missing).
 */
export const faults = [
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

async function withKeys(directory, run) {
  const database = ['--db', join(directory, 'backup.db')];
  const filling = await startServer('this build', directory, database);
  const version = await newVersion(filling);
  await sendAll(filling, bodies(KEYS / 200), 4, putKeys(version));
  await filling.stop();
  // In a process that has not just taken in the keys.
  return withServer(directory, (server) => run(server, version));
}

async function withServer(directory, run) {
  const server = await startServer('this build', directory, ['--db', join(directory, 'backup.db')]);
  let stall = 0;
  let isRunning = true;
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

if (process.argv[1] === import.meta.filename) {
  for (const { name, run } of faults) {
    const directory = mkdtempSync(join(tmpdir(), 'faults-'));
    const { tried, stall, memory, lost } = await run(directory);
    console.log(`${name}: ${tried}; longest stall ${stall} ms, most memory ${memory} MB, lost ${lost}`);
    rmSync(directory, { recursive: true });
  }
}

// Measures the server over HTTP, from outside: `npm run bench:server -- [--postgres URL] [--heavy]`.
// Client and server share this machine. Bodies are made before the clock starts.
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: { postgres: { type: 'string' }, heavy: { type: 'boolean' } },
});
const main = new URL('../dist/cli/main.js', import.meta.url).pathname;
const directory = mkdtempSync(join(tmpdir(), 'bench-server-'));
const token = 'bench';

const server = await startServer();
const api = client(server.url);
try {
  await run();
} finally {
  await server.stop();
  rmSync(directory, { recursive: true, force: true });
}

async function run() {
  console.log(`Node ${process.version}, ${values.postgres ? 'PostgreSQL' : 'SQLite'}`);
  let version = await newVersion();

  // Bulk PUT, and how it grows: what is stored is in the version written to.
  const steps = values.heavy ? [1_000, 10_000, 100_000, 300_000, 1_000_000] : [1_000, 10_000, 50_000];
  let stored = 0;
  for (const step of steps) {
    while (stored < step - 20 * 200) {
      const count = Math.min(50, Math.ceil((step - 20 * 200 - stored) / 200));
      const bodies = Array.from({ length: count }, () => newBatch(200).body);
      await many(bodies, 4, (body) => api('PUT', `/keys?version=${version}`, body));
      stored += count * 200;
    }
    const bodies = Array.from({ length: 40 }, () => newBatch(200).body);
    const times = await many(bodies, 1, (body) => api('PUT', `/keys?version=${version}`, body));
    stored += 40 * 200;
    report(`PUT of 200 new keys, ${stored} stored`, times, 200);
  }
  await report8(version);

  // Two thirds replaced.
  const seeds = Array.from({ length: 30 }, () => newBatch(200, 5));
  for (const { body } of seeds) await api('PUT', `/keys?version=${version}`, body);
  const replacing = seeds.map(({ ids }) =>
    batchOf(ids.map((id, i) => ({ ...id, index: i % 3 === 0 ? 9 : 1 }))),
  );
  report(
    'PUT of 200, two thirds replaced',
    await many(replacing, 1, (body) => api('PUT', `/keys?version=${version}`, body)),
    200,
  );

  // Single keys.
  const ids = seeds.flatMap((seed) => seed.ids).slice(0, 3000);
  const one = ({ room, session }) =>
    `/keys/${encodeURIComponent(room)}/${encodeURIComponent(session)}?version=${version}`;
  report('GET of one key', await many(ids, 1, (id) => api('GET', one(id))));
  report('GET of one key, 8 clients', await many([...ids, ...ids], 8, (id) => api('GET', one(id))));
  const singles = newBatch(1500).ids;
  report('PUT of one key', await many(singles, 1, (id) => api('PUT', one(id), JSON.stringify(keyData(0)))));
  const more = newBatch(4000).ids;
  report(
    'PUT of one key, 8 clients',
    await many(more, 8, (id) => api('PUT', one(id), JSON.stringify(keyData(0)))),
  );

  // 10,000 keys in one answer.
  version = await newVersion();
  for (let i = 0; i < 50; i++) await api('PUT', `/keys?version=${version}`, newBatch(200).body);
  const gets = await many(Array.from({ length: 20 }), 1, () => api('GET', `/keys?version=${version}`));
  report('GET of 10,000 keys', gets, 10_000);

  // Memory while 8 clients read everything.
  const reading = values.heavy ? 100_000 : 20_000;
  for (let i = 50; i < reading / 200; i++) await api('PUT', `/keys?version=${version}`, newBatch(200).body);
  await new Promise((resolve) => setTimeout(resolve, 1000));
  console.log(`server memory at rest: ${server.memory()} MB`);
  let most = 0;
  const sampling = setInterval(() => (most = Math.max(most, server.memory())), 20);
  const all = await many(Array.from({ length: 8 }), 8, () => api('GET', `/keys?version=${version}`));
  clearInterval(sampling);
  report(`GET of ${reading} keys, 8 clients`, all, reading);
  console.log(
    `server memory, most while 8 clients GET ${reading} keys each: ${most} MB; since start: ${server.memory('VmHWM')} MB`,
  );
  if (!values.postgres) {
    const size = statSync(join(directory, 'backup.db')).size;
    console.log(`file: ${(size / 2 ** 20).toFixed(0)} MiB`);
  }
}

async function report8(version) {
  const bodies = Array.from({ length: 80 }, () => newBatch(200).body);
  report(
    'PUT of 200 new keys, 8 clients',
    await many(bodies, 8, (body) => api('PUT', `/keys?version=${version}`, body)),
    200,
  );
}

function report(name, { times, seconds, cpu }, keys = 1) {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))].toFixed(1);
  const perSecond = times.length / seconds;
  const rate = keys === 1 ? '' : `, ${Math.round(perSecond * keys)} keys/s`;
  console.log(
    `${name.padEnd(44)} ${perSecond.toFixed(perSecond < 10 ? 2 : 0)} requests/s${rate}; ` +
      `ms p50 ${at(0.5)}, p95 ${at(0.95)}, p99 ${at(0.99)}, most ${at(1)}; ` +
      `server CPU ${((cpu / times.length) * 1000).toFixed(2)} ms a request`,
  );
}

async function many(items, clients, send) {
  const times = [];
  let next = 0;
  const cpu = server.cpu();
  const started = performance.now();
  await Promise.all(
    Array.from({ length: clients }, async () => {
      while (next < items.length) {
        const item = items[next++];
        const begun = performance.now();
        await send(item);
        times.push(performance.now() - begun);
      }
    }),
  );
  return { times, seconds: (performance.now() - started) / 1000, cpu: server.cpu() - cpu };
}

async function newVersion() {
  const body = JSON.stringify({ algorithm: 'm.megolm_backup.v1.curve25519-aes-sha2', auth_data: {} });
  return JSON.parse(await api('POST', '/version', body)).version;
}

function keyData(index) {
  return {
    first_message_index: index,
    forwarded_count: 0,
    is_verified: false,
    session_data: {
      ephemeral: randomBytes(32).toString('base64').slice(0, 43),
      ciphertext: randomBytes(740).toString('base64'),
      mac: randomBytes(8).toString('base64').slice(0, 11),
    },
  };
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

function client(url) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 16 });
  return (method, path, body) =>
    new Promise((resolve, reject) => {
      const request = http.request(
        `${url}/_matrix/client/v3/room_keys${path}`,
        {
          method,
          agent,
          headers: {
            authorization: `Bearer ${token}`,
            ...(body
              ? { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
              : {}),
          },
        },
        (response) => {
          let length = 0;
          let text = '';
          response.on('data', (chunk) => {
            length += chunk.length;
            if (length < 1000) text += chunk;
          });
          response.on('error', reject);
          response.on('end', () => {
            if (response.statusCode !== 200) reject(new Error(`${response.statusCode} ${text}`));
            else resolve(text);
          });
        },
      );
      request.on('error', reject);
      request.end(body);
    });
}

async function startServer() {
  const tokens = join(directory, 'tokens.json');
  const sha256 = createHash('sha256').update(token).digest('hex');
  writeFileSync(
    tokens,
    JSON.stringify([{ sha256, user_id: `@bench${process.pid}:x`, device_id: 'BENCHMARK' }]),
  );
  const database = values.postgres ? ['--postgres', values.postgres] : ['--db', join(directory, 'backup.db')];
  const options = ['--tokens', tokens, '--listen', '127.0.0.1:0', '--rate-limit', '0', '--json'];
  const child = spawn(process.execPath, [main, 'serve', ...database, ...options], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const line = await new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the server ended with ${code}`)));
    child.stdout.once('data', (chunk) => resolve(String(chunk)));
  });
  return {
    url: JSON.parse(line).url,
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
      }),
  };
}

#!/usr/bin/env node
// Measures the client against a server on loopback that costs next to nothing: restore and upload of many keys.
//   node benchmarks/client.mjs [restore|stream|upload|all] [KEYS] [--json]
// Every measurement runs in a process of its own, so that its peak memory is its own; the server is another one.
import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { randomBytes } from 'node:crypto';

const self = fileURLToPath(import.meta.url);
const [task = 'all', argument] = process.argv.slice(2);
/** Records that are really different; a longer backup repeats them under other rooms. */
const DISTINCT = 20_000;

/** Measured: what is printed, as an object. Times are in milliseconds, sizes in bytes. */
const MEASURE = {
  async restore(keys) {
    const alone = await measure('alone', [keys]);
    return withServer('serve', [keys], async ({ url, bytes }) => {
      const { time, cpu, peak } = await measure('client', [url]);
      return { keys: Number(keys), bytes, time, cpu, peak, alone: { time: alone.time, cpu: alone.cpu } };
    });
  },
  stream: (keys) =>
    withServer('serve', [keys], async ({ url, bytes }) => {
      const { time, cpu, peak } = await measure('client', [url]);
      return { keys: Number(keys), bytes, time, cpu, peak };
    }),
  upload: (keys) =>
    withServer('sink', [], async ({ url }) => {
      const { time, cpu, idle, peak } = await measure('measure-upload', [keys, url]);
      return { keys: Number(keys), time, cpu, idle, peak };
    }),
};

const SENTENCE = {
  restore: ({ keys, bytes, time, cpu, peak, alone }) =>
    `restore ${keys} keys (${megabytes(bytes)}): ${seconds(time)} (CPU ${seconds(cpu)}), ` +
    `decrypting alone ${seconds(alone.time)} (CPU ${seconds(alone.cpu)}), ` +
    `ratio ${(time / alone.time).toFixed(2)} (CPU ${(cpu / alone.cpu).toFixed(2)}), peak ${megabytes(peak)}`,
  stream: ({ keys, bytes, time, peak }) =>
    `restore ${keys} keys (${megabytes(bytes)}): ${seconds(time)}, peak ${megabytes(peak)}`,
  upload: ({ keys, time, cpu, idle, peak }) =>
    `upload ${keys} keys: ${seconds(time)} (CPU ${seconds(cpu)}), encryption idle ${percent(idle / time)}, ` +
    `peak ${megabytes(peak)}`,
};

async function report(which, count) {
  for (const name of which === 'all' ? Object.keys(MEASURE) : [which]) {
    const measured = await MEASURE[name](String(count ?? (name === 'stream' ? 1_000_000 : 100_000)));
    console.log(
      process.argv.includes('--json')
        ? JSON.stringify({ task: name, ...measured })
        : SENTENCE[name](measured),
    );
  }
}

const seconds = (milliseconds) => `${(milliseconds / 1000).toFixed(2)} s`;
const megabytes = (bytes) => `${Math.round(bytes / 1e6)} MB`;
const percent = (share) => `${(100 * share).toFixed(1)} %`;

// ---- processes

function start(name, args) {
  return spawn(process.execPath, [self, name, ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
}

async function firstLine(child) {
  let text = '';
  for await (const chunk of child.stdout) {
    text += chunk;
    if (text.includes('\n')) break;
  }
  if (!text) throw new Error('a process said nothing');
  return JSON.parse(text);
}

async function measure(name, args) {
  return firstLine(start(name, args));
}

async function withServer(name, args, use) {
  const server = start(name, args);
  try {
    return await use(await firstLine(server));
  } finally {
    server.kill();
  }
}

// ---- what is measured

async function library() {
  const [engine, backend, client] = await Promise.all([
    import('../dist/index.js'),
    import('../dist/backends/node.js'),
    import('../dist/client/index.js'),
  ]);
  const key = engine.BackupDecryptionKey.fromBytes(new Uint8Array(32).fill(9));
  return { ...engine, ...client, key, backend: backend.nodeBackend() };
}

function session(i) {
  const bytes = randomBytes(165);
  bytes[0] = 1;
  bytes.writeUInt32BE(i, 1);
  const text = (from) => bytes.subarray(from).toString('base64').replace(/=+$/, '');
  return {
    algorithm: 'm.megolm.v1.aes-sha2',
    forwarding_curve25519_key_chain: [],
    room_id: `!room${i % 100}:example.org`,
    // The public key of the first test of RFC 8032.
    sender_claimed_keys: { ed25519: '11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo' },
    sender_key: randomBytes(32).toString('base64').slice(0, 43),
    // Real plaintexts are as long as this makes it.
    'org.example.padding': 'x'.repeat(230),
    session_id: text(133),
    session_key: text(0),
  };
}

async function records(lib, count) {
  const made = [];
  const sessions = Array.from({ length: count }, (_, i) => session(i));
  for await (const result of lib.encryptSessions(sessions, lib.key.publicKey, { backend: lib.backend })) {
    made.push(result);
  }
  return made;
}

function finish(started, cpu, more) {
  const used = process.cpuUsage(cpu);
  const result = {
    time: performance.now() - started,
    cpu: (used.user + used.system) / 1000,
    peak: process.resourceUsage().maxRSS * 1024,
    ...more,
  };
  console.log(JSON.stringify(result));
  process.exit(0);
}

async function alone(count) {
  const lib = await library();
  const distinct = await records(lib, Math.min(DISTINCT, Number(count)));
  const inputs = Array.from({ length: Number(count) }, (_, i) => distinct[i % distinct.length]);
  const cpu = process.cpuUsage();
  const started = performance.now();
  let ok = 0;
  for await (const result of lib.decryptSessions(inputs, lib.key, { backend: lib.backend }))
    if (result.ok) ok++;
  if (ok !== inputs.length) throw new Error(`${inputs.length - ok} failed`);
  finish(started, cpu);
}

async function client(url) {
  const lib = await library();
  const roomKeys = new lib.RoomKeys({ baseUrl: url, accessToken: 'x' });
  const info = await roomKeys.currentVersion();
  const restore = new lib.Restore(roomKeys, info, lib.key, { backend: lib.backend });
  const cpu = process.cpuUsage();
  const started = performance.now();
  let characters = 0;
  for await (const result of restore) if (result.ok) characters += result.session.session_key.length;
  if (restore.summary.ok !== info.count) throw new Error(JSON.stringify(restore.summary));
  finish(started, cpu, { characters });
}

async function upload(count, url) {
  const lib = await library();
  const roomKeys = new lib.RoomKeys({ baseUrl: url });
  const total = Number(count);
  function* sessions() {
    for (let i = 0; i < total; i++) yield session(i);
  }
  const auth_data = lib.createAuthData(lib.key.publicKey);
  const info = { version: '1', algorithm: lib.BACKUP_ALGORITHM, auth_data, etag: '', count: 0 };
  // The thread is idle when nothing computes: encryption waits for the network.
  const { eventLoopUtilization } = performance;
  const before = eventLoopUtilization();
  const cpu = process.cpuUsage();
  const started = performance.now();
  const trust = { userId: '', decryptionKey: lib.key };
  const outcome = await lib.uploadSessions(roomKeys, info, sessions(), { trust, backend: lib.backend });
  const { idle } = eventLoopUtilization(before);
  if (outcome.uploaded !== total) throw new Error(JSON.stringify({ ...outcome, failures: undefined }));
  finish(started, cpu, { idle, keys: total });
}

/** Takes everything and keeps nothing. */
function sink() {
  const server = createServer(async (request, response) => {
    for await (const _ of request);
    response.end('{"etag":"1","count":0}');
  }).listen(0, '127.0.0.1', () => {
    console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}` }));
  });
}

// ---- a backup of any size, made while it is sent

async function serve(count) {
  const lib = await library();
  const total = Number(count);
  const distinct = (await records(lib, Math.min(DISTINCT, total))).map(
    ({ session_id, key_backup_data }) => `${JSON.stringify(session_id)}:${JSON.stringify(key_backup_data)}`,
  );
  const rounds = Math.ceil(total / distinct.length);
  const pieces = function* () {
    yield '{"rooms":{';
    for (let round = 0, left = total; round < rounds; round++, left -= distinct.length) {
      yield `${round ? ',' : ''}"!round${round}:example.org":{"sessions":{`;
      const last = Math.min(left, distinct.length);
      for (let i = 0; i < last; i += 50)
        yield (i ? ',' : '') + distinct.slice(i, Math.min(i + 50, last)).join();
      yield '}}';
    }
    yield '}}';
  };
  let bytes = 0;
  for (const piece of pieces()) bytes += piece.length;
  const server = createServer(async (request, response) => {
    if (request.url.includes('/version')) {
      const auth_data = lib.createAuthData(lib.key.publicKey);
      response.end(
        JSON.stringify({ version: '1', algorithm: lib.BACKUP_ALGORITHM, auth_data, etag: '1', count: total }),
      );
      return;
    }
    for (const piece of pieces()) {
      if (!response.write(piece)) await new Promise((resolve) => response.once('drain', resolve));
    }
    response.end();
  }).listen(0, '127.0.0.1', () => {
    console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}`, bytes }));
  });
}

// ---- last, when everything above exists

const tasks = { serve, alone, client, 'measure-upload': upload, sink };
if (task in tasks) await tasks[task](...process.argv.slice(3));
else await report(task, argument === '--json' ? undefined : argument);

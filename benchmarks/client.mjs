// Measures the client against a server on loopback that costs next to nothing, and prints JSON: times in milliseconds,
// sizes in bytes.
//   node benchmarks/client.mjs [restore|stream|upload] [KEYS]
// Every measurement runs in a process of its own, so that its peak memory is its own; the server is another one.
import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { nodeBackend } from '../dist/backends/node.js';
import { Restore, RoomKeys, uploadSessions } from '../dist/client/index.js';
import {
  BACKUP_ALGORITHM,
  BackupDecryptionKey,
  createAuthData,
  decryptSessions,
  encryptSessions,
} from '../dist/index.js';
import { makeSession } from './sessions.mjs';

const [task, argument] = process.argv.slice(2);
const key = BackupDecryptionKey.fromBytes(new Uint8Array(32).fill(9));
const auth_data = createAuthData(key.publicKey);
const backend = nodeBackend();
/** Records that are really different; a longer backup repeats them under other rooms. */
const DISTINCT = 20_000;

/** What is measured, each by processes that run a task below. */
const MEASURE = {
  restore: async (keys = 100_000) => ({ ...(await restoring(keys)), alone: await inProcess('alone', keys) }),
  stream: (keys = 1_000_000) => restoring(keys),
  upload: (keys = 100_000) => withServer('sink', [], ({ url }) => inProcess('uploadTo', keys, url)),
};

function restoring(keys) {
  return withServer('serve', [keys], async ({ url, bytes }) => ({
    bytes,
    ...(await inProcess('restoreFrom', url)),
  }));
}

const TASKS = { serve, sink, alone, restoreFrom, uploadTo };
if (task in TASKS) await TASKS[task](...process.argv.slice(3));
else {
  for (const name of task === undefined ? Object.keys(MEASURE) : [task]) {
    console.log(JSON.stringify({ task: name, ...(await MEASURE[name](argument && Number(argument))) }));
  }
}

// ---- processes

function start(name, args) {
  const file = fileURLToPath(import.meta.url);
  return spawn(process.execPath, [file, name, ...args.map(String)], { stdio: ['ignore', 'pipe', 'inherit'] });
}

async function firstLine(child) {
  let text = '';
  for await (const chunk of child.stdout) {
    text += chunk;
    if (text.includes('\n')) return JSON.parse(text);
  }
  throw new Error('a process printed nothing');
}

function inProcess(name, ...args) {
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

/** Runs what is measured, and prints what it took. */
async function measured(run) {
  const cpu = process.cpuUsage();
  const started = performance.now();
  const loop = performance.eventLoopUtilization();
  const keys = await run();
  const time = performance.now() - started;
  const { user, system } = process.cpuUsage(cpu);
  // The thread is idle when nothing is computed: in an upload, encryption waits for the network.
  const { idle } = performance.eventLoopUtilization(loop);
  const peak = process.resourceUsage().maxRSS * 1024;
  console.log(JSON.stringify({ keys, time, cpu: (user + system) / 1000, idle, peak }));
  process.exit(0);
}

// ---- tasks

async function records(count) {
  const made = [];
  const sessions = Array.from({ length: Math.min(DISTINCT, count) }, (_, i) => makeSession(i));
  for await (const result of encryptSessions(sessions, key.publicKey, { backend })) made.push(result);
  return made;
}

/** Decrypts records that are in memory: the least that a restore takes. */
async function alone(count) {
  const distinct = await records(Number(count));
  const inputs = Array.from({ length: Number(count) }, (_, i) => distinct[i % distinct.length]);
  await measured(async () => {
    let ok = 0;
    for await (const result of decryptSessions(inputs, key, { backend })) if (result.ok) ok++;
    if (ok !== inputs.length) throw new Error(`${inputs.length - ok} failed`);
    return ok;
  });
}

async function restoreFrom(baseUrl) {
  const roomKeys = new RoomKeys({ baseUrl, accessToken: 'x' });
  const info = await roomKeys.currentVersion();
  await measured(async () => {
    const restore = new Restore(roomKeys, info, key, { backend });
    for await (const result of restore) if (!result.ok) throw result.error;
    if (restore.summary.ok !== info.count) throw new Error(JSON.stringify(restore.summary));
    return info.count;
  });
}

async function uploadTo(count, baseUrl) {
  const info = { version: '1', algorithm: BACKUP_ALGORITHM, auth_data, etag: '', count: 0 };
  const trust = { userId: '', decryptionKey: key };
  function* sessions() {
    for (let i = 0; i < Number(count); i++) yield makeSession(i);
  }
  await measured(async () => {
    const roomKeys = new RoomKeys({ baseUrl });
    const { uploaded } = await uploadSessions(roomKeys, info, sessions(), { trust, backend });
    if (uploaded !== Number(count)) throw new Error(`${uploaded} of ${count} uploaded`);
    return uploaded;
  });
}

function listen(answer, more) {
  const server = createServer(answer).listen(0, '127.0.0.1', () => {
    console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}`, ...more }));
  });
}

/** Takes everything and keeps nothing. */
function sink() {
  listen(async (request, response) => {
    for await (const _ of request);
    response.end('{"etag":"1","count":0}');
  });
}

/** Serves a backup of any size, made while it is sent. */
async function serve(count) {
  const total = Number(count);
  const distinct = (await records(total)).map(
    ({ session_id, key_backup_data }) => `${JSON.stringify(session_id)}:${JSON.stringify(key_backup_data)}`,
  );
  function* pieces() {
    yield '{"rooms":{';
    for (let done = 0; done < total; done += distinct.length) {
      yield `${done ? ',' : ''}"!after${done}:example.org":{"sessions":{`;
      const last = Math.min(total - done, distinct.length);
      for (let i = 0; i < last; i += 50)
        yield (i ? ',' : '') + distinct.slice(i, Math.min(i + 50, last)).join();
      yield '}}';
    }
    yield '}}';
  }
  let bytes = 0;
  for (const piece of pieces()) bytes += piece.length;
  const version = { version: '1', algorithm: BACKUP_ALGORITHM, auth_data, etag: '1', count: total };
  listen(
    async (request, response) => {
      if (request.url.includes('/version')) {
        response.end(JSON.stringify(version));
        return;
      }
      for (const piece of pieces()) {
        if (!response.write(piece)) await new Promise((resolve) => response.once('drain', resolve));
      }
      response.end();
    },
    { bytes },
  );
}

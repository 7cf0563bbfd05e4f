#!/usr/bin/env node
// Measures the rescue page in Chromium: npm run bench:page (at the root, which builds first). It makes a backup,
// rescues it in the page from files and by the command line, prints what it finds, and writes PAGE.md; that file is
// written by this program and by nothing else.
//   node benchmarks/page.mjs [--keys N] [--runs N]
// With another number of keys than the promise names it writes nothing.
import { execFileSync, spawn } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import {
  createReadStream,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { createServer } from 'node:http';
import { cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';
import { ProcessTree, busy } from './processes.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const html = join(root, 'dist/page/rescue.html');
const main = join(root, 'dist/cli/main.js');

const PROMISED = { keys: 100_000, gap: 200, megabytes: 500 };
const number = (flag, or) =>
  process.argv.includes(flag) ? Number(process.argv[process.argv.indexOf(flag) + 1]) : or;
const KEYS = number('--keys', PROMISED.keys);
const RUNS = number('--runs', 3);
const ROOMS = 500;
const SENDERS = 2000;
const PHRASE = 'a phrase of the benchmark';

/** Milliseconds between two looks at the memory. */
const LOOK_EVERY = 200;

const executablePath = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser'].find(
  (path) => path && existsSync(path),
);

// ---- the backup

/** The public key of a new Ed25519 key: importers refuse what is no point of the curve, and so does the writer. */
function signingKey() {
  const { publicKey } = generateKeyPairSync('ed25519');
  return publicKey.export({ format: 'der', type: 'spki' }).subarray(-32);
}

const unpadded = (bytes) => bytes.toString('base64').replace(/=+$/, '');

function session(i, senders) {
  const ed25519 = signingKey();
  const index = Buffer.alloc(4);
  index.writeUInt32BE(i);
  return {
    algorithm: 'm.megolm.v1.aes-sha2',
    forwarding_curve25519_key_chain: [],
    room_id: `!room${i % ROOMS}:example.org`,
    ...senders[i % senders.length],
    // With it a record is as long as records of deployed clients are: 1.2 KB.
    'org.example.padding': 'x'.repeat(230),
    session_id: unpadded(ed25519),
    session_key: unpadded(Buffer.concat([Buffer.of(1), index, randomBytes(128), ed25519])),
  };
}

/** Writes the files that a person would have saved. Every key is another one. */
async function makeAccount(folder) {
  const engine = await import('../dist/index.js');
  const { nodeBackend } = await import('../dist/backends/node.js');
  const key = engine.BackupDecryptionKey.generate();
  const senders = Array.from({ length: Math.min(SENDERS, KEYS) }, () => ({
    sender_claimed_keys: { ed25519: unpadded(signingKey()) },
    sender_key: unpadded(randomBytes(32)),
  }));
  function* sessions() {
    for (let room = 0; room < ROOMS; room++) {
      for (let i = room; i < KEYS; i += ROOMS) yield session(i, senders);
    }
  }
  const path = (name) => join(folder, name);
  const file = await open(path('backup.json'), 'w');
  let room;
  let text = '{"rooms":{';
  for await (const result of engine.encryptSessions(sessions(), key.publicKey, { backend: nodeBackend() })) {
    if (!result.ok) throw result.error;
    const { room_id, session_id, key_backup_data } = result;
    if (room_id === room) text += ',';
    else text += `${room === undefined ? '' : '}},'}${JSON.stringify(room_id)}:{"sessions":{`;
    room = room_id;
    text += `${JSON.stringify(session_id)}:${JSON.stringify(key_backup_data)}`;
    if (text.length > 1 << 20) {
      await file.appendFile(text);
      text = '';
    }
  }
  await file.appendFile(`${text}}}}}`);
  await file.close();
  const auth_data = engine.createAuthData(key.publicKey);
  writeFileSync(path('version.json'), JSON.stringify({ algorithm: engine.BACKUP_ALGORITHM, auth_data }));
  writeFileSync(path('key.txt'), `${key.toRecoveryKey()}\n`, { mode: 0o600 });
  writeFileSync(path('phrase.txt'), `${PHRASE}\n`, { mode: 0o600 });
  return { folder, path, recoveryKey: key.toRecoveryKey(), bytes: statSync(path('backup.json')).size };
}

// ---- the page

const WATCH_FRAMES = `
  window.watched = { gap: 0, at: 0, task: 0, last: performance.now(), frames: 0, long: 0 };
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) watched.task = Math.max(watched.task, duration);
  }).observe({ type: 'longtask' });
  requestAnimationFrame(function frame(now) {
    const gap = now - watched.last;
    if (gap > watched.gap) Object.assign(watched, { gap, at: now });
    if (gap > 100) watched.long++;
    watched.last = now;
    watched.frames++;
    requestAnimationFrame(frame);
  });
`;
const FORGET_FRAMES =
  'Object.assign(watched, { gap: 0, task: 0, frames: 0, long: 0, begun: performance.now() }).begun';

/** How much JavaScript memory the page and its worker use, as the debugging protocol says. */
class Heaps {
  peak = { page: 0, worker: 0 };
  #session;
  #workers = new Set();

  static async of(page) {
    const heaps = new Heaps();
    heaps.#session = await page.context().newCDPSession(page);
    heaps.#session.on('Target.attachedToTarget', ({ sessionId, targetInfo }) => {
      if (targetInfo.type === 'worker') heaps.#workers.add(sessionId);
    });
    heaps.#session.on('Target.detachedFromTarget', ({ sessionId }) => heaps.#workers.delete(sessionId));
    heaps.#session.on('Target.receivedMessageFromTarget', ({ message }) => {
      const { result } = JSON.parse(message);
      if (result?.usedSize !== undefined) heaps.#take('worker', result);
    });
    await heaps.#session.send('Target.setAutoAttach', {
      autoAttach: true,
      waitForDebuggerOnStart: false,
      flatten: false,
    });
    return heaps;
  }

  #take(which, { usedSize, embedderHeapUsedSize = 0, backingStorageSize = 0 }) {
    this.peak[which] = Math.max(this.peak[which], usedSize + embedderHeapUsedSize + backingStorageSize);
  }

  async look() {
    this.#take('page', await this.#session.send('Runtime.getHeapUsage'));
    const message = JSON.stringify({ id: 1, method: 'Runtime.getHeapUsage' });
    for (const sessionId of this.#workers) {
      await this.#session.send('Target.sendMessageToTarget', { sessionId, message }).catch(() => undefined);
    }
  }
}

/** @param strict - Refuse every key without a proof; there is none with one, so the report names all of them. */
async function rescueInPage(account, { url, args = [], watch, after, strict = false }) {
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', ...args] });
  try {
    const context = await browser.newContext({ acceptDownloads: true });
    const page = await context.newPage();
    page.setDefaultTimeout(600_000);
    await page.goto(url);
    await page.setInputFiles('#files', [account.path('backup.json'), account.path('version.json')]);
    await page.fill('#key', account.recoveryKey);
    await page.fill('#passphrase', PHRASE);
    if (strict) await page.check('#authenticated');
    const watching = await watch(page);
    const started = performance.now();
    await page.click('#start');
    await page.waitForSelector('#status:text-is("Done."), #error:not(:empty)');
    const time = performance.now() - started;
    // What showing the results costs belongs to it.
    await page.waitForTimeout(1000);
    const found = await watching();
    const summary = await page.textContent('#summary');
    if (!summary.startsWith(`${strict ? 0 : KEYS} of ${KEYS} keys;`)) {
      throw new Error(`the page says: ${summary} ${await page.textContent('#error')}`);
    }
    await after?.(page);
    return { time, version: browser.version(), ...found };
  } finally {
    await browser.close();
  }
}

/** The times, the frames and the processes, from a file as a person opens it. */
async function measurePage(account, options) {
  return rescueInPage(account, {
    url: pathToFileURL(html).href,
    ...options,
    async watch(page) {
      await page.evaluate(WATCH_FRAMES);
      // How the machine treats a page that does nothing.
      await page.waitForTimeout(5000);
      const idle = await page.evaluate('watched.gap');
      const begun = await page.evaluate(FORGET_FRAMES);
      const heaps = await Heaps.of(page);
      const tree = new ProcessTree(process.pid);
      const before = { busy: busy(), own: tree.cpu() };
      tree.look();
      const looking = every(LOOK_EVERY, async () => {
        tree.look();
        await heaps.look();
      });
      return async () => {
        const at = { busy: busy(), own: tree.cpu() };
        await looking.end();
        tree.look();
        const { gap, at: gapAt, task, frames, long } = await page.evaluate('watched');
        const elapsed = at.busy.at - before.busy.at;
        const cpu = at.own - before.own;
        return {
          gap,
          gapAt: gapAt - begun,
          long,
          task,
          frames,
          idle,
          cpu,
          others: Math.max(0, at.busy.time - before.busy.time - cpu) / elapsed,
          renderer: tree.largest('renderer'),
          browser: tree.largest('browser'),
          heaps: heaps.peak,
        };
      };
    },
  });
}

/** What the browser itself counts as the page's memory; it tells only pages that are isolated, so by HTTP. */
async function measureCounted(account) {
  const server = createServer((_, response) => {
    response.writeHead(200, {
      'content-type': 'text/html; charset=utf-8',
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-embedder-policy': 'require-corp',
    });
    createReadStream(html).pipe(response);
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  try {
    return await rescueInPage(account, {
      url: `http://localhost:${server.address().port}/`,
      // Or it waits for the next collection of garbage.
      args: ['--enable-blink-features=ForceEagerMeasureMemory'],
      async watch(page) {
        let peak = 0;
        let looks = 0;
        const looking = every(1000, async () => {
          const bytes = await page.evaluate(
            'performance.measureUserAgentSpecificMemory().then(({ bytes }) => bytes)',
          );
          peak = Math.max(peak, bytes);
          looks++;
        });
        return async () => {
          await looking.end();
          return { counted: peak, looks };
        };
      },
    });
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** Does something again and again until it is told to end; the next time begins after the last one. */
function every(milliseconds, look) {
  let ended = false;
  const done = (async () => {
    while (!ended) {
      await look();
      await new Promise((resolve) => setTimeout(resolve, milliseconds));
    }
  })();
  return {
    end() {
      ended = true;
      return done;
    },
  };
}

// ---- the command line

async function measureCommand(account) {
  const before = { busy: busy(), own: new ProcessTree(process.pid).cpu() };
  const args = ['rescue', '--key-file', 'key.txt', '--export-passphrase-file', 'phrase.txt'];
  const files = [
    '--version-file',
    'version.json',
    '--backup-file',
    'backup.json',
    '-o',
    'command.txt',
    '--json',
  ];
  const started = performance.now();
  const child = spawn(process.execPath, [main, ...args, ...files], {
    cwd: account.folder,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const tree = new ProcessTree(child.pid);
  // The system keeps the highest resident size itself; what is missed is what the last look missed.
  const looking = setInterval(() => tree.look(), 50);
  let said = '';
  child.stdout.on('data', (text) => (said += text));
  const code = await new Promise((resolve) => child.once('close', resolve));
  const time = performance.now() - started;
  clearInterval(looking);
  if (code !== 0 || JSON.parse(said).ok !== KEYS)
    throw new Error(`the command line ended with ${code}: ${said}`);
  const at = { busy: busy(), own: new ProcessTree(process.pid).cpu() };
  const cpu = at.own - before.own;
  const others = Math.max(0, at.busy.time - before.busy.time - cpu) / (at.busy.at - before.busy.at);
  return { time, cpu, others, peak: tree.largest('other').resident };
}

/** How many keys an export file holds, by the command line. */
function countExport(account, name) {
  const args = ['export', 'decrypt', name, '--passphrase-file', 'phrase.txt', '-o', 'sessions.json'];
  execFileSync(process.execPath, [main, ...args], {
    cwd: account.folder,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  return JSON.parse(readFileSync(account.path('sessions.json'), 'utf8')).length;
}

// ---- what is written

const seconds = (milliseconds) => `${(milliseconds / 1000).toFixed(1)} s`;
const milliseconds = (value) => `${Math.round(value)} ms`;
const megabytes = (bytes) => `${Math.round(bytes / 1e6)} MB`;
const thousands = (value) => Math.round(value).toLocaleString('en');
const rate = (time) => thousands((1000 * KEYS) / time);
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
const table = (head, rows) =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');

function report({ account, pages, refusing, counted, commands, exported }) {
  const worst = (of) => Math.max(...[...pages, refusing].map(of));
  const gap = worst((run) => run.gap);
  const resident = worst((run) => run.renderer.resident);
  const own = worst((run) => run.renderer.private);
  const verdict = (kept) => (kept ? 'reached' : 'MISSED');
  const pageTime = median(pages.map(({ time }) => time));
  const commandTime = median(commands.map(({ time }) => time));
  const cpuRatio = median(pages.map(({ cpu }) => cpu)) / median(commands.map(({ cpu }) => cpu));
  const { model } = cpus()[0];
  const promises = table(
    ['', 'found, the worst of all runs', 'promised', ''],
    [
      [
        'longest time between two animation frames',
        milliseconds(gap),
        `under ${PROMISED.gap} ms`,
        verdict(gap < PROMISED.gap),
      ],
      [
        'highest resident size of the renderer process, code and shared pages included',
        megabytes(resident),
        `under ${PROMISED.megabytes} MB`,
        verdict(resident < PROMISED.megabytes * 1e6),
      ],
      [
        'the private part of it',
        megabytes(own),
        `under ${PROMISED.megabytes} MB`,
        verdict(own < PROMISED.megabytes * 1e6),
      ],
    ],
  );
  const inPage = table(
    [
      'run',
      'time',
      'keys a second',
      'longest gap',
      'when',
      'gaps over 100 ms',
      'longest gap in 5 s of doing nothing before',
      'longest task of the page’s thread',
      'renderer, resident',
      'renderer, private',
      'browser process, private',
      'JavaScript, page',
      'JavaScript, worker',
      'CPU time',
      'others used',
    ],
    [...pages, refusing].map((run, i) => [
      run === refusing ? 'refusing' : i + 1,
      seconds(run.time),
      rate(run.time),
      milliseconds(run.gap),
      `at ${seconds(run.gapAt)}`,
      `${run.long} of ${run.frames} frames`,
      milliseconds(run.idle),
      run.task === 0 ? 'none over 50 ms' : milliseconds(run.task),
      megabytes(run.renderer.resident),
      megabytes(run.renderer.private),
      megabytes(run.browser.private),
      megabytes(run.heaps.page),
      megabytes(run.heaps.worker),
      seconds(run.cpu),
      `${run.others.toFixed(2)} of ${cpus().length} processors`,
    ]),
  );
  const byCommand = table(
    ['run', 'time', 'keys a second', 'highest resident size', 'CPU time', 'others used'],
    commands.map((run, i) => [
      i + 1,
      seconds(run.time),
      rate(run.time),
      megabytes(run.peak),
      seconds(run.cpu),
      `${run.others.toFixed(2)} of ${cpus().length} processors`,
    ]),
  );
  return `# The rescue page, measured

Written by \`npm run bench:page\`. A backup of ${thousands(KEYS)} different keys in ${ROOMS} rooms (${megabytes(account.bytes)} of JSON) is
rescued from files: unlocked with its recovery key, decrypted, checked, and written as an export file encrypted with
500,000 rounds.

${model}, ${cpus().length} processors, ${Math.round(totalmem() / 2 ** 30)} GiB. Chromium ${pages[0].version}, Node ${process.version}. ${new Date().toISOString().slice(0, 16).replace('T', ' ')} UTC.

## What is promised

${promises}

## In the page

Median ${seconds(pageTime)}, ${rate(pageTime)} keys a second; ${(pageTime / commandTime).toFixed(2)} times the time of the command line, and ${cpuRatio.toFixed(2)} times
its CPU time, which says more where others use the machine. The export file of the first run, read back by the command
line, holds ${thousands(exported)} keys.

${inPage}

In the run "refusing" only keys that prove where they come from are taken. None does, so that the report has to name
every key with its reason: the most that it can hold.

Every run is a browser of its own, and the page is opened as a file. Time is from the click to the words "Done."; frames
are watched from the click to a second after. Resident is the system's highest mark (\`VmHWM\`), private the highest of
\`Private_Clean + Private_Dirty\` in \`smaps_rollup\`, looked at every ${LOOK_EVERY} ms; the browser process holds the export file
until it is downloaded. JavaScript is the highest that \`Runtime.getHeapUsage\` gave, array buffers included. In a run of
its own, by HTTP with isolation, because browsers tell only that, and slowed down by the counting,
\`performance.measureUserAgentSpecificMemory\` counted at most ${megabytes(counted.counted)} (${counted.looks} times asked).

What others used is what all other processes of the machine took meanwhile, in processors.

## By the command line

\`megolm-backup rescue\` with the same files. Median ${seconds(commandTime)}, ${rate(commandTime)} keys a second.

${byCommand}
`;
}

// ---- everything

if (!executablePath) throw new Error('Chromium is not there: install it, or name it in CHROMIUM');
const say = (text) => process.stderr.write(`${text}\n`);
execFileSync(process.execPath, [join(root, 'scripts/page.mjs')], { cwd: root, stdio: ['ignore', 2, 2] });
const folder = mkdtempSync(join(tmpdir(), 'megolm-backup-bench-'));
try {
  say(`making a backup of ${KEYS} keys`);
  const account = await makeAccount(folder);
  const pages = [];
  const commands = [];
  let exported;
  for (let run = 0; run < RUNS; run++) {
    say(`run ${run + 1} of ${RUNS}: the page`);
    const download = async (page) => {
      const [file] = await Promise.all([page.waitForEvent('download'), page.click('#export')]);
      await file.saveAs(account.path('page.txt'));
    };
    pages.push(await measurePage(account, { after: run === 0 ? download : undefined }));
    if (run === 0) exported = countExport(account, 'page.txt');
    say(`run ${run + 1} of ${RUNS}: the command line`);
    commands.push(await measureCommand(account));
  }
  say('the page, refusing every key');
  const refusing = await measurePage(account, { strict: true });
  say('the page, its memory counted by the browser');
  const counted = await measureCounted(account);
  const text = report({ account, pages, refusing, counted, commands, exported });
  console.log(text);
  if (KEYS === PROMISED.keys) writeFileSync(new URL('PAGE.md', import.meta.url), text);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

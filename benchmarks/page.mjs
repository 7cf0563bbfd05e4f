#!/usr/bin/env node
// Measures the rescue page in Chromium: npm run bench:page (in the root, which builds first). It makes a backup,
// rescues it in the page from files and by the command line, prints what it finds, and writes PAGE.md.
//   node benchmarks/page.mjs [--keys N] [--runs N]
// With another number of keys than the targets name it writes nothing.
import { execFileSync, spawn } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import { ProcessTree } from './processes.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const html = join(root, 'dist/page/rescue.html');
const main = join(root, 'dist/cli/main.js');

const TARGETS = { keys: 100_000, gap: 200, megabytes: 500 };
const { values } = parseArgs({ options: { keys: { type: 'string' }, runs: { type: 'string' } } });
const KEYS = Number(values.keys ?? TARGETS.keys);
const RUNS = Number(values.runs ?? 3);
const ROOMS = 500;
const SENDERS = 2000;
const PHRASE = 'a phrase of the benchmark';

const executablePath = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser'].find(
  (path) => path && existsSync(path),
);

// ---- the backup

/** The public key of a new Ed25519 key. Importers reject bytes that are not a point of the curve. */
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
    // Records are then as long as those of deployed clients: 1.2 KB.
    'org.example.padding': 'x'.repeat(230),
    session_id: unpadded(ed25519),
    session_key: unpadded(Buffer.concat([Buffer.of(1), index, randomBytes(128), ed25519])),
  };
}

/** Writes the files that a person would have saved. All keys differ. */
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
  window.watched = { gap: 0, frames: 0, last: performance.now() };
  requestAnimationFrame(function frame(now) {
    watched.gap = Math.max(watched.gap, now - watched.last);
    watched.last = now;
    watched.frames++;
    requestAnimationFrame(frame);
  });
`;

/** @param refusing - Accept authenticated keys only. There are none, so the report names every key: its largest size. */
async function measurePage(account, { refusing = false, after } = {}) {
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
  try {
    const context = await browser.newContext({ acceptDownloads: true });
    const page = await context.newPage();
    page.setDefaultTimeout(600_000);
    await page.goto(pathToFileURL(html).href);
    await page.setInputFiles('#files', [account.path('backup.json'), account.path('version.json')]);
    await page.fill('#key', account.recoveryKey);
    await page.fill('#passphrase', PHRASE);
    if (refusing) await page.check('#authenticated');
    const tree = new ProcessTree(process.pid);
    const cpu = tree.cpu();
    const looking = setInterval(() => tree.look(), 200);
    await page.evaluate(WATCH_FRAMES);
    const started = performance.now();
    await page.click('#start');
    await page.waitForSelector('#status:text-is("Done."), #error:not(:empty)');
    const time = performance.now() - started;
    // Showing the results is part of the work.
    await page.waitForTimeout(1000);
    clearInterval(looking);
    tree.look();
    const { gap, frames } = await page.evaluate('watched');
    const summary = await page.textContent('#summary');
    if (!summary.startsWith(`${refusing ? 0 : KEYS} of ${KEYS} keys;`)) {
      throw new Error(`the page says: ${summary} ${await page.textContent('#error')}`);
    }
    const found = { time, cpu: tree.cpu() - cpu, gap, frames, ...tree.largest('renderer') };
    await after?.(page);
    return { ...found, version: browser.version() };
  } finally {
    await browser.close();
  }
}

// ---- the command line

async function measureCommand(account) {
  const args =
    'rescue --key-file key.txt --export-passphrase-file phrase.txt --version-file version.json --backup-file backup.json';
  const cpu = new ProcessTree(process.pid).cpu();
  const started = performance.now();
  const child = spawn(
    process.execPath,
    [main, ...args.split(' '), '--force', '-o', 'command.txt', '--json'],
    {
      cwd: account.folder,
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  const tree = new ProcessTree(child.pid);
  const looking = setInterval(() => tree.look(), 50);
  let said = '';
  child.stdout.on('data', (text) => (said += text));
  const code = await new Promise((resolve) => child.once('close', resolve));
  const time = performance.now() - started;
  clearInterval(looking);
  if (code !== 0 || JSON.parse(said).ok !== KEYS) throw new Error(`rescue exited with ${code}: ${said}`);
  return { time, cpu: new ProcessTree(process.pid).cpu() - cpu, ...tree.largest('other') };
}

/** How many keys an export file holds, by the command line. */
function countExport(account, name) {
  const args = [
    'export',
    'decrypt',
    name,
    '--passphrase-file',
    'phrase.txt',
    '--force',
    '-o',
    'sessions.json',
  ];
  execFileSync(process.execPath, [main, ...args], { cwd: account.folder, stdio: ['ignore', 'ignore', 2] });
  return JSON.parse(readFileSync(account.path('sessions.json'), 'utf8')).length;
}

// ---- PAGE.md

const seconds = (milliseconds) => `${(milliseconds / 1000).toFixed(1)} s`;
const megabytes = (bytes) => `${Math.round(bytes / 1e6)} MB`;
const thousands = (value) => Math.round(value).toLocaleString('en');
const rate = (time) => thousands((1000 * KEYS) / time);
const median = (numbers) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1];
const table = (head, rows) =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');

function report({ account, pages, refusing, commands, exported }) {
  const worst = (name) => Math.max(...[...pages, refusing].map((run) => run[name]));
  const target = (title, value, limit, unit) => [
    title,
    `${Math.round(value)} ${unit}`,
    `under ${limit} ${unit}`,
    value < limit ? 'reached' : 'MISSED',
  ];
  const ratio = (name) => median(pages.map((run) => run[name])) / median(commands.map((run) => run[name]));
  const runs = [
    ...pages.map((run, i) => [`page, ${i + 1}`, run]),
    ['page, refusing', refusing],
    ...commands.map((run, i) => [`command line, ${i + 1}`, run]),
  ];
  return `# The rescue page, measured

Written by \`npm run bench:page\`. A backup of ${thousands(KEYS)} keys in ${ROOMS} rooms (${megabytes(account.bytes)} of JSON) is rescued from
files: unlocked with its recovery key, decrypted, checked, and written as an export file encrypted with 500,000 rounds.

${cpus()[0].model}, ${cpus().length} processors, ${Math.round(totalmem() / 2 ** 30)} GiB. Chromium ${pages[0].version}, Node ${process.version}. ${new Date().toISOString().slice(0, 16).replace('T', ' ')} UTC.

## Targets

${table(
  ['', 'worst of all runs', 'target', ''],
  [
    target('longest time between two animation frames', worst('gap'), TARGETS.gap, 'ms'),
    target('peak resident memory of the renderer process', worst('resident') / 1e6, TARGETS.megabytes, 'MB'),
    target('private part of that memory', worst('private') / 1e6, TARGETS.megabytes, 'MB'),
  ],
)}

## Runs

The page takes ${ratio('time').toFixed(2)} times as long as the command line, and ${ratio('cpu').toFixed(2)} times the CPU time. The export file of the first
run, read back by the command line, holds ${thousands(exported)} keys.

${table(
  ['run', 'time', 'keys a second', 'longest frame', 'resident', 'private', 'CPU time'],
  runs.map(([name, { time, gap, resident, private: own, cpu }]) => [
    name,
    seconds(time),
    rate(time),
    gap === undefined ? '' : `${Math.round(gap)} ms`,
    megabytes(resident),
    megabytes(own),
    seconds(cpu),
  ]),
)}

Each run has its own browser, which opens the page as a file. Time is from the click to the word "Done."; frames are
watched until a second later. Resident is the peak that the system keeps (\`VmHWM\`), private the highest sum of
\`Private_Clean\` and \`Private_Dirty\` in \`smaps_rollup\`. The run "refusing" accepts authenticated keys only; there are none,
so the report names every key, which is the largest it can be.
`;
}

// ---- everything

if (!executablePath) throw new Error('install Chromium, or set CHROMIUM to its path');
const say = (text) => process.stderr.write(`${text}\n`);
execFileSync(process.execPath, [join(root, 'scripts/page.mjs')], { cwd: root, stdio: ['ignore', 2, 2] });
const folder = mkdtempSync(join(tmpdir(), 'megolm-backup-bench-'));
try {
  say(`making a backup of ${KEYS} keys`);
  const account = await makeAccount(folder);
  const pages = [];
  const commands = [];
  const download = async (page) => {
    const [file] = await Promise.all([page.waitForEvent('download'), page.click('#export')]);
    await file.saveAs(account.path('page.txt'));
  };
  for (let run = 0; run < RUNS; run++) {
    say(`run ${run + 1} of ${RUNS}`);
    pages.push(await measurePage(account, { after: run === 0 ? download : undefined }));
    commands.push(await measureCommand(account));
  }
  const exported = countExport(account, 'page.txt');
  say('the page, refusing every key');
  const refusing = await measurePage(account, { refusing: true });
  const text = report({ account, pages, refusing, commands, exported });
  console.log(text);
  if (KEYS === TARGETS.keys) writeFileSync(new URL('PAGE.md', import.meta.url), text);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

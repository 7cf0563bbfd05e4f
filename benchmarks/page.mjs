// Measures the rescue page in Chromium: npm run bench:page -- [--keys N] (in the root, which builds first).
// It makes a backup, rescues it from files in the page and by the command line, and writes PAGE.md; with another number of
// keys than 100,000 it writes nothing.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import { BACKUP_ALGORITHM, BackupDecryptionKey, createAuthData, encryptSessions } from '../dist/index.js';
import { ed25519, makeSession } from './sessions.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const { values } = parseArgs({ options: { keys: { type: 'string', default: '100000' } } });
const KEYS = Number(values.keys);
const ROOMS = 500;
const RUNS = 3;
const LIMITS = { gap: 100, resident: 500 };
const PHRASE = 'a phrase of the benchmark';

const folder = mkdtempSync(join(tmpdir(), 'megolm-backup-bench-'));
const path = (name) => join(folder, name);
const seconds = (milliseconds) => `${(milliseconds / 1000).toFixed(1)} s`;
const thousands = (value) => Math.round(value).toLocaleString('en');
const median = (numbers) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1];

/** Writes the files that a person would have saved, and returns the recovery key. All keys differ. */
async function makeAccount() {
  const key = BackupDecryptionKey.generate();
  const sessions = Array.from({ length: KEYS }, (_, i) =>
    makeSession(i, `!${i % ROOMS}:example.org`, ed25519()),
  );
  const rooms = {};
  for await (const result of encryptSessions(sessions, key.publicKey)) {
    if (!result.ok) throw result.error;
    (rooms[result.room_id] ??= { sessions: {} }).sessions[result.session_id] = result.key_backup_data;
  }
  const version = { algorithm: BACKUP_ALGORITHM, auth_data: createAuthData(key.publicKey) };
  writeFileSync(path('backup.json'), JSON.stringify({ rooms }));
  writeFileSync(path('version.json'), JSON.stringify(version));
  writeFileSync(path('key.txt'), `${key.toRecoveryKey()}\n`, { mode: 0o600 });
  writeFileSync(path('phrase.txt'), `${PHRASE}\n`, { mode: 0o600 });
  return key.toRecoveryKey();
}

const WATCH_FRAMES = `
  window.watched = { gap: 0, last: performance.now() };
  requestAnimationFrame(function frame(now) {
    watched.gap = Math.max(watched.gap, now - watched.last);
    watched.last = now;
    requestAnimationFrame(frame);
  });
`;

/** @param refusing - Accept authenticated keys only. There are none, so the report names every key: its largest size. */
async function measurePage(recoveryKey, refusing = false) {
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
  try {
    const page = await browser.newPage();
    page.setDefaultTimeout(600_000);
    await page.goto(pathToFileURL(join(root, 'dist/page/rescue.html')).href);
    await page.check('input[value=files]');
    await page.setInputFiles('#files', [path('backup.json'), path('version.json')]);
    await page.click('#next');
    await page.fill('#key', recoveryKey);
    if (refusing) await page.evaluate('document.getElementById("authenticated").checked = true');
    await page.click('#next');
    await page.fill('#passphrase', PHRASE);
    await page.fill('#repeat', PHRASE);
    await page.evaluate(WATCH_FRAMES);
    const started = performance.now();
    await page.click('#next');
    await page.waitForSelector('#results:visible, #problem:visible');
    const time = performance.now() - started;
    // Showing the results is part of the work.
    await page.waitForTimeout(1000);
    const gap = await page.evaluate('watched.gap');
    const summary = await page.textContent('#summary');
    if (!summary.startsWith(`${refusing ? 0 : KEYS} of ${KEYS} keys;`)) {
      throw new Error(`the page printed: ${summary} ${await page.textContent('#error')}`);
    }
    return { time, gap, resident: await peakOfRenderer(browser), version: browser.version() };
  } finally {
    await browser.close();
  }
}

/** The most megabytes that a renderer process of the browser had resident. */
async function peakOfRenderer(browser) {
  const devtools = await browser.newBrowserCDPSession();
  const { processInfo } = await devtools.send('SystemInfo.getProcessInfo');
  const renderers = processInfo.filter(({ type, id }) => type === 'renderer' && existsSync(`/proc/${id}`));
  const peaks = renderers.map(
    ({ id }) => /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${id}/status`, 'utf8'))[1],
  );
  return (Math.max(...peaks) * 1024) / 1e6;
}

function measureCommand() {
  const files = '--key-file key.txt --version-file version.json --backup-file backup.json';
  const args = `rescue ${files} --export-passphrase-file phrase.txt --force -o out.txt --json`.split(' ');
  const started = performance.now();
  const printed = execFileSync(process.execPath, [join(root, 'dist/cli/main.js'), ...args], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (JSON.parse(printed).ok !== KEYS) throw new Error(`rescue printed ${printed}`);
  return performance.now() - started;
}

function report(pages, refusing, commands) {
  const all = [...pages, refusing];
  const target = (title, name, unit) => {
    const worst = Math.round(Math.max(...all.map((run) => run[name])));
    const verdict = worst < LIMITS[name] ? 'reached' : 'MISSED';
    return `| ${title} | ${worst} ${unit} | under ${LIMITS[name]} ${unit} | ${verdict} |`;
  };
  const row = (name, time, more = '| ') =>
    `| ${name} | ${seconds(time)} | ${thousands((1000 * KEYS) / time)} | ${more} |`;
  const pageRow = (name, { time, gap, resident }) =>
    row(name, time, `${Math.round(gap)} ms | ${Math.round(resident)} MB`);
  const ratio = median(pages.map(({ time }) => time)) / median(commands);
  return `# The rescue page, measured

Written by \`npm run bench:page\`. A backup of ${thousands(KEYS)} keys in ${ROOMS} rooms (${Math.round(statSync(path('backup.json')).size / 1e6)} MB of JSON) is rescued from
files: unlocked with its recovery key, decrypted, checked, and written as an export file encrypted with 500,000 rounds.

${cpus()[0].model}, ${cpus().length} processors, ${Math.round(totalmem() / 2 ** 30)} GiB. Chromium ${pages[0].version}, Node ${process.version}. ${new Date().toISOString().slice(0, 16).replace('T', ' ')} UTC.

| | worst of all runs | target | |
| --- | ---: | ---: | --- |
${target('longest time between two animation frames', 'gap', 'ms')}
${target('peak resident memory of the renderer process', 'resident', 'MB')}

The page takes ${ratio.toFixed(2)} times as long as the command line.

| run | time | keys a second | longest frame | resident |
| --- | ---: | ---: | ---: | ---: |
${[
  ...pages.map((run, i) => pageRow(`page, ${i + 1}`, run)),
  pageRow('page, refusing', refusing),
  ...commands.map((time, i) => row(`command line, ${i + 1}`, time)),
].join('\n')}

Each run has its own browser, which opens the page as a file. Time is from the click to the result; frames are
watched until a second later. The run "refusing" accepts authenticated keys only; there are none, so the report names
every key, which is the largest it can be.
`;
}

execFileSync(process.execPath, [join(root, 'scripts/page.mjs')], { stdio: ['ignore', 2, 2] });
try {
  const recoveryKey = await makeAccount();
  const pages = [];
  const commands = [];
  for (let run = 0; run < RUNS; run++) {
    pages.push(await measurePage(recoveryKey));
    commands.push(measureCommand());
  }
  const text = report(pages, await measurePage(recoveryKey, true), commands);
  console.log(text);
  if (KEYS === 100_000) writeFileSync(new URL('PAGE.md', import.meta.url), text);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

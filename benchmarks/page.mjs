// Measures the rescue page in Chromium: npm run bench:page -- [--keys N] [--against DIR] (in the root, which builds first).
// It makes a backup, rescues it from files in the page and by the command line, in turns with those of an earlier state
// whose dist (cli/main.js and page/rescue.html) is in DIR, and writes PAGE.md. With another number of keys than 100,000, or
// without DIR, it writes nothing.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import { BACKUP_ALGORITHM, BackupDecryptionKey, createAuthData, encryptSessions } from '../dist/index.js';
import { ed25519, makeSession } from './sessions.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const { values } = parseArgs({
  options: { keys: { type: 'string', default: '100000' }, against: { type: 'string' } },
});
const KEYS = Number(values.keys);
const ROOMS = 500;
const RUNS = 3;
const LIMITS = { gap: 100, resident: 500 };
const GAINS = { page: 2, command: 2.5 };
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

/** Fills in the page and returns what to click, and what shows that it is done. */
async function fillIn(page, recoveryKey, refusing) {
  const files = [path('backup.json'), path('version.json')];
  // The page of earlier states asked everything at once.
  const isEarly = (await page.$('#start')) !== null;
  if (!isEarly) await page.check('input[value=files]');
  await page.setInputFiles('#files', files);
  if (!isEarly) await page.click('#next');
  await page.fill('#key', recoveryKey);
  if (refusing) await page.evaluate('document.getElementById("authenticated").checked = true');
  if (!isEarly) await page.click('#next');
  await page.fill('#passphrase', PHRASE);
  if (isEarly) return { start: '#start', end: '#status:text-is("Done."), #error:not(:empty)' };
  await page.fill('#repeat', PHRASE);
  return { start: '#next', end: '#results:visible, #problem:visible' };
}

/** @param refusing - Accept authenticated keys only. There are none, so the report names every key: its largest size. */
async function measurePage(build, recoveryKey, refusing = false) {
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
  try {
    const page = await browser.newPage();
    page.setDefaultTimeout(600_000);
    await page.goto(pathToFileURL(join(build, 'dist/page/rescue.html')).href);
    const { start, end } = await fillIn(page, recoveryKey, refusing);
    await page.evaluate(WATCH_FRAMES);
    const started = performance.now();
    await page.click(start);
    await page.waitForSelector(end);
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

/** The most megabytes that a process has had resident. */
function peakOf(pid) {
  return (/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] * 1024) / 1e6;
}

/** {@link peakOf} of the renderer that had most. */
async function peakOfRenderer(browser) {
  const devtools = await browser.newBrowserCDPSession();
  const { processInfo } = await devtools.send('SystemInfo.getProcessInfo');
  const renderers = processInfo.filter(({ type, id }) => type === 'renderer' && existsSync(`/proc/${id}`));
  return Math.max(...renderers.map(({ id }) => peakOf(id)));
}

async function measureCommand(build) {
  const files = '--key-file key.txt --version-file version.json --backup-file backup.json';
  const args = `rescue ${files} --export-passphrase-file phrase.txt -o out.txt --json`.split(' ');
  rmSync(path('out.txt'), { force: true });
  const started = performance.now();
  const child = spawn(process.execPath, [join(build, 'dist/cli/main.js'), ...args], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let printed = '';
  child.stdout.on('data', (text) => (printed += text));
  let resident = 0;
  const look = setInterval(() => (resident = peakOf(child.pid) || resident), 50);
  await once(child, 'close');
  clearInterval(look);
  if (JSON.parse(printed).ok !== KEYS) throw new Error(`rescue printed ${printed}`);
  return { time: performance.now() - started, resident };
}

function report({ pages, commands }, refusing, earlier) {
  const all = [...pages, refusing];
  const row3 = (title, found, target, isReached) =>
    `| ${title} | ${found} | ${target} | ${isReached ? 'reached' : 'MISSED'} |`;
  const target = (title, name, unit) => {
    const worst = Math.round(Math.max(...all.map((run) => run[name])));
    return row3(title, `${worst} ${unit}`, `under ${LIMITS[name]} ${unit}`, worst < LIMITS[name]);
  };
  const medianTime = (runs) => median(runs.map(({ time }) => time));
  const gain = (title, own, before, least) => {
    const found = medianTime(before) / medianTime(own);
    return row3(title, `${found.toFixed(2)} times`, `${least} times`, found >= least);
  };
  const peak = (runs) => Math.round(Math.max(...runs.map(({ resident }) => resident)));
  const row = (name, time, more = '| ') =>
    `| ${name} | ${seconds(time)} | ${thousands((1000 * KEYS) / time)} | ${more} |`;
  const pageRow = (name, { time, gap, resident }) =>
    row(name, time, `${Math.round(gap)} ms | ${Math.round(resident)} MB`);
  const commandRow = (name, { time, resident }) => row(name, time, `| ${Math.round(resident)} MB`);
  const rows = (when, runs) => [
    ...runs.pages.map((run, i) => pageRow(`page, ${when}${i + 1}`, run)),
    ...runs.commands.map((run, i) => commandRow(`command line, ${when}${i + 1}`, run)),
  ];
  const compared = earlier && [
    gain('speed of the page, to that of the earlier state', pages, earlier.pages, GAINS.page),
    gain(
      'speed of the command line, to that of the earlier state',
      commands,
      earlier.commands,
      GAINS.command,
    ),
    row3(
      'peak resident memory of the command line',
      `${peak(commands)} MB`,
      `at most ${peak(earlier.commands)} MB, as in the earlier state`,
      peak(commands) <= peak(earlier.commands),
    ),
  ];
  return `# The rescue page, measured

Written by \`npm run bench:page\`. A backup of ${thousands(KEYS)} keys in ${ROOMS} rooms (${Math.round(statSync(path('backup.json')).size / 1e6)} MB of JSON) is rescued from
files: unlocked with its recovery key, decrypted, checked, and written as an export file encrypted with 500,000 rounds.

${cpus()[0].model}, ${cpus().length} processors, ${Math.round(totalmem() / 2 ** 30)} GiB. Chromium ${pages[0].version}, Node ${process.version}. ${new Date().toISOString().slice(0, 16).replace('T', ' ')} UTC.

| | worst of all runs | target | |
| --- | ---: | ---: | --- |
${target('longest time between two animation frames', 'gap', 'ms')}
${[target('peak resident memory of the renderer process', 'resident', 'MB'), ...(compared ?? [])].join('\n')}

The page takes ${(medianTime(pages) / medianTime(commands)).toFixed(2)} times as long as the command line.

| run | time | keys a second | longest frame | resident |
| --- | ---: | ---: | ---: | ---: |
${[...rows('', { pages, commands }), pageRow('page, refusing', refusing), ...(earlier ? rows('earlier ', earlier) : [])].join('\n')}

Runs of both states are in turns. Each has its own browser, which opens the page as a file. Time is from the click to the result; frames are
watched until a second later. The run "refusing" accepts authenticated keys only; there are none, so the report names
every key, which is the largest it can be.
`;
}

execFileSync(process.execPath, [join(root, 'scripts/page.mjs')], { stdio: ['ignore', 2, 2] });
try {
  const recoveryKey = await makeAccount();
  const [own, earlier] = [root, values.against].map((build) => build && { build, pages: [], commands: [] });
  const builds = [own, earlier].filter(Boolean);
  for (let run = 0; run < RUNS; run++) {
    for (const { build, pages } of builds) pages.push(await measurePage(build, recoveryKey));
    for (const { build, commands } of builds) commands.push(await measureCommand(build));
  }
  const text = report(own, await measurePage(root, recoveryKey, true), earlier);
  console.log(text);
  if (KEYS === 100_000 && earlier) writeFileSync(new URL('PAGE.md', import.meta.url), text);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { nodeBackend } from '../../src/backends/node.js';
import { BACKUP_ALGORITHM, createAuthData } from '../../src/engine/auth-data.js';
import { encryptSessionsSync } from '../../src/engine/batch.js';
import { readKeyExport } from '../../src/engine/key-export.js';
import { BackupDecryptionKey } from '../../src/engine/keys.js';
import type { ExportedSessionData } from '../../src/engine/room-key.js';
import { SecretStorageKey } from '../../src/engine/secret-storage.js';
import { KeyBackupServer } from '../support/key-backup-server.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const executablePath = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser'].find(
  (path) => path !== undefined && existsSync(path),
);
const sample = JSON.parse(
  readFileSync(join(root, 'vectors/sample-export.json'), 'utf8'),
) as ExportedSessionData[];
const key = BackupDecryptionKey.generate();
const storage = SecretStorageKey.generate('k');
const authData = createAuthData(key.publicKey);
const accountData = {
  'm.secret_storage.default_key': { key: 'k' },
  'm.secret_storage.key.k': storage.describe(),
  'm.megolm_backup.v1': storage.encryptSecret('m.megolm_backup.v1', key.toBase64()),
};
const version = { version: '1', algorithm: BACKUP_ALGORITHM, auth_data: authData };

type Rooms = Record<string, { sessions: Record<string, unknown> }>;

/** A backup; `copies` of every session in rooms of their own make it large. */
function backup(sessions: readonly ExportedSessionData[], copies = 1): { rooms: Rooms } {
  const rooms: Rooms = {};
  for (const result of encryptSessionsSync(sessions, key.publicKey)) {
    if (!result.ok) throw result.error;
    for (let copy = 0; copy < copies; copy++) {
      const room = copy === 0 ? result.room_id : `${result.room_id}-${copy}`;
      rooms[room] ??= { sessions: {} };
      rooms[room].sessions[result.session_id] = result.key_backup_data;
    }
  }
  return { rooms };
}

describe.skipIf(executablePath === undefined)('the page in Chromium', () => {
  let browser: Browser;
  let context: BrowserContext;
  let page: Page;
  let folder: string;
  const html = join(root, 'dist/page/rescue.html');
  const shots = join(root, 'test-results');
  let requests: string[];
  let problems: string[];

  beforeAll(async () => {
    execFileSync(process.execPath, [join(root, 'scripts/page.mjs')], { cwd: root });
    browser = await chromium.launch({ executablePath: executablePath!, args: ['--no-sandbox'] });
    mkdirSync(shots, { recursive: true });
  }, 120_000);

  afterAll(() => browser.close());

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'megolm-backup-page-'));
    context = await browser.newContext({ acceptDownloads: true, viewport: { width: 390, height: 844 } });
    page = await context.newPage();
    page.setDefaultTimeout(20_000);
    requests = [];
    problems = [];
    page.on('request', (request) => requests.push(request.url()));
    page.on('pageerror', (error) => problems.push(String(error)));
    page.on('console', (message) => {
      if (message.type() === 'error') problems.push(message.text());
    });
    await page.goto(pathToFileURL(html).href);
  });

  afterEach(async () => {
    await context.close();
    rmSync(folder, { recursive: true });
  });

  const save = (name: string, value: unknown): string => {
    const path = join(folder, name);
    writeFileSync(path, typeof value === 'string' ? value : JSON.stringify(value));
    return path;
  };

  const giveFiles = (made: unknown, name = 'backup.json') =>
    page.setInputFiles('#files', [
      save(name, made),
      save('version.json', version),
      save('account.json', accountData),
    ]);

  async function enter(held: string) {
    await page.fill('#key', held);
    await page.fill('#passphrase', 'export phrase');
    await page.click('#start');
  }

  async function exported() {
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('#export')]);
    expect(download.suggestedFilename()).toBe('element-keys.txt');
    const text = readFileSync(await download.path(), 'utf8');
    return readKeyExport(text, 'export phrase', { backend: nodeBackend() });
  }

  const status = (text: string) => page.waitForSelector(`#status:text-is("${text}")`, { timeout: 60_000 });

  it('is small, and asks for nothing by itself', () => {
    expect(statSync(html).size).toBeLessThan(300_000);
    expect(requests).toEqual([pathToFileURL(html).href]);
    expect(problems).toEqual([]);
  });

  it('rescues from files, and shows and gives the result', async () => {
    await giveFiles(backup(sample));
    await enter(storage.toRecoveryKey());
    await status('Done.');
    expect(await page.textContent('#summary')).toContain(
      '1000 of 1000 keys; 0 not read. Opened with the key of the secret storage',
    );
    expect(await page.locator('#rooms tbody tr').count()).toBe(50);
    const results = await exported();
    expect(results.filter((result) => result.ok)).toHaveLength(1000);
    for (const scheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme: scheme });
      await page.screenshot({ path: join(shots, `page-${scheme}.png`), fullPage: true });
    }
    expect(requests.filter((url) => !/^(file|blob):/.test(url))).toEqual([]);
    expect(problems).toEqual([]);
  });

  it('says why some keys were not read', async () => {
    const made = backup(sample.slice(0, 5));
    const room = made.rooms[sample[0].room_id];
    room.sessions[sample[0].session_id] = { session_data: { ephemeral: 'A', ciphertext: 'A', mac: 'A' } };
    await giveFiles(made);
    await enter(key.toRecoveryKey());
    await status('Done.');
    expect(await page.textContent('#summary')).toContain('4 of 5 keys; 1 not read');
    expect(await page.textContent('#reasons')).toContain('bad-base64');
    expect(await exported()).toHaveLength(4);
  });

  it('refuses a wrong key, and offers a mistyped one without showing it', async () => {
    await giveFiles(backup(sample.slice(0, 2)));
    await enter(BackupDecryptionKey.generate().toRecoveryKey());
    await status('Stopped.');
    expect(await page.textContent('#error')).toContain('wrong-key');
    expect(await page.isVisible('#results')).toBe(false);
    await enter(storage.toRecoveryKey().slice(0, -1));
    await page.waitForSelector('#correct:visible');
    const text = await page.innerText('body');
    expect(text).not.toContain(storage.toRecoveryKey().slice(0, 14));
    await page.click('#correct');
    await status('Done.');
    expect(problems).toEqual([]);
  });

  it.each([
    ['no file', []],
    ['only a version', ['version.json']],
    ['only a backup', ['backup.json']],
  ])('with %s says what is missing', async (_, names) => {
    save('version.json', version);
    save('backup.json', backup(sample.slice(0, 1)));
    await page.setInputFiles(
      '#files',
      names.map((name) => join(folder, name)),
    );
    await enter(key.toRecoveryKey());
    await status('Stopped.');
    expect(await page.textContent('#error')).toContain('missing-field');
  });

  it('says that a backup was cut off', async () => {
    const whole = JSON.stringify(backup(sample.slice(0, 3)));
    await giveFiles(whole.slice(0, -10));
    await enter(key.toRecoveryKey());
    await status('Stopped.');
    expect(await page.textContent('#error')).toContain('truncated');
    expect(await page.isVisible('#results')).toBe(false);
  });

  it('can be cancelled in the middle and used again', async () => {
    await giveFiles(backup(sample, 20));
    await enter(key.toRecoveryKey());
    await page.waitForSelector('#rate:has-text(" keys,")');
    await page.click('#cancel');
    expect(await page.textContent('#status')).toBe('Cancelled. Nothing was kept.');
    expect(await page.isVisible('#results')).toBe(false);
    // Another name: a browser says nothing when the same files are chosen again.
    await giveFiles(backup(sample.slice(0, 3)), 'other.json');
    await enter(key.toRecoveryKey());
    await status('Done.');
    expect(await page.textContent('#summary')).toContain('3 of 3 keys');
  });

  it('stays responsive over 10,000 keys', async () => {
    await giveFiles(backup(sample, 10));
    await page.evaluate(`
      window.gap = 0;
      let last = performance.now();
      const frame = (now) => {
        window.gap = Math.max(window.gap, now - last);
        last = now;
        requestAnimationFrame(frame);
      };
      requestAnimationFrame(frame);
    `);
    await enter(storage.toRecoveryKey());
    await status('Done.');
    const gap = Number(await page.evaluate('window.gap'));
    expect(await page.textContent('#summary')).toContain('10000 of 10000 keys');
    process.stderr.write(
      `${(await page.textContent('#summary')) ?? ''} largest frame gap ${Math.round(gap)} ms\n`,
    );
    expect(await exported()).toHaveLength(10_000);
  });

  it('works by keyboard alone', async () => {
    await giveFiles(backup(sample.slice(0, 2)));
    await page.focus('#key');
    await page.keyboard.type(key.toRecoveryKey());
    await page.keyboard.press('Tab');
    await page.keyboard.press('Tab');
    await page.keyboard.type('export phrase');
    await page.keyboard.press('Enter');
    await status('Done.');
    // The result takes the focus, and the next stop is the download.
    await page.keyboard.press('Tab');
    const [download] = await Promise.all([page.waitForEvent('download'), page.keyboard.press('Enter')]);
    expect(download.suggestedFilename()).toBe('element-keys.txt');
  });

  it('names every field and every table', async () => {
    const unnamed = await page.evaluate(
      'Array.from(document.querySelectorAll("input")).filter(({ labels }) => labels.length === 0).map(({ id }) => id)',
    );
    expect(unnamed).toEqual([]);
    expect(await page.locator('table:not(:has(caption))').count()).toBe(0);
  });

  describe('with a homeserver', () => {
    let server: KeyBackupServer;
    let other: KeyBackupServer;

    beforeEach(async () => {
      server = await new KeyBackupServer().start();
      other = await new KeyBackupServer().start();
      const made = server.createVersion(BACKUP_ALGORITHM, { ...authData });
      for (const [room, { sessions }] of Object.entries(backup(sample.slice(0, 20)).rooms)) {
        for (const [session, data] of Object.entries(sessions))
          server.store(made, room, session, data as never);
      }
      for (const [type, content] of Object.entries(accountData)) {
        server.accountData.set(`@alice:example.org/account_data/${type}`, content);
      }
    });

    afterEach(async () => {
      await server.stop();
      await other.stop();
    });

    async function signIn(url: string) {
      await page.check('input[value=server]');
      await page.fill('#homeserver', url);
      await page.fill('#token', 'syt_SECRET');
      await enter(storage.toRecoveryKey());
    }

    it('rescues, and contacts no other server', async () => {
      const url = server.url.replace('127.0.0.1', 'localhost');
      await signIn(url);
      await status('Done.');
      expect(await page.textContent('#summary')).toContain('20 of 20 keys');
      const contacted = requests.filter((request) => !/^(file|blob):/.test(request));
      expect(contacted.length).toBeGreaterThan(3);
      expect(contacted.filter((request) => !request.startsWith(`${url}/`))).toEqual([]);
      expect(contacted.join()).not.toContain('syt_SECRET');
      expect(page.url()).not.toContain('SECRET');
    });

    it('does not follow a server that sends it elsewhere', async () => {
      server.faulty = (method, path) => method !== 'OPTIONS' && path.includes('room_keys');
      const headers = {
        location: `${other.url}/_matrix/client/v3/room_keys/version`,
        'access-control-allow-origin': '*',
      };
      server.faults = Array.from({ length: 20 }, () => ({
        kind: 'answer' as const,
        status: 307,
        body: '{}',
        headers,
      }));
      await signIn(server.url.replace('127.0.0.1', 'localhost'));
      await status('Stopped.');
      expect(other.seen).toEqual([]);
    });

    it('is kept by its policy from other origins', async () => {
      const blocked = await page.evaluate(async (url) => {
        try {
          await fetch(url);
          return false;
        } catch {
          return true;
        }
      }, 'http://127.0.0.1:9/');
      expect(blocked).toBe(true);
      expect(problems.join()).toContain('Content Security Policy');
    });
  });
});

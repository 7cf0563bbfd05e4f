import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { BACKUP_ALGORITHM } from '../../src/scheme/auth-data.js';
import { BackupDecryptionKey } from '../../src/scheme/keys.js';
import { KeyBackupServer } from '../support/key-backup-server.js';
import { DESKTOP, OpenedPage, PHONE, SHOTS, executablePath, launch } from './in-chromium.js';
import { accountData, authData, backup, backupOfAllVerdicts, key, sample, storage } from './saved-files.js';

/** What is measured in the page. */
interface Look {
  readonly checks: readonly { readonly what: string; readonly ratio: number; readonly need: number }[];
  readonly overflowing: readonly string[];
}

const source = readFileSync(new URL('look.js', import.meta.url), 'utf8')
  .trim()
  .replace(/;$/, '');

const look = (page: Page) => page.evaluate<Look>(`(${source}\n)()`);

/** The narrowest phone there is. */
const NARROW = { width: 320, height: 640 };

describe.skipIf(executablePath === undefined)('the page', () => {
  let browser: Browser;
  let opened: OpenedPage;
  let page: Page;
  let server: KeyBackupServer;

  beforeAll(async () => {
    browser = await launch();
    mkdirSync(SHOTS, { recursive: true });
  }, 120_000);

  afterAll(() => browser.close());

  beforeEach(async () => {
    opened = await OpenedPage.in(browser);
    page = opened.page;
    server = await new KeyBackupServer().start();
  });

  afterEach(async () => {
    await opened.close();
    await server.stop();
  });

  /** Photographs it and measures it, in light and dark, on a phone and on a desk, and how it fits the narrowest. */
  async function expectReadable(state: string, ...said: readonly string[]): Promise<void> {
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      for (const [name, viewport] of Object.entries({ phone: PHONE, desktop: DESKTOP })) {
        await page.setViewportSize(viewport);
        await page.screenshot({
          path: join(SHOTS, `page-${state}-${colorScheme}-${name}.png`),
          fullPage: true,
        });
        const { checks, overflowing } = await look(page);
        const texts = checks.map(({ what }) => what).join('\n');
        for (const text of ['Recover your message keys', ...said]) expect(texts).toContain(text);
        expect(checks.filter(({ ratio, need }) => !(ratio >= need))).toEqual([]);
        expect(overflowing).toEqual([]);
      }
      await page.setViewportSize(NARROW);
      expect((await look(page)).overflowing).toEqual([]);
    }
  }

  it('is readable at every step of the form', async () => {
    await expectReadable('server', 'Your user ID or homeserver', 'what is typed');
    await page.click('summary:visible');
    await expectReadable('token', 'Element Web and Desktop: Settings');
    await opened.giveFiles(backup(sample.slice(0, 1)), `${'a-very-long-name-'.repeat(12)}.json`);
    // By keyboard, so that the focus is seen.
    await page.keyboard.press('Tab');
    await expectReadable('files', 'the focus', 'a-very-long-name', 'the button');
    await opened.toStep(2);
    await page.fill('#key', 'EsTx');
    await expectReadable('key', 'twelve groups of four', 'what is typed');
    await opened.toStep(3);
    await page.fill('#passphrase', 'short');
    await page.click('#expert > summary');
    await expectReadable('passphrase', 'Use at least 12', 'Only keys that prove');
  });

  it('is readable while it works', async () => {
    const made = server.createVersion(BACKUP_ALGORITHM, { ...authData });
    for (const [room, { sessions }] of Object.entries(backup(sample, { copies: 8 }).rooms)) {
      for (const [session, data] of Object.entries(sessions))
        server.store(made, room, session, data as never);
    }
    for (const [type, content] of Object.entries(accountData)) {
      server.accountData.set(`@alice:example.org/account_data/${type}`, content);
    }
    // It stays in the middle for as long as it is looked at.
    server.faulty = (method, path) => method === 'GET' && path.endsWith('/room_keys/keys');
    server.faults = [{ kind: 'stall', bytes: 6_000_000 }];
    await opened.nameServer(server.url, 'token');
    await opened.enter(storage.toRecoveryKey());
    await page.waitForSelector('#rate:has-text(" left")');
    await page.waitForTimeout(1000);
    await expectReadable('during', 'Reading the keys', ' a second', 'Cancel');
  });

  it('is readable when the connection broke, with and without keys that came', async () => {
    const made = server.createVersion(BACKUP_ALGORITHM, { ...authData });
    for (const [room, { sessions }] of Object.entries(backup(sample.slice(0, 20)).rooms)) {
      for (const [session, data] of Object.entries(sessions))
        server.store(made, room, session, data as never);
    }
    server.faulty = (method, path) => method === 'GET' && path.endsWith('/room_keys/keys');
    const headers = { 'access-control-allow-origin': '*' };
    const refusal = { kind: 'answer', status: 403, body: '{"errcode":"M_FORBIDDEN"}', headers } as const;
    server.faults = [{ kind: 'truncate', bytes: 9000 }, refusal];
    await opened.nameServer(server.url, 'token');
    await opened.enter(key.toRecoveryKey());
    await opened.done();
    await page.setViewportSize(PHONE);
    for (const id of ['#export', '#rest']) {
      const box = await page.locator(id).boundingBox();
      expect(box!.y + box!.height, id).toBeLessThan(PHONE.height);
    }
    await expectReadable('broken', 'The connection broke.', 'Get the rest');
    server.faulty = (method, path) => method === 'GET' && path.endsWith('/room_keys/version');
    server.faults = [refusal];
    await page.click('#rest');
    await opened.refused();
    await expectReadable('unreachable', 'The homeserver is not answering as it should.', 'Try again');
  });

  it('is readable at the end, with failures and a warning', async () => {
    const { rooms } = backupOfAllVerdicts();
    Object.assign(rooms, backup(sample.slice(4, 40)).rooms);
    const long = `!${'an-endless-room-id'.repeat(20)}:example.org`;
    rooms[long] = {
      sessions: { a: {}, b: { session_data: { ephemeral: '', ciphertext: '', mac: '' } }, c: 5 },
    };
    await opened.giveFiles({ rooms });
    await opened.enter(key.toRecoveryKey());
    await opened.done();
    await expectReadable('half', 'keys recovered', 'What to do with the file', 'Numbers and report');
    await opened.openNumbers();
    const bars = ['the bar', 'the bar on its track'];
    await expectReadable(
      'end',
      'Warning: somebody without your key',
      'missing-field',
      'verified: a holder',
      long.slice(0, 20),
      ...bars,
    );
  });

  it('is readable when everything came out', async () => {
    await opened.giveFiles(backup(sample));
    await opened.enter(key.toRecoveryKey());
    await opened.done();
    await expectReadable(
      'success',
      'All 1,000 keys recovered',
      'Download your keys',
      'What to do with the file',
    );
  });

  it('is readable with an error, and with what was probably meant', async () => {
    await opened.giveFiles(backup(sample.slice(0, 2)));
    await opened.enter(BackupDecryptionKey.generate().toRecoveryKey());
    await opened.refused();
    await expectReadable('error', 'This key or phrase does not open the backup.', 'Look for another');
    await page.click('#problem summary');
    await expectReadable('error-details', 'wrong-key: key: expected');
    await opened.enter(storage.toRecoveryKey().slice(0, -1));
    await page.waitForSelector('#correct:visible');
    await expectReadable('mistyped', 'Use the one that fits');
  });
});

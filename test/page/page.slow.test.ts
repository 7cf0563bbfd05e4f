import { statSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import * as Sdk from '@matrix-org/matrix-sdk-crypto-wasm';
import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { BACKUP_ALGORITHM, createAuthData } from '../../src/scheme/auth-data.js';
import { base64Encode } from '../../src/encoding/base64.js';
import { encryptSession } from '../../src/batch/encrypt.js';
import { BackupDecryptionKey } from '../../src/scheme/keys.js';
import { derivePassphraseKey } from '../../src/scheme/passphrase.js';
import type { ReportFile } from '../cli/workspace.js';
import { KeyBackupServer } from '../support/key-backup-server.js';
import { HTML, OpenedPage, executablePath, launch } from './in-chromium.js';
import {
  accountData,
  authData,
  backup,
  backupOfAllVerdicts,
  key,
  macKey,
  merged,
  sample,
  storage,
  unmendedBackup,
  version,
} from './saved-files.js';

describe.skipIf(executablePath === undefined)('the page in Chromium', () => {
  let browser: Browser;
  let opened: OpenedPage;
  let page: Page;

  beforeAll(async () => {
    browser = await launch();
  }, 120_000);

  afterAll(() => browser.close());

  beforeEach(async () => {
    opened = await OpenedPage.in(browser);
    page = opened.page;
  });

  afterEach(() => opened.close());

  it('is small, and asks for nothing by itself', () => {
    expect(statSync(HTML).size).toBeLessThan(300_000);
    expect(opened.requests).toEqual([pathToFileURL(HTML).href]);
    expect(opened.problems).toEqual([]);
  });

  it('rescues from files, and shows and gives the result', async () => {
    await opened.giveFiles(backup(sample));
    await opened.enter(storage.toRecoveryKey());
    await opened.done();
    expect(await opened.text('#summary')).toContain('1000 of 1000 keys; 0 not read.');
    expect(await opened.text('#opened')).toBe('Opened with the key of the secret storage.');
    await opened.openNumbers();
    expect(await page.locator('#rooms tbody tr').count()).toBe(50);
    const results = await opened.exported();
    expect(results.filter((result) => result.ok)).toHaveLength(1000);
    expect(opened.contacted).toEqual([]);
    expect(opened.problems).toEqual([]);
  });

  it('leaves its thread free to paint: copies no code, loads no languages, fills no folded table', async () => {
    await page.evaluate(`
      window.watched = [];
      const { postMessage } = Worker.prototype;
      Worker.prototype.postMessage = function (message) {
        const long = (text) => (typeof text === 'string' && text.length > 10_000 ? 'long text' : text);
        watched.push(JSON.stringify(message, (_, value) => long(value)));
        postMessage.apply(this, arguments);
      };
      const { toLocaleString } = Number.prototype;
      Number.prototype.toLocaleString = function () {
        watched.push('languages');
        return toLocaleString.apply(this, arguments);
      };
    `);
    for (const number of [3, 2]) {
      await opened.giveFiles(backup(sample.slice(0, number)));
      await opened.enter(key.toRecoveryKey());
      await opened.done();
      expect(await page.isVisible('#report')).toBe(false);
      expect(await page.locator('tbody tr, #chart *').count()).toBe(0);
      await opened.openNumbers();
      expect(await opened.text('#reasons tbody')).toBe(`read${number}`);
    }
    const watched = await page.evaluate<string[]>('watched');
    expect(watched).toHaveLength(2);
    expect(watched.join()).not.toContain('long text');
  });

  it.each([
    ['with byte order marks', (text: string) => Buffer.from(`\ufeff${text}`)],
    ['in UTF-16 LE', (text: string) => Buffer.from(`\ufeff${text}`, 'utf16le')],
    ['in UTF-16 BE without a mark', (text: string) => Buffer.from(text, 'utf16le').swap16()],
    ['with Ctrl-Z at their ends', (text: string) => Buffer.from(`${text}\r\n\x1a`)],
  ])('reads files %s', async (_, encode) => {
    const saved = { backup: backup(sample.slice(0, 3)), version, account: accountData };
    const files = Object.entries(saved).map(([name, value]) =>
      opened.save(`${name}.json`, encode(JSON.stringify(value))),
    );
    await opened.chooseFiles(files);
    await opened.enter(storage.toRecoveryKey());
    await opened.done();
    expect(await opened.text('#summary')).toContain('3 of 3 keys; 0 not read');
  });

  it.each([
    [
      'a ZIP archive',
      Buffer.from('PK\x03\x04'),
      'account.json: expected a text file in UTF-8, got a ZIP archive',
    ],
    ['Latin-1', Buffer.from('{"a":"\xfc"}', 'latin1'), 'byte 6 is not UTF-8; save it as UTF-8'],
    ['an empty file', '', 'account.json: the file is empty'],
    ['an export file', '-----BEGIN MEGOLM SESSION DATA-----\n', 'got an encrypted export file'],
  ])('names %s', async (_, content, message) => {
    const files = [
      opened.save('backup.json', backup(sample.slice(0, 1))),
      opened.save('version.json', version),
    ];
    await opened.chooseFiles([...files, opened.save('account.json', content)]);
    await opened.enter(storage.toRecoveryKey());
    await opened.refused();
    expect(await opened.text('#error')).toContain(message);
  });

  it('says why some keys were not read, in the table and in the report', async () => {
    const made = backup(sample.slice(0, 5));
    const { room_id, session_id } = sample[0];
    const room = made.rooms[room_id];
    room.sessions[session_id] = { session_data: { ephemeral: 'A', ciphertext: 'A', mac: 'A' } };
    await opened.giveFiles(made);
    await opened.enter(key.toRecoveryKey());
    await opened.done();
    expect(await opened.text('#summary')).toContain('4 of 5 keys; 1 not read');
    await opened.openNumbers();
    expect(await opened.text('#reasons')).toContain('bad-base64');
    expect(await opened.exported()).toHaveLength(4);
    // The same report as the command line's.
    const report = JSON.parse(await opened.download('report')) as ReportFile;
    expect(report).toMatchObject({
      format: 'megolm-backup-report/1',
      total: 5,
      ok: 4,
      failed: 1,
      flagged: 0,
    });
    expect(report.keys).toMatchObject([{ room_id, session_id, code: 'bad-base64', flags: [] }]);
    expect(report.keys[0].path).toBe(
      `$.rooms[${JSON.stringify(room_id)}].sessions[${JSON.stringify(session_id)}]`,
    );
  });

  it('says what a salvage may read, and salvages it when asked', async () => {
    const made = backup(sample.slice(0, 4));
    const [short, damaged] = sample;
    const dataOf = ({ room_id, session_id }: (typeof sample)[0]) =>
      (made.rooms[room_id].sessions[session_id] as { session_data: Record<string, string> }).session_data;
    // A MAC that was cut off, and one that no reading overlooks.
    dataOf(short).mac = dataOf(short).mac.slice(0, 6);
    dataOf(damaged).ciphertext = '?';
    await opened.giveFiles(made);
    await opened.enter(key.toRecoveryKey());
    await opened.done();
    expect(await opened.text('#summary')).toContain('2 of 4 keys; 2 not read');
    expect(await opened.text('#salvage-text')).toBe(
      '1 more key can perhaps be read although damaged: 1 bad-mac-length.',
    );
    await page.click('#salvage-now');
    await opened.done();
    expect(await opened.text('#summary')).toContain('3 of 4 keys, 1 of them flagged; 1 not read');
    expect(await page.isVisible('#salvageable')).toBe(false);
    expect((await opened.exported()).filter((result) => result.ok)).toHaveLength(3);
    const report = JSON.parse(await opened.download('report')) as ReportFile;
    const flagged = report.keys.find(({ session_id }) => session_id === short.session_id);
    expect(flagged).toMatchObject({ flags: ['mac-length'] });
    expect(flagged?.code).toBeUndefined();
  });

  it('refuses a wrong key, and offers a mistyped one without showing it', async () => {
    await opened.giveFiles(backup(sample.slice(0, 2)));
    await opened.enter(BackupDecryptionKey.generate().toRecoveryKey());
    await opened.refused();
    expect(await opened.text('#error')).toContain('wrong-key');
    expect(await page.isVisible('#results')).toBe(false);
    await opened.enter(storage.toRecoveryKey().slice(0, -1));
    await page.waitForSelector('#correct:visible');
    // Offered, not used.
    expect(await page.isVisible('#results')).toBe(false);
    const text = await page.innerText('body');
    expect(text).not.toContain(storage.toRecoveryKey().slice(0, 14));
    await page.click('#correct');
    await opened.done();
    // What came of the one before does not stay for what came of the next.
    await opened.enter(BackupDecryptionKey.generate().toRecoveryKey());
    await opened.refused();
    expect(await page.isVisible('#results')).toBe(false);
    expect(opened.problems).toEqual([]);
  });

  it('says in which form a phrase or key fitted', async () => {
    const phrase = 'My Old Phrase';
    const parameters = { private_key_salt: 's', private_key_iterations: 10 };
    const derived = BackupDecryptionKey.fromBytes(await derivePassphraseKey(phrase, parameters));
    const { room_id, session_id, key_backup_data } = encryptSession(sample[0], derived.publicKey);
    const rooms = { [room_id]: { sessions: { [session_id]: key_backup_data } } };
    const auth_data = { ...createAuthData(derived.publicKey), ...parameters };
    await opened.chooseFiles([
      opened.save('backup.json', { rooms }),
      opened.save('version.json', { auth_data }),
    ]);
    await opened.enter('mY oLD pHRASE');
    await opened.refused();
    const form = 'the passphrase of the backup, with capital and small letters exchanged, as with Caps Lock.';
    expect(await opened.text('#advice')).toBe(`What fits is ${form}`);
    await page.click('#correct');
    await opened.done();
    expect(await opened.text('#opened')).toBe(`Opened with ${form}`);
    await opened.enter(`It is ${derived.toRecoveryKey()}, I think`);
    await opened.done();
    expect(await opened.text('#opened')).toBe(
      'Opened with the decryption key of the backup, read out of the text around it.',
    );
  });

  it('says that the public key is encoded twice', async () => {
    const public_key = Buffer.from(key.publicKey.toBase64()).toString('base64');
    const files = [
      opened.save('backup.json', backup(sample.slice(0, 1))),
      opened.save('version.json', { auth_data: { public_key } }),
    ];
    await opened.chooseFiles(files);
    await opened.enter(key.toRecoveryKey());
    await opened.done();
    expect(await opened.text('#opened')).toBe(
      'Opened with the decryption key of the backup. The public key is encoded in base64 twice, as nheko does: ' +
        'this backup can be read but not written to.',
    );
  });

  it('says that some keys need another recovery key', async () => {
    const foreign = BackupDecryptionKey.generate();
    const { rooms } = backup(sample.slice(0, 3));
    for (const session of sample.slice(3, 5)) {
      const { room_id, session_id, key_backup_data } = encryptSession(session, foreign.publicKey);
      rooms[room_id] ??= { sessions: {} };
      rooms[room_id].sessions[session_id] = key_backup_data;
    }
    await opened.giveFiles({ rooms });
    await opened.enter(key.toRecoveryKey());
    await opened.done();
    expect(await opened.text('#cause')).toContain('Not read: 2 keys of another recovery key, or damaged.');
  });

  it('leaves out what not every client imports, when asked, and says how to get it', async () => {
    const unclaimed = unmendedBackup({ ...sample[0], sender_claimed_keys: {} });
    await opened.giveFiles({ rooms: merged(unclaimed, backup(sample.slice(1, 3))) });
    await opened.choose('strict');
    await opened.enter(key.toRecoveryKey());
    await opened.done();
    expect(await opened.text('#results-title')).toBe('2 of 3 keys recovered');
    expect(await opened.text('#cause')).toContain('You chose “Only keys that every app can import”');
    expect(await opened.exported()).toHaveLength(2);
    expect(JSON.parse(await opened.download('report'))).toMatchObject({ keys: [{ code: 'missing-field' }] });
  });

  it('says of a key that nothing tells in advance that it fits no record', async () => {
    const files = [
      opened.save('backup.json', backup(sample.slice(0, 3))),
      opened.save('version.json', { auth_data: { public_key: 'A'.repeat(60) } }),
    ];
    await opened.chooseFiles(files);
    await opened.enter(BackupDecryptionKey.generate().toRecoveryKey());
    await opened.done();
    expect(await opened.text('#results-title')).toBe('No key could be recovered');
    expect(await opened.text('#cause')).toContain('That key does not fit this backup');
    expect(await page.isVisible('#export')).toBe(false);
  });

  it.each<[string, string[], string]>([
    ['only a version', ['version.json'], 'missing-file'],
    ['only a backup', ['backup.json'], 'missing-file'],
    ['two backups', ['backup.json', 'other-backup.json', 'version.json'], 'bad-parameters'],
    ['two versions', ['backup.json', 'version.json', 'other-version.json'], 'bad-parameters'],
    ['a file that is no JSON', ['backup.json', 'version.json', 'phrase.txt'], 'bad-json'],
  ])('with %s says what is wrong', async (_, names, code) => {
    const saved = new Map<string, string>();
    const save = (name: string, value: unknown) => saved.set(name, opened.save(name, value));
    save('version.json', version);
    save('backup.json', backup(sample.slice(0, 1)));
    save('other-version.json', version.auth_data);
    save('other-backup.json', backup(sample.slice(1, 2)));
    save('phrase.txt', 'a phrase');
    await opened.chooseFiles(names.map((name) => saved.get(name)!));
    await opened.enter(key.toRecoveryKey());
    await opened.refused();
    expect(await opened.text('#error')).toContain(code);
    expect(await page.isVisible('#results')).toBe(false);
  });

  it('forgets a file, and takes the same one again', async () => {
    await opened.giveFiles(backup(sample.slice(0, 2)));
    expect(await page.locator('#chosen li').count()).toBe(3);
    await page.click('button[aria-label="Remove backup.json"]');
    expect(await opened.text('#chosen')).not.toContain('backup.json');
    await opened.giveFiles(backup(sample.slice(0, 2)));
    await opened.enter(key.toRecoveryKey());
    await opened.done();
    expect(await opened.text('#summary')).toContain('2 of 2 keys');
  });

  it('takes files that were saved again under the same names', async () => {
    for (const keys of [2, 3]) {
      await opened.giveFiles(backup(sample.slice(0, keys)));
      await opened.enter(key.toRecoveryKey());
      await opened.done();
      expect(await opened.text('#summary')).toContain(`${keys} of ${keys} keys`);
    }
  });

  it('says that a file has changed since it was chosen, and takes it when it is chosen again', async () => {
    await opened.giveFiles(backup(sample.slice(0, 2)));
    opened.save('backup.json', backup(sample.slice(0, 3)));
    await opened.enter(key.toRecoveryKey());
    await opened.refused();
    expect(await opened.text('#problem-title')).toBe('A file has changed since you chose it.');
    await opened.giveFiles(backup(sample.slice(0, 3)));
    await opened.enter(key.toRecoveryKey());
    await opened.done();
    expect(await opened.text('#summary')).toContain('3 of 3 keys');
  });

  it('gives the keys before the end of a backup that was cut off, and says so', async () => {
    const whole = JSON.stringify(backup(sample.slice(0, 3)));
    await opened.giveFiles(whole.slice(0, -10));
    await opened.enter(key.toRecoveryKey());
    await opened.done();
    expect(await opened.text('#results-title')).toBe('2 of 3 keys recovered');
    expect(await opened.text('#cause')).toContain('damaged. These are the keys that can be read');
    expect(await opened.exported()).toHaveLength(2);
    const report = JSON.parse(await opened.download('report')) as ReportFile;
    expect(report).toMatchObject({ total: 3, ok: 2, failed: 1, keys: [{ code: 'truncated' }] });
  });

  /** Waits for the page's worker and those that it starts, one a processor in all, three at most. */
  async function allAtWork(): Promise<void> {
    const workers = await page.evaluate<number>('Math.min(3, navigator.hardwareConcurrency)');
    await expect.poll(() => page.workers().length, { timeout: 20_000 }).toBe(workers);
  }

  it('can be cancelled in the middle and used again', async () => {
    await opened.giveFiles(backup(sample, { copies: 20 }), 'large.json');
    await opened.enter(key.toRecoveryKey());
    await allAtWork();
    await page.click('#cancel');
    expect(await page.isVisible('#form')).toBe(true);
    expect(await page.isVisible('#results')).toBe(false);
    // And with the workers goes all that they held in memory.
    await expect.poll(() => page.workers().length).toBe(0);
    await opened.toStep(1);
    await page.click('button[aria-label="Remove large.json"]');
    await opened.giveFiles(backup(sample.slice(0, 3)));
    await opened.enter(key.toRecoveryKey());
    await opened.done();
    expect(await opened.text('#summary')).toContain('3 of 3 keys');
  });

  it('loses no key when one of its workers dies', async () => {
    await opened.giveFiles(backup(sample, { copies: 20 }));
    await opened.enter(key.toRecoveryKey());
    await allAtWork();
    // The first has started the others.
    await page.workers().at(-1)!.evaluate('setTimeout(() => { throw new Error("out of memory"); })');
    await opened.done();
    expect(await opened.text('#summary')).toContain('20000 of 20000 keys; 0 not read');
    expect(opened.problems.join()).not.toContain('out of memory');
  });

  it('takes 10,000 keys', async () => {
    await opened.giveFiles(backup(sample, { copies: 10 }));
    await opened.enter(storage.toRecoveryKey());
    await opened.done();
    expect(await opened.text('#summary')).toContain('10000 of 10000 keys');
    expect(await opened.exported()).toHaveLength(10_000);
  });

  it('is kept by its policy from everything that it does not need', async () => {
    const violated = await page.evaluate(`(async () => {
      const violated = new Set();
      document.addEventListener('securitypolicyviolation', (event) => violated.add(event.effectiveDirective));
      const add = (name, fields) => {
        const element = Object.assign(document.createElement(name), fields);
        document.body.append(element);
        return element;
      };
      add('script', { textContent: 'window.ran = true' });
      add('style', { textContent: 'body { display: none }' });
      add('img', { src: 'https://example.org/' });
      add('base', { href: 'https://example.org/' });
      add('form', { action: 'https://example.org/' }).submit();
      try {
        new Worker('data:text/javascript,');
      } catch {}
      // Later, because what a debugger evaluates may compile text itself.
      setTimeout(() => new Function('window.ran = true')());
      await fetch('http://127.0.0.2:9/').catch(() => undefined);
      await new Promise((resolve) => setTimeout(resolve, 500));
      return [...violated].sort();
    })()`);
    expect(violated).toEqual([
      'base-uri',
      'connect-src',
      'form-action',
      'img-src',
      'script-src',
      'script-src-elem',
      'style-src-elem',
      'worker-src',
    ]);
    expect(await page.evaluate('window.ran')).toBeUndefined();
  });

  it('may compile WebAssembly in its worker', async () => {
    const answer = await page.evaluate(`new Promise((resolve) => {
      const source = \`WebAssembly.instantiate(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0)).then(
        () => postMessage('compiled'),
        (error) => postMessage(String(error)),
      );\`;
      const worker = new Worker(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })));
      worker.onmessage = ({ data }) => resolve(data);
    })`);
    expect(answer).toBe('compiled');
  });

  it('shows what servers and files name as text and nothing else', async () => {
    const evil = '<img src=x onerror="window.ran = true"><b>';
    const { rooms } = backup(sample.slice(0, 1));
    rooms[`!${evil}`] = { sessions: { [evil]: {} } };
    await opened.giveFiles({ rooms }, '<b>.json');
    await opened.enter(key.toRecoveryKey());
    await opened.done();
    await opened.openNumbers();
    expect(await opened.text('#rooms')).toContain(evil);
    expect(await opened.text('#chosen')).toContain('<b>.json');
    expect(await page.locator('img, b').count()).toBe(0);
    expect(opened.problems).toEqual([]);
  });

  it('works by keyboard alone', async () => {
    await opened.giveFiles(backup(sample.slice(0, 2)));
    await page.focus('#next');
    await page.keyboard.press('Enter');
    // Every step gives the focus to its first field.
    await page.keyboard.type(key.toRecoveryKey());
    await page.keyboard.press('Enter');
    await page.keyboard.type('export phrase');
    await page.keyboard.press('Tab');
    await page.keyboard.type('export phrase');
    await page.keyboard.press('Enter');
    await opened.done();
    // The result takes the focus, and the next stop is the download.
    await page.keyboard.press('Tab');
    const [download] = await Promise.all([page.waitForEvent('download'), page.keyboard.press('Enter')]);
    expect(download.suggestedFilename()).toBe('element-keys.txt');
  });

  it('asks one question at a time, the homeserver first', async () => {
    const asked = () => page.locator('input:visible:not([type=radio], [type=checkbox])');
    const ids = async () => asked().evaluateAll((fields) => fields.map(({ id }) => id));
    expect(await ids()).toEqual(['homeserver', 'token']);
    expect(await page.isVisible('text=Where do I find the access token?')).toBe(true);
    // An empty field holds it up.
    await page.click('#next');
    expect(await ids()).toEqual(['homeserver', 'token']);
    await page.fill('#homeserver', 'example.org');
    await page.fill('#token', 't');
    await page.click('#next');
    expect(await ids()).toEqual(['key']);
    await page.fill('#key', 'k');
    await page.click('#next');
    expect(await ids()).toEqual(['passphrase', 'repeat']);
    expect(await page.isVisible('#salvage')).toBe(false);
    await page.click('#back');
    expect(await ids()).toEqual(['key']);
    expect(await page.inputValue('#key')).toBe('k');
    await page.click('#back');
    await page.check('input[value=files]');
    expect(await ids()).toEqual(['files']);
    await page.click('#next');
    expect(await ids()).toEqual(['files']);
  });

  it.each<[string, string, string]>([
    ['too short', 'eleven char', 'eleven char'],
    ['too simple', 'aaaaaaaaaaaaaaaa', 'aaaaaaaaaaaaaaaa'],
    ['not the same twice', 'a long new phrase', 'a long new phrasf'],
  ])('refuses a new passphrase that is %s', async (_, first, second) => {
    await opened.giveFiles(backup(sample.slice(0, 1)));
    await opened.toStep(2);
    await page.fill('#key', key.toRecoveryKey());
    await opened.toStep(3);
    await page.fill('#passphrase', first);
    await page.fill('#repeat', second);
    await page.click('#next');
    expect(await page.isVisible('#form')).toBe(true);
    expect(await page.locator('input:invalid:visible').count()).toBe(1);
    // Mended, it goes on.
    await opened.enter(key.toRecoveryKey());
    await opened.done();
  });

  it('says how strong a new passphrase is, and shows it on request', async () => {
    await opened.giveFiles(backup(sample.slice(0, 1)));
    await opened.toStep(2);
    await page.fill('#key', 'k');
    await opened.toStep(3);
    const strengths = [];
    for (const phrase of [
      'short',
      'twelve chars',
      'correct horse battery',
      'correct Horse, battery: staple!',
    ]) {
      await page.fill('#passphrase', phrase);
      strengths.push(await opened.text('#strength'));
    }
    expect(strengths.map((text) => /weak|fair|good|12/.exec(text)?.[0])).toEqual([
      '12',
      'weak',
      'fair',
      'good',
    ]);
    expect(await page.getAttribute('#repeat', 'type')).toBe('password');
    await page.check('#show-passphrase');
    expect(await page.getAttribute('#passphrase', 'type')).toBe('text');
    expect(await page.getAttribute('#repeat', 'type')).toBe('text');
  });

  it('shows the result and the download at once on a phone', async () => {
    await opened.giveFiles(backup(sample));
    await opened.enter(key.toRecoveryKey());
    await opened.done();
    expect(await opened.text('#results-title')).toBe('All 1,000 keys recovered');
    const box = await page.locator('#export').boundingBox();
    expect(box!.y + box!.height).toBeLessThan(667);
    expect(await page.isVisible('#rooms')).toBe(false);
    // Three steps for the client that people use.
    for (const client of await page.locator('#client option').allTextContents()) {
      await page.selectOption('#client', client);
      expect(await page.locator('#steps li').count(), client).toBe(3);
    }
  });

  it('names every field and every table', async () => {
    const unnamed = await page.evaluate(
      'Array.from(document.querySelectorAll("input")).filter(({ labels }) => labels.length === 0).map(({ id }) => id)',
    );
    expect(unnamed).toEqual([]);
    expect(await page.locator('table:not(:has(caption))').count()).toBe(0);
  });

  describe('tells where keys come from', () => {
    const counts = async () => {
      await opened.openNumbers();
      return (await page.locator('#authenticity tbody td:last-child').allTextContents()).map(Number);
    };

    it('in numbers of four kinds, and warns of a wrong MAC', async () => {
      await opened.giveFiles(backupOfAllVerdicts());
      await opened.enter(key.toRecoveryKey());
      await opened.done();
      // Verified, declared, no MAC, wrong MAC.
      expect(await counts()).toEqual([1, 1, 1, 1]);
      expect(await opened.text('#summary')).toContain('4 of 4 keys, 1 of them flagged');
      expect(await page.innerText('#warning')).toContain(
        'without your key wrote or changed 1 key in the file',
      );
      expect(JSON.parse(await opened.download('report'))).toMatchObject({
        authenticity: { verified: 1, 'declared-unauthenticated': 1, 'no-mac': 1, 'wrong-mac': 1 },
        keys: [{ session_id: sample[2].session_id, flags: ['wrong-mac'] }],
      });
    });

    it('and takes only those that prove it, when asked', async () => {
      await opened.giveFiles(backupOfAllVerdicts());
      await opened.choose('authenticated');
      await opened.enter(key.toRecoveryKey());
      await opened.done();
      expect(await counts()).toEqual([1, 0, 0, 0]);
      expect(await opened.text('#summary')).toContain('1 of 4 keys; 3 not read');
      expect(await opened.text('#reasons')).toContain('not-authenticated3');
      expect(await page.isVisible('#warning')).toBe(false);
      const results = await opened.exported();
      expect(results).toHaveLength(1);
      expect(results[0]).toMatchObject({ ok: true, session: { session_id: sample[0].session_id } });
    });

    it('and gives nothing where nothing proves it', async () => {
      await opened.giveFiles(backup(sample.slice(0, 3)));
      await opened.choose('authenticated');
      await opened.enter(key.toRecoveryKey());
      await opened.done();
      expect(await opened.text('#summary')).toContain('0 of 3 keys; 3 not read');
      expect(await page.isVisible('#export')).toBe(false);
    });

    it('without a warning where no MAC is wrong', async () => {
      await opened.giveFiles(backup(sample.slice(0, 3), { macKey, unauthenticated: () => undefined }));
      await opened.enter(key.toRecoveryKey());
      await opened.done();
      expect(await counts()).toEqual([3, 0, 0, 0]);
      expect(await page.isVisible('#warning')).toBe(false);
    });
  });

  it('gives a file that the strictest importer takes, whatever was in the backup', async () => {
    await Sdk.initAsync();
    const noPoint = base64Encode(Uint8Array.of(2, ...new Uint8Array(31)));
    const [good, noRoom, noSender, badClaim, badKey] = sample;
    const sessions = [
      good,
      { ...noRoom, room_id: 'room:example.org' },
      { ...noSender, sender_key: '' },
      { ...badClaim, sender_claimed_keys: { ed25519: noPoint } },
      { ...badKey, session_id: noPoint, session_key: withSigningKey(badKey.session_key, noPoint) },
    ];
    await opened.giveFiles({ rooms: merged(...sessions.map(unmendedBackup)) });
    await opened.enter(key.toRecoveryKey());
    await opened.done();
    expect(await opened.text('#summary')).toContain('2 of 5 keys, 1 of them flagged; 3 not read');
    const report = JSON.parse(await opened.download('report')) as ReportFile;
    const codes = Object.fromEntries(
      report.keys.map(({ session_id, code, flags }) => [session_id, code ?? flags]),
    );
    expect(codes).toEqual({
      [noRoom.session_id]: 'bad-json',
      [noSender.session_id]: 'bad-length',
      [badClaim.session_id]: ['unusable-claimed-key', 'unreadable-by-others', 'no-claimed-ed25519'],
      [noPoint]: 'bad-session-key',
    });
    const file = await opened.download('export');
    const machine = await Sdk.OlmMachine.initialize(new Sdk.UserId('@r:example.org'), new Sdk.DeviceId('R'));
    const json = Sdk.OlmMachine.decryptExportedRoomKeys(file, 'export phrase');
    expect((await machine.importExportedRoomKeys(json, () => undefined)).importedCount).toBe(2);
    // Each of the four by itself would have made it refuse the whole file.
    for (const spoilt of sessions.slice(1)) {
      const whole = JSON.stringify([good, spoilt]);
      const importing = async () => machine.importExportedRoomKeys(whole, () => undefined);
      await expect(importing()).rejects.toBeDefined();
    }
    machine.close();
  });

  const CORS = { 'access-control-allow-origin': '*' };

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
      await opened.nameServer(url, 'syt_SECRET');
      await opened.enter(storage.toRecoveryKey());
    }

    it('rescues, and contacts no other server', async () => {
      const url = server.url;
      await signIn(url);
      await opened.done();
      expect(await opened.text('#summary')).toContain('20 of 20 keys');
      const { contacted } = opened;
      expect(contacted.length).toBeGreaterThan(3);
      expect(contacted.filter((request) => !request.startsWith(`${url}/`))).toEqual([]);
      expect(contacted.join()).not.toContain('syt_SECRET');
      expect(page.url()).not.toContain('SECRET');
    });

    /** The second answer ends the retries. */
    function breakAfter(bytes: number): void {
      server.faulty = (method, path) => method === 'GET' && path.endsWith('/room_keys/keys');
      const body = '{"errcode":"M_FORBIDDEN","error":"no"}';
      server.faults = [
        { kind: 'truncate', bytes },
        { kind: 'answer', status: 403, body, headers: CORS },
      ];
    }

    it('gives the keys that came before the connection broke for good, and then the rest', async () => {
      breakAfter(9000);
      await signIn(server.url);
      await opened.done();
      const [, came] = /^(\d+) of 20 keys recovered$/.exec(await opened.text('#results-title')) ?? [];
      expect(Number(came)).toBeGreaterThan(3);
      expect(await opened.text('#cause')).toContain('The connection broke.');
      expect(await opened.exported()).toHaveLength(Number(came));

      // What came once is not lost to a connection that breaks sooner, nor to a server that cannot be reached.
      breakAfter(2500);
      await page.click('#rest');
      await opened.done();
      expect(await opened.text('#results-title')).toBe(`${came} of 20 keys recovered`);
      server.faulty = (method, path) => method === 'GET' && path.endsWith('/room_keys/version');
      const full = '{"errcode":"M_UNKNOWN","error":"full"}';
      server.faults = [{ kind: 'answer', status: 400, body: full, headers: CORS }];
      await page.click('#rest');
      await opened.refused();

      server.faults = [];
      const [{ keys }] = server.versions;
      for (const [room, id] of server.keysOf(server.versions[0]).slice(0, 3)) keys.get(room)!.delete(id);
      await page.click('#retry');
      await opened.done();
      expect(await opened.text('#summary')).toContain('20 of 20 keys');
      expect(await opened.exported()).toHaveLength(20);
      expect(await page.isVisible('#rest')).toBe(false);
    });

    it('starts again where the backup has changed since the connection broke', async () => {
      breakAfter(9000);
      await signIn(server.url);
      await opened.done();
      const [version] = server.versions;
      for (const [room, { sessions }] of Object.entries(backup(sample.slice(20, 21)).rooms)) {
        for (const [id, data] of Object.entries(sessions)) server.store(version, room, id, data as never);
      }
      const [[room, id]] = server.keysOf(version);
      version.keys.get(room)!.delete(id);
      await page.click('#rest');
      await opened.done();
      expect(await opened.text('#results-title')).toBe('All 20 keys recovered');
    });

    it('says when the homeserver sends fewer keys than it counts', async () => {
      server.faulty = (method, path) => method === 'GET' && path.endsWith('/room_keys/version');
      const answer = { ...version, version: server.versions[0].version, etag: '1', count: 23 };
      server.faults = [{ kind: 'misreport', body: JSON.stringify(answer) }];
      await signIn(server.url);
      await opened.done();
      expect(await opened.text('#results-title')).toBe('20 of 23 keys recovered');
      expect(await opened.text('#cause')).toContain('The homeserver counts 3 keys more than it sent.');
    });

    it('shows that it waits for a server that does not answer', async () => {
      server.faulty = (method, path) => method === 'GET' && path.endsWith('/room_keys/version');
      const body = '{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":3000}';
      server.faults = [{ kind: 'answer', status: 429, body, headers: CORS }];
      await signIn(server.url);
      await page.waitForSelector('#status:has-text("Trying again in 3 s.")');
      await opened.done();
    });

    it.each([
      'http://matrix.example.org',
      'http://127.0.0.1.example.org',
      'HTTP://localhost.example.org:80/',
    ])('sends nothing to %s, without TLS', async (url) => {
      await signIn(url);
      await opened.refused();
      expect(await opened.text('#problem-title')).toBe(
        'The address of the homeserver must begin with https.',
      );
      expect(await opened.text('#error')).toContain('https-only');
      expect(opened.contacted).toEqual([]);
    });

    it('asks about the account when it has no backup', async () => {
      server.versions.length = 0;
      await signIn(server.url);
      await opened.refused();
      expect(await opened.text('#problem-title')).toBe('This account has no key backup.');
      expect(await opened.text('#advice')).toContain('Is it the right account');
    });

    it('says that the token was not accepted', async () => {
      server.faulty = (method, path) => method === 'GET' && path.endsWith('/room_keys/version');
      const body = '{"errcode":"M_UNKNOWN_TOKEN","error":"no"}';
      server.faults = [{ kind: 'answer', status: 401, body, headers: CORS }];
      await signIn(server.url);
      await opened.refused();
      expect(await opened.text('#problem-title')).toBe('The homeserver does not accept the access token.');
    });

    it('refuses keys without proof from it too, when asked', async () => {
      await opened.choose('authenticated');
      await signIn(server.url);
      await opened.done();
      expect(await opened.text('#summary')).toContain('0 of 20 keys; 20 not read');
    });

    it('refuses a server whose backup is another one than the key in the storage', async () => {
      server.createVersion(BACKUP_ALGORITHM, { ...createAuthData(BackupDecryptionKey.generate().publicKey) });
      await signIn(server.url);
      await opened.refused();
      expect(await opened.text('#error')).toContain('wrong-key');
      expect(server.seen.filter(({ url }) => url.includes('/room_keys/keys'))).toEqual([]);
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
      await signIn(server.url);
      await opened.refused();
      expect(other.seen).toEqual([]);
    });
  });
});

/** A session key with another Ed25519 key inside. */
function withSigningKey(sessionKey: string, ed25519: string): string {
  const bytes = Buffer.from(sessionKey, 'base64');
  Buffer.from(ed25519, 'base64').copy(bytes, 133);
  return base64Encode(bytes);
}

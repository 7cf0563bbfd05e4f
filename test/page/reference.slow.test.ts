import type { Browser } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createBackup } from '../../src/client/backup.js';
import { BackupDecryptionKey } from '../../src/scheme/keys.js';
import { startHomeserver, type Homeserver } from '../support/homeserver.js';
import { damage, makeAccount } from '../support/rescuable-account.js';
import { directSessions } from '../support/sample.js';
import { TOKEN_A, TOKEN_B } from '../support/serving.js';
import { OpenedPage, executablePath, launch } from './in-chromium.js';

const sessions = directSessions(300);

describe.skipIf(executablePath === undefined)('the page and the reference server', () => {
  let browser: Browser;
  let opened: OpenedPage;
  let server: Homeserver;

  beforeAll(async () => {
    browser = await launch();
  }, 120_000);

  afterAll(() => browser.close());

  beforeEach(async () => {
    server = await startHomeserver();
    opened = await OpenedPage.in(browser);
  });

  afterEach(async () => {
    await opened.close();
    await server.stop();
  });

  async function rescue(key: string, token = TOKEN_A) {
    server.seen.length = 0;
    await opened.nameServer(server.url, token);
    await opened.enter(key);
  }

  it('rescue every key that the client uploaded', async () => {
    const { storage, seed, key } = await makeAccount(server.url, sessions);
    const text = storage.toRecoveryKey();
    await rescue(text);
    await opened.done();
    expect(await opened.text('#summary')).toContain('300 of 300 keys; 0 not read.');
    expect(await opened.text('#opened')).toBe('Opened with the key of the secret storage.');
    const results = await opened.exported();
    const keys = results.map((result) => (result.ok ? result.session.session_key : result.error));
    expect(keys.sort()).toEqual(sessions.map(({ session_key }) => session_key).sort());
    expect(opened.contacted.filter((url) => !url.startsWith(`${server.url}/`))).toEqual([]);
    // Nothing is written to the account, and the token goes where it belongs.
    const methods = new Set(server.seen.map(({ method }) => method));
    methods.delete('OPTIONS');
    expect(methods).toEqual(new Set(['GET']));
    const shown = `${opened.contacted.join()} ${await opened.page.innerText('body')}`;
    for (const secret of [TOKEN_A, text, text.replaceAll(' ', ''), seed, key.toBase64()]) {
      expect(shown.includes(secret), 'a secret is shown').toBe(false);
    }
    expect(opened.problems).toEqual([]);
  });

  it('leave out a record that was damaged there, with its reason', async () => {
    const { storage, roomKeys, info } = await makeAccount(server.url, sessions);
    await damage(roomKeys, info.version, sessions[7]);
    await rescue(storage.toRecoveryKey());
    await opened.done();
    expect(await opened.text('#summary')).toContain('299 of 300 keys; 1 not read');
    await opened.openNumbers();
    expect(await opened.text('#reasons')).toContain('low-order-key1');
  });

  it('say that the stored key is that of another backup', async () => {
    const { storage, roomKeys } = await makeAccount(server.url, sessions.slice(0, 3));
    await createBackup(roomKeys, { publicKey: BackupDecryptionKey.generate().publicKey });
    await rescue(storage.toRecoveryKey());
    await opened.refused();
    expect(await opened.text('#error')).toContain('the backup key in it is that of another backup');
  });

  it.each<[string, string, string]>([
    ['another user’s token', TOKEN_B, 'this account has no backup'],
    ['an unknown token', 'syt_nobody', 'unauthorized'],
  ])('with %s give nothing', async (_, token, why) => {
    const { storage } = await makeAccount(server.url, sessions.slice(0, 3));
    await rescue(storage.toRecoveryKey(), token);
    await opened.refused();
    expect(await opened.text('#error')).toContain(why);
    expect(await opened.page.isVisible('#results')).toBe(false);
  });
});

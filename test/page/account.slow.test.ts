import type { Browser } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { BACKUP_ALGORITHM } from '../../src/scheme/auth-data.js';
import { BackupDecryptionKey } from '../../src/scheme/keys.js';
import { KeyBackupServer } from '../support/key-backup-server.js';
import { OpenedPage, executablePath, launch } from './in-chromium.js';
import { accountData, authData, backup, key, sample, storage, version } from './saved-files.js';

describe.skipIf(executablePath === undefined)(
  'the page in Chromium, for accounts as people have them',
  () => {
    let browser: Browser;
    let opened: OpenedPage;
    let server: KeyBackupServer;
    /** As nheko writes it. */
    const twice = Buffer.from(authData.public_key).toString('base64');

    beforeAll(async () => {
      browser = await launch();
    }, 120_000);

    afterAll(() => browser.close());

    beforeEach(async () => {
      opened = await OpenedPage.in(browser);
      server = await new KeyBackupServer().start();
    });

    afterEach(async () => {
      await opened.close();
      await server.stop();
    });

    const give = (account: unknown, auth_data: object = authData) =>
      opened.chooseFiles([
        opened.save('backup.json', backup(sample.slice(0, 2))),
        opened.save('version.json', { ...version, version: 1, auth_data }),
        ...(account === undefined ? [] : [opened.save('account.json', account)]),
      ]);

    const events = Object.entries(accountData).map(([type, content]) => ({ type, content }));

    it.each<[string, unknown]>([
      ['the answer of /sync', { account_data: { events }, rooms: { join: {} } }],
      ['the answer of the admin API', { account_data: { global: accountData, rooms: {} } }],
      ['a list of events', events],
    ])('takes account data as %s', async (_, account) => {
      await give(account, { public_key: twice });
      await opened.enter(storage.toRecoveryKey());
      await opened.done();
      expect(await opened.text('#summary')).toContain('2 of 2 keys');
    });

    it.each<[string, unknown, string]>([
      ['no account data', undefined, 'Choose the account data as well'],
      ['account data without a secret storage', {}, 'This account has no secret storage'],
      ['account data with one', accountData, 'Look for another recovery key or phrase'],
    ])('with %s says why a key or phrase fits nothing', async (_, account, reason) => {
      await give(account);
      for (const held of ['a phrase that fits nothing', BackupDecryptionKey.generate().toRecoveryKey()]) {
        await opened.enter(held);
        await opened.refused();
        expect(await opened.text('#problem-title')).toBe('This key or phrase does not open the backup.');
        expect(await opened.text('#advice')).toContain(reason);
      }
    });

    it.each([
      ['encoded in base64 twice', twice],
      ['malformed', `${'A'.repeat(59)}B`],
    ])('reads the backup of an account whose public key is %s', async (_, public_key) => {
      const made = server.createVersion(BACKUP_ALGORITHM, { public_key });
      for (const [room, { sessions }] of Object.entries(backup(sample.slice(0, 2)).rooms)) {
        for (const [session, data] of Object.entries(sessions))
          server.store(made, room, session, data as never);
      }
      await opened.nameServer(server.url, 'syt_SECRET');
      await opened.enter(key.toRecoveryKey());
      await opened.done();
      expect(await opened.text('#summary')).toContain('2 of 2 keys');
    });
  },
);

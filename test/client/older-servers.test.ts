import { expect, it } from 'vitest';
import { copyBackup } from '../../src/client/copy-backup.js';
import { diagnose } from '../../src/client/diagnose.js';
import { Restore } from '../../src/client/restore.js';
import { uploadSessions } from '../../src/client/upload.js';
import { encryptSessionsSync } from '../../src/index.js';
import type { KeyBackupServer } from '../support/key-backup-server.js';
import { makeSessions } from '../support/sessions.js';
import { clientOf, key, makeBackup, startServer, trust } from './support.js';

/** What servers have sent instead of the text "0" and a number of keys. */
const ANSWERS: readonly (readonly [string, object])[] = [
  ['an etag that is a number', { etag: 5 }],
  ['no etag', { etag: undefined }],
  ['an etag that is null', { etag: null }],
  ['no count', { count: undefined }],
  ['a count that is not a number', { count: '20' }],
  ['a version that is a number', { version: 7 }],
  ['a version that is a number, and nothing else', { version: 7, etag: undefined, count: undefined }],
];

/** A backup of some keys, whose version is always answered with these changes. */
async function begin(changes: object, keys = 4): Promise<KeyBackupServer> {
  const server = await startServer();
  const version = makeBackup(server);
  Object.assign(version, { version: '7' });
  for (const result of encryptSessionsSync(makeSessions(keys), key.publicKey)) {
    if (result.ok) server.store(version, result.room_id, result.session_id, result.key_backup_data as never);
  }
  const { algorithm, auth_data } = version;
  const body = JSON.stringify({ algorithm, auth_data, version: '7', etag: '5', count: keys, ...changes });
  server.faulty = (method, path) => method === 'GET' && path.includes('/version');
  server.faults = Array.from({ length: 9 }, () => ({ kind: 'misreport', body }) as const);
  return server;
}

it.each(ANSWERS)('%s does not keep a backup from being read', async (_, changes) => {
  const roomKeys = clientOf(await begin(changes));
  const info = (await roomKeys.currentVersion())!;
  const unknown = 'count' in changes;
  expect(info).toMatchObject({ version: '7', etag: 'etag' in changes && changes.etag !== 5 ? '' : '5' });
  expect(info.count).toBe(unknown ? undefined : 4);

  const restore = new Restore(roomKeys, info, key);
  for await (const result of restore) expect(result.ok).toBe(true);
  expect(restore.summary).toMatchObject({ ok: 4, changed: false, missing: unknown ? undefined : 0 });
  expect((await diagnose(roomKeys, { key })).findings).toEqual([]);
});

it.each(ANSWERS)('%s does not keep a backup from being copied or written', async (_, changes) => {
  const source = await begin(changes);
  const destination = await startServer();
  const copy = await copyBackup(clientOf(source), clientOf(destination));
  expect(copy).toMatchObject({ outcome: 'complete', copied: 4, count: 4, sourceChanged: false });

  const roomKeys = clientOf(source);
  const info = (await roomKeys.currentVersion())!;
  const upload = await uploadSessions(roomKeys, info, makeSessions(6), { trust });
  expect(upload).toMatchObject({ outcome: 'complete', changedElsewhere: false, count: 6 });
});

it.each([[undefined], [null], [{}], [[]], [1.5], [-1], [true], [2 ** 53]])(
  'the version %j is rejected, at once',
  async (version) => {
    const server = await begin({ version });
    await expect(clientOf(server).currentVersion()).rejects.toMatchObject({ code: 'bad-response' });
    expect(server.seen).toHaveLength(1);
  },
);

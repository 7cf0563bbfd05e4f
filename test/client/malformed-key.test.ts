import { describe, expect, it } from 'vitest';
import { checkBackupTrust, diagnose } from '../../src/client/diagnose.js';
import { KeyLookup } from '../../src/client/key-lookup.js';
import { Restore } from '../../src/client/restore.js';
import { authenticateBackup } from '../../src/client/authenticate.js';
import { uploadSessions } from '../../src/client/upload.js';
import {
  BACKUP_ALGORITHM,
  BackupDecryptionKey,
  createAuthData,
  encryptSessionsSync,
} from '../../src/index.js';
import { KeyMatchCounter } from '../../src/report/rescue.js';
import { makeSessions } from '../support/sessions.js';
import { clientOf, key, makeBackup, startServer, trust } from './support.js';

/** As nheko writes it: base64 of the base64. */
const TWICE = Buffer.from(key.publicKey.toBase64()).toString('base64');
const MALFORMED: readonly (readonly [string, unknown])[] = [
  ['base64 twice', TWICE],
  ['base64 twice, unpadded', TWICE.replace(/=+$/, '')],
  ['base64 of 45 bytes', 'A'.repeat(59) + 'B'],
  ['of small order', 'A'.repeat(43)],
  ['empty', ''],
  ['no string', 5],
];
const other = BackupDecryptionKey.fromBytes(new Uint8Array(32).fill(8));

async function begin(public_key: unknown, keys = 4) {
  const server = await startServer();
  const version = server.createVersion(BACKUP_ALGORITHM, { ...createAuthData(key.publicKey), public_key });
  const sessions = makeSessions(keys);
  for (const result of encryptSessionsSync(sessions, key.publicKey)) {
    if (result.ok) server.store(version, result.room_id, result.session_id, result.key_backup_data as never);
  }
  const roomKeys = clientOf(server);
  return { server, roomKeys, sessions, info: (await roomKeys.currentVersion())! };
}

describe('a backup whose public key is', () => {
  it.each(MALFORMED)('%s is written by nothing', async (_, public_key) => {
    const { server, roomKeys, info, sessions } = await begin(public_key);
    await expect(uploadSessions(roomKeys, info, sessions, { trust })).rejects.toMatchObject({
      code: public_key === 'A'.repeat(43) ? 'low-order-key' : 'bad-auth-data',
    });
    for (const into of ['same', 'new'] as const) {
      const writing = authenticateBackup(roomKeys, info, key, () => undefined, { into });
      await expect(writing).rejects.toMatchObject({
        code: expect.stringMatching(/^bad-auth-data|low-order-key$/),
      });
    }
    expect(server.seen.every(({ method }) => method === 'GET')).toBe(true);
    expect(checkBackupTrust(info, trust)).toMatchObject({ usable: false });
  });

  it.each(MALFORMED)('%s is read: the records tell whether a key fits', async (_, public_key) => {
    const { roomKeys, info, sessions } = await begin(public_key);
    const restore = new Restore(roomKeys, info, key);
    for await (const result of restore) expect(result.ok).toBe(true);
    expect(restore.summary).toMatchObject({ ok: 4, failed: 0 });
    const [{ room_id, session_id }] = sessions;
    expect((await new KeyLookup(roomKeys, info, key).get(room_id, session_id))?.session.session_id).toBe(
      session_id,
    );

    const { keys, findings, state } = await diagnose(roomKeys, { key });
    expect(keys).toMatchObject({ total: 4, readable: 4 });
    expect([state, findings.map(({ code }) => code)]).toEqual(['broken', ['bad-public-key']]);
  });

  it.each(MALFORMED.slice(2))('%s fits no other key, as its records tell', async (_, public_key) => {
    const { roomKeys, info } = await begin(public_key);
    const fit = new KeyMatchCounter();
    for await (const result of new Restore(roomKeys, info, other)) fit.add(result);
    expect(fit.fits).toBe(false);
    const { findings } = await diagnose(roomKeys, { key: other });
    expect(findings.map(({ code }) => code)).toEqual(['bad-public-key', 'wrong-key']);
  });

  it.each(MALFORMED.slice(0, 2))('%s is recognised, and tells another key at once', async (_, public_key) => {
    const { server, roomKeys, info } = await begin(public_key);
    const asked = server.seen.length;
    expect(() => new Restore(roomKeys, info, other)).toThrow(expect.objectContaining({ code: 'wrong-key' }));
    const { authData, findings } = checkBackupTrust(info, { ...trust, decryptionKey: other });
    expect(authData).toMatchObject({ keyMatches: false, flags: ['double-base64-public-key'] });
    expect(findings.map(({ code }) => code)).toEqual(['bad-public-key', 'wrong-key']);
    expect(server.seen).toHaveLength(asked);
  });
});

it('no advice about a backup that can be read is to give it up', async () => {
  const advices: string[] = [];
  for (const [, public_key] of MALFORMED) {
    for (const given of [key, other]) {
      const { findings } = await diagnose((await begin(public_key)).roomKeys, { key: given });
      for (const { message, advice } of findings) advices.push(message, advice);
    }
  }
  const server = await startServer();
  makeBackup(server);
  const { findings } = await diagnose(clientOf(server), { key: other, userId: trust.userId });
  expect(findings.map(({ code }) => code)).toEqual(['wrong-key', 'untrusted']);
  for (const { advice } of findings) advices.push(advice);
  const unknown = { ...(await begin('')).info, algorithm: 'm.other' };
  for (const { advice } of checkBackupTrust(unknown, trust).findings) advices.push(advice);
  for (const advice of advices) expect(advice).not.toMatch(/make a new backup|has to be reset|\bdelete\b/i);
});

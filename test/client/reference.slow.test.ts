import { afterEach, describe, expect, it } from 'vitest';
import { createBackup } from '../../src/client/backup.js';
import { diagnose } from '../../src/client/diagnose.js';
import { Restore } from '../../src/client/restore.js';
import { RoomKeys } from '../../src/client/api.js';
import { uploadSessions } from '../../src/client/upload.js';
import { createMemoryStore } from '../support/memory-store.js';
import { runs } from '../support/runs.js';
import { TOKEN_A, serve } from '../support/serving.js';
import { makeSession, makeSessions } from '../support/sessions.js';
import { key, trust } from './support.js';

let server: Awaited<ReturnType<typeof serve>> | undefined;
afterEach(() => server?.stop(0));

/** The client against the server of this package, which other tests hold against the specification. */
describe('with the reference server', () => {
  async function begin(): Promise<RoomKeys> {
    server = await serve(createMemoryStore());
    return new RoomKeys({ baseUrl: server.url, accessToken: TOKEN_A, retryDelay: 1 });
  }

  async function restored(restore: Restore): Promise<string[]> {
    const keys: string[] = [];
    for await (const result of restore) {
      if (!result.ok) throw result.error;
      keys.push(result.session.session_key);
    }
    return keys.sort();
  }

  it('everything that is uploaded is restored, in one answer or in pages, and room by room', async () => {
    const roomKeys = await begin();
    const special = ['__proto__', 'a/b', 'é', 'e\u0301', '%2F', '😀', ' '].map((room, i) =>
      makeSession(5000 + i, room),
    );
    const sessions = [...makeSessions(runs(1500), 20), ...special];
    const info = await createBackup(roomKeys, { publicKey: key.publicKey });
    const outcome = await uploadSessions(roomKeys, info, sessions, { trust });
    expect(outcome).toMatchObject({
      outcome: 'complete',
      uploaded: sessions.length,
      failures: [],
      changedElsewhere: false,
    });
    const now = (await roomKeys.currentVersion())!;
    expect(now).toMatchObject({ count: sessions.length, etag: outcome.etag });
    const all = sessions.map(({ session_key }) => session_key).sort();
    for (const pageKeys of [10_000, 100, sessions.length]) {
      expect(await restored(new Restore(roomKeys, now, key, { pageKeys }))).toEqual(all);
    }
    const rooms = special.map(({ room_id }) => room_id);
    const ofRooms = special.map(({ session_key }) => session_key).sort();
    expect(await restored(new Restore(roomKeys, now, key, { rooms }))).toEqual(ofRooms);
    expect((await diagnose(roomKeys, { key, sessions })).state).toBe('healthy');
    const again = await uploadSessions(roomKeys, now, sessions, { trust, skipStored: true });
    expect(again).toMatchObject({ uploaded: 0, skipped: sessions.length });
  });

  it('a replaced and a deleted version are named', async () => {
    const roomKeys = await begin();
    const old = await createBackup(roomKeys, { publicKey: key.publicKey });
    const now = await createBackup(roomKeys, { publicKey: key.publicKey });
    const replaced = await uploadSessions(roomKeys, old, makeSessions(3), { trust });
    expect(replaced).toMatchObject({ outcome: 'replaced', currentVersion: now.version });
    await roomKeys.deleteVersion(now.version);
    const deleted = await uploadSessions(roomKeys, now, makeSessions(3), { trust });
    expect(deleted).toMatchObject({ outcome: 'deleted', currentVersion: old.version });
  });

  it('a token that it does not know is unauthorized', async () => {
    await begin();
    const stranger = new RoomKeys({ baseUrl: server!.url, accessToken: 'nobody' });
    await expect(stranger.currentVersion()).rejects.toMatchObject({
      code: 'unauthorized',
      errcode: 'M_UNKNOWN_TOKEN',
    });
  });
});

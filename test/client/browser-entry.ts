import {
  RequestError,
  Restore,
  RoomKeys,
  createBackup,
  diagnose,
  uploadSessions,
} from '../../src/client/index.js';
import { BackupDecryptionKey } from '../../src/index.js';
import { makeSessions } from '../support/sessions.js';

/** What the page is asked to do; everything it gives back is JSON. */
const tasks = {
  async roundTrip(baseUrl: string, count: number) {
    const key = BackupDecryptionKey.generate();
    const roomKeys = new RoomKeys({ baseUrl, accessToken: 'TOKEN', retryDelay: 1 });
    const info = await createBackup(roomKeys, { publicKey: key.publicKey });
    const sessions = makeSessions(count);
    const trust = { userId: '', decryptionKey: key };
    const { uploaded, failures } = await uploadSessions(roomKeys, info, sessions, { trust });
    const restore = new Restore(roomKeys, (await roomKeys.currentVersion())!, key);
    const restored = new Map<string, string>();
    let twice = 0;
    for await (const result of restore) {
      if (!result.ok) throw result.error;
      if (restored.has(result.session_id)) twice++;
      restored.set(result.session_id, result.session.session_key);
    }
    const missing = sessions.filter((session) => restored.get(session.session_id) !== session.session_key);
    const { state } = await diagnose(roomKeys, { key });
    return {
      uploaded,
      failed: failures.length,
      twice,
      missing: missing.length,
      restored: restored.size,
      state,
    };
  },

  async failure(baseUrl: string) {
    const roomKeys = new RoomKeys({ baseUrl, accessToken: 'TOKEN', retries: 0, idleTimeout: 2000 });
    try {
      await roomKeys.currentVersion();
      return undefined;
    } catch (error) {
      return error instanceof RequestError ? error.code : String(error);
    }
  },

  async abort(baseUrl: string) {
    const controller = new AbortController();
    const roomKeys = new RoomKeys({ baseUrl, accessToken: 'TOKEN' });
    setTimeout(() => {
      controller.abort();
    }, 50);
    try {
      await roomKeys.currentVersion({ signal: controller.signal });
      return undefined;
    } catch (error) {
      return error instanceof RequestError ? error.code : String(error);
    }
  },
};

export type Tasks = typeof tasks;
(globalThis as unknown as { tasks: Tasks }).tasks = tasks;

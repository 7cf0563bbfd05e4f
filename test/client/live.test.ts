import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { KeyLookup } from '../../src/client/key-lookup.js';
import { UploadQueue, type UploadQueueOptions } from '../../src/client/upload-queue.js';
import { uploadSessions, type UploadOutcome } from '../../src/client/upload.js';
import { BackupDecryptionKey, type ExportedSessionData } from '../../src/index.js';
import type { KeyBackupServer } from '../support/key-backup-server.js';
import { makeSessions } from '../support/sessions.js';
import { clientOf, key, makeBackup, startServer, trust } from './support.js';

const soon = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 2));
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await soon();
}

describe('keys that trickle in', () => {
  async function begin(server: KeyBackupServer, options: Partial<UploadQueueOptions> = {}) {
    const roomKeys = clientOf(server, { retries: 0 });
    const outcomes: UploadOutcome[] = [];
    const errors: unknown[] = [];
    const queue = new UploadQueue(roomKeys, (await roomKeys.currentVersion())!, {
      trust,
      delay: 20,
      onOutcome: (outcome) => outcomes.push(outcome),
      onError: (error) => errors.push(error),
      ...options,
    });
    return { queue, outcomes, errors };
  }
  const stored = (server: KeyBackupServer): number => server.keysOf(server.current!).length;
  const puts = (server: KeyBackupServer): number =>
    server.seen.filter(({ method }) => method === 'PUT').length;

  it('are uploaded together, a short while after the first', async () => {
    const server = await startServer();
    makeBackup(server);
    const { queue, outcomes } = await begin(server);
    for (const session of makeSessions(5)) queue.add(session);
    expect(puts(server)).toBe(0);
    await until(() => outcomes.length === 1);
    expect([puts(server), stored(server), queue.waiting.length]).toEqual([1, 5, 0]);
    await queue.close();
  });

  it('are uploaded at once when they fill a request, and those that come meanwhile afterwards', async () => {
    const server = await startServer();
    makeBackup(server);
    const { queue, outcomes } = await begin(server, { delay: 1e6, batchKeys: 4 });
    const sessions = makeSessions(9);
    queue.add(...sessions.slice(0, 4));
    queue.add(...sessions.slice(4));
    await until(() => outcomes.length >= 2);
    await queue.close();
    expect([stored(server), queue.waiting.length]).toEqual([9, 0]);
  });

  it('are told of whenever they change, so that they can be stored and given to the next queue', async () => {
    const server = await startServer();
    makeBackup(server);
    const kept: string[][] = [];
    const onChange = (waiting: readonly ExportedSessionData[]) => {
      kept.push(waiting.map(({ session_id }) => session_id));
    };
    const sessions = makeSessions(5);
    const ids = sessions.map(({ session_id }) => session_id);
    const { queue, errors } = await begin(server, { delay: 1e6, batchKeys: 2, onChange });
    queue.add(sessions[0]);
    expect(kept).toEqual([ids.slice(0, 1)]);
    // The second request of an upload of five keys fails.
    server.faults = [
      { kind: 'then', effect: () => undefined },
      { kind: 'answer', status: 500, body: '' },
    ];
    queue.add(...sessions.slice(1));
    await until(() => errors.length === 1);
    queue.abort();
    expect(kept).toEqual([ids.slice(0, 1), ids, ids.slice(2)]);
    expect(queue.waiting.map(({ session_id }) => session_id)).toEqual(ids.slice(2));

    const next = await begin(server, { onChange });
    next.queue.add(...sessions.slice(2));
    await next.queue.close();
    expect([stored(server), kept.at(-1)]).toEqual([5, []]);
  });

  it('stay when what is told of them throws, and the queue stops', async () => {
    const server = await startServer();
    makeBackup(server);
    const full = new Error('the disk is full');
    const onChange = (waiting: readonly ExportedSessionData[]) => {
      if (waiting.length === 0) throw full;
    };
    const { queue, errors } = await begin(server, { delay: 1e6, onChange });
    queue.add(...makeSessions(2));
    await queue.flush();
    expect([errors, queue.stopped, stored(server)]).toEqual([[full], true, 2]);
  });

  it('stay, and are tried again, when an upload fails', async () => {
    const server = await startServer();
    makeBackup(server);
    const { queue, errors, outcomes } = await begin(server);
    server.faults = [{ kind: 'drop-before' }, { kind: 'answer', status: 500, body: '' }];
    queue.add(...makeSessions(3));
    await until(() => outcomes.length === 1);
    expect(errors).toMatchObject([{ code: 'network' }, { status: 500 }]);
    expect(stored(server)).toBe(3);
    await queue.close();
  });

  it.each(['replaced', 'deleted'] as const)(
    'stay when the backup is %s, and the queue stops',
    async (outcome) => {
      const server = await startServer();
      makeBackup(server);
      const { queue, outcomes } = await begin(server);
      if (outcome === 'deleted') server.versions.length = 0;
      makeBackup(server);
      queue.add(...makeSessions(3));
      await until(() => outcomes.length === 1);
      expect(outcomes).toMatchObject([{ outcome, currentVersion: 'v2' }]);
      queue.add(...makeSessions(1));
      await queue.flush();
      expect([queue.stopped, queue.waiting.length, puts(server)]).toEqual([true, 4, 1]);
    },
  );

  it('are left alone after an abort in the middle', async () => {
    const server = await startServer();
    makeBackup(server);
    const { queue, errors } = await begin(server);
    server.faults = [{ kind: 'stall' }];
    queue.add(...makeSessions(3));
    await until(() => puts(server) + server.openAnswers > 0);
    queue.abort();
    await queue.close();
    expect([queue.waiting.length, errors]).toEqual([3, []]);
    await until(() => server.openAnswers === 0);
  });

  it('are not encrypted to an untrusted backup', async () => {
    const server = await startServer();
    makeBackup(server);
    await expect(begin(server, { trust: { userId: '@a:example.org' } })).rejects.toMatchObject({
      code: 'untrusted-backup',
    });
  });
});

describe('keys on demand', () => {
  async function begin(server: KeyBackupServer) {
    const sessions = makeSessions(4, 1);
    makeBackup(server);
    const roomKeys = clientOf(server);
    await uploadSessions(roomKeys, (await roomKeys.currentVersion())!, sessions.slice(0, 3), { trust });
    const info = (await roomKeys.currentVersion())!;
    const lookup = new KeyLookup(clientOf(server, { retries: 0 }), info, key);
    server.seen.length = 0;
    const ids = sessions.map(({ room_id, session_id }) => [room_id, session_id] as const);
    return { lookup, sessions, ids };
  }

  it('are asked for once, however many wait for them', async () => {
    const server = await startServer();
    const { lookup, sessions, ids } = await begin(server);
    const [one, two, other] = await Promise.all([
      lookup.get(...ids[0]),
      lookup.get(...ids[0]),
      lookup.get(...ids[1]),
    ]);
    expect(one?.session).toMatchObject(sessions[0]);
    expect(two).toBe(one);
    expect(other?.session).toMatchObject(sessions[1]);
    expect(server.seen).toHaveLength(2);
  });

  it('that are not there are not asked for again for a while', async () => {
    const server = await startServer();
    const { lookup, ids } = await begin(server);
    const now = Date.now();
    const clock = vi.spyOn(Date, 'now').mockReturnValue(now);
    onTestFinished(() => {
      clock.mockRestore();
    });
    expect(await lookup.get(...ids[3])).toBeUndefined();
    clock.mockReturnValue(now + 599_999);
    expect(await lookup.get(...ids[3])).toBeUndefined();
    expect(server.seen).toHaveLength(1);
    clock.mockReturnValue(now + 600_001);
    expect(await lookup.get(...ids[3])).toBeUndefined();
    expect(server.seen).toHaveLength(2);
    lookup.forget();
    expect(await lookup.get(...ids[3])).toBeUndefined();
    expect(server.seen).toHaveLength(3);
  });

  it('pause all together when the server asks to slow down', async () => {
    const server = await startServer();
    const { lookup, ids } = await begin(server);
    server.faults = [{ kind: 'answer', status: 429, body: '', headers: { 'retry-after': '0' } }];
    const first = lookup.get(...ids[0]);
    const second = lookup.get(...ids[1]);
    await expect(first).rejects.toMatchObject({ code: 'rate-limited' });
    expect((await second)?.session_id).toBe(ids[1][1]);
    server.faults = [{ kind: 'answer', status: 429, body: '' }];
    await expect(lookup.get(...ids[0])).rejects.toMatchObject({ code: 'rate-limited' });
    const { length } = server.seen;
    const waiting = lookup.get(...ids[0]);
    await soon();
    expect(server.seen).toHaveLength(length);
    lookup.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'aborted' });
  });

  it('can be waited for no longer by one, while another waits on', async () => {
    const server = await startServer();
    const { lookup, ids } = await begin(server);
    const controller = new AbortController();
    const impatient = lookup.get(...ids[0], { signal: controller.signal });
    const patient = lookup.get(...ids[0]);
    controller.abort();
    await expect(impatient).rejects.toMatchObject({ code: 'aborted' });
    expect((await patient)?.session_id).toBe(ids[0][1]);
  });

  it('say why they cannot be read', async () => {
    const server = await startServer();
    const { lookup, ids } = await begin(server);
    const [room, session] = ids[0];
    const sessions = server.current!.keys.get(room)!;
    sessions.set(session, { ...sessions.get(session)!, session_data: {} });
    await expect(lookup.get(room, session)).rejects.toMatchObject({ code: 'missing-field' });
  });

  it('need the right key from the start', async () => {
    const server = await startServer();
    makeBackup(server);
    const roomKeys = clientOf(server);
    const info = (await roomKeys.currentVersion())!;
    expect(() => new KeyLookup(roomKeys, info, BackupDecryptionKey.generate())).toThrow(/another backup/);
  });
});

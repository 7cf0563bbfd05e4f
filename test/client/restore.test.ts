import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Restore, type RestoreOptions, type RestoreResult } from '../../src/client/restore.js';
import { RequestError } from '../../src/client/http-error.js';
import { RoomKeys } from '../../src/client/api.js';
import {
  BackupDecryptionKey,
  encryptSessionsSync,
  type ExportedSessionData,
  type Progress,
} from '../../src/index.js';
import type { KeyBackupData } from '../../src/wire/types.js';
import type { Fault, KeyBackupServer } from '../support/key-backup-server.js';
import { runs } from '../support/runs.js';
import { makeSessions } from '../support/sessions.js';
import { clientOf, key, makeBackup, startServer } from './support.js';

function fill(server: KeyBackupServer, sessions: readonly ExportedSessionData[]) {
  const version = makeBackup(server);
  for (const result of encryptSessionsSync(sessions, key.publicKey)) {
    if (!result.ok) throw result.error;
    server.store(
      version,
      result.room_id,
      result.session_id,
      result.key_backup_data as unknown as KeyBackupData,
    );
  }
  return version;
}

async function begin(roomKeys: RoomKeys, options: RestoreOptions = {}): Promise<Restore> {
  return new Restore(roomKeys, (await roomKeys.currentVersion())!, key, options);
}

async function all(restore: Restore): Promise<RestoreResult[]> {
  const results: RestoreResult[] = [];
  for await (const result of restore) results.push(result);
  return results;
}

const ids = (results: readonly RestoreResult[]): string[] =>
  results.map(({ room_id, session_id }) => [room_id, session_id].join(' ')).sort();
const idsOf = (sessions: readonly ExportedSessionData[]): string[] =>
  sessions.map(({ room_id, session_id }) => [room_id, session_id].join(' ')).sort();

describe('a restore', () => {
  it('gives every session as it was', async () => {
    const server = await startServer();
    const sessions = makeSessions(100);
    fill(server, sessions);
    const progress: Progress[] = [];
    const restore = await begin(clientOf(server), { onProgress: (step) => progress.push(step) });
    const results = await all(restore);
    expect(ids(results)).toEqual(idsOf(sessions));
    const byId = new Map(sessions.map((session) => [session.session_id, session]));
    for (const result of results) {
      expect(result).toMatchObject({ ok: true, flags: [], session: byId.get(result.session_id!) });
    }
    expect(restore.summary).toEqual({
      version: 'v1',
      etag: 'e100',
      authenticity: { verified: 0, 'declared-unauthenticated': 0, 'wrong-mac': 0, 'no-mac': 100 },
      count: 100,
      missing: 0,
      ok: 100,
      failed: 0,
      flagged: 0,
      skipped: 0,
      emptyRooms: [],
      changed: false,
    });
    expect(progress[0]).toEqual({ done: 0, total: 100, failed: 0 });
    expect(progress.at(-1)).toEqual({ done: 100, total: 100, failed: 0 });
  });

  it('of an empty backup has a progress and an end', async () => {
    const server = await startServer();
    fill(server, []);
    const progress: Progress[] = [];
    const restore = await begin(clientOf(server), { onProgress: (step) => progress.push(step) });
    expect(await all(restore)).toEqual([]);
    expect(progress).toContainEqual({ done: 0, total: 0, failed: 0 });
    expect(restore.summary).toMatchObject({ ok: 0, count: 0 });
  });

  it('with the key of another backup ends before anything is downloaded', async () => {
    const server = await startServer();
    fill(server, makeSessions(3));
    const roomKeys = clientOf(server);
    const info = (await roomKeys.currentVersion())!;
    const other = BackupDecryptionKey.generate();
    expect(() => new Restore(roomKeys, info, other)).toThrow(expect.objectContaining({ code: 'wrong-key' }));
    expect(server.seen).toHaveLength(1);
  });

  it('of another algorithm says so', async () => {
    const server = await startServer();
    const roomKeys = clientOf(server);
    server.createVersion('m.other', {});
    const info = (await roomKeys.currentVersion())!;
    expect(() => new Restore(roomKeys, info, key)).toThrow(
      expect.objectContaining({ code: 'unsupported-algorithm' }),
    );
  });

  it('of rooms gives those rooms', async () => {
    const server = await startServer();
    const sessions = makeSessions(30, 5);
    fill(server, sessions);
    const rooms = ['!room1:example.org', '!room3:example.org', '!room1:example.org', '!none:example.org'];
    const progress: Progress[] = [];
    const restore = await begin(clientOf(server), { rooms, onProgress: (step) => progress.push(step) });
    const results = await all(restore);
    expect(restore.summary.emptyRooms).toEqual(['!none:example.org']);
    expect(ids(results)).toEqual(idsOf(sessions.filter(({ room_id }) => rooms.includes(room_id))));
    expect(results[0].path).toMatch(/^sessions/);
    expect(progress.at(-1)).toEqual({ done: 12, total: undefined, failed: 0 });
  });

  it('uses pages where the server has them', async () => {
    const server = await startServer();
    const sessions = makeSessions(50);
    fill(server, sessions);
    server.pages = 8;
    expect(ids(await all(await begin(clientOf(server), { pageKeys: 100 })))).toEqual(idsOf(sessions));
    expect(server.seen.filter(({ url }) => url.includes('/keys?'))).toHaveLength(7);
  });

  it('does not go round in circles', async () => {
    const server = await startServer();
    fill(server, []);
    server.rawKeys = '{"rooms":{},"org.megolm-backup.next_batch":"here"}';
    await expect(all(await begin(clientOf(server)))).rejects.toMatchObject({ code: 'bad-response' });
  });

  it('runs once', async () => {
    const server = await startServer();
    fill(server, makeSessions(1));
    const restore = await begin(clientOf(server));
    await all(restore);
    await expect(all(restore)).rejects.toMatchObject({ code: 'bad-parameters' });
  });
});

describe('bad keys', () => {
  it('one in a hundred, of ten thousand or a part, give a reason each, and the other keys', async () => {
    const server = await startServer();
    const version = makeBackup(server);
    // One encrypted record per kind, under thousands of ids, would not decrypt: few are real, and repeated rooms
    // make the others.
    const [good] = encryptSessionsSync(makeSessions(1), key.publicKey);
    if (!good.ok) throw good.error;
    const { session_data, ...metadata } = good.key_backup_data;
    const kinds: unknown[] = [
      null,
      7,
      {},
      { ...metadata, session_data: null },
      { ...metadata, session_data: {} },
      { ...metadata, session_data: { ...session_data, mac: 'AAAAAAAAAAA' } },
      { ...metadata, session_data: { ...session_data, mac: 'AAAA' } },
      { ...metadata, session_data: { ...session_data, ephemeral: 'A'.repeat(43) } },
      { ...metadata, session_data: { ...session_data, ciphertext: 'AAAA' } },
      { ...metadata, session_data: { ...session_data, ciphertext: '!' } },
    ];
    const codes = [
      'bad-json',
      'bad-json',
      'missing-field',
      'bad-json',
      'missing-field',
      'mac-mismatch',
      'bad-mac-length',
      'low-order-key',
      'bad-ciphertext-length',
      'bad-base64',
    ];
    const count = runs(10_000);
    for (let i = 0; i < count; i++) {
      const record = i % 100 === 50 ? kinds[Math.floor(i / 100) % 10] : good.key_backup_data;
      server.store(version, `!room${i}`, good.session_id, record as KeyBackupData);
    }
    const restore = await begin(clientOf(server));
    const results = await all(restore);
    expect(restore.summary).toMatchObject({ ok: 0.99 * count, failed: count / 100, missing: 0 });
    const failed = results.flatMap((result) => (result.ok ? [] : [result]));
    for (const [i, { error, room_id, path }] of failed.entries()) {
      expect([i, error.code]).toEqual([i, codes[i % 10]]);
      expect(room_id).toBe(`!room${100 * i + 50}`);
      expect(path).toContain(`rooms["!room${100 * i + 50}"].sessions`);
    }
  });

  it('that are no JSON, or stand twice, cost only themselves', async () => {
    const server = await startServer();
    const sessions = makeSessions(4, 1);
    const version = fill(server, sessions);
    const texts = server.keysOf(version).map(([, id, data]) => `"${id}":${JSON.stringify(data)}`);
    server.rawKeys = `{"rooms":{"!room0:example.org":{"sessions":{${[
      texts[0],
      '"broken":{"x":nonsense}',
      texts[1],
      texts[0],
      texts[2],
      texts[3],
    ].join()}}}}}`;
    const restore = await begin(clientOf(server));
    const results = await all(restore);
    expect(results.map((result) => (result.ok ? 'ok' : result.error.code))).toEqual([
      'ok',
      'bad-json',
      'ok',
      'bad-json',
      'ok',
      'ok',
    ]);
    expect(results.map(({ session_id }) => session_id)[1]).toBe('broken');
    expect(ids(results.filter(({ ok }) => ok))).toEqual(idsOf(sessions));
  });

  it('come again when the restore goes on, and good ones do not', async () => {
    const server = await startServer();
    const sessions = makeSessions(6, 1);
    const version = fill(server, sessions);
    const sessionsOfRoom = version.keys.get('!room0:example.org')!;
    sessionsOfRoom.set(sessions[2].session_id, null as never);
    const first = await begin(clientOf(server));
    await all(first);
    const second = await begin(clientOf(server), { state: first.state() });
    const results = await all(second);
    expect(results.map(({ ok, session_id }) => [ok, session_id])).toEqual([[false, sessions[2].session_id]]);
    expect(second.summary).toMatchObject({ skipped: 5, ok: 0, failed: 1, missing: 0 });
  });
});

describe('a connection that breaks', () => {
  const fault = fc.oneof(
    fc.record({ kind: fc.constant('cut' as const), bytes: fc.integer({ min: 0, max: 40_000 }) }),
    fc.record({ kind: fc.constant('truncate' as const), bytes: fc.integer({ min: 0, max: 40_000 }) }),
    fc.record({ kind: fc.constant('stall' as const), bytes: fc.integer({ min: 0, max: 40_000 }) }),
    fc.constantFrom<Fault>(
      { kind: 'drop-before' },
      { kind: 'drop-after' },
      { kind: 'answer', status: 500, body: '' },
      { kind: 'answer', status: 502, body: '<html>' },
      { kind: 'answer', status: 429, body: '', headers: { 'retry-after': '0' } },
      { kind: 'misreport', body: '{"rooms":[]}' },
      { kind: 'misreport', body: '<html>' },
    ),
  );

  it('anywhere, any number of times, loses no key and gives none twice', async () => {
    const server = await startServer();
    const sessions = makeSessions(30);
    fill(server, sessions);
    server.faulty = (_, path) => path.endsWith('/keys');
    await fc.assert(
      fc.asyncProperty(
        fc.array(fault, { maxLength: 6 }),
        fc.constantFrom(0, 7),
        fc.boolean(),
        async (faults, pages, resume) => {
          server.faults = [...faults];
          server.pages = pages;
          const results: RestoreResult[] = [];
          let state: RestoreOptions['state'];
          // Some runs more than faults: on a busy machine an answer may come too late by itself.
          for (let run = 0; run <= faults.length + 10; run++) {
            const roomKeys = clientOf(server, { idleTimeout: 100, retries: resume ? 0 : 16 });
            const restore = await begin(roomKeys, { state });
            try {
              for await (const result of restore) results.push(result);
              break;
            } catch (error) {
              expect(error).toHaveProperty('code');
              // A malformed answer is final; another run may get a better one.
              expect(resume || (error instanceof RequestError && error.code === 'bad-response')).toBe(true);
              state = restore.state();
            }
          }
          expect(ids(results)).toEqual(idsOf(sessions));
          expect(results.every(({ ok }) => ok)).toBe(true);
        },
      ),
      { numRuns: runs(200) },
    );
  });

  it('always at the same place is an error in the end, not a success', async () => {
    const server = await startServer();
    fill(server, makeSessions(20));
    server.faulty = (_, path) => path.endsWith('/keys');
    for (const kind of ['cut', 'truncate'] as const) {
      server.faults = Array.from({ length: 20 }, () => ({ kind, bytes: 9_000 }));
      const results: RestoreResult[] = [];
      const restore = await begin(clientOf(server, { retries: 3 }));
      const running = (async () => {
        for await (const result of restore) results.push(result);
      })();
      await expect(running).rejects.toMatchObject({ code: kind === 'cut' ? 'network' : 'bad-response' });
      expect(results.length).toBeGreaterThan(0);
      expect(results.length).toBeLessThan(20);
      expect(new Set(ids(results)).size).toBe(results.length);
    }
  });

  it('byte by byte is slow and right', async () => {
    const server = await startServer();
    const sessions = makeSessions(3);
    fill(server, sessions);
    server.faulty = (_, path) => path.endsWith('/keys');
    server.faults = [{ kind: 'drip' }];
    expect(ids(await all(await begin(clientOf(server))))).toEqual(idsOf(sessions));
  });
});

describe('going on', () => {
  it('from any moment gives what is left', async () => {
    const server = await startServer();
    const sessions = makeSessions(40);
    fill(server, sessions);
    for (const stop of [1, 7, 39, 40]) {
      const first = await begin(clientOf(server));
      const results: RestoreResult[] = [];
      for await (const result of first) {
        results.push(result);
        if (results.length === stop) break;
      }
      const state = first.state();
      expect(state.delivered).toHaveLength(16 * (1 + stop));
      const second = await begin(clientOf(server), { state });
      expect(second.summary.skipped).toBe(stop);
      results.push(...(await all(second)));
      expect(ids(results)).toEqual(idsOf(sessions));
    }
    expect(server.openAnswers).toBe(0);
  });

  it('says when the keys have changed since', async () => {
    const server = await startServer();
    const sessions = makeSessions(4);
    const version = fill(server, sessions.slice(0, 3));
    const first = await begin(clientOf(server));
    await all(first);
    const [more] = encryptSessionsSync(sessions.slice(3), key.publicKey);
    if (!more.ok) throw more.error;
    server.store(version, more.room_id, more.session_id, more.key_backup_data as unknown as KeyBackupData);
    const second = await begin(clientOf(server), { state: first.state() });
    expect(ids(await all(second))).toEqual(idsOf(sessions.slice(3)));
    expect(second.summary.changed).toBe(true);
  });

  it('refuses the state of another version, and a damaged one', async () => {
    const server = await startServer();
    fill(server, []);
    const state = (await begin(clientOf(server))).state();
    const damaged = { ...state, delivered: state.delivered.subarray(1) };
    await expect(begin(clientOf(server), { state: damaged })).rejects.toMatchObject({ code: 'bad-length' });
    fill(server, []);
    await expect(begin(clientOf(server), { state })).rejects.toMatchObject({ code: 'bad-parameters' });
  });
});

describe('an abort', () => {
  it.each<[string, Fault]>([
    ['while nothing comes', { kind: 'stall' }],
    ['in the middle', { kind: 'stall', bytes: 20_000 }],
  ])('%s ends the restore and its connection', async (_, stall) => {
    const server = await startServer();
    fill(server, makeSessions(60));
    server.faulty = (_, path) => path.endsWith('/keys');
    server.faults = [stall];
    const controller = new AbortController();
    const restore = await begin(clientOf(server), { signal: controller.signal });
    const running = all(restore);
    while (server.seen.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    setTimeout(() => {
      controller.abort();
    }, 50);
    await expect(running).rejects.toMatchObject({ code: 'aborted' });
    while (server.openAnswers > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(server.seen).toHaveLength(2);
  });

  it('of the consumer, by leaving the loop, closes the connection', async () => {
    const server = await startServer();
    fill(server, makeSessions(60));
    server.faulty = (_, path) => path.endsWith('/keys');
    // More than one chunk of the decryption, and then nothing.
    server.faults = [{ kind: 'stall', bytes: 60_000 }];
    for await (const result of await begin(clientOf(server))) {
      expect(result.ok).toBe(true);
      break;
    }
    while (server.openAnswers > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RoomKeys } from '../../src/client/api.js';
import { uploadSessions, type UploadOptions, type UploadState } from '../../src/client/upload.js';
import { decryptSessions, type ExportedSessionData } from '../../src/index.js';
import type { Fault, KeyBackupServer } from '../support/key-backup-server.js';
import { runs } from '../support/runs.js';
import { makeSession, makeSessions } from '../support/sessions.js';
import { clientOf, key, makeBackup, startServer, trust } from './support.js';

type Options = Partial<UploadOptions>;

async function upload(
  roomKeys: RoomKeys,
  sessions: Iterable<ExportedSessionData> | AsyncIterable<ExportedSessionData>,
  options: Options = {},
) {
  const info = await roomKeys.currentVersion();
  return uploadSessions(roomKeys, info!, sessions, { trust, ...options });
}

/** Room and session id, and the session key that the server's record decrypts to. */
async function stored(server: KeyBackupServer): Promise<string[]> {
  const records = server.keysOf(server.current!).map(([room_id, session_id, key_backup_data]) => ({
    room_id,
    session_id,
    key_backup_data,
  }));
  const texts: string[] = [];
  for await (const result of decryptSessions(records, key)) {
    if (!result.ok) throw result.error;
    texts.push([result.room_id, result.session_id, result.session.session_key].join(' '));
  }
  return texts.sort();
}

function expected(sessions: readonly ExportedSessionData[]): string[] {
  return sessions.map((s) => [s.room_id, s.session_id, s.session_key].join(' ')).sort();
}

const puts = (server: KeyBackupServer): number => server.seen.filter(({ method }) => method === 'PUT').length;

describe('an upload', () => {
  it('leaves the server with exactly the sessions given', async () => {
    const server = await startServer();
    const version = makeBackup(server);
    const sessions = makeSessions(45);
    const progress: unknown[] = [];
    const outcome = await upload(clientOf(server), sessions, {
      batchKeys: 10,
      total: 45,
      onProgress: (step) => progress.push(step),
    });
    expect(outcome).toMatchObject({
      outcome: 'complete',
      uploaded: 45,
      skipped: 0,
      failures: [],
      etag: `e${version.etag}`,
      count: 45,
      changedElsewhere: false,
    });
    expect(await stored(server)).toEqual(expected(sessions));
    expect(puts(server)).toBe(5);
    expect(progress).toEqual([10, 20, 30, 40, 45].map((done) => ({ done, total: 45, failed: 0 })));
  });

  it('tells which sessions were mended, once they are there', async () => {
    const server = await startServer();
    makeBackup(server);
    const [good, mended, unreadable, refused] = makeSessions(4);
    server.faulty = (method) => method === 'PUT';
    server.faults = [{ kind: 'answer', status: 413, body: '{}' }];
    const outcome = await upload(clientOf(server), [
      good,
      { ...mended, forwarding_curve25519_key_chain: ['x'] },
      { ...unreadable, sender_key: '' },
      { ...refused, session_key: 'x', sender_claimed_keys: {} },
    ]);
    expect(outcome).toMatchObject({ uploaded: 3, failures: [{ session_id: refused.session_id }] });
    const { room_id, session_id } = unreadable;
    expect(outcome.flagged).toEqual([
      { room_id: mended.room_id, session_id: mended.session_id, flags: ['unusable-forwarding-chain'] },
      { room_id, session_id, flags: ['unusable-sender-key', 'unreadable-by-others'] },
    ]);
  });

  it('cuts requests by bytes as well', async () => {
    const server = await startServer();
    makeBackup(server);
    await upload(clientOf(server), makeSessions(40), { batchBytes: 10_000 });
    for (const { method, body } of server.seen)
      if (method === 'PUT') expect(body.length).toBeLessThan(10_000);
    expect(puts(server)).toBeGreaterThan(3);
  });

  it('of nothing sends nothing', async () => {
    const server = await startServer();
    makeBackup(server);
    expect(await upload(clientOf(server), [])).toMatchObject({ outcome: 'complete', uploaded: 0, count: 0 });
    expect(puts(server)).toBe(0);
  });

  it('keeps ids that are special', async () => {
    const server = await startServer();
    makeBackup(server);
    const sessions = ['__proto__', 'constructor', '', 'a"\\\n', '😀'].map((room, i) => makeSession(i, room));
    await upload(clientOf(server), sessions);
    expect(await stored(server)).toEqual(expected(sessions));
  });

  it('sends the better one of two copies of a session', async () => {
    const server = await startServer();
    makeBackup(server);
    const copies = [5, 2, 9].map((index) => makeSession(1, '!r', index));
    const outcome = await upload(clientOf(server), copies);
    expect(outcome).toMatchObject({ uploaded: 1, skipped: 2 });
    expect(await stored(server)).toEqual(expected([copies[1]]));
  });

  it('names every session that cannot be encrypted and uploads the others', async () => {
    const server = await startServer();
    makeBackup(server);
    const sessions = makeSessions(30);
    const broken = sessions.map((session, i) => (i % 10 === 3 ? { ...session, session_key: 'AQ' } : session));
    const outcome = await upload(clientOf(server), broken, { batchKeys: 7 });
    expect(outcome.failures.map(({ session_id, error }) => [session_id, error.code])).toEqual(
      [3, 13, 23].map((i) => [sessions[i].session_id, 'bad-session-key']),
    );
    expect(await stored(server)).toEqual(expected(sessions.filter((_, i) => i % 10 !== 3)));
  });

  it('names the session that the server refuses and uploads the others', async () => {
    const server = await startServer();
    makeBackup(server);
    const sessions = makeSessions(20);
    const bad = [sessions[4].session_id, sessions[11].session_id];
    server.refuse = (_, session) => (bad.includes(session) ? 'I do not like it' : undefined);
    const outcome = await upload(clientOf(server), sessions);
    expect(outcome.failures.map(({ session_id, error }) => [session_id, error.message])).toEqual(
      bad.map((id) => [id, expect.stringContaining('I do not like it')]),
    );
    expect(await stored(server)).toEqual(
      expected(sessions.filter(({ session_id }) => !bad.includes(session_id))),
    );
  });

  it('stops when the server refuses everything', async () => {
    const server = await startServer();
    makeBackup(server);
    server.refuse = () => 'no';
    await expect(upload(clientOf(server), makeSessions(200))).rejects.toMatchObject({
      code: 'http',
      status: 400,
    });
    expect(puts(server)).toBeLessThan(120);
  });

  it('halves what is too large, and keeps to it', async () => {
    const server = await startServer();
    makeBackup(server);
    const sessions = makeSessions(64);
    server.maxBody = 12_000;
    expect(await upload(clientOf(server), sessions, { batchKeys: 16 })).toMatchObject({
      uploaded: 64,
      failures: [],
    });
    expect(await stored(server)).toEqual(expected(sessions));
    expect(puts(server)).toBeLessThan(18);
  });

  it('names the one session that is too large alone, and does not send the others one by one', async () => {
    const server = await startServer();
    makeBackup(server);
    const sessions = makeSessions(80);
    sessions[5] = { ...sessions[5], padding: 'x'.repeat(40_000) };
    server.maxBody = 30_000;
    const outcome = await upload(clientOf(server), sessions, { batchKeys: 16 });
    expect(outcome.failures).toMatchObject([
      { session_id: sessions[5].session_id, error: { code: 'too-large' } },
    ]);
    expect(await stored(server)).toEqual(expected(sessions.filter((_, i) => i !== 5)));
    expect(puts(server)).toBeLessThan(16);
  });

  it('leaves out what the backup has in an equal or better form, when asked', async () => {
    const server = await startServer();
    makeBackup(server);
    const roomKeys = clientOf(server);
    const old = [3, 3, 3, 3].map((index, seed) => makeSession(seed, '!r', index));
    await upload(roomKeys, old);
    server.seen.length = 0;
    const now = [5, 3, 1]
      .map((index, seed) => makeSession(seed, '!r', index))
      .concat(makeSession(9, '!r', 0));
    const outcome = await upload(roomKeys, now, { skipStored: true });
    expect(outcome).toMatchObject({ uploaded: 2, skipped: 2, count: 5 });
    expect(await stored(server)).toEqual(expected([old[0], old[1], now[2], old[3], now[3]]));
    server.seen.length = 0;
    expect(await upload(roomKeys, now, { skipStored: true })).toMatchObject({ uploaded: 0, skipped: 4 });
    expect(puts(server)).toBe(0);
  });
});

describe('a backup that changes meanwhile', () => {
  it('that was replaced ends the upload and names the current one', async () => {
    const server = await startServer();
    const version = makeBackup(server);
    server.faulty = (method) => method === 'PUT';
    const replace: Fault = { kind: 'then', effect: () => void makeBackup(server) };
    server.faults = [{ kind: 'then', effect: () => undefined }, replace];
    const outcome = await upload(clientOf(server), makeSessions(40), { batchKeys: 10 });
    expect(outcome).toMatchObject({ outcome: 'replaced', currentVersion: 'v2', uploaded: 10 });
    expect(outcome.state).toMatchObject({ version: version.version, position: 10 });
    expect(puts(server)).toBe(2);
  });

  it('that was deleted ends the upload and names what is current now', async () => {
    const server = await startServer();
    makeBackup(server);
    const version = makeBackup(server);
    server.faulty = (method) => method === 'PUT';
    server.faults = [
      { kind: 'then', effect: () => server.versions.splice(server.versions.indexOf(version), 1) },
    ];
    const outcome = await upload(clientOf(server), makeSessions(4));
    expect(outcome).toMatchObject({ outcome: 'deleted', currentVersion: 'v1', uploaded: 0 });
  });

  it('by somebody else is reported', async () => {
    const server = await startServer();
    const version = makeBackup(server);
    server.faulty = (method) => method === 'PUT';
    const data = { first_message_index: 0, forwarded_count: 0, is_verified: true, session_data: {} };
    server.faults = [
      { kind: 'then', effect: () => undefined },
      {
        kind: 'then',
        effect: () =>
          Array.from('ab', (id) => {
            server.store(version, '!x', id, data);
          }),
      },
    ];
    const outcome = await upload(clientOf(server), makeSessions(20), { batchKeys: 10 });
    expect(outcome).toMatchObject({ outcome: 'complete', uploaded: 20, count: 22, changedElsewhere: true });
  });
});

describe('trust', () => {
  it.each<[string, UploadOptions['trust'], string]>([
    ['nobody', { userId: '@a:example.org' }, 'untrusted-backup'],
    ['a key of another backup', { userId: '@a:example.org', trustedKeys: [] }, 'untrusted-backup'],
  ])('of %s uploads nothing', async (_, untrusted, code) => {
    const server = await startServer();
    makeBackup(server);
    await expect(upload(clientOf(server), makeSessions(1), { trust: untrusted })).rejects.toMatchObject({
      code,
    });
    expect(puts(server)).toBe(0);
  });

  it('can be waived explicitly, but not for an invalid public key', async () => {
    const server = await startServer();
    const version = makeBackup(server);
    const waived = { trust: 'encrypt-to-an-untrusted-backup' } as const;
    expect(await upload(clientOf(server), makeSessions(1), waived)).toMatchObject({ uploaded: 1 });
    version.auth_data = { public_key: 'x'.repeat(60) };
    await expect(upload(clientOf(server), makeSessions(1), waived)).rejects.toMatchObject({
      code: 'bad-auth-data',
    });
  });
});

describe('an upload that was interrupted', () => {
  const fault = fc.constantFrom<Fault>(
    { kind: 'drop-before' },
    { kind: 'drop-after' },
    { kind: 'cut', bytes: 1 },
    { kind: 'truncate', bytes: 5 },
    { kind: 'answer', status: 500, body: '' },
    { kind: 'answer', status: 502, body: '<html>' },
    { kind: 'answer', status: 429, body: '', headers: { 'retry-after': '0' } },
    { kind: 'misreport', body: '{"etag":1}' },
    { kind: 'misreport', body: '<html>' },
    { kind: 'answer', status: 413, body: '' },
    // These end the run; another one goes on.
    { kind: 'answer', status: 401, body: '{"errcode":"M_UNKNOWN_TOKEN","error":""}' },
    { kind: 'answer', status: 302, body: '', headers: { location: 'http://127.0.0.1:1' } },
  );

  it('goes on where it stopped: any faults, then success, leave exactly the sessions given', async () => {
    const server = await startServer();
    server.faulty = (method) => method === 'PUT';
    await fc.assert(
      fc.asyncProperty(
        fc.array(fault, { maxLength: 12 }),
        fc.integer({ min: 0, max: 40 }),
        fc.integer({ min: 1, max: 15 }),
        async (faults, count, batchKeys) => {
          makeBackup(server);
          const sessions = makeSessions(count);
          let state: UploadState | undefined;
          const failed = new Set<string | undefined>();
          server.faults = [...faults];
          for (let run = 0; run <= faults.length; run++) {
            try {
              const roomKeys = clientOf(server, { retries: 2 });
              await upload(roomKeys, sessions, {
                batchKeys,
                state,
                onFailed: ({ session_id }) => failed.add(session_id),
                onState: (reached) => {
                  state = reached;
                },
              });
              // A single key that is told 413 is a failure of its own, so only then something is missing.
              const sent = sessions.filter(({ session_id }) => !failed.has(session_id));
              const left = await stored(server);
              for (const text of expected(sent)) expect(left).toContain(text);
              expect(left.length).toBeLessThanOrEqual(count);
              if (!faults.some((one) => 'status' in one && one.status === 413)) {
                expect(left).toEqual(expected(sessions));
              }
              return;
            } catch (error) {
              expect(error).toHaveProperty('code');
            }
          }
          expect.unreachable('a run without faults failed');
        },
      ),
      { numRuns: runs(100) },
    );
  });

  it('is cancelled at once, with the state of what was acknowledged', async () => {
    const server = await startServer();
    makeBackup(server);
    server.faulty = (method) => method === 'PUT';
    server.faults = [{ kind: 'then', effect: () => undefined }, { kind: 'stall' }];
    const controller = new AbortController();
    const states: UploadState[] = [];
    const sessions = makeSessions(30);
    const pending = upload(clientOf(server), sessions, {
      batchKeys: 10,
      signal: controller.signal,
      onState: (state) => {
        states.push(state);
        setTimeout(() => {
          controller.abort();
        }, 20);
      },
    });
    await expect(pending).rejects.toMatchObject({ code: 'aborted' });
    expect(states.map(({ position }) => position)).toEqual([10]);
    // On a slow machine the abort comes before the request that would have stalled.
    server.faults = [];
    const outcome = await upload(clientOf(server), sessions, { batchKeys: 10, state: states[0] });
    expect(outcome).toMatchObject({ uploaded: 20, outcome: 'complete' });
    expect(await stored(server)).toEqual(expected(sessions));
  });

  it('tells an input that does not come to end', async () => {
    const server = await startServer();
    makeBackup(server);
    const roomKeys = clientOf(server);
    const info = (await roomKeys.currentVersion())!;
    const controller = new AbortController();
    let ended = 0;
    const hanging: AsyncIterable<ExportedSessionData> = {
      [Symbol.asyncIterator]: () => ({
        next: () => {
          setTimeout(() => {
            controller.abort();
          });
          return new Promise(() => undefined);
        },
        return: () => {
          ended++;
          return Promise.resolve({ done: true, value: undefined });
        },
      }),
    };
    const pending = uploadSessions(roomKeys, info, hanging, { trust, signal: controller.signal });
    await expect(pending).rejects.toMatchObject({ code: 'aborted' });
    expect(ended).toBe(1);
  });

  it('does not wait for an input that has stalled when it is cancelled', async () => {
    const server = await startServer();
    makeBackup(server);
    const controller = new AbortController();
    async function* stalled(): AsyncGenerator<ExportedSessionData> {
      yield makeSession(1, '!r');
      setTimeout(() => {
        controller.abort();
      }, 10);
      await new Promise(() => undefined);
    }
    const pending = upload(clientOf(server), stalled(), { signal: controller.signal });
    await expect(pending).rejects.toMatchObject({ code: 'aborted' });
  });

  it('refuses a state of another input or another backup', async () => {
    const server = await startServer();
    makeBackup(server);
    const roomKeys = clientOf(server);
    const sessions = makeSessions(20);
    const { state } = await upload(roomKeys, sessions);
    for (const other of [makeSessions(20, 4), sessions.slice(1), sessions.slice(0, 5), []]) {
      await expect(upload(roomKeys, other, { state })).rejects.toMatchObject({ code: 'bad-parameters' });
    }
    expect(await upload(roomKeys, sessions, { state })).toMatchObject({
      uploaded: 0,
      changedElsewhere: false,
    });
    const more = await upload(roomKeys, makeSessions(25), { state });
    expect(more).toMatchObject({ uploaded: 5 });
    makeBackup(server);
    await expect(upload(roomKeys, sessions, { state })).rejects.toMatchObject({ code: 'bad-parameters' });
  });

  it('gives the error of an input that fails', async () => {
    const server = await startServer();
    makeBackup(server);
    function* failing(): Generator<ExportedSessionData> {
      yield* makeSessions(3);
      throw new Error('disk');
    }
    await expect(upload(clientOf(server), failing(), { batchKeys: 2 })).rejects.toThrow('disk');
  });
});

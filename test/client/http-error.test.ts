import { describe, expect, it } from 'vitest';
import { copyBackup } from '../../src/client/copy-backup.js';
import { diagnose } from '../../src/client/diagnose.js';
import { Restore } from '../../src/client/restore.js';
import { UploadQueue, type UploadQueueOptions } from '../../src/client/upload-queue.js';
import { uploadSessions, type UploadOutcome } from '../../src/client/upload.js';
import { RequestError } from '../../src/client/http-error.js';
import type { Fault, KeyBackupServer } from '../support/key-backup-server.js';
import { makeSessions } from '../support/sessions.js';
import { clientOf, key, makeBackup, startServer, trust } from './support.js';

const json = (errcode: string, more: object = {}): string =>
  JSON.stringify({ errcode, error: 'no', ...more });
const html = '<html><h1>Bad Request</h1></html>';

/** Every write of keys gets this answer. */
function answerEveryPut(server: KeyBackupServer, status: number, body: string): void {
  server.faulty = (method) => method === 'PUT';
  server.faults = Array.from({ length: 99 }, (): Fault => ({ kind: 'answer', status, body }));
}

async function begin(server: KeyBackupServer, options: Partial<UploadQueueOptions> = {}) {
  const roomKeys = clientOf(server, { retries: 0 });
  const outcomes: UploadOutcome[] = [];
  const errors: unknown[] = [];
  const queue = new UploadQueue(roomKeys, (await roomKeys.currentVersion())!, {
    trust,
    delay: 1e6,
    onOutcome: (outcome) => outcomes.push(outcome),
    onError: (error) => errors.push(error),
    ...options,
  });
  return { queue, outcomes, errors };
}

describe('the code of a refusal', () => {
  const wrong = json('M_WRONG_ROOM_KEYS_VERSION', { current_version: '9' });

  it.each([
    [403, wrong, 'wrong-version'],
    [400, wrong, 'wrong-version'],
    [404, wrong, 'wrong-version'],
    [409, wrong, 'wrong-version'],
    [502, wrong, 'wrong-version'],
    [404, json('M_NOT_FOUND'), 'not-found'],
    [400, json('M_NOT_FOUND'), 'not-found'],
    [401, json('M_NOT_FOUND'), 'not-found'],
    [401, json('M_UNKNOWN_TOKEN'), 'unauthorized'],
    [403, json('M_UNKNOWN_TOKEN'), 'unauthorized'],
    [403, json('M_MISSING_TOKEN'), 'unauthorized'],
    [401, json('M_USER_LOCKED'), 'unauthorized'],
    [401, html, 'unauthorized'],
    [413, json('M_TOO_LARGE'), 'too-large'],
    [400, json('M_TOO_LARGE'), 'too-large'],
    [413, html, 'too-large'],
    [429, json('M_LIMIT_EXCEEDED'), 'rate-limited'],
    [400, json('M_LIMIT_EXCEEDED'), 'rate-limited'],
    [429, html, 'rate-limited'],
    [400, json('M_BAD_JSON'), 'http'],
    [403, json('M_FORBIDDEN'), 'http'],
    [404, json('M_UNRECOGNIZED'), 'http'],
    [404, html, 'http'],
    [404, '{"error":"no"}', 'http'],
    [404, '{"errcode":404}', 'http'],
  ])('of %i %s is %s', async (status, body, code) => {
    const server = await startServer();
    server.faults = [{ kind: 'answer', status, body }];
    const roomKeys = clientOf(server, { retries: 0 });
    await expect(roomKeys.putKeys('1', { rooms: {} })).rejects.toMatchObject({ code, status });
  });

  it('is not-found at any status: there is no backup', async () => {
    const server = await startServer();
    server.faults = [{ kind: 'answer', status: 400, body: json('M_NOT_FOUND') }];
    expect(await clientOf(server).currentVersion()).toBeUndefined();
  });

  it('is final where the errcode is, although the status may pass', async () => {
    const server = await startServer();
    server.faults = [{ kind: 'answer', status: 502, body: wrong }];
    await expect(clientOf(server).putKeys('1', { rooms: {} })).rejects.toMatchObject({
      code: 'wrong-version',
    });
    expect(server.seen).toHaveLength(1);
  });

  it('says how long to wait, whatever the status', async () => {
    const server = await startServer();
    const body = json('M_LIMIT_EXCEEDED', { retry_after_ms: 7 });
    server.faults = [{ kind: 'answer', status: 400, body }];
    const refused = clientOf(server, { retries: 0 }).currentVersion();
    await expect(refused).rejects.toMatchObject({ code: 'rate-limited', retry_after_ms: 7 });
  });
});

describe('a queue that is refused', () => {
  it.each([403, 400, 404, 409, 500])(
    'with M_WRONG_ROOM_KEYS_VERSION and %i keeps its sessions',
    async (status) => {
      const server = await startServer();
      makeBackup(server);
      const { queue, outcomes, errors } = await begin(server);
      answerEveryPut(server, status, json('M_WRONG_ROOM_KEYS_VERSION', { current_version: '9' }));
      queue.add(...makeSessions(3));
      await queue.flush();
      expect(outcomes).toMatchObject([
        { outcome: 'replaced', currentVersion: '9', uploaded: 0, failures: [] },
      ]);
      expect([queue.stopped, queue.waiting.length, errors]).toEqual([true, 3, []]);
    },
  );

  it.each([
    [400, html],
    [400, ''],
    [400, '{"error":"no"}'],
    [400, '{"errcode":7}'],
    [400, json('M_UNKNOWN')],
    [400, json('M_NOT_JSON')],
    [400, json('M_MISSING_PARAM')],
    [400, json('M_INVALID_PARAM')],
    [400, json('M_UNRECOGNIZED')],
    [413, html],
    [413, json('M_TOO_LARGE')],
    [401, html],
    [403, json('M_UNKNOWN_TOKEN')],
  ])('with %i %s stops, and keeps its sessions', async (status, body) => {
    const server = await startServer();
    makeBackup(server);
    const { queue, outcomes, errors } = await begin(server);
    answerEveryPut(server, status, body);
    queue.add(...makeSessions(3));
    await queue.flush();
    expect(outcomes).toEqual([]);
    expect(errors).toMatchObject([{ status }]);
    expect([queue.stopped, queue.waiting.length]).toEqual([true, 3]);
  });

  it.each([
    [403, json('M_FORBIDDEN')],
    [404, html],
    [302, ''],
    [500, html],
    [429, ''],
    [400, json('M_LIMIT_EXCEEDED')],
  ])('with %i %s keeps its sessions and tries again', async (status, body) => {
    const server = await startServer();
    makeBackup(server);
    const { queue, outcomes, errors } = await begin(server);
    answerEveryPut(server, status, body);
    queue.add(...makeSessions(3));
    await queue.flush();
    expect(errors).toMatchObject([{ status }]);
    expect([queue.stopped, queue.waiting.length]).toEqual([false, 3]);
    server.faults = [];
    await queue.flush();
    expect(outcomes).toMatchObject([{ outcome: 'complete', uploaded: 3 }]);
    await queue.close();
  });

  it('because of a key gives that key up, and no other', async () => {
    const server = await startServer();
    makeBackup(server);
    const { queue, outcomes, errors } = await begin(server);
    const sessions = makeSessions(3);
    server.refuse = (_, id) => (id === sessions[1].session_id ? 'no' : undefined);
    queue.add(...sessions);
    await queue.flush();
    expect(outcomes).toMatchObject([
      { outcome: 'complete', uploaded: 2, failures: [{ session_id: sessions[1].session_id }] },
    ]);
    expect([queue.stopped, queue.waiting.length, errors]).toEqual([false, 0, []]);
    await queue.close();
  });

  it('as servers refuse text that is not Unicode gives up the session alone', async () => {
    const server = await startServer();
    makeBackup(server);
    const { queue, outcomes } = await begin(server);
    const sessions = makeSessions(3);
    queue.add({ ...sessions[0], room_id: '!\ud800:x' }, ...sessions.slice(1));
    await queue.flush();
    expect(outcomes).toMatchObject([{ uploaded: 2, failures: [{ error: { code: 'bad-json' } }] }]);
    for (const { body } of server.seen) expect(body).not.toContain('ud800');
    await queue.close();
    const source = await startServer();
    makeBackup(source);
    const rank = { first_message_index: 0, forwarded_count: 0, is_verified: false };
    const records = { a: { ...rank, session_data: { x: '\udc00' } }, b: { ...rank, session_data: {} } };
    source.rawKeys = JSON.stringify({ rooms: { '!r:x': { sessions: records } } });
    const copied = await copyBackup(clientOf(source), clientOf(await startServer()));
    expect(copied).toMatchObject({ copied: 1, failures: [{ session_id: 'a', error: { code: 'bad-json' } }] });
  });

  it('with M_INVALID_PARAM asks whether the version is still the current one', async () => {
    const server = await startServer();
    makeBackup(server);
    const { queue, outcomes } = await begin(server);
    makeBackup(server);
    answerEveryPut(server, 400, json('M_INVALID_PARAM'));
    queue.add(...makeSessions(3));
    await queue.flush();
    expect(outcomes).toMatchObject([{ outcome: 'replaced', currentVersion: 'v2', failures: [] }]);
    expect([queue.stopped, queue.waiting.length]).toEqual([true, 3]);
  });
});

describe('the current version', () => {
  const refused = json('M_WRONG_ROOM_KEYS_VERSION', { current_version: 'v1' });

  it('is asked for where the refusal names the refused one', async () => {
    const server = await startServer();
    makeBackup(server);
    const roomKeys = clientOf(server);
    const info = (await roomKeys.currentVersion())!;
    makeBackup(server);
    answerEveryPut(server, 403, refused);
    const outcome = await uploadSessions(roomKeys, info, makeSessions(1), { trust });
    expect(outcome).toMatchObject({ outcome: 'replaced', currentVersion: 'v2' });
  });

  it('is not the refused one in the error either', async () => {
    const server = await startServer();
    answerEveryPut(server, 403, refused);
    const write = (version: string) => clientOf(server).putKeys(version, { rooms: {} });
    await expect(write('v1')).rejects.toMatchObject({ code: 'wrong-version', current_version: undefined });
    await expect(write('v0')).rejects.toMatchObject({ code: 'wrong-version', current_version: 'v1' });
  });
});

describe('what a callback throws', () => {
  /** Made by another request, whose failure says nothing about this one. */
  const foreign = (code: 'network' | 'not-found' | 'wrong-version') => new RequestError(code, 'elsewhere');
  const throwing = (error: Error) => () => {
    throw error;
  };

  it.each(['network', 'not-found', 'wrong-version'] as const)(
    'of code %s ends an upload as it is, from whichever callback',
    async (code) => {
      const server = await startServer();
      makeBackup(server);
      const roomKeys = clientOf(server);
      const info = (await roomKeys.currentVersion())!;
      const error = foreign(code);
      const sessions = makeSessions(3);
      const broken = [{ ...sessions[0], session_key: 'AQ' }, ...sessions.slice(1)];
      function* failing() {
        yield sessions[0];
        throw error;
      }
      for (const [input, options] of [
        [sessions, { onProgress: throwing(error) }],
        [sessions, { onState: throwing(error) }],
        [sessions, { onState: () => Promise.reject(error) }],
        [sessions, { isVerified: throwing(error) }],
        [broken, { onFailed: throwing(error) }],
        [failing(), {}],
      ] as const) {
        server.seen.length = 0;
        await expect(uploadSessions(roomKeys, info, input, { trust, ...options })).rejects.toBe(error);
        expect(server.seen.length).toBeLessThan(2);
      }
      server.refuse = () => 'no';
      const options = { trust, onFailed: throwing(error) };
      await expect(uploadSessions(roomKeys, info, makeSessions(1), options)).rejects.toBe(error);
    },
  );

  it('ends a restore, a diagnosis and a copy as it is', async () => {
    const server = await startServer();
    makeBackup(server);
    const roomKeys = clientOf(server);
    const info = (await roomKeys.currentVersion())!;
    await uploadSessions(roomKeys, info, makeSessions(3), { trust });
    const current = (await roomKeys.currentVersion())!;
    const error = foreign('network');
    const onProgress = throwing(error);
    const destination = async () => clientOf(await startServer());
    const drained = async (restore: Restore) => {
      for await (const result of restore) expect(result.ok).toBe(true);
    };
    await expect(drained(new Restore(roomKeys, current, key, { onProgress }))).rejects.toBe(error);
    await expect(diagnose(roomKeys, { userId: '@a:example.org', key, onProgress })).rejects.toBe(error);
    await expect(copyBackup(roomKeys, await destination(), { onProgress })).rejects.toBe(error);
    const refusing = await startServer();
    refusing.refuse = () => 'no';
    await expect(copyBackup(roomKeys, clientOf(refusing), { onFailed: onProgress })).rejects.toBe(error);
    server.current!.keys.set('!r', new Map([['s', { first_message_index: 0.5 } as never]]));
    await expect(copyBackup(roomKeys, await destination(), { onFailed: onProgress })).rejects.toBe(error);
  });

  it.each(['network', 'not-found'] as const)(
    'for the access token of code %s is not retried',
    async (code) => {
      const server = await startServer();
      const error = foreign(code);
      let asked = 0;
      const accessToken = () => {
        asked++;
        throw error;
      };
      const roomKeys = clientOf(server, { accessToken });
      await expect(roomKeys.currentVersion()).rejects.toBe(error);
      await expect(roomKeys.keys('1').next()).rejects.toBe(error);
      expect([asked, server.seen]).toEqual([2, []]);
    },
  );

  it('from onRetry ends the retrying', async () => {
    const server = await startServer();
    server.faults = [{ kind: 'drop-before' }];
    const error = foreign('network');
    const roomKeys = clientOf(server, { onRetry: throwing(error) });
    await expect(roomKeys.currentVersion()).rejects.toBe(error);
    expect(server.seen).toHaveLength(1);
  });

  const callbacks: [string, Partial<UploadQueueOptions>][] = [
    ['onOutcome', { onOutcome: throwing(foreign('network')) }],
    ['onFailed', { onFailed: throwing(foreign('network')) }],
    ['isVerified', { isVerified: throwing(foreign('network')) }],
  ];

  it.each(callbacks)('from %s stops a queue and goes to onError, once', async (name, options) => {
    const server = await startServer();
    makeBackup(server);
    const { queue, errors } = await begin(server, options);
    server.refuse = (_, id) => (id === makeSessions(1)[0].session_id ? 'no' : undefined);
    queue.add(...makeSessions(3));
    await Promise.all([queue.flush(), queue.flush()]);
    await queue.close();
    expect(errors).toEqual([expect.objectContaining({ message: 'elsewhere' })]);
    expect([queue.stopped, queue.waiting.length]).toEqual([true, name === 'onOutcome' ? 0 : 3]);
  });

  it.each(callbacks)('from %s goes to one caller of flush where there is no onError', async (_, options) => {
    const server = await startServer();
    makeBackup(server);
    const { queue } = await begin(server, { ...options, onError: undefined });
    server.refuse = (_room, id) => (id === makeSessions(1)[0].session_id ? 'no' : undefined);
    queue.add(...makeSessions(3));
    const ends = await Promise.allSettled([queue.flush(), queue.flush(), queue.close()]);
    expect(ends.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'fulfilled']);
    expect(queue.stopped).toBe(true);
  });

  it('from onError goes to the caller of close, and the queue is closed', async () => {
    const server = await startServer();
    makeBackup(server);
    const error = new Error('mine');
    const { queue } = await begin(server, { onError: throwing(error) });
    answerEveryPut(server, 500, '');
    queue.add(...makeSessions(3));
    await expect(queue.close()).rejects.toBe(error);
    expect([queue.stopped, queue.waiting.length]).toEqual([true, 3]);
  });
});

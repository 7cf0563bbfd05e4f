import { describe, expect, test } from 'vitest';
import { authenticateBackup, type AuthenticateBackupOptions } from '../../src/client/authenticate.js';
import type { KeyBackupData } from '../../src/wire/types.js';
import {
  BackupDecryptionKey,
  decryptSession,
  encryptSession,
  type ExportedSessionData,
} from '../../src/index.js';
import type { KeyBackupServer } from '../support/key-backup-server.js';
import { directSessions, forwardedSessions } from '../support/sample.js';
import { clientOf, key, makeBackup, startServer } from './support.js';

const sessions = directSessions(6);

async function start(
  stored = sessions,
): Promise<{ server: KeyBackupServer; version: ReturnType<typeof makeBackup> }> {
  const server = await startServer();
  const version = makeBackup(server);
  for (const session of stored) {
    const { room_id, session_id, key_backup_data } = encryptSession(session, key.publicKey);
    server.store(version, room_id, session_id, key_backup_data as unknown as KeyBackupData);
  }
  return { server, version };
}

async function authenticate(
  server: KeyBackupServer,
  trusted: readonly ExportedSessionData[],
  options: AuthenticateBackupOptions = {},
) {
  const roomKeys = clientOf(server);
  const [first] = server.versions;
  const info = (await roomKeys.version(first.version))!;
  const copyOf = (roomId: string, sessionId: string) =>
    trusted.find(({ room_id, session_id }) => room_id === roomId && session_id === sessionId);
  return authenticateBackup(roomKeys, info, key, copyOf, options);
}

const NONE = { authenticated: 0, declared: 0, already: 0, unknown: 0, conflicting: 0 };

/** How a reader sees what the server holds. */
function authenticities(server: KeyBackupServer, at: number): string[] {
  return server.keysOf(server.versions[at]).map(([room_id, session_id, key_backup_data]) => {
    return decryptSession({ room_id, session_id, key_backup_data }, key).authenticity;
  });
}

describe('authenticating a backup on a server', () => {
  test('with the key of another backup is refused before anything is downloaded', async () => {
    const { server } = await start();
    const roomKeys = clientOf(server);
    const info = (await roomKeys.currentVersion())!;
    const wrong = BackupDecryptionKey.generate();
    const work = authenticateBackup(roomKeys, info, wrong, () => undefined);
    await expect(work).rejects.toMatchObject({ code: 'wrong-key' });
    expect(server.seen).toHaveLength(1);
  });

  test('notices that the server kept the old records', async () => {
    const { server } = await start();
    const outcome = await authenticate(server, sessions.slice(0, 4));
    expect(outcome).toMatchObject({ uploaded: 4, kept: 4, failed: 0 });
    expect(outcome.counts).toEqual({ ...NONE, unknown: 2 });
    expect(authenticities(server, 0)).toEqual(sessions.map(() => 'no-mac'));
  });

  test('counts as authenticated exactly what then reads as verified', async () => {
    const forwarded = forwardedSessions(3);
    const { server } = await start([...sessions, ...forwarded]);
    const outcome = await authenticate(server, [...sessions, ...forwarded], { into: 'new' });
    expect(outcome).toMatchObject({ uploaded: 9, kept: 0 });
    expect(outcome.counts).toEqual({ ...NONE, authenticated: 6, declared: 3 });
    expect(authenticities(server, 1).sort()).toEqual([
      ...Array<string>(3).fill('declared-unauthenticated'),
      ...Array<string>(6).fill('verified'),
    ]);
  });

  test('counts only what the server took, of each kind', async () => {
    const forwarded = forwardedSessions(3);
    const { server, version } = await start([...sessions.slice(0, 3), ...forwarded]);
    // The server takes a new record for these two only: their old ones are of lower rank.
    for (const { room_id, session_id } of [sessions[0], forwarded[0]]) {
      const rooms = version.keys.get(room_id)!;
      rooms.set(session_id, { ...rooms.get(session_id)!, first_message_index: 2 ** 32 - 1 });
    }
    const outcome = await authenticate(server, [...sessions, ...forwarded]);
    expect(outcome).toMatchObject({ uploaded: 6, kept: 4, failed: 0 });
    expect(outcome.counts).toEqual({ ...NONE, authenticated: 1, declared: 1 });
    expect(authenticities(server, 0).sort()).toEqual([
      ...['declared-unauthenticated', 'no-mac', 'no-mac', 'no-mac', 'no-mac', 'verified'],
    ]);
  });

  test('sees that another client was quicker in the new version', async () => {
    const { server } = await start();
    const { room_id, session_id } = sessions[0];
    const data = encryptSession(sessions[0], key.publicKey).key_backup_data as unknown as KeyBackupData;
    const onResult = () => {
      if (server.keysOf(server.versions[1]).length === 0) {
        server.store(server.versions[1], room_id, session_id, data);
      }
    };
    const outcome = await authenticate(server, sessions, { into: 'new', onResult });
    expect(outcome).toMatchObject({ uploaded: 6, kept: 1, counts: { ...NONE, authenticated: 5 } });
  });

  test('asks a store that answers with promises, and waits for onResult', async () => {
    const { server } = await start();
    const roomKeys = clientOf(server);
    const info = (await roomKeys.currentVersion())!;
    const copyOf = (_roomId: string, sessionId: string) =>
      Promise.resolve(sessions.find(({ session_id }) => session_id === sessionId));
    const outcome = await authenticateBackup(roomKeys, info, key, copyOf, { isVerified: true });
    expect(outcome.counts).toEqual({ ...NONE, authenticated: 6 });
    const fault = new Error('the disk is full');
    const work = authenticateBackup(roomKeys, info, key, copyOf, { onResult: () => Promise.reject(fault) });
    await expect(work).rejects.toBe(fault);
  });

  test('works in place where the server takes the new records for better, and is done when done again', async () => {
    const { server } = await start();
    const outcome = await authenticate(server, sessions.slice(0, 4), { isVerified: true });
    expect(outcome).toMatchObject({ uploaded: 4, kept: 0 });
    expect(authenticities(server, 0).sort()).toEqual([
      ...['no-mac', 'no-mac'],
      ...Array<string>(4).fill('verified'),
    ]);
    const again = await authenticate(server, sessions.slice(0, 4), { isVerified: true });
    expect(again).toMatchObject({ uploaded: 0, counts: { already: 4, unknown: 2 } });
  });

  test('sends nothing that contradicts its trusted copy, and nothing without one', async () => {
    const { server } = await start();
    const lies = sessions.map((session) => ({ ...session, sender_key: 'A'.repeat(43) }));
    const outcome = await authenticate(server, lies, { isVerified: true });
    expect(outcome).toMatchObject({ uploaded: 0, counts: { conflicting: 6 } });
    expect(await authenticate(server, [])).toMatchObject({ uploaded: 0, counts: { unknown: 6 } });
    expect(server.seen.every(({ method }) => method === 'GET')).toBe(true);
  });

  test('into a new version takes everything along, under the same auth_data', async () => {
    const { server, version } = await start();
    const made: string[] = [];
    const outcome = await authenticate(server, sessions.slice(0, 4), {
      into: 'new',
      bindRoomId: true,
      onNewVersion: (id) => void made.push(id),
    });
    expect(outcome).toMatchObject({ uploaded: 6, kept: 0, version: made[0] });
    expect(server.versions[1]).toMatchObject({ version: made[0], auth_data: version.auth_data });
    expect(authenticities(server, 1).filter((one) => one === 'verified')).toHaveLength(4);
    expect(authenticities(server, 0)).toEqual(sessions.map(() => 'no-mac'));
  });

  test('goes on into the version that a run before has made', async () => {
    const { server } = await start();
    let made = '';
    const onNewVersion = (id: string) => void (made = id);
    server.faulty = (method) => method === 'PUT';
    server.faults = [{ kind: 'answer', status: 403, body: '{"errcode":"M_FORBIDDEN","error":"no"}' }];
    await expect(authenticate(server, sessions, { into: 'new', onNewVersion })).rejects.toThrow();
    const { room_id, session_id } = sessions[0];
    const data = encryptSession(sessions[0], key.publicKey).key_backup_data as unknown as KeyBackupData;
    server.store(server.versions[1], room_id, session_id, data);
    const outcome = await authenticate(server, sessions, { into: { version: made } });
    expect(outcome).toMatchObject({ skipped: 1, uploaded: 5, version: made });
    expect(server.versions).toHaveLength(2);
    const nowhere = authenticate(server, sessions, { into: { version: 'gone' } });
    await expect(nowhere).rejects.toMatchObject({ code: 'not-found' });
  });

  test('a record that the server rejects does not stop the others, and is reported at the end', async () => {
    const { server } = await start();
    const { room_id, session_id } = sessions[2];
    server.refuse = (_, session) => (session === session_id ? 'not this one' : undefined);
    const work = authenticate(server, sessions, { into: 'new' });
    const refusal = { code: 'http', status: 400, errcode: 'M_BAD_JSON', cause: { code: 'http' } };
    await expect(work).rejects.toMatchObject(refusal);
    const named = `1 records were rejected, the first of them room "${room_id}", session "${session_id}": `;
    await expect(work).rejects.toThrow(named);
    expect(authenticities(server, 1)).toEqual(Array<string>(5).fill('verified'));
  });

  test('what is too large for one request goes in more', async () => {
    const { server } = await start();
    server.maxBody = 3000;
    const outcome = await authenticate(server, sessions, { into: 'new' });
    expect(outcome).toMatchObject({ uploaded: 6, failed: 0 });
    expect(authenticities(server, 1)).toEqual(Array<string>(6).fill('verified'));
  });

  test('reports each record, and counts those that cannot be read', async () => {
    const { server, version } = await start();
    version.keys.set('!bad', new Map([['bad', { session_data: {} } as never]]));
    const seen: string[] = [];
    const progress: number[] = [];
    const outcome = await authenticate(server, sessions, {
      isVerified: true,
      onResult: (result) => void seen.push(result.ok ? result.authentication : result.error.code),
      onProgress: ({ done }) => void progress.push(done),
    });
    expect(outcome).toMatchObject({ failed: 1, uploaded: 6, kept: 0 });
    expect(seen.sort()).toEqual([...sessions.map(() => 'authenticated'), 'missing-field']);
    expect(progress.at(-1)).toBe(7);
  });

  test('cuts requests that are too large, and stops when asked', async () => {
    const { server } = await start();
    server.maxBody = 3_000;
    expect(await authenticate(server, sessions, { isVerified: true })).toMatchObject({
      uploaded: 6,
      kept: 0,
    });
    const stop = new AbortController();
    stop.abort();
    const stopped = authenticate(server, sessions, { signal: stop.signal });
    await expect(stopped).rejects.toMatchObject({ code: 'aborted' });
  });
});

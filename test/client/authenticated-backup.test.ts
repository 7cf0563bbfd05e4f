import { describe, expect, test } from 'vitest';
import type { KeyBackupData } from '../../src/api/types.js';
import { createBackup } from '../../src/client/backup.js';
import { diagnose } from '../../src/client/diagnose.js';
import { Restore } from '../../src/client/restore.js';
import { uploadSessions } from '../../src/client/upload.js';
import {
  BACKUP_ALGORITHM,
  BackupDecryptionKey,
  BackupMacKey,
  createAuthData,
  ed25519Signer,
  encryptSession,
  verifyAuthData,
} from '../../src/index.js';
import {
  AUTHENTICATED_BACKUP_ALGORITHM,
  createAuthenticatedBackup,
  moveBackup,
  restoreAuthenticated,
  uploadAuthenticated,
  type MoveBackupOptions,
} from '../../src/experimental.js';
import type { KeyBackupServer } from '../support/key-backup-server.js';
import { directSessions, forwardedSessions } from '../support/sample.js';
import { clientOf, key, makeBackup, startServer, trust } from './support.js';

const macKey = BackupMacKey.fromDecryptionKey(key);
const direct = directSessions(5);
const [forwarded] = forwardedSessions(1);
const NONE = { verified: 0, 'declared-unauthenticated': 0, 'wrong-mac': 0, 'no-mac': 0 };
const { unstable, stable } = AUTHENTICATED_BACKUP_ALGORITHM;

/** A server with a version of the second algorithm. */
async function begin() {
  const server = await startServer();
  const roomKeys = clientOf(server);
  const info = await createAuthenticatedBackup(roomKeys, { publicKey: key.publicKey });
  return { server, roomKeys, info };
}

async function verdicts(restore: Restore): Promise<string[]> {
  const seen: string[] = [];
  for await (const result of restore) {
    if (!result.ok) seen.push(result.error.code);
    else seen.push(result.source ?? result.authenticity);
  }
  return seen.sort();
}

/** Changes every record of the newest version where the server keeps it. */
function changeAll(server: KeyBackupServer, change: (data: Record<string, unknown>) => unknown): void {
  for (const [room, session, record] of server.keysOf(server.current!)) {
    const session_data = change({ ...record.session_data }) as Record<string, unknown>;
    server.current!.keys.get(room)!.set(session, { ...record, session_data });
  }
}

describe('a version of the second algorithm', () => {
  test('is not read or written by the calls for v1, and the other way round', async () => {
    const { server, roomKeys, info } = await begin();
    const wrong = expect.objectContaining({ code: 'unsupported-algorithm' });
    expect(() => new Restore(roomKeys, info, key)).toThrow(wrong);
    await expect(uploadSessions(roomKeys, info, direct, { trust, macKey })).rejects.toEqual(wrong);
    const v1 = await createBackup(roomKeys, { publicKey: key.publicKey });
    expect(() => restoreAuthenticated(roomKeys, v1, key)).toThrow(wrong);
    await expect(uploadAuthenticated(roomKeys, v1, direct, { trust, macKey })).rejects.toEqual(wrong);
    await expect(moveBackup(roomKeys, info, key)).rejects.toEqual(wrong);
    expect(server.seen.every(({ method }) => method !== 'PUT')).toBe(true);
  });

  test('is named where it is not expected, and a diagnosis says how to read it', async () => {
    const { roomKeys, info } = await begin();
    expect(() => new Restore(roomKeys, info, key)).toThrow(/got the experimental one of MSC4048/);
    const { findings } = await diagnose(roomKeys, { key });
    expect(findings).toMatchObject([{ code: 'unknown-algorithm' }]);
    expect(findings[0].advice).toContain('--experimental-msc4048');
  });

  test('of another key is neither read nor written', async () => {
    const { roomKeys, info } = await begin();
    const other = BackupDecryptionKey.generate();
    const wrong = expect.objectContaining({ code: 'wrong-key' });
    expect(() => restoreAuthenticated(roomKeys, info, other)).toThrow(wrong);
    const otherMac = BackupMacKey.fromDecryptionKey(other);
    const uploading = uploadAuthenticated(roomKeys, info, direct, { trust, macKey: otherMac });
    await expect(uploading).rejects.toEqual(wrong);
    const untrusted = { trust: { userId: '@a:b', decryptionKey: other }, macKey };
    await expect(uploadAuthenticated(roomKeys, info, direct, untrusted)).rejects.toMatchObject({
      code: 'untrusted-backup',
    });
  });

  test('is not written without a MAC key', async () => {
    const { server, roomKeys, info } = await begin();
    const uploading = uploadAuthenticated(roomKeys, info, direct, { trust, macKey: undefined as never });
    await expect(uploading).rejects.toMatchObject({ code: 'bad-parameters' });
    expect(server.keysOf(server.current!)).toEqual([]);
  });

  test('gives nothing without a right MAC, whatever salvage might have said', async () => {
    const { server, roomKeys, info } = await begin();
    await uploadAuthenticated(roomKeys, info, direct, { trust, macKey });
    const v1 = encryptSession(forwarded, key.publicKey);
    const data = v1.key_backup_data as unknown as KeyBackupData;
    server.store(server.current!, v1.room_id, v1.session_id, data);
    const now = (await roomKeys.currentVersion())!;
    const before = restoreAuthenticated(roomKeys, now, key);
    expect(await verdicts(before)).toEqual(['not-authenticated', ...direct.map(() => 'verified')]);
    expect(before.summary).toMatchObject({ ok: 5, failed: 1, authenticity: { ...NONE, verified: 5 } });
    changeAll(server, ({ unsigned: _, ...rest }) => rest);
    const options = { salvage: true } as object;
    const after = restoreAuthenticated(roomKeys, now, key, options);
    expect(await verdicts(after)).toEqual(Array(6).fill('not-authenticated'));
    expect(after.summary.authenticity).toEqual(NONE);
  });

  test('is made, written and read, under the unstable name and signed', async () => {
    const server = await startServer();
    const roomKeys = clientOf(server);
    const signer = ed25519Signer('@a:b', new Uint8Array(32).fill(1), 'DEVICE');
    const backup = { publicKey: key.publicKey, signers: [signer], extra: { more: 1 } };
    const info = await createAuthenticatedBackup(roomKeys, backup);
    expect(info).toMatchObject({ algorithm: unstable, auth_data: { more: 1 } });
    const sessions = [...direct, forwarded];
    const outcome = await uploadAuthenticated(roomKeys, info, sessions, { trust, macKey, bindRoomId: true });
    expect(outcome).toMatchObject({ outcome: 'complete', uploaded: 6, failures: [] });
    for (const [, , { session_data }] of server.keysOf(server.current!)) {
      expect(Object.keys(session_data).sort()).toEqual(['ciphertext', 'ephemeral', 'unsigned']);
    }
    const now = (await roomKeys.currentVersion())!;
    const restored = restoreAuthenticated(roomKeys, now, key);
    const keys: string[] = [];
    for await (const result of restored) if (result.ok) keys.push(result.session.session_key);
    expect(keys.sort()).toEqual(sessions.map(({ session_key }) => session_key).sort());
    expect(restored.summary.authenticity).toEqual({ ...NONE, verified: 5, 'declared-unauthenticated': 1 });
    const again = await createAuthenticatedBackup(roomKeys, { publicKey: key.publicKey, names: 'stable' });
    expect(again.algorithm).toBe(stable);
    expect(await verdicts(restoreAuthenticated(roomKeys, again, key))).toEqual([]);
  });

  test('takes for stored only what has a right MAC', async () => {
    const { server, roomKeys, info } = await begin();
    await uploadAuthenticated(roomKeys, info, direct, { trust, macKey });
    const options = { trust, macKey, skipStored: true };
    expect(await uploadAuthenticated(roomKeys, info, direct, options)).toMatchObject({
      ...{ uploaded: 0, skipped: 5, kept: 0 },
    });
    changeAll(server, ({ unsigned: _, ...rest }) => rest);
    expect(await uploadAuthenticated(roomKeys, info, direct, options)).toMatchObject({
      ...{ uploaded: 5, skipped: 0, kept: 5 },
    });
  });
});

describe('moving a backup on a server', () => {
  async function v1() {
    const server = await startServer();
    const version = makeBackup(server);
    const put = (at: number, settings = {}, spoil = {}) => {
      const { room_id, session_id, key_backup_data } = encryptSession(direct[at], key.publicKey, settings);
      const record = JSON.parse(JSON.stringify(key_backup_data)) as KeyBackupData;
      const session_data = { ...record.session_data, ...spoil };
      server.store(version, room_id, session_id, { ...record, session_data });
    };
    put(0);
    put(1, { macKey });
    put(2, { macKey, unauthenticated: () => 'm.forwarded_room_key' });
    put(3, { macKey }, { unsigned: { backup_mac: 'A'.repeat(43) } });
    server.store(version, '!r', 'broken', {
      ...{ first_message_index: 0, forwarded_count: 0, is_verified: false, session_data: {} },
    });
    return { server, version, roomKeys: clientOf(server) };
  }
  const move = async (
    roomKeys: ReturnType<typeof clientOf>,
    version: string,
    options: MoveBackupOptions = {},
  ) => moveBackup(roomKeys, (await roomKeys.version(version))!, key, options);

  test('with the key of another backup is refused before a version is made', async () => {
    const { server, version, roomKeys } = await v1();
    const info = (await roomKeys.version(version.version))!;
    const moving = moveBackup(roomKeys, info, BackupDecryptionKey.generate());
    await expect(moving).rejects.toMatchObject({ code: 'wrong-key' });
    expect(server.versions).toHaveLength(1);
  });

  test('into a version that is not one to move to is refused', async () => {
    const { server, version, roomKeys } = await v1();
    const other = createAuthData(BackupDecryptionKey.generate().publicKey);
    server.createVersion(BACKUP_ALGORITHM, { ...createAuthData(key.publicKey) });
    server.createVersion(unstable, { ...other });
    for (const [into, code] of [
      ['v2', 'unsupported-algorithm'],
      ['v3', 'wrong-key'],
      ['v9', 'not-found'],
    ]) {
      await expect(move(roomKeys, version.version, { into })).rejects.toMatchObject({ code });
    }
    expect(server.seen.some(({ method }) => method === 'PUT')).toBe(false);
  });

  test('makes nothing authentic, and says what was not', async () => {
    const { server, version, roomKeys } = await v1();
    const made: string[] = [];
    const seen: string[] = [];
    const outcome = await move(roomKeys, version.version, {
      onNewVersion: (id) => void made.push(id),
      onResult: (result) => void seen.push(result.ok ? result.was : result.error.code),
    });
    expect(outcome).toMatchObject({
      ...{ version: made[0], unchanged: 2, failed: 1, uploaded: 4, skipped: 0 },
      before: { 'no-mac': 1, verified: 1, 'declared-unauthenticated': 1, 'wrong-mac': 1 },
      after: { ...NONE, verified: 1, 'declared-unauthenticated': 3 },
    });
    expect(seen.sort()).toEqual([
      ...['declared-unauthenticated', 'missing-field', 'no-mac', 'verified', 'wrong-mac'],
    ]);
    expect(server.current).toMatchObject({ algorithm: unstable, auth_data: version.auth_data });
    const now = (await roomKeys.currentVersion())!;
    expect(await verdicts(restoreAuthenticated(roomKeys, now, key))).toEqual([
      ...['m.forwarded_room_key', 'm.legacy-v1', 'm.legacy-v1', 'verified'],
    ]);
    // The record with a right MAC is the old one.
    const { room_id, session_id } = direct[1];
    const [before, after] = server.versions.map(({ keys }) => keys.get(room_id)?.get(session_id));
    expect(after).toEqual(before);
  });

  test('goes on in the version that a run before has made', async () => {
    const { server, version, roomKeys } = await v1();
    let into = '';
    server.faulty = (method) => method === 'PUT';
    server.faults = [{ kind: 'answer', status: 403, body: '{"errcode":"M_FORBIDDEN","error":"no"}' }];
    await expect(
      move(roomKeys, version.version, { onNewVersion: (id) => void (into = id) }),
    ).rejects.toMatchObject({
      name: 'KeyBackupError',
    });
    const { room_id, session_id } = direct[1];
    server.store(server.current!, room_id, session_id, version.keys.get(room_id)!.get(session_id)!);
    const progress: (number | undefined)[] = [];
    const onProgress = ({ done }: { done: number }) => void progress.push(done);
    expect(await move(roomKeys, version.version, { into, onProgress })).toMatchObject({
      ...{ version: into, skipped: 1, uploaded: 3, failed: 1, unchanged: 1 },
    });
    expect(progress.at(-1)).toBe(5);
    expect(server.versions).toHaveLength(2);
  });

  test('to another key encrypts everything anew, and is signed by who is named', async () => {
    const { version, roomKeys } = await v1();
    const to = BackupDecryptionKey.generate();
    const seed = new Uint8Array(32).fill(1);
    const signer = ed25519Signer('@a:b', seed, 'DEVICE');
    const outcome = await move(roomKeys, version.version, { to, signers: [signer], bindRoomId: true });
    expect(outcome).toMatchObject({ unchanged: 0, uploaded: 4 });
    const now = (await roomKeys.currentVersion())!;
    expect(Object.keys(now.auth_data)).toContain('signatures');
    expect(verifyAuthData(now.auth_data, { userId: '@a:b', decryptionKey: to }).trusted).toBe(true);
    expect(await verdicts(restoreAuthenticated(roomKeys, now, to))).toEqual([
      ...['m.forwarded_room_key', 'm.legacy-v1', 'm.legacy-v1', 'verified'],
    ]);
  });

  test('cuts requests that are too large, and stops when asked', async () => {
    const { server, version, roomKeys } = await v1();
    server.maxBody = 3_000;
    expect(await move(roomKeys, version.version)).toMatchObject({ uploaded: 4 });
    expect(server.keysOf(server.current!)).toHaveLength(4);
    const stop = new AbortController();
    stop.abort();
    await expect(move(roomKeys, version.version, { signal: stop.signal })).rejects.toMatchObject({
      code: 'aborted',
    });
  });
});

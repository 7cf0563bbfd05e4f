import { describe, expect, test } from 'vitest';
import type { KeyBackupData } from '../../src/wire/types.js';
import { diagnose } from '../../src/client/diagnose.js';
import { KeyLookup } from '../../src/client/key-lookup.js';
import { Restore } from '../../src/client/restore.js';
import {
  BackupMacKey,
  encryptSession,
  type EncryptSettings,
  type ExportedSessionData,
} from '../../src/index.js';
import { directSessions, forwardedSessions } from '../support/sample.js';
import { clientOf, key, makeBackup, startServer } from './support.js';

const macKey = BackupMacKey.fromDecryptionKey(key);
const direct = directSessions(6);
const [forwarded] = forwardedSessions(1);
const NONE = { verified: 0, 'declared-unauthenticated': 0, 'wrong-mac': 0, 'no-mac': 0 };

type Kind = 'verified' | 'declared-unauthenticated' | 'wrong-mac' | 'no-mac';

function recordOf(session: ExportedSessionData, kind: Kind): KeyBackupData {
  const settings: EncryptSettings = kind === 'no-mac' ? {} : { macKey };
  const { key_backup_data } = encryptSession(session, key.publicKey, settings);
  const record = JSON.parse(JSON.stringify(key_backup_data)) as KeyBackupData;
  if (kind !== 'wrong-mac') return record;
  return { ...record, session_data: { ...record.session_data, unsigned: { backup_mac: 'A'.repeat(43) } } };
}

/** A backup with one record of each kind given. */
async function backup(...kinds: Kind[]) {
  const server = await startServer();
  const version = makeBackup(server);
  const rest = [...direct];
  const sessions = kinds.map((kind) => {
    const session = kind === 'declared-unauthenticated' ? forwarded : rest.shift()!;
    server.store(version, session.room_id, session.session_id, recordOf(session, kind));
    return session;
  });
  return { server, version, sessions, roomKeys: clientOf(server) };
}

const ALL: Kind[] = ['verified', 'wrong-mac', 'no-mac', 'declared-unauthenticated', 'verified'];

describe('the summary of a restore', () => {
  test('counts the keys that came out by what they prove, and a wrong MAC never as none', async () => {
    const { server, version, roomKeys } = await backup(...ALL);
    server.store(version, '!r', 'damaged', { ...recordOf(direct[5], 'verified'), session_data: {} });
    const info = (await roomKeys.currentVersion())!;
    const restore = new Restore(roomKeys, info, key);
    expect(restore.summary.authenticity).toEqual(NONE);
    for await (const result of restore) expect(result.path).not.toBe('');
    expect(restore.summary).toMatchObject({ ok: 5, failed: 1, flagged: 0 });
    expect(restore.summary.authenticity).toEqual({
      ...{ verified: 2, 'wrong-mac': 1, 'no-mac': 1 },
      'declared-unauthenticated': 1,
    });
    const strict = new Restore(roomKeys, info, key, { requireAuthenticated: true });
    for await (const result of strict) if (result.ok) expect(result.authenticated).toBe(true);
    expect(strict.summary).toMatchObject({ ok: 2, failed: 4, authenticity: { ...NONE, verified: 2 } });
  });

  test('counts what this run delivered, not an earlier one', async () => {
    const { roomKeys } = await backup(...ALL);
    const info = (await roomKeys.currentVersion())!;
    const first = new Restore(roomKeys, info, key);
    for await (const result of first) if (result.ok) break;
    const second = new Restore(roomKeys, info, key, { state: first.state() });
    for await (const result of second) expect(result.ok).toBe(true);
    const sum = (counts: Record<string, number>) => Object.values(counts).reduce((a, b) => a + b, 0);
    expect(sum(first.summary.authenticity)).toBe(first.summary.ok);
    expect(sum(second.summary.authenticity)).toBe(second.summary.ok);
    expect(first.summary.ok + second.summary.ok).toBe(5);
  });
});

describe('keys on demand', () => {
  test('are refused where only authenticated ones are wanted', async () => {
    const { roomKeys, sessions } = await backup('no-mac', 'verified');
    const info = (await roomKeys.currentVersion())!;
    const lookup = new KeyLookup(roomKeys, info, key, { requireAuthenticated: true });
    const [none, verified] = sessions;
    await expect(lookup.get(none.room_id, none.session_id)).rejects.toMatchObject({
      code: 'not-authenticated',
    });
    expect((await lookup.get(verified.room_id, verified.session_id))?.authenticated).toBe(true);
  });
});

describe('a diagnosis', () => {
  const examined = async (roomKeys: ReturnType<typeof clientOf>, own = true) =>
    diagnose(roomKeys, { userId: '@alice:example.org', ...(own && { key }) });

  test('warns of wrong MACs, and says what to do', async () => {
    const { roomKeys } = await backup('wrong-mac', 'verified');
    const { state, keys, findings } = await examined(roomKeys);
    expect(state).toBe('damaged');
    expect(keys?.authenticity).toEqual({ ...NONE, verified: 1, 'wrong-mac': 1 });
    expect(findings).toMatchObject([{ code: 'wrong-mac', severity: 'warning', count: 1 }]);
    expect(findings[0].message).toContain('somebody without the key');
    expect(findings[0].advice).toContain('Do not believe');
  });

  test('takes wrong MACs for no kind of none, also where no key has a right one', async () => {
    const { roomKeys } = await backup('wrong-mac', 'no-mac');
    const { findings } = await examined(roomKeys);
    expect(findings.map(({ code, count }) => [code, count])).toEqual([
      ['wrong-mac', 1],
      ['partly-authenticated', 1],
    ]);
  });

  test('notes keys without a MAC beside others with one, and calls nothing damaged for it', async () => {
    const { roomKeys } = await backup('no-mac', 'verified', 'no-mac');
    const { state, findings } = await examined(roomKeys);
    expect(state).toBe('healthy');
    expect(findings).toMatchObject([{ code: 'partly-authenticated', severity: 'note', count: 2 }]);
    expect(findings[0].message).toContain('1 that are verified');
  });

  test('has nothing to say where all keys have a MAC, or none has', async () => {
    for (const kinds of [['verified', 'declared-unauthenticated'], ['no-mac', 'no-mac'], []] as Kind[][]) {
      const { roomKeys } = await backup(...kinds);
      expect(await examined(roomKeys)).toMatchObject({ state: 'healthy', findings: [] });
    }
  });

  test('sorts notes behind what is wrong', async () => {
    const { server, roomKeys } = await backup('no-mac', 'verified');
    server.versions[0].keys.get(direct[0].room_id)!.set('damaged', { session_data: {} } as never);
    const { findings } = await diagnose(roomKeys, { key, sessions: direct });
    expect(findings.map(({ code }) => code)).toEqual([
      ...['damaged-keys', 'keys-not-backed-up', 'partly-authenticated'],
    ]);
  });

  test('says nothing of authenticity without a key', async () => {
    const { roomKeys } = await backup('wrong-mac');
    const { keys } = await diagnose(roomKeys, { sessions: direct });
    expect(keys).toMatchObject({ total: 1, readable: undefined, authenticity: undefined });
    expect((await examined(roomKeys, false)).keys).toBeUndefined();
  });
});

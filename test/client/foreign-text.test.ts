import { describe, expect, it } from 'vitest';
import { createBackup, signBackup, trustedPublicKey } from '../../src/client/backup.js';
import { checkBackupTrust, diagnose } from '../../src/client/diagnose.js';
import { Restore } from '../../src/client/restore.js';
import { fetchSecretStorage, ownUserId } from '../../src/client/account.js';
import { uploadSessions } from '../../src/client/upload.js';
import type { VersionInfo } from '../../src/wire/types.js';
import { BACKUP_ALGORITHM, BackupDecryptionKey, createAuthData, verifyAuthData } from '../../src/index.js';
import { canonicalJson } from '../../src/engine.js';
import { defaultKeyId, keyDescription } from '../../src/secret-storage/key-description.js';
import type { Fault } from '../support/key-backup-server.js';
import { makeSessions } from '../support/sessions.js';
import { clientOf, key, makeBackup, startServer, trust } from './support.js';

/** Text that forges a line, clears the screen, turns the direction of the text around, and never ends. */
const HOSTILE = `x\r\nmegolm-backup: all is well\u001b[2J\u009b2J\u202e\u2028${'y'.repeat(1_000_000)}`;
const userId = '@a:example.org';

function expectTame(texts: readonly string[]): void {
  expect(texts.length).toBeGreaterThan(0);
  for (const text of texts) {
    expect(text.length).toBeLessThan(1500);
    expect(text).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
  }
}

async function messageOf(work: () => unknown): Promise<string> {
  try {
    await work();
  } catch (error) {
    return (error as Error).message;
  }
  return expect.unreachable('it has to fail');
}

const answers: [string, Fault][] = [
  [
    'error',
    {
      kind: 'answer',
      status: 400,
      body: JSON.stringify({ errcode: 'M_X', error: HOSTILE.slice(0, 60_000) }),
    },
  ],
  [
    'errcode',
    { kind: 'answer', status: 400, body: JSON.stringify({ errcode: HOSTILE.slice(0, 60_000), error: '' }) },
  ],
  [
    'redirect',
    { kind: 'answer', status: 302, body: '', headers: { location: `https://x/${'y'.repeat(8000)}` } },
  ],
  ['field name', { kind: 'misreport', body: JSON.stringify({ [HOSTILE]: 1 }) }],
  ['whole answer', { kind: 'misreport', body: HOSTILE }],
];

const info: VersionInfo = {
  version: HOSTILE,
  etag: HOSTILE,
  count: 1,
  algorithm: BACKUP_ALGORITHM,
  auth_data: createAuthData(key.publicKey),
};

describe('what a server wrote is cut and quoted in a message', () => {
  it.each(answers)('of a request: %s', async (_, fault) => {
    const server = await startServer();
    const roomKeys = clientOf(server, { retries: 0 });
    const message = () => {
      server.faults = [fault];
      return messageOf(() => ownUserId(roomKeys));
    };
    expectTame([await message()]);
  });

  it('of a download', async () => {
    const server = await startServer();
    makeBackup(server);
    const roomKeys = clientOf(server, { retries: 0 });
    server.rawKeys = JSON.stringify({ rooms: { [HOSTILE]: { sessions: { [HOSTILE]: 7 } } } });
    const restored = new Restore(roomKeys, (await roomKeys.currentVersion())!, key);
    const messages: string[] = [];
    for await (const result of restored) if (!result.ok) messages.push(result.error.message);
    expectTame(messages);
    server.rawKeys = JSON.stringify({ rooms: { [HOSTILE]: 7 } });
    const broken = new Restore(roomKeys, (await roomKeys.currentVersion())!, key);
    const paths: string[] = [];
    for await (const result of broken) if (!result.ok) paths.push(result.error.message);
    expectTame(paths);
  });

  it('of a version', async () => {
    const server = await startServer();
    const roomKeys = clientOf(server, { retries: 0 });
    const state = { version: 'v1', etag: '', position: 0, input_hash: '' };
    const other = { ...info, algorithm: HOSTILE };
    expectTame([
      await messageOf(() => new Restore(roomKeys, other, key)),
      await messageOf(
        () => new Restore(roomKeys, info, key, { state: { ...state, delivered: new Uint8Array(20) } }),
      ),
      await messageOf(() => uploadSessions(roomKeys, info, [], { trust, state })),
      await messageOf(() => trustedPublicKey(info, { userId })),
      await messageOf(() => signBackup(roomKeys, HOSTILE, [])),
      ...checkBackupTrust(other, { userId }).findings.map(({ message }) => message),
    ]);
    server.faulty = (method) => method === 'POST';
    server.faults = [{ kind: 'misreport', body: JSON.stringify({ version: HOSTILE }) }];
    expectTame([await messageOf(() => createBackup(roomKeys, { publicKey: key.publicKey }))]);
  });

  it('of signatures', async () => {
    const server = await startServer();
    const signatures = { [userId]: { [`ed25519:${HOSTILE}`]: 'x', [`ed25519:A${HOSTILE}`]: 7 } };
    server.createVersion(BACKUP_ALGORITHM, { ...createAuthData(key.publicKey), signatures });
    const { findings } = await diagnose(clientOf(server), { userId, key });
    const keys = [{ keyId: `ed25519:${HOSTILE}`, publicKey: 'nope' }];
    expectTame([
      ...findings.map(({ message }) => message),
      await messageOf(() => verifyAuthData({}, { userId, trustedKeys: keys })),
    ]);
  });

  it('of the account data', async () => {
    const server = await startServer();
    const accountData = { 'm.secret_storage.default_key': { key: HOSTILE } };
    const id = defaultKeyId(accountData);
    const described = { ...accountData, [`m.secret_storage.key.${id}`]: { algorithm: HOSTILE } };
    server.accountData.set(`${userId}/account_data/m.secret_storage.default_key`, { key: '.' });
    expectTame([
      await messageOf(() => keyDescription(accountData, id)),
      await messageOf(() => keyDescription(described, id)),
      await messageOf(() =>
        fetchSecretStorage(clientOf(server), userId).then((data) => keyDescription(data, '.')),
      ),
      await messageOf(() => canonicalJson({ [HOSTILE]: { [HOSTILE]: 0.5 } })),
    ]);
  });

  it('of an upload that is refused', async () => {
    const server = await startServer();
    makeBackup(server);
    server.refuse = () => HOSTILE.slice(0, 60_000);
    const roomKeys = clientOf(server);
    const outcome = await uploadSessions(roomKeys, (await roomKeys.currentVersion())!, makeSessions(2), {
      trust,
    });
    expectTame(outcome.failures.map(({ error }) => error.message));
  });

  it('of a key that is no key of the backup', async () => {
    const server = await startServer();
    server.createVersion(BACKUP_ALGORITHM, { public_key: HOSTILE });
    const { findings } = await diagnose(clientOf(server), { userId, key: BackupDecryptionKey.generate() });
    expectTame(findings.map(({ message }) => message));
  });
});

it('a server that repeats the access token does not get it into a message', async () => {
  const server = await startServer();
  const accessToken = 'syt_c2VjcmV0_token';
  const body = JSON.stringify({ errcode: `M_${accessToken}`, error: `${'x'.repeat(195)}${accessToken}` });
  server.faults = [{ kind: 'answer', status: 401, body }];
  const roomKeys = clientOf(server, { accessToken: `${accessToken}\n`, retries: 0 });
  const error = await roomKeys.currentVersion().catch((reason: unknown) => reason as Error);
  expect(JSON.stringify([(error as Error).message, error])).not.toContain('syt_');
});

describe('versions and diagnose judge a backup alike', () => {
  const signatures = { [userId]: { 'ed25519:DEVICE': 'AA' } };
  it.each<[string, string, object, BackupDecryptionKey | undefined, boolean | undefined]>([
    ['its key', BACKUP_ALGORITHM, createAuthData(key.publicKey), key, true],
    ['no key', BACKUP_ALGORITHM, createAuthData(key.publicKey), undefined, undefined],
    ['another key', BACKUP_ALGORITHM, createAuthData(key.publicKey), BackupDecryptionKey.generate(), false],
    ['no public key', BACKUP_ALGORITHM, {}, undefined, false],
    ['a broken public key', BACKUP_ALGORITHM, { public_key: 'x' }, key, false],
    ['a signature', BACKUP_ALGORITHM, { ...createAuthData(key.publicKey), signatures }, key, true],
    ['another algorithm', 'm.other', {}, key, false],
  ])('with %s', async (_, algorithm, auth_data, decryptionKey, usable) => {
    const server = await startServer();
    server.createVersion(algorithm, { ...auth_data });
    const roomKeys = clientOf(server);
    const verdict = checkBackupTrust((await roomKeys.currentVersion())!, { userId, decryptionKey });
    const { findings, state } = await diagnose(roomKeys, { userId, key: decryptionKey });
    expect(verdict.usable).toBe(usable);
    expect(findings).toEqual(verdict.findings);
    expect(state === 'broken').toBe(usable === false);
  });
});

import { DeviceId, DeviceKeyId, OlmMachine, UserId, initAsync } from '@matrix-org/matrix-sdk-crypto-wasm';
import { describe, expect, it } from 'vitest';
import {
  createBackup,
  isBackupEnabled,
  replaceBackup,
  setBackupEnabled,
  signBackup,
} from '../../src/client/backup.js';
import { checkBackupTrust, diagnose } from '../../src/client/diagnose.js';
import { discoverHomeserver } from '../../src/client/discovery.js';
import type { Fetch } from '../../src/client/fetch-attempt.js';
import {
  BACKUP_ALGORITHM,
  BackupDecryptionKey,
  ed25519Signer,
  encryptSessionsSync,
  verifyAuthData,
  type ExportedSessionData,
} from '../../src/index.js';
import { base64Decode, base64Encode } from '../../src/engine.js';
import { publicSigningKeyOf } from '../../src/curve25519/ed25519.js';
import type { KeyBackupData } from '../../src/wire/types.js';
import type { KeyBackupServer } from '../support/key-backup-server.js';
import { makeSession, makeSessions } from '../support/sessions.js';
import { clientOf, key, makeBackup, startServer } from './support.js';

const userId = '@a:example.org';
const seed = new Uint8Array(32).fill(3);
const device = ed25519Signer(userId, seed, 'DEVICE');
const deviceKey = { keyId: 'ed25519:DEVICE', publicKey: base64Encode(publicSigningKeyOf(seed)) };

describe('versions', () => {
  it('are created, signed, changed, replaced and deleted', async () => {
    const server = await startServer();
    const roomKeys = clientOf(server);
    const info = await createBackup(roomKeys, {
      publicKey: key.publicKey,
      signers: [device],
      extra: { 'org.example': { a: 1 } },
    });
    expect(checkBackupTrust(info, { userId, trustedKeys: [deviceKey] })).toMatchObject({
      usable: true,
      findings: [],
      authData: { by: 'signature' },
    });
    await signBackup(roomKeys, info.version, [ed25519Signer(userId, new Uint8Array(32).fill(4), 'OTHER')]);
    const signed = (await roomKeys.version(info.version))!;
    expect(signed.auth_data).toMatchObject({
      'org.example': { a: 1 },
      signatures: { [userId]: { 'ed25519:DEVICE': expect.any(String), 'ed25519:OTHER': expect.any(String) } },
    });
    const auth_data = { ...signed.auth_data, 'org.example': 2 };
    await roomKeys.updateVersion(info.version, { algorithm: BACKUP_ALGORITHM, auth_data });
    const changed = (await roomKeys.currentVersion())!;
    const verdict = checkBackupTrust(changed, { userId, trustedKeys: [deviceKey] });
    expect(verdict.usable).toBe(false);
    expect(verdict.findings.map(({ code }) => code)).toEqual(['untrusted', 'invalid-signature']);
    const next = await replaceBackup(roomKeys, info.version, { publicKey: key.publicKey, signers: [device] });
    expect((await roomKeys.currentVersion())?.version).toBe(next.version);
    expect(await roomKeys.version(info.version)).toBeUndefined();
    await expect(roomKeys.deleteVersion(next.version)).resolves.toBe(true);
    expect(await roomKeys.version(next.version)).toBeUndefined();
    await expect(signBackup(roomKeys, next.version, [device])).rejects.toMatchObject({ code: 'not-found' });
  });

  it('are signed by keys in an OlmMachine', async () => {
    await initAsync();
    const machine = await OlmMachine.initialize(new UserId(userId), new DeviceId('OLM'));
    const [keyId, publicKey] = ['ed25519:OLM', machine.identityKeys.ed25519.toBase64()];
    const signer = {
      userId,
      keyId,
      async sign(message: Uint8Array) {
        const signatures = await machine.sign(new TextDecoder().decode(message));
        const signature = signatures.getSignature(new UserId(userId), new DeviceKeyId(keyId));
        return base64Decode(signature?.toBase64(), 'signature');
      },
    };
    const roomKeys = clientOf(await startServer());
    const info = await createBackup(roomKeys, { publicKey: key.publicKey, signers: [signer] });
    const trust = { userId, trustedKeys: [{ keyId, publicKey }] };
    expect(checkBackupTrust(info, trust)).toMatchObject({ usable: true, authData: { by: 'signature' } });
    await signBackup(roomKeys, info.version, [device, signer]);
    const signed = (await roomKeys.version(info.version))!;
    const { signatures } = verifyAuthData(signed.auth_data, {
      userId,
      trustedKeys: [deviceKey, ...trust.trustedKeys],
    });
    expect(signatures.map(({ state }) => state)).toEqual(['valid-trusted', 'valid-trusted']);
    machine.close();
  });

  it('are not created when a signer fails, or when the signal aborts while it signs', async () => {
    const roomKeys = clientOf(await startServer());
    const failing = { ...device, sign: () => Promise.reject(new RangeError('locked')) };
    const { publicKey } = key;
    await expect(createBackup(roomKeys, { publicKey, signers: [failing] })).rejects.toThrow('locked');
    const controller = new AbortController();
    const hanging = {
      ...device,
      sign() {
        controller.abort();
        return new Promise<never>(() => undefined);
      },
    };
    const { signal } = controller;
    const creating = createBackup(roomKeys, { publicKey, signers: [hanging], signal });
    await expect(creating).rejects.toMatchObject({ code: 'aborted' });
    const short = { ...device, sign: () => Promise.resolve(new Uint8Array(63)) };
    await expect(createBackup(roomKeys, { publicKey, signers: [short] })).rejects.toMatchObject({
      code: 'bad-length',
    });
    expect(await roomKeys.currentVersion()).toBeUndefined();
  });

  it('stay when a new one cannot be created', async () => {
    const server = await startServer();
    const version = makeBackup(server);
    server.faults = [{ kind: 'answer', status: 500, body: '' }];
    const replacing = replaceBackup(clientOf(server), version.version, { publicKey: key.publicKey });
    await expect(replacing).rejects.toMatchObject({ code: 'http', status: 500 });
    expect(server.current).toBe(version);
  });

  it('of another algorithm are not usable', async () => {
    const server = await startServer();
    server.createVersion('m.other', {});
    const info = (await clientOf(server).currentVersion())!;
    expect(checkBackupTrust(info, { userId })).toMatchObject({ usable: false, authData: undefined });
  });
});

describe('the user’s choice', () => {
  it('is read under both names, the specified one first, and only when it is a boolean', async () => {
    const server = await startServer();
    const roomKeys = clientOf(server);
    const set = (type: string, content: unknown) =>
      server.accountData.set(`${userId}/account_data/${type}`, content);
    expect(await isBackupEnabled(roomKeys, userId)).toBeUndefined();
    set('m.org.matrix.custom.backup_disabled', { disabled: true });
    expect(await isBackupEnabled(roomKeys, userId)).toBe(false);
    set('m.key_backup', { enabled: 'yes' });
    expect(await isBackupEnabled(roomKeys, userId)).toBe(false);
    await setBackupEnabled(roomKeys, userId, true);
    expect(await isBackupEnabled(roomKeys, userId)).toBe(true);
    expect(server.accountData.get(`${userId}/account_data/m.key_backup`)).toEqual({ enabled: true });
  });
});

describe('a diagnosis', () => {
  function fill(server: KeyBackupServer, sessions: readonly ExportedSessionData[]) {
    const version = makeBackup(server);
    for (const result of encryptSessionsSync(sessions, key.publicKey)) {
      if (!result.ok) throw result.error;
      const data = result.key_backup_data as unknown as KeyBackupData;
      server.store(version, result.room_id, result.session_id, data);
    }
    return version;
  }
  const codes = (diagnosis: Awaited<ReturnType<typeof diagnose>>) =>
    diagnosis.findings.map(({ code, count }) => (count === undefined ? code : `${code} ${count}`));

  it('of no backup', async () => {
    const server = await startServer();
    const diagnosis = await diagnose(clientOf(server), { userId });
    expect(diagnosis.state).toBe('none');
    expect(codes(diagnosis)).toEqual(['no-backup']);
    await setBackupEnabled(clientOf(server), userId, false);
    expect(codes(await diagnose(clientOf(server), { userId }))).toEqual([]);
  });

  it('of a healthy one', async () => {
    const server = await startServer();
    fill(server, makeSessions(10));
    const diagnosis = await diagnose(clientOf(server), { userId, key, sessions: makeSessions(10) });
    expect(diagnosis).toMatchObject({
      state: 'healthy',
      findings: [],
      keys: { total: 10, readable: 10, damage: {} },
    });
  });

  it('of an invalid public key, of another key, of another algorithm', async () => {
    const server = await startServer();
    const version = fill(server, []);
    const other = BackupDecryptionKey.generate();
    const wrong = await diagnose(clientOf(server), { userId, key: other });
    expect([wrong.state, ...codes(wrong)]).toEqual(['broken', 'wrong-key', 'untrusted']);
    version.auth_data = { public_key: 'A'.repeat(60) };
    const malformed = await diagnose(clientOf(server), { userId, key });
    expect([malformed.state, ...codes(malformed)]).toEqual(['broken', 'bad-public-key']);
    expect(malformed.findings[0].message).toContain('45 bytes');
    server.createVersion('m.other', {});
    const unknown = await diagnose(clientOf(server), { userId, key });
    expect([unknown.state, ...codes(unknown)]).toEqual(['broken', 'unknown-algorithm']);
    server.createVersion('m.other', {});
  });

  it('of signatures', async () => {
    const server = await startServer();
    const roomKeys = clientOf(server);
    const info = await createBackup(roomKeys, { publicKey: key.publicKey, signers: [device] });
    const trustedKeys = [deviceKey];
    expect((await diagnose(roomKeys, { userId, trustedKeys })).state).toBe('healthy');
    const auth_data = { ...info.auth_data, x: 1 };
    await roomKeys.updateVersion(info.version, { algorithm: info.algorithm, auth_data });
    const broken = await diagnose(roomKeys, { userId, trustedKeys });
    expect(codes(broken)).toEqual(['untrusted', 'invalid-signature']);
    expect(codes(await diagnose(roomKeys, { userId, trustedKeys, key }))).toEqual(['invalid-signature']);
  });

  it('of the keys: damage by kind, a wrong count, better copies, copies not there', async () => {
    const server = await startServer();
    const version = fill(
      server,
      [3, 3, 3, 3, 3].map((index, seed) => makeSession(seed, '!r', index)),
    );
    const sessions = version.keys.get('!r')!;
    const [a, b, c] = [...sessions.keys()];
    sessions.set(a, null as never);
    sessions.set(b, { ...sessions.get(c)! });
    version.keys.set('!x', new Map());
    const held = [3, 3, 1, 5, 3, 0].map((index, seed) => makeSession(seed, '!r', index));
    const diagnosis = await diagnose(clientOf(server), { userId, key, sessions: held });
    expect(diagnosis.keys).toEqual({
      total: 5,
      readable: 3,
      damage: { 'bad-json': 1, 'session-id-mismatch': 1 },
      authenticity: { verified: 0, 'declared-unauthenticated': 0, 'wrong-mac': 0, 'no-mac': 3 },
    });
    expect(codes(diagnosis)).toEqual([
      'damaged-keys 1',
      'damaged-keys 1',
      'better-local-keys 2',
      'keys-not-backed-up 1',
    ]);
    expect(diagnosis.state).toBe('damaged');
    server.rawKeys = '{"rooms":{}}';
    expect(codes(await diagnose(clientOf(server), { userId, key }))).toEqual(['count-differs 5']);
  });
});

describe('discovery', () => {
  /** A web of the given answers; anything else is 404. */
  function web(answers: Record<string, unknown>): { fetch: Fetch; asked: string[] } {
    const asked: string[] = [];
    const fetch: Fetch = (url, { headers }) => {
      asked.push(url);
      expect(headers).not.toHaveProperty('authorization');
      const answer = answers[url];
      const body = typeof answer === 'string' ? answer : JSON.stringify(answer ?? {});
      return Promise.resolve(new Response(body, { status: answer === undefined ? 404 : 200 }));
    };
    return { fetch, asked };
  }
  const wellKnown = 'https://example.org/.well-known/matrix/client';
  const versions = { versions: ['v1.11'] };

  it.each(['example.org', '@a:example.org'])('of %s follows the well-known file', async (name) => {
    const { fetch } = web({
      [wellKnown]: { 'm.homeserver': { base_url: 'https://matrix.example.org/' } },
      'https://matrix.example.org/_matrix/client/versions': versions,
    });
    await expect(discoverHomeserver(name, { fetch })).resolves.toBe('https://matrix.example.org');
  });

  it('takes the server itself when there is no such file', async () => {
    const { fetch } = web({ 'https://example.org:8448/_matrix/client/versions': versions });
    await expect(discoverHomeserver('example.org:8448', { fetch })).resolves.toBe('https://example.org:8448');
  });

  it('takes a URL as it is', async () => {
    const { fetch, asked } = web({ 'http://localhost:8008/x/_matrix/client/versions': versions });
    await expect(discoverHomeserver('http://localhost:8008/x/', { fetch })).resolves.toBe(
      'http://localhost:8008/x',
    );
    expect(asked).toHaveLength(1);
  });

  it.each([
    'not json',
    '[]',
    {},
    { 'm.homeserver': {} },
    { 'm.homeserver': { base_url: 'matrix.example.org' } },
  ])('refuses the well-known file %j', async (file) => {
    const { fetch } = web({ [wellKnown]: file, 'https://example.org/_matrix/client/versions': versions });
    const found = discoverHomeserver('example.org', { fetch, retries: 0 });
    await expect(found).rejects.toMatchObject({ code: 'bad-response' });
  });

  it.each(['', 'exa mple.org', '@a', 'example.org/path', 'ftp://example.org', 'user@example.org'])(
    'refuses %j',
    async (name) => {
      await expect(discoverHomeserver(name, web({}))).rejects.toMatchObject({ code: 'bad-parameters' });
    },
  );

  it('rejects anything but a homeserver', async () => {
    const { fetch } = web({ 'https://example.org/_matrix/client/versions': { hello: 1 } });
    const found = discoverHomeserver('https://example.org', { fetch, retries: 0 });
    await expect(found).rejects.toMatchObject({ code: 'bad-response' });
  });
});

import { describe, expect, test } from 'vitest';
import {
  BackupDecryptionKey,
  BackupMacKey,
  addBackupMac,
  decryptSessionData,
  encryptSession,
  encryptSessionsSync,
  verifyAuthData,
  type BackupRecord,
  type DecryptedSession,
  type ExportedSessionData,
} from '../../src/index.js';
import {
  AUTHENTICATED_BACKUP_ALGORITHM,
  createAuthenticatedVersion,
  decryptAuthenticated,
  encryptAuthenticated,
  expectAuthenticatedVersion,
  moveToAuthenticated,
  type AuthenticatedEncryptedSession,
  type MovedSession,
} from '../../src/experimental.js';
import { nodeBackend } from '../../src/backends/node.js';
import { webCryptoBackend } from '../../src/backends/webcrypto.js';
import type { FailedSession, Outcome } from '../../src/engine/chunks.js';
import { directSessions, forwardedSessions } from '../support/sample.js';

const DECLARED = 'org.matrix.msc4048.unauthenticated';
const key = BackupDecryptionKey.generate();
const macKey = BackupMacKey.fromDecryptionKey(key);
const sessions = directSessions(4);
const [session, other] = sessions;
const [forwarded] = forwardedSessions(1);

async function all<T>(results: AsyncIterable<T>): Promise<T[]> {
  const gathered: T[] = [];
  for await (const result of results) gathered.push(result);
  return gathered;
}

async function encrypt(of: ExportedSessionData[], settings = {}): Promise<AuthenticatedEncryptedSession[]> {
  const results = await all(encryptAuthenticated(of, key.publicKey, { macKey, ...settings }));
  return results.map((result) => {
    if (!result.ok) throw result.error;
    return result;
  });
}

function verdict(result: Outcome<DecryptedSession | MovedSession>): string {
  if (!result.ok) return result.error.code;
  return result.source === undefined ? result.authenticity : `${result.authenticity} ${result.source}`;
}

async function verdicts(records: BackupRecord[], reader = key, settings = {}): Promise<string[]> {
  return (await all(decryptAuthenticated(records, reader, settings))).map(verdict);
}

function withData(record: BackupRecord, change: (data: Record<string, unknown>) => unknown): BackupRecord {
  const { session_data, ...metadata } = record.key_backup_data as { session_data: Record<string, unknown> };
  return { ...record, key_backup_data: { ...metadata, session_data: change({ ...session_data }) } };
}

describe('reading ignores', () => {
  test('what has no right MAC, before anything in it is decrypted', async () => {
    const [record] = await encrypt([session]);
    const foreign = BackupMacKey.fromBase64('A'.repeat(43));
    const spoilt = [
      withData(record, ({ unsigned: _, ...data }) => data),
      withData(record, (data) => ({ ...data, unsigned: { backup_mac: null } })),
      withData(record, (data) => addBackupMac(data, foreign)),
      // Whatever the ciphertext would decrypt to, nobody learns it.
      ...[0, 20, -1, -17].map((at) =>
        withData(record, (data) => {
          const bytes = Buffer.from(data.ciphertext as string, 'base64');
          bytes[(at + bytes.length) % bytes.length] ^= 0xff;
          return { ...data, ciphertext: bytes.toString('base64') };
        }),
      ),
      withData(record, (data) => ({ ...data, mac: 'AAAAAAAAAAA' })),
    ];
    expect(await verdicts(spoilt)).toEqual(spoilt.map(() => 'not-authenticated'));
  });

  test('a key of another backup', async () => {
    const records = await encrypt([session]);
    expect(await verdicts(records, BackupDecryptionKey.generate())).toEqual(['not-authenticated']);
  });

  test('a record of v1 without a backup_mac, and salvage for any', async () => {
    const plain = encryptSession(session, key.publicKey);
    expect(await verdicts([plain], key, { salvage: true })).toEqual(['not-authenticated']);
  });

  test('malformed records, each by itself', async () => {
    const [good] = await encrypt([session]);
    const records = [null, {}, { session_data: 5 }, { session_data: { ephemeral: 5 } }].map(
      (key_backup_data) => ({ room_id: '!r', session_id: 'x', key_backup_data }),
    );
    expect(await verdicts([...records, good])).toEqual([
      'bad-json',
      'missing-field',
      'bad-json',
      'bad-json',
      'verified',
    ]);
  });

  test('a record in the place of another session', async () => {
    const [record] = await encrypt([session]);
    expect(await verdicts([{ ...record, session_id: other.session_id }])).toEqual(['session-id-mismatch']);
  });
});

describe('writing', () => {
  test('has no mac, and v1 does not read it', async () => {
    const [record] = await encrypt([session]);
    expect(Object.keys(record.key_backup_data.session_data)).toEqual(['ephemeral', 'ciphertext', 'unsigned']);
    expect(() => decryptSessionData(record.key_backup_data.session_data, key)).toThrow(/mac/);
  });

  test('needs a MAC key, of this backup', async () => {
    const wrong = BackupMacKey.fromDecryptionKey(BackupDecryptionKey.generate());
    for (const [given, code, message] of [
      [undefined, 'bad-parameters', 'macKey: expected a BackupMacKey, got something else'],
      [wrong, 'wrong-key', expect.any(String)],
    ] as const) {
      const writing = all(encryptAuthenticated([session], key.publicKey, { macKey: given as never }));
      await expect(writing).rejects.toMatchObject({ code, message });
    }
  });

  test.each([undefined, nodeBackend(), webCryptoBackend()])(
    'and reading go together by %o',
    async (backend) => {
      const records = await encrypt([session, forwarded, other], { backend });
      const read = await all(decryptAuthenticated(records, key, { backend }));
      expect(read.map(verdict)).toEqual([
        'verified',
        'declared-unauthenticated m.forwarded_room_key',
        'verified',
      ]);
      expect(read.map((result) => result.ok && [result.flags, result.session.session_key])).toEqual(
        [session, forwarded, other].map(({ session_key }) => [[], session_key]),
      );
      expect(await verdicts(records, key, { requireAuthenticated: true })).toEqual([
        'verified',
        'not-authenticated',
        'verified',
      ]);
    },
  );
});

describe('a version', () => {
  test('of another algorithm is refused', () => {
    for (const algorithm of ['m.megolm_backup.v1.curve25519-aes-sha2', '', 'unstable', 'toString']) {
      expect(() => {
        expectAuthenticatedVersion({ algorithm });
      }).toThrow(
        expect.objectContaining({
          code: 'unsupported-algorithm',
          message: 'algorithm: expected org.matrix.msc4048.curve25519-aes-sha2, got another',
        }) as Error,
      );
    }
  });

  test('has the auth_data of v1 under the unstable name', () => {
    const version = createAuthenticatedVersion(key.publicKey, { extra: { more: 1 } });
    expect(version.algorithm).toBe('org.matrix.msc4048.curve25519-aes-sha2');
    expect(verifyAuthData(version.auth_data, { userId: '@a:b', decryptionKey: key }).trusted).toBe(true);
    for (const algorithm of Object.values(AUTHENTICATED_BACKUP_ALGORITHM)) {
      expect(() => {
        expectAuthenticatedVersion({ algorithm });
      }).not.toThrow();
    }
    expect(createAuthenticatedVersion(key.publicKey, { names: 'stable' }).algorithm).toBe(
      'm.backup.v2.curve25519-aes-sha2',
    );
  });
});

describe('moving a v1 backup', () => {
  const right = encryptSession(session, key.publicKey, { macKey });
  const declared = encryptSession(other, key.publicKey, {
    macKey,
    unauthenticated: () => 'm.forwarded_room_key',
  });
  const plain = encryptSession(sessions[2], key.publicKey);
  const lying = encryptSession(sessions[3], key.publicKey, { unauthenticated: () => 'm.forwarded_room_key' });
  const spoilt = withData(right, (data) => ({ ...data, unsigned: { backup_mac: 'A'.repeat(43) } }));
  const broken: BackupRecord = { room_id: '!r', session_id: 'x', key_backup_data: {} };
  const records: BackupRecord[] = [plain, right, broken, declared, lying, spoilt];

  test('makes nothing authentic that was not', async () => {
    const moved = await all(moveToAuthenticated(records, key));
    const legacy = 'declared-unauthenticated m.legacy-v1';
    const expected = [
      legacy,
      'verified',
      'missing-field',
      'declared-unauthenticated m.forwarded_room_key',
      legacy,
      legacy,
    ];
    expect(moved.map(verdict)).toEqual(expected);
    expect(moved.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4, 5]);
    // Whoever moves is told what the records proved before: a wrong MAC is not forgotten on the way.
    expect(moved.map((result) => result.ok && result.was)).toEqual([
      ...['no-mac', 'verified', false, 'declared-unauthenticated', 'no-mac', 'wrong-mac'],
    ]);
    // And the new backup says the same when it is read.
    const ok = moved.filter((result): result is Exclude<typeof result, FailedSession> => result.ok);
    expect(await verdicts(ok)).toEqual(expected.filter((one) => one !== 'missing-field'));
  });

  test('moves records with a right MAC byte for byte under the same key, and encrypts all else anew', async () => {
    const moved = await all(moveToAuthenticated(records, key));
    expect(moved.map((result) => result.ok && result.unchanged)).toEqual([
      false,
      true,
      false,
      true,
      false,
      false,
    ]);
    const dataOf = (at: number) => (moved[at] as MovedSession).key_backup_data;
    expect(dataOf(1)).toBe(right.key_backup_data);
    expect(dataOf(0).session_data.ephemeral).not.toBe(plain.key_backup_data.session_data.ephemeral);
    expect(dataOf(0).session_data).not.toHaveProperty('mac');
  });

  test('under another key encrypts everything anew, and keeps what the writers said', async () => {
    const to = BackupDecryptionKey.generate();
    const moved = await all(moveToAuthenticated(records, key, { to, bindRoomId: true }));
    expect(moved.map((result) => result.ok && result.unchanged)).not.toContain(true);
    const ok = moved.filter((result): result is Exclude<typeof result, FailedSession> => result.ok);
    const read = await all(decryptAuthenticated(ok, to));
    const expected = [
      'declared-unauthenticated m.legacy-v1',
      'verified',
      'declared-unauthenticated m.forwarded_room_key',
      'declared-unauthenticated m.legacy-v1',
      'declared-unauthenticated m.legacy-v1',
    ];
    expect(read.map(verdict)).toEqual(expected);
    expect(ok.map(verdict)).toEqual(expected);
    expect(ok.map(({ authenticated }) => authenticated)).toEqual([false, true, false, false, false]);
    expect(read.map((result) => result.ok && result.session.room_id)).toEqual(
      ok.map(({ room_id }) => room_id),
    );
    expect(await verdicts(ok)).toEqual(ok.map(() => 'not-authenticated'));
  });

  test('replaces a declaration in both spellings', async () => {
    const both = { ...session, unauthenticated: 'm.undefined', [DECLARED]: 'm.forwarded_room_key' };
    const [moved] = await all(moveToAuthenticated([encryptSession(both, key.publicKey)], key));
    const [read] = await all(decryptAuthenticated([moved as MovedSession], key));
    expect(verdict(read)).toBe('declared-unauthenticated m.legacy-v1');
    expect((read as DecryptedSession).session).not.toHaveProperty('unauthenticated');
  });

  test('of any length keeps the order, and can be stopped', async () => {
    const many = directSessions(600);
    const old = encryptSessionsSync(many, key.publicKey) as unknown as BackupRecord[];
    const seen: number[] = [];
    const backend = nodeBackend();
    const onProgress = ({ done }: { done: number }) => void seen.push(done);
    const moved = await all(moveToAuthenticated(old, key, { backend, onProgress }));
    expect(moved.map((result) => result.ok && result.session_id)).toEqual(
      many.map(({ session_id }) => session_id),
    );
    expect(seen.at(-1)).toBe(many.length);
    const stop = new AbortController();
    stop.abort();
    const stopped = all(moveToAuthenticated(old, key, { signal: stop.signal }));
    await expect(stopped).rejects.toMatchObject({ code: 'aborted' });
  });
});

import { beforeAll, describe, expect, test } from 'vitest';
import {
  BackupDecryptionKey,
  BackupMacKey,
  decryptSession,
  decryptSessions,
  decryptSessionsSync,
  encryptSession,
  encryptSessions,
  encryptSessionsSync,
  type BackupRecord,
  type DecryptResult,
  type DecryptSettings,
  type EncryptSettings,
  type EncryptedSession,
  type ExportedSessionData,
} from '../../src/index.js';
import { addBackupMac, decryptSessionData, encryptSessionData } from '../../src/engine.js';
import { nodeBackend } from '../../src/backends/node.js';
import { libolm, vodozemac, type Peer } from '../support/peers.js';
import { directSessions, forwardedSessions } from '../support/sample.js';
import { roomKeys, wellSaid } from '../support/samples.js';

const UNSTABLE = 'org.matrix.msc4048.backup_mac';
const DECLARED = 'org.matrix.msc4048.unauthenticated';
const COPY = 'org.megolm-backup.room_id';
const key = BackupDecryptionKey.generate();
const macKey = BackupMacKey.fromDecryptionKey(key);
const [session, other] = directSessions(2);
const [forwarded] = forwardedSessions(1);

function encrypt(
  settings: EncryptSettings = { macKey },
  of: ExportedSessionData = session,
): EncryptedSession {
  return encryptSession(of, key.publicKey, settings);
}

function decrypt(record: BackupRecord, settings: DecryptSettings = {}) {
  const { authenticated, authenticity, source } = decryptSession(record, key, settings);
  return [authenticated, authenticity, ...(source === undefined ? [] : [source])];
}

function codeOf(operation: () => unknown): string {
  try {
    operation();
  } catch (error) {
    return wellSaid(error).code;
  }
  return 'nothing was thrown';
}

/** The record with another session_data. */
function withData(
  record: EncryptedSession,
  change: (data: Record<string, unknown>) => unknown,
): BackupRecord {
  const { session_data } = record.key_backup_data;
  return {
    ...record,
    key_backup_data: { ...record.key_backup_data, session_data: change({ ...session_data }) },
  };
}

/** A record with any plaintext under a right MAC. */
function sealed(plaintext: unknown): BackupRecord {
  const bytes = new TextEncoder().encode(JSON.stringify(plaintext));
  const session_data = addBackupMac(encryptSessionData(bytes, key.publicKey), macKey);
  const { room_id, session_id } = session;
  return { room_id, session_id, key_backup_data: { session_data } };
}

describe('what is not authenticated', () => {
  test('no MAC', () => {
    expect(decrypt(encrypt({}))).toEqual([false, 'no-mac']);
    expect(decrypt(withData(encrypt(), (data) => ({ ...data, unsigned: {} })))).toEqual([false, 'no-mac']);
  });

  test('a MAC of another key, or none that reads: never no-mac', () => {
    const foreign = BackupMacKey.fromBase64(
      BackupMacKey.fromDecryptionKey(BackupDecryptionKey.generate()).toBase64(),
    );
    expect(decrypt(encrypt({ macKey: foreign }))).toEqual([false, 'wrong-mac']);
    for (const mac of [null, '', 5, 'A'.repeat(43), 'not base64 at all']) {
      for (const name of [UNSTABLE, 'backup_mac']) {
        const record = withData(encrypt(), (data) => ({ ...data, unsigned: { [name]: mac } }));
        expect(decrypt(record)).toEqual([false, 'wrong-mac']);
      }
    }
  });

  test('declared so, with its source', () => {
    for (const source of ['m.undefined', 'm.legacy-v1', 'm.forwarded_room_key'] as const) {
      const record = encrypt({ macKey, unauthenticated: () => source });
      expect(decrypt(record)).toEqual([false, 'declared-unauthenticated', source]);
    }
  });

  test('forwarded, unless the writer vouches for it', () => {
    const chain = decrypt(encrypt({ macKey }, forwarded));
    expect(chain).toEqual([false, 'declared-unauthenticated', 'm.forwarded_room_key']);
    const vouched = encrypt({ macKey, unauthenticated: () => undefined }, forwarded);
    expect(decrypt(vouched)).toEqual([true, 'verified']);
  });

  test('a declaration comes along when a key is restored and backed up again', () => {
    const restored = decryptSession(encrypt({ macKey, unauthenticated: () => 'm.legacy-v1' }), key);
    expect(decrypt(encrypt({ macKey }, restored.session))).toEqual([
      false,
      'declared-unauthenticated',
      'm.legacy-v1',
    ]);
    const vouched = encrypt({ macKey, unauthenticated: () => undefined }, restored.session);
    expect(decrypt(vouched)[0]).toBe(false);
  });

  test('a declaration without a MAC proves nothing, and says nothing', () => {
    const record = encrypt({ unauthenticated: () => 'm.legacy-v1' });
    expect(decrypt(record)).toEqual([false, 'no-mac']);
    const wrong = withData(record, (data) => ({ ...data, unsigned: { backup_mac: 'A'.repeat(43) } }));
    expect(decrypt(wrong)).toEqual([false, 'wrong-mac']);
  });

  test.each([null, false, 'org.example.unknown'])('a declaration of %j is one', (value) => {
    const { room_id: _, session_id: __, ...plaintext } = session;
    const verdict = [false, 'declared-unauthenticated', 'm.undefined'];
    expect(decrypt(sealed({ ...plaintext, [DECLARED]: value }))).toEqual(verdict);
    expect(decrypt(sealed({ ...plaintext, unauthenticated: value }))).toEqual(verdict);
    expect(decrypt(sealed(plaintext))).toEqual([true, 'verified']);
  });
});

describe('the policy that refuses them', () => {
  const settings = { requireAuthenticated: true };
  const ciphertextOf = (record: EncryptedSession, change: (bytes: Buffer) => void) =>
    withData(record, (data) => {
      const bytes = Buffer.from(data.ciphertext as string, 'base64');
      change(bytes);
      return { ...data, ciphertext: bytes.toString('base64') };
    });

  test('refuses no-mac, wrong-mac and declared-unauthenticated, and lets verified pass', () => {
    const refused = [
      encrypt({}),
      withData(encrypt(), (data) => ({ ...data, unsigned: { backup_mac: 'A'.repeat(43) } })),
      encrypt({ macKey, unauthenticated: () => 'm.legacy-v1' }),
    ];
    for (const record of refused) {
      expect(codeOf(() => decryptSession(record, key, settings))).toBe('not-authenticated');
      expect(codeOf(() => decryptSession(record, key, { ...settings, salvage: true }))).toBe(
        'not-authenticated',
      );
    }
    expect(decrypt(encrypt(), settings)).toEqual([true, 'verified']);
  });

  test('tells nothing of what a changed ciphertext decrypts to', () => {
    const changes = [
      (bytes: Buffer) => void (bytes[20] ^= 1), // bad-utf8 without the policy
      (bytes: Buffer) => void (bytes[bytes.length - 17] ^= 0xff), // bad-padding without it
    ];
    const [utf8, padding] = changes.map((change) => ciphertextOf(encrypt(), change));
    expect(codeOf(() => decryptSession(utf8, key))).toBe('bad-utf8');
    expect(codeOf(() => decryptSession(padding, key))).toBe('bad-padding');
    for (const record of [utf8, padding]) {
      expect(codeOf(() => decryptSession(record, key, settings))).toBe('not-authenticated');
    }
  });

  test('still tells a wrong key', () => {
    for (const record of [encrypt(), encrypt({})]) {
      const wrong = BackupDecryptionKey.generate();
      expect(codeOf(() => decryptSession(record, wrong, settings))).toBe('mac-mismatch');
    }
  });

  test('still tells an ephemeral key of small order', () => {
    const ephemeral = 'A'.repeat(43);
    const record = withData(encrypt({}), (data) => ({ ...data, ephemeral }));
    expect(codeOf(() => decryptSession(record, key, settings))).toBe('low-order-key');
  });

  test.each<[string, EncryptSettings]>([
    ['no-mac', {}],
    ['declared-unauthenticated (m.legacy-v1)', { macKey, unauthenticated: () => 'm.legacy-v1' }],
  ])('says that a key is %s', (why, how) => {
    const message = `backup_mac: expected an authenticated key, got ${why}`;
    expect(() => decryptSession(encrypt(how), key, settings)).toThrow(
      expect.objectContaining({ message }) as Error,
    );
  });

  test('counts as a failure of its key only', async () => {
    const records = [encrypt({}), encrypt(), encrypt({}, other)];
    const results: DecryptResult[] = [];
    for await (const result of decryptSessions(records, key, settings)) results.push(result);
    expect(results.map(({ ok }) => ok)).toEqual([false, true, false]);
    expect(results[0]).toMatchObject({ wellFormed: true, session_id: session.session_id });
  });
});

describe('the room', () => {
  test('is not covered: a record with a right MAC verifies in any room', () => {
    expect(decrypt({ ...encrypt(), room_id: '!another:example.org' })).toEqual([true, 'verified']);
  });

  test('is bound by the copy: a moved record is refused', () => {
    const record = encrypt({ macKey, bindRoomId: true });
    expect(decrypt(record)).toEqual([true, 'verified']);
    const moved = { ...record, room_id: '!another:example.org' };
    expect(codeOf(() => decryptSession(moved, key))).toBe('room-id-mismatch');
  });

  test.each([null, 5, '', ['!r']])('a copy of %j names no room', (copy) => {
    const { room_id: _, session_id: __, ...plaintext } = session;
    expect(codeOf(() => decryptSession(sealed({ ...plaintext, [COPY]: copy }), key))).toBe(
      'room-id-mismatch',
    );
  });

  test('the copy counts only under a right MAC', () => {
    const record = encrypt({ macKey, bindRoomId: true });
    const stripped = withData(record, ({ unsigned: _, ...data }) => data);
    expect(decrypt({ ...stripped, room_id: '!another:example.org' })).toEqual([false, 'no-mac']);
  });

  test('the copy never leaves the backup', () => {
    for (const settings of [{ macKey, bindRoomId: true }, { macKey }, {}]) {
      const poisoned = { ...session, [COPY]: '!another:example.org' };
      const record = encrypt(settings, poisoned);
      const restored = decryptSession(record, key).session;
      expect(restored).not.toHaveProperty([COPY]);
      expect(restored.room_id).toBe(session.room_id);
    }
    const stripped = withData(encrypt({ macKey, bindRoomId: true }), ({ unsigned: _, ...data }) => data);
    expect(decryptSession(stripped, key).session).not.toHaveProperty([COPY]);
  });

  test('binding without a MAC key is refused: nothing would hold it', () => {
    expect(codeOf(() => encrypt({ bindRoomId: true }))).toBe('bad-parameters');
  });
});

describe('writing', () => {
  test('refuses the MAC key of another backup, and a disposed one', () => {
    const foreign = BackupMacKey.fromDecryptionKey(BackupDecryptionKey.generate());
    expect(codeOf(() => encrypt({ macKey: foreign }))).toBe('wrong-key');
    const disposed = BackupMacKey.fromDecryptionKey(key);
    disposed.dispose();
    expect(codeOf(() => encrypt({ macKey: disposed }))).toBe('bad-parameters');
  });

  test('without a MAC key nothing is there that was not before', () => {
    const { session_data } = encrypt({}, forwarded).key_backup_data;
    expect(Object.keys(session_data)).toEqual(['ephemeral', 'ciphertext', 'mac']);
    const { plaintext } = decryptSessionData(session_data, key);
    expect(new TextDecoder().decode(plaintext)).not.toContain('unauthenticated');
  });

  test('one broken session among others stays one failure', () => {
    const results = encryptSessionsSync([session, null as never, 5 as never, other], key.publicKey, {
      macKey,
    });
    expect(results.map(({ ok }) => ok)).toEqual([true, false, false, true]);
  });

  test('stable names where asked for, and both are read', () => {
    const record = encrypt({ macKey, macNames: 'stable', unauthenticated: () => 'm.legacy-v1' });
    expect(record.key_backup_data.session_data.unsigned).toHaveProperty('backup_mac');
    expect(decrypt(record)).toEqual([false, 'declared-unauthenticated', 'm.legacy-v1']);
  });

  test('what comes out is what went in', () => {
    const sessions = [...directSessions(20), ...forwardedSessions(5)];
    const records = encryptSessionsSync(sessions, key.publicKey, { macKey, bindRoomId: true });
    const restored = decryptSessionsSync(records as unknown as BackupRecord[], key);
    const plain = (one: ExportedSessionData) => {
      const {
        'm.shared_history': _,
        [DECLARED]: __,
        'org.matrix.msc3061.shared_history': ___,
        ...rest
      } = one;
      return rest;
    };
    const exported = restored.map((result) => (result.ok ? plain(result.session) : result.error));
    expect(exported).toEqual(sessions.map(plain));
    expect(restored.map((result) => result.ok && result.authenticated)).toEqual([
      ...Array.from({ length: 20 }, () => true),
      ...Array.from({ length: 5 }, () => false),
    ]);
  });
});

test('a backend gives the same verdicts, and the key may be disposed once the batch runs', async () => {
  const own = BackupDecryptionKey.fromBytes(key.toBytes());
  const records = [
    encrypt({}),
    encrypt({}),
    encrypt(),
    encrypt({ macKey, unauthenticated: () => 'm.undefined' }),
  ];
  const verdicts: unknown[] = [];
  for await (const result of decryptSessions(records, own, { backend: nodeBackend() })) {
    own.dispose();
    verdicts.push(result.ok ? result.authenticity : result.error.code);
  }
  expect(verdicts).toEqual(['no-mac', 'no-mac', 'verified', 'declared-unauthenticated']);
});

describe('the deployed peers', () => {
  const peers: Peer[] = [];
  beforeAll(async () => {
    peers.push(await libolm(), await vodozemac());
  });

  test('decrypt records with every extra there is', () => {
    const records = [
      encrypt(),
      encrypt({ macKey, macNames: 'stable' }),
      encrypt({ macKey, bindRoomId: true, unauthenticated: () => 'm.legacy-v1' }),
      encrypt({ macKey, bindRoomId: true }, forwarded),
    ];
    for (const peer of peers) {
      for (const { key_backup_data, room_id } of records) {
        const text = peer.decrypt(key.toBytes(), JSON.parse(JSON.stringify(key_backup_data.session_data)));
        const plaintext = JSON.parse(text);
        expect([session.session_key, forwarded.session_key]).toContain(plaintext.session_key);
        if (COPY in plaintext) expect(plaintext[COPY]).toBe(room_id);
      }
    }
    expect(peers.map(({ name }) => name)).toEqual(['libolm', 'vodozemac']);
  });

  test('write records that are no-mac', () => {
    const { room_id, session_id, ...plaintext } = session;
    for (const peer of peers) {
      const session_data = peer.encrypt(key.publicKey.toBase64(), JSON.stringify(plaintext));
      expect(decrypt({ room_id, session_id, key_backup_data: { session_data } })).toEqual([false, 'no-mac']);
      const authenticated = { session_data: addBackupMac(session_data, macKey) };
      expect(decrypt({ room_id, session_id, key_backup_data: authenticated })).toEqual([true, 'verified']);
    }
  });
});

describe('what is wrong with the call ends a batch with one bad-parameters', () => {
  const many = roomKeys(40);

  test('a MAC key disposed of in the middle', async () => {
    const disposed = BackupMacKey.fromBase64(macKey.toBase64());
    const results = encryptSessions(many, key.publicKey, { macKey: disposed });
    expect((await results.next()).value).toMatchObject({ ok: true });
    disposed.dispose();
    await expect(results.next()).rejects.toMatchObject({
      code: 'bad-parameters',
      message: 'backup MAC key: expected a usable key, got one already disposed',
    });
    expect(await results.next()).toEqual({ done: true, value: undefined });
  });

  test.each([
    ['isVerified', 'a boolean', { isVerified: () => Promise.resolve(true) }],
    ['unauthenticated', 'm.undefined', { macKey, unauthenticated: () => Promise.resolve('m.legacy-v1') }],
    ['unauthenticated', 'm.undefined', { macKey, unauthenticated: () => 'm.other' }],
  ])('a callback %s that gives something else than %s', async (name, expected, options) => {
    const settings = options as unknown as EncryptSettings;
    const message = expect.stringMatching(
      `^${name}: expected ${expected}.*, got an? (object|string)`,
    ) as string;
    const refused = expect.objectContaining({ code: 'bad-parameters', message }) as Error;
    await expect(encryptSessions(many, key.publicKey, settings).next()).rejects.toEqual(refused);
    expect(() => encryptSessionsSync(many, key.publicKey, settings)).toThrow(refused);
  });
});

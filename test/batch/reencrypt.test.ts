import { beforeAll, describe, expect, test } from 'vitest';
import {
  BackupDecryptionKey,
  BackupMacKey,
  KeyBackupError,
  authenticateSessions,
  decryptSession,
  encryptSession,
  encryptSessionsSync,
  type AuthenticateOptions,
  type AuthenticatedRecord,
  type BackupRecord,
  type ExportedSessionData,
} from '../../src/index.js';
import { libolm } from '../support/peers.js';
import { directSessions, forwardedSessions } from '../support/sample.js';
import { collect, roomKeys } from '../support/samples.js';

const key = BackupDecryptionKey.generate();
const macKey = BackupMacKey.fromDecryptionKey(key);
const [base, other] = directSessions(2);
const [forwarded] = forwardedSessions(1);
/** One session at indexes 0, 5 and 300. */
let early: ExportedSessionData;
let session: ExportedSessionData;
let late: ExportedSessionData;

beforeAll(async () => {
  const { session_id, session_keys } = (await libolm()).megolmSession(0, 5, 300);
  [early, session, late] = session_keys.map((session_key) => ({ ...base, session_id, session_key }));
});

async function authenticate(
  record: BackupRecord,
  copy: ExportedSessionData | undefined,
  options: AuthenticateOptions = {},
) {
  const results = [];
  for await (const result of authenticateSessions([record], key, () => copy, options)) results.push(result);
  expect(results).toHaveLength(1);
  return results[0];
}

/** What became of it, and how a reader sees what is to be written. */
async function outcome(...args: Parameters<typeof authenticate>) {
  const result = await authenticate(...args);
  if (!result.ok) return [result.error.code];
  const { authenticity, source } = decryptSession(result, key);
  return [result.authentication, authenticity, ...(source ? [source] : [])];
}

function plain(of: ExportedSessionData): BackupRecord {
  return encryptSession(of, key.publicKey);
}

describe('a record that was mended when it was written', () => {
  test.each([
    ['trailing bits in the sender_key', (of: ExportedSessionData) => ({ sender_key: withTrailingBits(of) })],
    [
      'a claimed key that is not a point',
      () => ({ sender_claimed_keys: { ed25519: `Ag${'A'.repeat(41)}` } }),
    ],
  ])('agrees with the copy it was made of: %s', async (_, change) => {
    const copy = { ...session, ...change(session) };
    expect(await outcome(plain(copy), copy)).toEqual(['authenticated', 'verified']);
  });

  function withTrailingBits({ sender_key = '' }: ExportedSessionData): string {
    return sender_key.slice(0, -1) + String.fromCharCode(sender_key.charCodeAt(42) + 1);
  }
});

describe('a record is not authenticated', () => {
  test('without a trusted copy', async () => {
    expect(await outcome(plain(session), undefined)).toEqual(['unknown', 'no-mac']);
  });

  test.each([
    ['sender_key', { sender_key: 'A'.repeat(43) }],
    ['sender_key', { sender_key: undefined }],
    ['sender_claimed_keys', { sender_claimed_keys: { ed25519: 'A'.repeat(43) } }],
    ['sender_claimed_keys', { sender_claimed_keys: {} }],
    ['room_id', { room_id: '!other' }],
  ])('when the copy has another %s', async (field, fields) => {
    const result = await authenticate(plain(session), { ...session, ...fields });
    expect(result).toMatchObject({ authentication: 'conflicting', changed: false });
    expect(result).toMatchObject({ reason: expect.stringContaining(field) as string });
  });

  test('when its MAC is wrong, and what it was is told whatever becomes of it', async () => {
    const record = encryptSession(session, key.publicKey, { macKey });
    const unsigned = { backup_mac: 'A'.repeat(43) };
    const key_backup_data = {
      ...record.key_backup_data,
      session_data: { ...record.key_backup_data.session_data, unsigned },
    };
    const spoilt = { ...record, key_backup_data };
    for (const [copy, options, authentication] of [
      [undefined, {}, 'unknown'],
      [undefined, { declareUnknown: true }, 'declared'],
      [session, {}, 'authenticated'],
      [{ ...session, sender_key: 'A'.repeat(43) }, {}, 'conflicting'],
    ] as const) {
      expect(await authenticate(spoilt, copy, options)).toMatchObject({
        authentication,
        previousAuthenticity: 'wrong-mac',
      });
    }
    expect(await authenticate(plain(session), session)).toMatchObject({ previousAuthenticity: 'no-mac' });
    expect(await authenticate(record, session)).toMatchObject({
      authentication: 'already',
      previousAuthenticity: 'verified',
    });
  });

  test('when the session key has another ratchet', async () => {
    const bytes = Buffer.from(early.session_key, 'base64');
    bytes[120] ^= 1;
    const planted = { ...early, session_key: bytes.toString('base64').replace(/=+$/, '') };
    expect(await outcome(plain(planted), session)).toEqual(['conflicting', 'no-mac']);
    expect(await outcome(plain(session), planted)).toEqual(['conflicting', 'no-mac']);
  });

  test('by a copy that is declared unauthenticated itself', async () => {
    const copy = { ...session, 'org.matrix.msc4048.unauthenticated': 'm.legacy-v1' };
    expect(await outcome(plain(session), copy)).toEqual(['unknown', 'no-mac']);
  });

  test('by a copy that does not read: it fails alone', async () => {
    const copies = [{}, { ...session, session_key: 'AAAA' }, { ...session, sender_claimed_keys: 0.5 }];
    for (const copy of copies) {
      const result = await authenticate(plain(session), copy as unknown as ExportedSessionData);
      expect(result.ok && result.authentication).not.toBe('authenticated');
    }
  });

  test('when it cannot be read', async () => {
    expect(await outcome({ ...plain(session), session_id: other.session_id }, session)).toEqual([
      'session-id-mismatch',
    ]);
    const foreign = encryptSession(session, BackupDecryptionKey.generate().publicKey);
    expect(await outcome(foreign, session)).toEqual(['mac-mismatch']);
  });
});

describe('a record is', () => {
  test('authenticated by a copy that agrees, with the key that reads more of the two', async () => {
    for (const [record, copy] of [
      [session, session],
      [early, session],
      [late, session],
      [session, early],
    ]) {
      const result = await authenticate(plain(record), copy, { bindRoomId: true });
      expect(result).toMatchObject({ authentication: 'authenticated', changed: true });
      const read = decryptSession(result as unknown as BackupRecord, key, { requireAuthenticated: true });
      expect([early.session_key, session.session_key]).toContain(read.session.session_key);
      expect(read.session.session_key).toBe(
        [record, copy].includes(early) ? early.session_key : session.session_key,
      );
      expect(read.session.sender_key).toBe(copy.sender_key);
    }
  });

  test('made of the copy alone: nothing else of the old record gets under the MAC', async () => {
    const poisoned = { ...session, forwarding_curve25519_key_chain: ['x'], evil: true, shared_history: true };
    const result = await authenticate(plain(poisoned), session);
    const read = decryptSession(result as unknown as BackupRecord, key);
    expect(read.authenticated).toBe(true);
    expect(read.session).not.toHaveProperty('evil');
    expect(read.session.forwarding_curve25519_key_chain).toEqual([]);
    expect(read.session.shared_history).toBe(session.shared_history);
  });

  test('declared, not authenticated, when the copy was forwarded', async () => {
    expect(await outcome(plain(forwarded), forwarded)).toEqual([
      'declared',
      'declared-unauthenticated',
      'm.forwarded_room_key',
    ]);
  });

  test.each([{}, { forwarding_curve25519_key_chain: undefined }, { forwarding_curve25519_key_chain: [] }])(
    'not declared forwarded when the copy has the chain of %o',
    async (fields) => {
      const { forwarding_curve25519_key_chain: _, ...bare } = session;
      const copy = { ...bare, ...fields } as ExportedSessionData;
      expect(await outcome(plain(session), copy)).toEqual(['authenticated', 'verified']);
    },
  );

  test('left alone when its writer declared it and it was not changed', async () => {
    const declared = encryptSession(session, key.publicKey, { macKey, unauthenticated: () => 'm.legacy-v1' });
    expect(await authenticate(declared, session)).toMatchObject({
      authentication: 'already',
      previousAuthenticity: 'declared-unauthenticated',
      changed: false,
      key_backup_data: declared.key_backup_data,
    });
  });

  test('left alone when it has a right MAC, and written anew when it has a wrong one', async () => {
    const right = encryptSession(session, key.publicKey, { macKey });
    expect(await authenticate(right, session)).toMatchObject({
      authentication: 'already',
      changed: false,
      key_backup_data: right.key_backup_data,
    });
    const data = { ...right.key_backup_data.session_data, unsigned: { backup_mac: 'A'.repeat(43) } };
    const wrong = { ...right, key_backup_data: { ...right.key_backup_data, session_data: data } };
    expect(await outcome(wrong, session)).toEqual(['authenticated', 'verified']);
    expect(await outcome(wrong, undefined)).toEqual(['unknown', 'wrong-mac']);
  });

  test('declared on request when there is no copy, and never when it contradicts one', async () => {
    const options = { declareUnknown: true };
    expect(await outcome(plain(session), undefined, options)).toEqual([
      'declared',
      'declared-unauthenticated',
      'm.legacy-v1',
    ]);
    const conflicting = { ...session, sender_key: other.sender_key };
    expect(await outcome(plain(session), conflicting, options)).toEqual(['conflicting', 'no-mac']);
  });

  test('verified only where the caller says so', async () => {
    const of = async (options: AuthenticateOptions) =>
      (await authenticate(plain(session), session, options)) as unknown as AuthenticatedRecord;
    expect((await of({})).key_backup_data).toMatchObject({ is_verified: false });
    expect((await of({ isVerified: true })).key_backup_data).toMatchObject({ is_verified: true });
  });
});

test('every result says why', async () => {
  const right = encryptSession(session, key.publicKey, { macKey });
  const unproven = { ...session, 'org.matrix.msc4048.unauthenticated': 'm.legacy-v1' };
  const declareUnknown = true;
  for (const [record, copy, options, reason] of [
    [plain(session), undefined, {}, 'there is no trusted copy of it'],
    [plain(session), undefined, { declareUnknown }, 'there is no trusted copy of it'],
    [plain(session), unproven, {}, 'its copy is declared unauthenticated'],
    [plain(session), unproven, { declareUnknown }, 'its copy is declared unauthenticated'],
    [plain(session), session, {}, 'it agrees with the trusted copy'],
    [plain(forwarded), forwarded, {}, 'its trusted copy was forwarded'],
    [
      plain(other),
      { ...other, session_key: session.session_key },
      {},
      "session_key differs from the trusted copy's",
    ],
    [right, session, {}, 'it has a right backup_mac'],
  ] as const) {
    expect(await authenticate(record, copy, options)).toMatchObject({ ok: true, reason });
  }
});

test('an abort while the next record does not come tells the records to end', async () => {
  const abort = new AbortController();
  let ended = 0;
  const hanging: AsyncIterable<BackupRecord> = {
    [Symbol.asyncIterator]: () => ({
      next: () => {
        setTimeout(() => {
          abort.abort();
        });
        return new Promise(() => undefined);
      },
      return: () => {
        ended++;
        return new Promise(() => undefined);
      },
    }),
  };
  const results = authenticateSessions(hanging, key, () => undefined, { signal: abort.signal });
  await expect(results.next()).rejects.toMatchObject({ code: 'aborted' });
  expect(ended).toBe(1);
});

describe('a backup of many records', () => {
  const many = roomKeys(600);
  const records = encryptSessionsSync(many, key.publicKey) as unknown as BackupRecord[];
  const copies = new Map(many.map((one) => [one.session_id, one]));
  const copyOf = (_roomId: string, sessionId: string) => copies.get(sessionId);

  test('gives one result per record, in order, and counts as authenticated what then reads as verified', async () => {
    const broken = { ...records[299], key_backup_data: {} };
    const given = [...records.slice(0, 299), broken, ...records.slice(300)];
    const chain = ['A'.repeat(43)];
    const trusted = (_roomId: string, sessionId: string) => {
      const i = many.findIndex(({ session_id }) => session_id === sessionId);
      const copy = [undefined, { ...many[i], forwarding_curve25519_key_chain: chain }, many[i]][i % 3];
      return copy;
    };
    const results = await collect(authenticateSessions(given, key, trusted));
    expect(results.map(({ index }) => index)).toEqual(given.map((_, i) => i));
    for (const [i, result] of results.entries()) {
      if (i === 299) {
        expect(result).toMatchObject({ ok: false, wellFormed: false });
        continue;
      }
      const authentication = (['unknown', 'declared', 'authenticated'] as const)[i % 3];
      expect(result).toMatchObject({ ok: true, session_id: many[i].session_id, authentication });
      const { authenticated } = decryptSession(result as unknown as BackupRecord, key);
      expect(authenticated).toBe(authentication === 'authenticated');
    }
  });

  test('asks for no more than 256 copies at a time, which may come as promises', async () => {
    let waiting = 0;
    let most = 0;
    const trusted = async (roomId: string, sessionId: string) => {
      most = Math.max(most, ++waiting);
      await new Promise((resolve) => setTimeout(resolve));
      waiting--;
      return copyOf(roomId, sessionId);
    };
    const results = await collect(authenticateSessions(records, key, trusted));
    expect(results.filter((one) => one.ok && one.authentication === 'authenticated')).toHaveLength(600);
    expect(most).toBe(256);
  });

  test('throws what the store throws, once, and stops waiting for it at an abort', async () => {
    for (const fault of [
      new TypeError('the store is closed'),
      new KeyBackupError('bad-json', 'a damaged store'),
    ]) {
      const throwing = () => {
        throw fault;
      };
      const rejecting = () => Promise.reject(fault);
      for (const trusted of [throwing, rejecting]) {
        await expect(collect(authenticateSessions(records.slice(0, 3), key, trusted))).rejects.toBe(fault);
      }
    }
    const abort = new AbortController();
    const hanging = () => {
      setTimeout(() => {
        abort.abort();
      });
      return new Promise<undefined>(() => undefined);
    };
    const results = authenticateSessions(records.slice(0, 1), key, hanging, { signal: abort.signal });
    await expect(results.next()).rejects.toMatchObject({ code: 'aborted' });
  });

  test('goes on when the decryption key is disposed of in the middle', async () => {
    const disposed = BackupDecryptionKey.fromBytes(key.toBytes());
    const results = authenticateSessions(records, disposed, copyOf);
    expect((await results.next()).value).toMatchObject({ authentication: 'authenticated' });
    disposed.dispose();
    const rest = await collect(results);
    expect(rest.filter((one) => one.ok && one.authentication === 'authenticated')).toHaveLength(599);
  });

  test('reports progress, with the total where it is known', async () => {
    const totalsOf = async (given: Iterable<BackupRecord>, options: { total?: number }) => {
      const totals = new Set<unknown>();
      const onProgress = (step: { total: number | undefined }) => void totals.add(step.total);
      await collect(authenticateSessions(given, key, copyOf, { ...options, onProgress }));
      return [...totals];
    };
    expect(await totalsOf(records.slice(0, 3), {})).toEqual([3]);
    expect(await totalsOf(records.slice(0, 3), { total: 7 })).toEqual([7]);
    expect(await totalsOf(records.slice(0, 3).values(), {})).toEqual([undefined]);
  });
});

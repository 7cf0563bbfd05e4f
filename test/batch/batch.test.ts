import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import {
  BackupDecryptionKey,
  KeyBackupError,
  decryptSession,
  decryptSessionsSync,
  encryptSession,
  encryptSessionsSync,
  type BackupRecord,
  type EncryptedSession,
  type ExportedSessionData,
} from '../../src/index.js';
import { decryptSessions } from '../../src/batch/decrypt.js';
import { encryptSessions } from '../../src/batch/encrypt.js';
import { MAX_PLAINTEXT_BYTES, readSessionKey, type Backend } from '../../src/engine.js';
import * as scheme from '../../src/scheme/session-data.js';
import { decryptMany as decryptManyBy, encryptMany as encryptManyBy } from '../../src/batch/backend.js';
import * as x25519 from '../../src/curve25519/x25519.js';
import {
  anyJson,
  base64,
  collect,
  forge,
  refusal,
  rejection,
  roomKey,
  roomKeys,
  sessionKey,
} from '../support/samples.js';

const key = BackupDecryptionKey.fromBytes(new Uint8Array(32).fill(0x42));
const { publicKey } = key;

/** What a backup holds of some sessions. */
const records = (sessions: ExportedSessionData[]): EncryptedSession[] =>
  sessions.map((session) => encryptSession(session, publicKey));

/** One bad record for every code that a record can come to. */
function badRecords(): { record: unknown; code: string; wellFormed: boolean }[] {
  const [good] = records([roomKey()]);
  const { session_data } = good.key_backup_data;
  const sealed = (plaintext: string | Uint8Array, session_id = good.session_id) => ({
    ...good,
    session_id,
    key_backup_data: {
      session_data: forge(publicKey.toBytes()).withPlaintext(
        typeof plaintext === 'string' ? new TextEncoder().encode(plaintext) : plaintext,
      ),
    },
  });
  const withData = (fields: object) => ({
    ...good,
    key_backup_data: { ...good.key_backup_data, session_data: { ...session_data, ...fields } },
  });
  const sealedKey = (fields: Record<string, unknown>) => {
    const session = roomKey(fields);
    return sealed(JSON.stringify(session), session.session_id);
  };
  const apart = (record: unknown, code: string) => ({ record, code, wellFormed: false });
  const opened = (record: unknown, code: string) => ({ record, code, wellFormed: true });
  return [
    apart(null, 'bad-json'),
    apart(undefined, 'bad-json'),
    apart('text', 'bad-json'),
    apart([], 'bad-json'),
    apart({}, 'missing-field'),
    apart({ ...good, room_id: undefined }, 'missing-field'),
    apart({ ...good, session_id: undefined }, 'missing-field'),
    apart({ ...good, room_id: 5 }, 'bad-json'),
    apart({ ...good, session_id: {} }, 'bad-json'),
    apart({ ...good, key_backup_data: null }, 'bad-json'),
    apart({ ...good, key_backup_data: [] }, 'bad-json'),
    apart({ ...good, key_backup_data: {} }, 'missing-field'),
    apart({ ...good, key_backup_data: { session_data: null } }, 'bad-json'),
    apart({ ...good, key_backup_data: Object.create(good.key_backup_data) as object }, 'missing-field'),
    apart(withData({ mac: undefined }), 'missing-field'),
    apart(withData({ ephemeral: '*' }), 'bad-base64'),
    apart(withData({ ephemeral: 'AAAA' }), 'bad-length'),
    apart(withData({ mac: 'AAAA' }), 'bad-mac-length'),
    apart(withData({ ciphertext: '' }), 'bad-ciphertext-length'),
    apart(withData({ ciphertext: 'A'.repeat(2_000_000) }), 'too-large'),
    opened(withData({ ephemeral: 'A'.repeat(43) }), 'low-order-key'),
    opened(withData({ mac: 'A'.repeat(11) }), 'mac-mismatch'),
    opened(
      {
        ...good,
        key_backup_data: { session_data: forge(publicKey.toBytes()).withBlocks(new Uint8Array(16)) },
      },
      'bad-padding',
    ),
    opened(sealed(Uint8Array.of(0xff)), 'bad-utf8'),
    opened(sealed('[]'), 'bad-json'),
    opened(sealed('{}'), 'missing-field'),
    opened(sealedKey({ algorithm: 'other' }), 'unsupported-algorithm'),
    opened(sealedKey({ session_key: 'AAAA' }), 'bad-session-key'),
    opened({ ...good, session_id: sessionKey().session_id }, 'session-id-mismatch'),
    opened({ ...good, session_id: '__proto__' }, 'session-id-mismatch'),
  ];
}

function badSessions(): { session: unknown; code: string }[] {
  return [
    { session: null, code: 'bad-json' },
    { session: 'text', code: 'bad-json' },
    { session: {}, code: 'missing-field' },
    { session: roomKey({ room_id: 1 }), code: 'bad-json' },
    { session: roomKey({ algorithm: 'other' }), code: 'unsupported-algorithm' },
    { session: roomKey({ session_key: '*' }), code: 'bad-session-key' },
    { session: roomKey({ session_id: 'other' }), code: 'session-id-mismatch' },
    { session: roomKey({ large: 'x'.repeat(MAX_PLAINTEXT_BYTES) }), code: 'too-large' },
  ];
}

afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

describe('round trips', () => {
  it('give back the same sessions, by every way there is', async () => {
    const sessions = roomKeys(60);
    const sync = encryptSessionsSync(sessions, publicKey);
    const streamed = await collect(encryptSessions(new Set(sessions), publicKey));
    for (const results of [sync, streamed]) {
      const encrypted = results.map((result) => {
        if (!result.ok) throw result.error;
        return result;
      });
      const decrypted = [
        decryptSessionsSync(encrypted, key),
        await collect(decryptSessions(encrypted, key)),
        encrypted.map((record) => ({ ok: true as const, ...decryptSession(record, key) })),
      ];
      for (const outcomes of decrypted) {
        expect(outcomes.map((outcome) => outcome.ok && outcome.session)).toEqual(sessions);
        expect(outcomes.map((outcome) => outcome.ok && outcome.flags)).toEqual(sessions.map(() => []));
      }
    }
  });

  it('give back prototype names and unknown fields', () => {
    const session = JSON.parse(
      JSON.stringify(roomKey({ room_id: '__proto__' })).replace('{', '{"__proto__":{"polluted":true},'),
    ) as ExportedSessionData;
    const { session: restored, room_id } = decryptSession(encryptSession(session, publicKey), key);
    expect(room_id).toBe('__proto__');
    expect(JSON.stringify(restored)).toContain('"__proto__":{"polluted":true}');
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });

  it('need more ephemeral keys than one call of the generator gives', () => {
    const secrets = x25519.generatePrivateKeys(4100);
    const seen = new Set(
      Array.from({ length: 4100 }, (_, i) => base64(secrets.subarray(32 * i, 32 * i + 32))),
    );
    expect(seen.size).toBe(4100);
  });
});

describe('the record', () => {
  it('says what the specification has it say', () => {
    const chain = ['A'.repeat(43), 'B'.repeat(42) + 'A'];
    const session = roomKey({ forwarding_curve25519_key_chain: chain }, 5);
    const { key_backup_data, ...place } = encryptSession(session, publicKey);
    expect(place).toEqual({ room_id: session.room_id, session_id: session.session_id, flags: [] });
    expect(key_backup_data).toEqual({
      first_message_index: 5,
      forwarded_count: 2,
      is_verified: false,
      session_data: {
        ephemeral: expect.any(String),
        ciphertext: expect.any(String),
        mac: expect.any(String),
      },
    });
  });

  it('is verified when told, for all or for each', () => {
    const sessions = roomKeys(3);
    const verified = (isVerified: boolean | ((session: ExportedSessionData) => boolean)) =>
      encryptSessionsSync(sessions, publicKey, { isVerified }).map(
        (result) => result.ok && result.key_backup_data.is_verified,
      );
    expect(verified(true)).toEqual([true, true, true]);
    expect(verified((session) => session === sessions[1])).toEqual([false, true, false]);
  });
});

describe('bad keys', () => {
  it('come out with the one reason each, and spoil no other', async () => {
    const bad = badRecords();
    const good = records(roomKeys(bad.length));
    const mixed = bad.flatMap(({ record }, i) => [record, good[i]]) as BackupRecord[];
    const backends: (Backend | undefined)[] = [undefined, { name: 'empty' }];
    const runs = [
      decryptSessionsSync(mixed, key),
      ...(await Promise.all(backends.map((backend) => collect(decryptSessions(mixed, key, { backend }))))),
    ];
    for (const outcomes of runs) {
      expect(outcomes).toHaveLength(mixed.length);
      bad.forEach(({ code, wellFormed }, i) => {
        expect(outcomes[2 * i]).toMatchObject({ ok: false, index: 2 * i, wellFormed, error: { code } });
        expect(outcomes[2 * i + 1]).toMatchObject({
          ok: true,
          index: 2 * i + 1,
          session_id: good[i].session_id,
        });
      });
    }
    for (const { record, code } of bad) {
      expect(refusal(() => decryptSession(record as BackupRecord, key)).code).toBe(code);
    }
  });

  it('come out on the way in, too', async () => {
    const bad = badSessions();
    const mixed = bad.flatMap(({ session }) => [session, roomKey()]) as ExportedSessionData[];
    for (const outcomes of [
      encryptSessionsSync(mixed, publicKey),
      await collect(encryptSessions(mixed, publicKey)),
    ]) {
      bad.forEach(({ code }, i) => {
        expect(outcomes[2 * i]).toMatchObject({ ok: false, error: { code } });
        expect(outcomes[2 * i + 1]).toMatchObject({ ok: true });
      });
    }
    for (const { session, code } of bad) {
      expect(refusal(() => encryptSession(session as ExportedSessionData, publicKey)).code).toBe(code);
    }
  });

  it('may be any JSON', async () => {
    const inData = anyJson.map((session_data) => ({
      room_id: '!r',
      session_id: 's',
      key_backup_data: { session_data },
    }));
    const inRecord = anyJson.map((key_backup_data) => ({ room_id: '!r', session_id: 's', key_backup_data }));
    await fc.assert(
      fc.asyncProperty(fc.array(fc.oneof(anyJson, inData, inRecord)), async (inputs) => {
        const given = inputs as BackupRecord[];
        const outcomes = [
          ...decryptSessionsSync(given, key, { salvage: true }),
          ...(await collect(decryptSessions(given, key))),
          ...encryptSessionsSync(given as unknown as ExportedSessionData[], publicKey),
        ];
        expect(outcomes).toHaveLength(3 * inputs.length);
        for (const outcome of outcomes) {
          expect(outcome).toMatchObject({ ok: false, error: expect.any(KeyBackupError) });
        }
      }),
    );
  });

  it('are salvaged when told, and flagged', async () => {
    const session = roomKey({ sender_key: undefined });
    const forged = forge(publicKey.toBytes());
    const session_data = {
      ...forged.withPlaintext(new TextEncoder().encode(JSON.stringify(session))),
      mac: base64(forged.wholeMac),
    };
    const record = { room_id: '!r', session_id: session.session_id, key_backup_data: { session_data } };
    const flags = ['mac-length', 'missing-sender-key'];
    expect(decryptSession(record, key, { salvage: true }).flags).toEqual(flags);
    expect(await collect(decryptSessions([record], key, { salvage: true }))).toMatchObject([
      { ok: true, flags },
    ]);
    expect(decryptSessionsSync([record], key)).toMatchObject([{ error: { code: 'bad-mac-length' } }]);
  });
});

describe('the other key', () => {
  it('is mac-mismatch on every record, and each of them well-formed', () => {
    const other = BackupDecryptionKey.generate();
    for (const outcome of decryptSessionsSync(records(roomKeys(5)), other)) {
      expect(outcome).toMatchObject({ ok: false, wellFormed: true, error: { code: 'mac-mismatch' } });
    }
  });

  it('disposed of before is refused, disposed of later does no harm', async () => {
    const inputs = records(roomKeys(40));
    const other = BackupDecryptionKey.fromBytes(key.toBytes());
    const running = decryptSessions(inputs, other);
    expect((await running.next()).value).toMatchObject({ ok: true });
    other.dispose();
    expect((await collect(running)).every(({ ok }) => ok)).toBe(true);
    expect(refusal(() => decryptSessionsSync(inputs, other)).code).toBe('bad-parameters');
    expect((await rejection(collect(decryptSessions(inputs, other)))).code).toBe('bad-parameters');
    expect(refusal(() => decryptSession(inputs[0], other)).code).toBe('bad-parameters');
  });
});

describe('sharing the thread', () => {
  it('lets timers and immediates of others run', async () => {
    let time = 0;
    // Each look at the clock costs 5 ms, so that turns depend on the work and not on the machine.
    vi.stubGlobal('performance', { now: () => (time += 5) });
    let immediates = 0;
    let running = true;
    const count = () => {
      immediates++;
      if (running) setImmediate(count);
    };
    setImmediate(count);
    const encrypted = await collect(encryptSessions(roomKeys(64), publicKey));
    const between = immediates;
    await collect(decryptSessions(encrypted as unknown as BackupRecord[], key));
    running = false;
    expect(between).toBeGreaterThanOrEqual(10);
    expect(immediates - between).toBeGreaterThanOrEqual(10);
  });

  it('is cancelled through the public calls', async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const results: unknown[] = [];
    const error = await rejection(
      (async () => {
        for await (const result of encryptSessions(roomKeys(50), publicKey, { signal })) {
          results.push(result);
          if (results.length === 3) controller.abort();
        }
      })(),
    );
    expect(error.code).toBe('aborted');
    expect(results).toHaveLength(3);
    expect((await rejection(collect(decryptSessions([], key, { signal })))).code).toBe('aborted');
  });
});

describe('secrets in memory', () => {
  it('are wiped once a batch is through: private keys, ephemeral keys, shared secrets', async () => {
    const seen: Uint8Array[] = [];
    const pure = (): Backend => ({
      name: 'spy',
      encapsulateMany: (recipient, ephemerals) => {
        const encapsulated = x25519.encapsulateMany(recipient, ephemerals);
        seen.push(ephemerals, encapsulated.sharedSecrets);
        return Promise.resolve(encapsulated);
      },
      agreeMany: (privateKey, publicKeys) => {
        const secrets = x25519.agreeMany(privateKey, publicKeys);
        seen.push(privateKey, secrets);
        return Promise.resolve(secrets);
      },
    });
    const inputs = records(roomKeys(3));
    await collect(encryptSessions(roomKeys(3), publicKey, { backend: pure() }));
    await collect(decryptSessions(inputs, key, { backend: pure() }));
    expect(seen.length).toBeGreaterThanOrEqual(4);
    for (const array of seen) expect(array.every((byte) => byte === 0)).toBe(true);
  });
});

describe('backends', () => {
  const backend = (operations: Record<string, unknown>): Backend => ({ name: 'odd', ...operations });
  const sessions = roomKeys(3);
  const inputs = records(roomKeys(3));
  const encrypting = (operations: Record<string, unknown>) =>
    collect(encryptSessions(sessions, publicKey, { backend: backend(operations) }));
  const decrypting = (operations: Record<string, unknown>) =>
    collect(decryptSessions(inputs, key, { backend: backend(operations) }));

  it('may give Buffers', async () => {
    const buffers = {
      encapsulateMany: (recipient: Uint8Array, ephemerals: Uint8Array) => {
        const { ephemeralPublicKeys, sharedSecrets } = x25519.encapsulateMany(recipient, ephemerals);
        return Promise.resolve({
          ephemeralPublicKeys: Buffer.from(ephemeralPublicKeys),
          sharedSecrets: Buffer.from(sharedSecrets),
        });
      },
      agreeMany: (privateKey: Uint8Array, publicKeys: Uint8Array) =>
        Promise.resolve(Buffer.from(x25519.agreeMany(privateKey, publicKeys))),
      seal: (secret: Uint8Array, plaintext: Uint8Array) => {
        const { ciphertext, mac } = scheme.seal(secret, plaintext);
        return { ciphertext: Buffer.from(ciphertext), mac: Buffer.from(mac) };
      },
      open: (...args: Parameters<typeof scheme.open>) => {
        const padded = scheme.open(...args);
        return padded && Buffer.from(padded);
      },
    };
    const encrypted = await encrypting(buffers);
    expect(encrypted.every(({ ok }) => ok)).toBe(true);
    const decrypted = await collect(
      decryptSessions(encrypted as unknown as BackupRecord[], key, { backend: backend(buffers) }),
    );
    expect(decrypted.map((result) => result.ok && result.session)).toEqual(sessions);
  });

  it('are called as methods', async () => {
    const method = {
      pure: x25519,
      scheme,
      agreeMany(privateKey: Uint8Array, publicKeys: Uint8Array) {
        return Promise.resolve(this.pure.agreeMany(privateKey, publicKeys));
      },
      encapsulateMany(recipient: Uint8Array, ephemerals: Uint8Array) {
        return Promise.resolve(this.pure.encapsulateMany(recipient, ephemerals));
      },
      seal(secret: Uint8Array, plaintext: Uint8Array) {
        return this.scheme.seal(secret, plaintext);
      },
      open(secret: Uint8Array, ciphertext: Uint8Array, mac: Uint8Array) {
        return this.scheme.open(secret, ciphertext, mac);
      },
    };
    expect((await encrypting(method)).every(({ ok }) => ok)).toBe(true);
    expect((await decrypting(method)).every(({ ok }) => ok)).toBe(true);
  });

  const ones = (length: number) => new Uint8Array(length).fill(1);

  it.each<[string, (length: number) => unknown]>([
    ['reject', () => Promise.reject(new Error('lower'))],
    [
      'throw',
      () => {
        throw new Error('lower');
      },
    ],
    ['give nothing', () => Promise.resolve(undefined)],
    ['give null', () => Promise.resolve(null)],
    ['give too few bytes', (length) => Promise.resolve(ones(length - 1))],
    ['give too many bytes', (length) => Promise.resolve(ones(length + 32))],
    ['give no bytes', () => Promise.resolve(ones(0))],
    ['give a text', (length) => Promise.resolve('x'.repeat(length))],
  ])('whose agreements %s have failed', async (how, give) => {
    const failed = async (running: Promise<unknown>) => {
      const error = await rejection(running);
      expect(error.code).toBe('backend-failed');
      expect(error.message).toMatch(/^backend odd: (agreeMany|encapsulateMany)/);
      if (how === 'throw' || how === 'reject') expect((error.cause as Error).message).toBe('lower');
    };
    await failed(decrypting({ agreeMany: (_: unknown, keys: Uint8Array) => give(keys.length) }));
    const part = async (length: number) => await give(length);
    for (const encapsulate of [
      give,
      async (length: number) => ({ ephemeralPublicKeys: await part(length), sharedSecrets: ones(length) }),
      async (length: number) => ({ ephemeralPublicKeys: ones(length), sharedSecrets: await part(length) }),
    ]) {
      await failed(
        encrypting({ encapsulateMany: (_: unknown, keys: Uint8Array) => encapsulate(keys.length) }),
      );
    }
  });

  it('may fail with a code of their own', async () => {
    const own = new KeyBackupError('too-large', 'own: expected nothing');
    expect(await rejection(decrypting({ agreeMany: () => Promise.reject(own) }))).toBe(own);
    const [outcome] = await decrypting({
      open: () => {
        throw own;
      },
    });
    expect(outcome).toMatchObject({ ok: false, error: own });
  });

  it('that give zeros for a secret are not believed', async () => {
    for (const outcomes of [
      await encrypting({
        encapsulateMany: (_: unknown, { length }: Uint8Array) =>
          Promise.resolve({ ephemeralPublicKeys: ones(length), sharedSecrets: new Uint8Array(length) }),
      }),
      await decrypting({
        agreeMany: (_: unknown, { length }: Uint8Array) => Promise.resolve(new Uint8Array(length)),
      }),
    ]) {
      for (const outcome of outcomes)
        expect(outcome).toMatchObject({ ok: false, error: { code: 'low-order-key' } });
    }
  });

  it.each([
    [
      'throws',
      () => {
        throw new Error('no');
      },
    ],
    ['gives nothing', () => undefined],
    ['gives a promise', () => Promise.resolve({ ciphertext: ones(16), mac: ones(8) })],
    ['gives no MAC', () => ({ ciphertext: ones(16) })],
    [
      'gives a short MAC',
      (_: Uint8Array, plaintext: Uint8Array) => ({
        ciphertext: ones(plaintext.length - (plaintext.length % 16) + 16),
        mac: ones(7),
      }),
    ],
    ['gives a short ciphertext', () => ({ ciphertext: ones(16), mac: ones(8) })],
    ['gives a text', () => ({ ciphertext: 'x', mac: ones(8) })],
  ])('whose seal %s have failed for that key', async (_, seal) => {
    for (const outcome of await encrypting({ seal })) {
      expect(outcome).toMatchObject({ ok: false, error: { code: 'backend-failed' } });
    }
  });

  it.each([
    [
      'throws',
      () => {
        throw new Error('no');
      },
    ],
    ['gives null', () => null],
    ['gives a promise', () => Promise.resolve(ones(16))],
    ['gives nothing of it', () => ones(0)],
    ['gives a part', () => ones(16)],
    ['gives a text', () => 'x'.repeat(16)],
  ])('whose open %s have failed for that key', async (_, open) => {
    for (const outcome of await decrypting({ open })) {
      expect(outcome).toMatchObject({ ok: false, error: { code: 'backend-failed' } });
    }
  });

  describe('that do whole sessions', () => {
    const encryptMany: NonNullable<Backend['encryptMany']> = (recipient, plaintexts, options) =>
      encryptManyBy({ name: 'pure' }, recipient, plaintexts, options);
    const decryptMany: NonNullable<Backend['decryptMany']> = (privateKey, parsed, options) =>
      decryptManyBy({ name: 'pure' }, privateKey, parsed, options);

    it('give what the engine gives, bad keys included', async () => {
      const encrypted = await encrypting({ encryptMany });
      expect(encrypted.every(({ ok }) => ok)).toBe(true);
      const bad = badRecords();
      const mixed = [...bad.map(({ record }) => record), ...encrypted] as BackupRecord[];
      const by = backend({ decryptMany, pipeline: { chunk: 7, depth: 2 } });
      const decrypted = await collect(decryptSessions(mixed, key, { backend: by }));
      bad.forEach(({ code, wellFormed }, i) => {
        expect(decrypted[i]).toMatchObject({ ok: false, wellFormed, error: { code } });
      });
      expect(decrypted.slice(bad.length).map((result) => result.ok && result.session)).toEqual(sessions);
    });

    it('are called as methods', async () => {
      const methods = {
        one: encryptMany,
        other: decryptMany,
        encryptMany(...task: Parameters<typeof encryptMany>) {
          return this.one(...task);
        },
        decryptMany(...task: Parameters<typeof decryptMany>) {
          return this.other(...task);
        },
      };
      expect((await encrypting(methods)).every(({ ok }) => ok)).toBe(true);
      expect((await decrypting(methods)).every(({ ok }) => ok)).toBe(true);
    });

    const good = { ephemeral: 'A'.repeat(43), mac: 'A'.repeat(11) };

    it.each<[string, (plaintexts: readonly Uint8Array[]) => unknown]>([
      [
        'throw',
        () => {
          throw new Error('lower');
        },
      ],
      ['reject', () => Promise.reject(new Error('lower'))],
      ['give nothing', () => Promise.resolve(undefined)],
      ['give an object', () => Promise.resolve({ length: 1 })],
      ['give too few', () => Promise.resolve([])],
      ['give too many', (all) => Promise.resolve([...all, ...all].map(() => good))],
      ['give null', (all) => Promise.resolve(all.map(() => null))],
      ['give texts', (all) => Promise.resolve(all.map(() => 'x'))],
      ['give no ciphertext', (all) => Promise.resolve(all.map(() => good))],
      [
        'give a short one',
        (all) => Promise.resolve(all.map(() => ({ ...good, ciphertext: 'A'.repeat(22) }))),
      ],
      ['give bytes', (all) => Promise.resolve(all.map(() => ({ ...good, ciphertext: ones(16) })))],
    ])('and %s have failed', async (_, give) => {
      const encrypted = encrypting({ encryptMany: (_: unknown, all: readonly Uint8Array[]) => give(all) });
      expect((await rejection(encrypted)).code).toBe('backend-failed');
      const decrypted = decrypting({
        decryptMany: (_: unknown, all: readonly unknown[]) => give(all as Uint8Array[]),
      });
      expect((await rejection(decrypted)).code).toBe('backend-failed');
    });
  });

  it('that open another plaintext come to bad-utf8 or bad-json, never to a room key', async () => {
    const open = (_: Uint8Array, ciphertext: Uint8Array) => ones(ciphertext.length);
    for (const outcome of await decrypting({ open })) expect(outcome).toMatchObject({ ok: false });
  });
});

describe('silence', () => {
  it('no error of a batch tells a key, a secret or a plaintext', () => {
    const secret = 'SECRETSECRET';
    const secrets = (session: ExportedSessionData) => [
      session.session_key.slice(8, 40),
      secret,
      key.toBase64(),
      key.toRecoveryKey(),
    ];
    const told = (error: unknown): string =>
      error instanceof Error ? `${error.message} ${String(error.stack)} ${told(error.cause)}` : String(error);
    const field = fc.constantFrom('ephemeral', 'mac', 'ciphertext');
    fc.assert(
      fc.property(field, fc.nat(), fc.constantFrom('', 'A', '*', secret, '=='), (name, at, put) => {
        const session = roomKey({ secret });
        const record = encryptSession(session, publicKey);
        const session_data = { ...record.key_backup_data.session_data };
        const text = session_data[name];
        const place = at % text.length;
        session_data[name] = text.slice(0, place) + put + text.slice(place + 1);
        const spoiled = { ...record, key_backup_data: { session_data } };
        for (const salvage of [false, true]) {
          const [outcome] = decryptSessionsSync([spoiled], key, { salvage });
          if (outcome.ok) {
            expect(readSessionKey(outcome.session.session_key).session_id).toBe(session.session_id);
          } else for (const word of secrets(session)) expect(told(outcome.error)).not.toContain(word);
        }
      }),
    );
  });
});

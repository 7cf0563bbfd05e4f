import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';
import type { ExportedSessionData } from '../../../src/formats/room-key.js';
import { readSessionKey } from '../../../src/formats/session-key.js';
import { BackupDecryptionKey } from '../../../src/scheme/keys.js';
import { DECRYPT, USER, Workspace, signedAuthData, syntheticSession, type BackupFile } from '../workspace.js';

const Olm = createRequire(import.meta.url)('@matrix-org/olm') as typeof import('@matrix-org/olm');

/** A workspace with an export of one session, an auth_data of its key and that of another key. */
function workspace() {
  const work = new Workspace();
  work.writeJson('export.json', [work.session()]);
  const { authData, signer } = signedAuthData(work.key);
  work.writeJson('auth.json', authData);
  work.writeJson('version.json', {
    algorithm: 'm.megolm_backup.v1.curve25519-aes-sha2',
    auth_data: authData,
    count: 1,
    etag: '0',
    version: '1',
  });
  const other = BackupDecryptionKey.generate();
  work.write('other.txt', other.toRecoveryKey());
  const made = ['export.json', 'auth.json', 'version.json', 'other.txt', 'forged.json'];
  return { work, authData, signer, made };
}

describe.concurrent('the recipient', () => {
  const trusted: Record<string, (publicKey: string, signer: string) => string[]> = {
    'a public key': (publicKey) => ['--public-key', publicKey],
    'a padded public key': (publicKey) => ['--public-key', `${publicKey}=`],
    'a key file': () => ['--key-file', 'key.txt'],
    'an auth_data signed by a trusted device': (_, signer) => [
      ...['--auth-data', 'auth.json', '--user', USER, '--key', signer],
    ],
    'a version object signed by a trusted device': (_, signer) => [
      ...['--auth-data', 'version.json', '--user', USER, '--key', signer],
    ],
    'a signed auth_data among several trusted keys': (_, signer) => [
      ...['--auth-data', 'auth.json', '--user', USER],
      ...['--key', `ed25519:OTHER=${'A'.repeat(42)}E`, '--key', signer],
    ],
    'an auth_data of the key': () => ['--auth-data', 'auth.json', '--key-file', 'key.txt'],
    'an auth_data of unknown origin': () => ['--auth-data', 'auth.json', '--trust-unverified'],
  };

  it.each(Object.entries(trusted))('is named by %s', async (_, recipient) => {
    const { work, signer } = workspace();
    const args = recipient(work.key.publicKey.toBase64(), signer);
    const end = await work.run(['encrypt', 'export.json', ...args, '-o', 'backup.json']);
    expect(end).toEqual({ code: 0, signal: null, stdout: '', stderr: '1 of 1 keys; 0 failed\n' });
    expect(work.mode('backup.json')).toBe('600');
    const back = await work.run([...DECRYPT, '-o', 'back.json']);
    expect(back.code).toBe(0);
    expect(work.json('back.json')).toEqual(work.json('export.json'));
  });

  const untrusted: Record<
    string,
    {
      args: (signer: string) => string[];
      code: string;
      forge?: (authData: Record<string, unknown>) => unknown;
    }
  > = {
    'by the key of another user': {
      args: (signer) => ['--user', '@mallory:example.org', '--key', signer],
      code: 'untrusted-backup',
    },
    'by another device': {
      args: (signer) => ['--user', USER, '--key', signer.replace('DEVICE', 'OTHER')],
      code: 'untrusted-backup',
    },
    'by another key of that device': {
      args: () => ['--user', USER, '--key', signedAuthData(BackupDecryptionKey.generate()).signer],
      code: 'untrusted-backup',
    },
    'by another decryption key': { args: () => ['--key-file', 'other.txt'], code: 'wrong-key' },
    'by another decryption key, even with the word': {
      args: () => ['--key-file', 'other.txt', '--trust-unverified'],
      code: 'wrong-key',
    },
    'when its public key was replaced': {
      args: (signer) => ['--user', USER, '--key', signer],
      forge: (authData) => ({
        ...authData,
        public_key: BackupDecryptionKey.generate().publicKey.toBase64(),
      }),
      code: 'untrusted-backup',
    },
    'when a field was added': {
      args: (signer) => ['--user', USER, '--key', signer],
      forge: (authData) => ({ ...authData, extra: 1 }),
      code: 'untrusted-backup',
    },
    'without signatures': {
      args: (signer) => ['--user', USER, '--key', signer],
      forge: ({ public_key }) => ({ public_key }),
      code: 'untrusted-backup',
    },
    'with a public key of 45 bytes': {
      args: () => ['--trust-unverified'],
      forge: () => ({ public_key: 'A'.repeat(60) }),
      code: 'bad-auth-data',
    },
    'with a public key of small order': {
      args: () => ['--trust-unverified'],
      forge: () => ({ public_key: 'A'.repeat(43) }),
      code: 'low-order-key',
    },
    'without a public key': { args: () => ['--trust-unverified'], forge: () => ({}), code: 'bad-auth-data' },
    'of another algorithm': {
      args: () => ['--trust-unverified'],
      forge: (authData) => ({ algorithm: 'm.megolm_backup.v2', auth_data: authData }),
      code: 'unsupported-algorithm',
    },
  };

  it.each(Object.entries(untrusted))('is never an auth_data that is not trusted: %s', async (_, given) => {
    const { work, authData, signer, made } = workspace();
    work.writeJson('forged.json', given.forge ? given.forge(authData) : authData);
    const args = ['encrypt', 'export.json', '--auth-data', 'forged.json', ...given.args(signer)];
    const [file, stdout] = await Promise.all([work.run([...args, '-o', 'backup.json']), work.run(args)]);
    expect(file.code).toBe(1);
    expect(file.stderr).toContain(`${given.code}: `);
    expect(work.filesBut(...made)).toEqual([]);
    expect(stdout).toEqual({ ...file, stdout: '' });
  });

  const wrongUsage: Record<string, (publicKey: string, signer: string) => string[]> = {
    missing: () => [],
    'an auth_data without a reason': () => ['--auth-data', 'auth.json'],
    'a user without a key': () => ['--auth-data', 'auth.json', '--user', USER],
    'a key without a user': (_, signer) => ['--auth-data', 'auth.json', '--key', signer],
    'a signer without an auth_data': (_, signer) => ['--user', USER, '--key', signer],
    'the word without an auth_data': () => ['--trust-unverified'],
    'a public key and a key file': (publicKey) => ['--public-key', publicKey, '--key-file', 'key.txt'],
    'a public key and an auth_data': (publicKey) => ['--public-key', publicKey, '--auth-data', 'auth.json'],
    'a public key that is too short': (publicKey) => ['--public-key', publicKey.slice(1)],
    'a signing key without an id': (_, signer) => [
      ...['--auth-data', 'auth.json', '--user', USER, '--key', signer.slice(signer.indexOf('=') + 1)],
    ],
    'a signing key of 42 characters': (_, signer) => [
      ...['--auth-data', 'auth.json', '--user', USER, '--key', signer.slice(0, -1)],
    ],
  };

  it.each(Object.entries(wrongUsage))('is wrong usage: %s', async (_, recipient) => {
    const { work, signer, made } = workspace();
    const args = recipient(work.key.publicKey.toBase64(), signer);
    const end = await work.run(['encrypt', 'export.json', ...args, '-o', 'backup.json']);
    expect(end.code).toBe(2);
    expect(end.stderr).toContain('see megolm-backup encrypt --help');
    expect(work.filesBut(...made)).toEqual([]);
  });

  it('is refused when it is a point of small order', async () => {
    const { work, made } = workspace();
    const end = await work.run(['encrypt', 'export.json', '--public-key', 'A'.repeat(43), '-o', 'b.json']);
    expect(end.code).not.toBe(0);
    expect(end.stderr).toContain('low-order-key');
    expect(work.filesBut(...made)).toEqual([]);
  });
});

describe.concurrent('the backup objects', () => {
  it('carry index, forwarding count and what --verified says', async () => {
    const work = new Workspace();
    const chain = ['A'.repeat(43), 'A'.repeat(43)];
    work.writeJson('export.json', [
      work.session({ room_id: '!a', forwarding_curve25519_key_chain: chain }, 7),
      work.session({ room_id: '!b' }, 4294967295),
    ]);
    const to = ['--key-file', 'key.txt'];
    const ends = await Promise.all([
      work.run(['encrypt', 'export.json', ...to, '-o', 'plain.json', '--json']),
      work.run(['encrypt', 'export.json', ...to, '--verified']),
    ]);
    expect(JSON.parse(ends[0].stdout)).toEqual({
      ...{ total: 2, ok: 2, failed: 0, flagged: 0 },
      ...{ duplicates: 0, codes: {} },
    });
    const facts = (file: unknown) =>
      Object.entries((file as BackupFile).rooms).map(([room, { sessions }]) => [
        room,
        ...Object.values(sessions).map((record) => [
          ...[record.first_message_index, record.forwarded_count, record.is_verified],
          ...[Object.keys(record).sort().join(), Object.keys(record.session_data).sort().join()],
        ]),
      ]);
    const fields = [
      'first_message_index,forwarded_count,is_verified,session_data',
      'ciphertext,ephemeral,mac',
    ];
    expect(facts(work.json('plain.json'))).toEqual([
      ['!a', [7, 2, false, ...fields]],
      ['!b', [4294967295, 0, false, ...fields]],
    ]);
    expect(facts(JSON.parse(ends[1].stdout))).toEqual([
      ['!a', [7, 2, true, ...fields]],
      ['!b', [4294967295, 0, true, ...fields]],
    ]);
  });

  it('of real sessions decrypt to sessions that read the messages', async () => {
    await Olm.init();
    const work = new Workspace();
    const outbound = new Olm.OutboundGroupSession();
    outbound.create();
    const inbound = new Olm.InboundGroupSession();
    inbound.create(outbound.session_key());
    const unread = outbound.encrypt('before');
    const message = outbound.encrypt('after');
    const session = work.session({
      session_id: outbound.session_id(),
      session_key: inbound.export_session(1),
    });
    work.writeJson('export.json', [session]);
    await work.run(['encrypt', 'export.json', '--key-file', 'key.txt', '-o', 'backup.json']);
    await work.run([...DECRYPT, '-o', 'sessions.json']);
    const [restored] = work.json('sessions.json') as ExportedSessionData[];
    const again = new Olm.InboundGroupSession();
    again.import_session(restored.session_key);
    expect(again.decrypt(message)).toEqual({ message_index: 1, plaintext: 'after' });
    expect(() => again.decrypt(unread)).toThrow();
    // What libolm itself makes of the wire form, without our reading side.
    const decryption = new Olm.PkDecryption();
    decryption.init_with_private_key(work.key.toBytes());
    const record = Object.values((work.json('backup.json') as BackupFile).rooms[session.room_id].sessions)[0];
    const { ephemeral, mac, ciphertext } = record.session_data;
    const plaintext = JSON.parse(decryption.decrypt(ephemeral, mac, ciphertext)) as ExportedSessionData;
    expect(plaintext.session_key).toBe(session.session_key);
    for (const native of [outbound, inbound, again, decryption]) native.free();
  });

  it('hold the copy that reads most of a session that comes twice', async () => {
    const work = new Workspace();
    const seed = work.key.publicKey.toBytes();
    const copies = [9, 3, 5].map((index) => syntheticSession({}, index, Buffer.from(seed)));
    work.secrets.push(...copies.map(({ session_key }) => session_key));
    work.writeJson('export.json', [...copies, { ...copies[0], room_id: '!another' }]);
    const to = ['--key-file', 'key.txt', '--force', '-o', 'backup.json'];
    const [text, json] = [
      await work.run(['encrypt', 'export.json', ...to]),
      await work.run(['encrypt', 'export.json', ...to, '--json']),
    ];
    expect([text.code, json.code]).toEqual([0, 0]);
    expect(text.stderr).toContain('2 sessions are duplicates');
    expect(JSON.parse(json.stdout)).toMatchObject({ total: 4, ok: 4, duplicates: 2 });
    const { rooms } = work.json('backup.json') as BackupFile;
    const indexes = Object.values(rooms).map(({ sessions }) =>
      Object.values(sessions).map(({ first_message_index }) => first_message_index),
    );
    expect(indexes).toEqual([[3], [9]]);
  });

  it('keep ids that are special to JavaScript, and unknown fields', async () => {
    const work = new Workspace();
    const ids = ['__proto__', 'constructor', 'toString', 'a"b\\', '', '\ud800', '!室:例え.jp'];
    const text = ids.map((id) => JSON.stringify(work.session({ room_id: id, 'org.example': { deep: [1] } })));
    const evil = JSON.stringify(work.session()).replace('{', '{"__proto__":{"polluted":true},');
    work.write('export.json', `[${[...text, evil].join()}]`);
    await work.run(['encrypt', 'export.json', '--key-file', 'key.txt', '-o', 'backup.json']);
    const end = await work.run([...DECRYPT, '-o', 'sessions.json']);
    expect(end).toMatchObject({ code: 0, stderr: '8 of 8 keys; 0 failed\n' });
    const byRoom = (file: string) =>
      (work.json(file) as ExportedSessionData[])
        .map((session) => JSON.stringify(Object.entries(session).sort(([a], [b]) => (a < b ? -1 : 1))))
        .sort();
    expect(byRoom('sessions.json')).toEqual(byRoom('export.json'));
  });
});

describe.concurrent('an export with bad sessions', () => {
  it('gives the others, and says which and why', async () => {
    const work = new Workspace();
    const good = work.session();
    const bad: [session: unknown, code: string][] = [
      [null, 'bad-json'],
      [[], 'bad-json'],
      ['text', 'bad-json'],
      [{}, 'missing-field'],
      [{ ...work.session(), room_id: 7 }, 'bad-json'],
      [{ ...work.session(), algorithm: 'm.olm.v1' }, 'unsupported-algorithm'],
      [{ ...work.session(), session_id: work.session().session_id }, 'session-id-mismatch'],
      [{ ...work.session(), session_key: work.session().session_key.slice(4) }, 'bad-session-key'],
      [{ ...work.session(), sender_key: 5 }, 'bad-json'],
      [{ ...work.session(), note: 'x'.repeat(2 << 20) }, 'too-large'],
    ];
    const { sender_key: _, ...nameless } = work.session();
    bad.push([nameless, 'missing-field']);
    work.writeJson('export.json', [...bad.map(([session]) => session), good]);
    const end = await work.run(['encrypt', 'export.json', '--key-file', 'key.txt', '-o', 'b.json', '--json']);
    expect(end.code).toBe(1);
    expect(JSON.parse(end.stdout)).toMatchObject({ total: 12, ok: 1, failed: 11 });
    bad.forEach(([, code], i) => {
      expect(end.stderr).toMatch(new RegExp(`\\$\\[${i}\\](: ${code}: )`));
    });
    const { rooms } = work.json('b.json') as BackupFile;
    expect(Object.keys(rooms[good.room_id].sessions)).toEqual([readSessionKey(good.session_key).session_id]);
  });

  it('mends what other implementations would drop a key for, and counts and names those keys', async () => {
    const work = new Workspace();
    work.writeJson('export.json', [
      work.session({ sender_key: '' }),
      work.session(),
      work.session({ sender_claimed_keys: { ed25519: 'x' }, forwarding_curve25519_key_chain: ['x'] }),
    ]);
    const to = ['encrypt', 'export.json', '--key-file', 'key.txt', '-o', 'backup.json'];
    const end = await work.run(to);
    expect(end).toMatchObject({ code: 0 });
    expect(end.stderr.split('\n')).toEqual([
      '$[0]: malformed: unusable-sender-key; other implementations cannot read this record',
      '$[2]: malformed: unusable-claimed-key, unusable-forwarding-chain',
      '3 of 3 keys, 2 of them flagged; 0 failed',
      '',
    ]);
    const { stdout } = await work.run([
      'decrypt',
      'backup.json',
      '--key-file',
      'key.txt',
      '-o',
      'out',
      '--json',
    ]);
    expect(JSON.parse(stdout)).toMatchObject({ total: 3, ok: 3, failed: 0, flagged: 1 });
  });

  it('that is empty is an empty backup', async () => {
    const work = new Workspace();
    work.writeJson('export.json', []);
    const end = await work.run(['encrypt', 'export.json', '--key-file', 'key.txt', '-o', 'backup.json']);
    expect(end).toMatchObject({ code: 0, stderr: '0 of 0 keys; 0 failed\n' });
    expect(work.json('backup.json')).toEqual({ rooms: {} });
  });
});

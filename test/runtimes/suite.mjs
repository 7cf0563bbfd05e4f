/**
 * What has to hold wherever the package runs. It needs nothing but the package, a secure generator of randomness,
 * timers and AbortController: no test framework, no file system, no network.
 */
import * as main from 'megolm-backup';
import * as client from 'megolm-backup/client';
import * as engine from 'megolm-backup/engine';
import { webCryptoBackend, webCryptoHasX25519 } from 'megolm-backup/webcrypto';
import { workersBackend } from 'megolm-backup/workers';
import { homeserverInMemory } from './homeserver-in-memory.mjs';

const { BackupDecryptionKey, KeyBackupError, decryptSessions, encryptSessions } = main;
const { base64Encode, derivePassphraseKey } = engine;

/** Sessions in a batch: more than the largest first chunk of any backend. */
const SESSIONS = 300;

/**
 * Runs everything.
 *
 * @param world.vectors - The vector files, parsed: `[{ name, kind, cases }]`.
 * @param world.faultOf - What runs a case of them (`vectors/run/fault.mjs`).
 * @param world.sessions - Exported sessions, some hundreds.
 * @param world.backends - Further backends by name, those of `megolm-backup/node`.
 * @param world.homeserver - `{ baseUrl, accessToken }` of a server to talk to, where there is one.
 * @returns `{ means, vectors, checks: [{ area, name, fault }] }`: by which means batches run here, how many vector
 * cases there were, and every check with what was wrong with it, or null.
 */
export async function runSuite(world) {
  const means = await backendsHere(world.backends ?? {});
  const sessions = world.sessions.slice(0, SESSIONS);
  const checks = [];
  const run = async (area, name, check) => {
    let fault = null;
    try {
      await check();
    } catch (error) {
      fault = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    }
    checks.push({ area, name, fault });
  };

  for (const { name, kind, cases } of world.vectors) {
    for (const fields of cases) {
      await run('vectors', `${name}: ${fields.id}`, async () => {
        const fault = await world.faultOf(kind, fields);
        if (fault !== undefined) throw new Error(fault);
      });
    }
  }
  for (const [name, make] of Object.entries(means)) {
    const backend = make();
    await run('batches', `${name}: there and back`, () => thereAndBack(sessions, backend));
    await run('batches', `${name}: every damage by its code`, () => everyDamage(sessions, backend));
    await run('batches', `${name}: a passphrase`, () => passphrase(backend));
    backend.dispose?.();
  }
  await run('batches', 'what is chosen: there and back', () => thereAndBack(sessions));
  await run('batches', 'what is chosen for many', () => thereAndBack(sessions, undefined, 20_000));
  await run('batches', 'workers end, or are refused by name', workersEnd);
  await run('batches', 'an aborted batch stops', () => abortedBatch(sessions));
  for (const [name, check] of Object.entries(SINGLE)) await run('keys', name, () => check(sessions));
  for (const streams of [true, false]) {
    const how = streams ? 'answers as streams' : 'answers as a whole';
    await run('client', `a round trip, ${how}`, () =>
      roundTrip(sessions, { baseUrl: 'https://x.example', fetch: homeserverInMemory({ streams }) }),
    );
  }
  await run('client', 'a wrong key before any download', wrongKey);
  await run('client', 'a request that is aborted', abortedRequest);
  if (world.homeserver) {
    await run('server', 'a round trip', () => roundTrip(sessions, world.homeserver));
  }
  return {
    means: Object.keys(means),
    vectors: checks.filter(({ area }) => area === 'vectors').length,
    checks,
  };
}

/** By which means a batch can be done here. */
async function backendsHere(further) {
  return {
    'pure JavaScript': () => engine.pureBackend,
    ...further,
    ...((await webCryptoHasX25519()) && { WebCrypto: webCryptoBackend }),
    ...((await hasWorkers()) && { workers: () => workersBackend({ count: 2 }) }),
  };
}

async function hasWorkers() {
  const workers = workersBackend({ count: 1 });
  try {
    await workers.encryptMany(BackupDecryptionKey.generate().publicKey.toBytes(), [new Uint8Array(3)], {});
    return true;
  } catch {
    return false;
  } finally {
    workers.dispose();
  }
}

function expect(holds, what) {
  if (!holds) throw new Error(`expected ${what}`);
}

/** The code of the error that a function throws, or a promise fails with. */
async function codeOf(run) {
  try {
    await run();
  } catch (error) {
    if (!(error instanceof KeyBackupError)) throw error;
    return error.code;
  }
  throw new Error('expected an error, got none');
}

async function all(results) {
  const taken = [];
  for await (const result of results) taken.push(result);
  return taken;
}

/** The fields that come back as they went. */
function core(session) {
  const { algorithm, room_id, session_id, session_key, sender_key, sender_claimed_keys } = session;
  const { forwarding_curve25519_key_chain } = session;
  return engine.canonicalJson({
    algorithm,
    forwarding_curve25519_key_chain,
    room_id,
    sender_claimed_keys,
    sender_key,
    session_id,
    session_key,
  });
}

function expectSame(results, sessions) {
  expect(results.length === sessions.length, `${sessions.length} results, got ${results.length}`);
  results.forEach((result, i) => {
    if (!result.ok) throw result.error;
    expect(core(result.session) === core(sessions[i]), `session ${i} as it went in`);
  });
}

/** By the means under test one way and by the engine the other way, both ways round. */
async function thereAndBack(sessions, backend, total) {
  const key = BackupDecryptionKey.generate();
  const purely = { backend: engine.pureBackend };
  const written = await all(encryptSessions(sessions, key.publicKey, { backend, total }));
  expectSame(await all(decryptSessions(written, key, purely)), sessions);
  const records = await all(main.encryptSessions(sessions, key.publicKey, purely));
  expectSame(await all(decryptSessions(records, key, { backend, total })), sessions);
}

const DAMAGES = {
  'low-order-key': (data) => ({ ...data, ephemeral: 'A'.repeat(43) }),
  'mac-mismatch': (data) => ({ ...data, mac: 'A'.repeat(11) }),
  'bad-base64': (data) => ({ ...data, ciphertext: '!' }),
  'bad-length': (data) => ({ ...data, ephemeral: 'AAAA' }),
  'missing-field': ({ mac: _, ...data }) => data,
  'bad-ciphertext-length': (data) => ({ ...data, ciphertext: 'AAAA' }),
};

async function everyDamage(sessions, backend) {
  const key = BackupDecryptionKey.generate();
  const records = await all(main.encryptSessions(sessions, key.publicKey));
  const codes = Object.keys(DAMAGES);
  const spoilt = records.map((record, i) => {
    const data = record.key_backup_data;
    const damage = DAMAGES[codes[i]];
    return damage
      ? { ...record, key_backup_data: { ...data, session_data: damage(data.session_data) } }
      : record;
  });
  const results = await all(decryptSessions(spoilt, key, { backend }));
  codes.forEach((code, i) => {
    expect(results[i].error?.code === code, `${code}, got ${results[i].error?.code}`);
  });
  expectSame(results.slice(codes.length), sessions.slice(codes.length));
}

async function passphrase(backend) {
  const parameters = { private_key_salt: 'sält', private_key_iterations: 2000 };
  const [key, purely] = [
    await derivePassphraseKey('pässphrase', parameters, { backend }),
    await derivePassphraseKey('pässphrase', parameters),
  ];
  expect(base64Encode(key) === base64Encode(purely), 'the key that the engine derives');
}

async function workersEnd() {
  const workers = workersBackend({ count: 1 });
  workers.dispose();
  const recipient = BackupDecryptionKey.generate().publicKey.toBytes();
  const code = await codeOf(() => workers.encryptMany(recipient, [new Uint8Array(3)], {}));
  expect(code === 'backend-failed', `backend-failed, got ${code}`);
}

async function abortedBatch(sessions) {
  const { publicKey } = BackupDecryptionKey.generate();
  const cancel = new AbortController();
  let done = 0;
  const code = await codeOf(async () => {
    for await (const _ of encryptSessions(sessions, publicKey, { signal: cancel.signal })) {
      if (++done === 2) cancel.abort();
    }
  });
  expect(code === 'aborted' && done < sessions.length, `aborted, got ${code} after ${done}`);
}

/** One thing at a time. */
const SINGLE = {
  async 'one class of errors, whatever it is imported from'() {
    const code = await codeOf(() => engine.base64Decode('!', 'x'));
    expect(code === 'bad-base64', `bad-base64, got ${code}`);
    expect(new client.RequestError('http', 'x') instanceof KeyBackupError, 'RequestError to be one');
  },

  'one session, synchronously'([session]) {
    const key = BackupDecryptionKey.generate();
    const record = main.encryptSession(session, key.publicKey);
    expect(core(main.decryptSession(record, key).session) === core(session), 'the session');
    const [result] = main.decryptSessionsSync(main.encryptSessionsSync([session], key.publicKey), key);
    expect(result.ok && core(result.session) === core(session), 'the session of a batch of one');
  },

  async 'the text form of a key, and a mistyped one'() {
    const key = BackupDecryptionKey.generate();
    const text = key.toRecoveryKey();
    expect(BackupDecryptionKey.fromRecoveryKey(text).toBase64() === key.toBase64(), 'the same key');
    const code = await codeOf(() => BackupDecryptionKey.fromRecoveryKey(text.slice(0, -1)));
    expect(code === 'bad-recovery-key', `bad-recovery-key, got ${code}`);
    const authData = main.createAuthData(key.publicKey);
    const { suggestion } = await main.unlock(text.slice(0, -1), { authData });
    expect(suggestion?.text.replaceAll(' ', '') === text.replaceAll(' ', ''), 'what was meant');
  },

  'signatures, and a changed field'() {
    const user = '@üser:example.org';
    const device = main.ed25519Signer(
      user,
      Uint8Array.from({ length: 32 }, (_, i) => i),
      'DEVICE',
    );
    const key = BackupDecryptionKey.generate();
    const authData = main.signAuthData(main.createAuthData(key.publicKey, { '😀': 1, '\uffee': 2 }), [
      device,
    ]);
    const publicKey = main
      .ed25519Signer(
        user,
        Uint8Array.from({ length: 32 }, (_, i) => i),
      )
      .keyId.slice(8);
    const trust = { userId: user, trustedKeys: [{ keyId: device.keyId, publicKey }] };
    expect(main.verifyAuthData(authData, trust).by === 'signature', 'trust by the signature');
    expect(!main.verifyAuthData({ ...authData, more: 1 }, trust).trusted, 'no trust in a changed one');
  },

  async 'secret storage'() {
    const storage = main.SecretStorageKey.generate('abc');
    const key = BackupDecryptionKey.generate();
    const accountData = {
      'm.secret_storage.default_key': { key: 'abc' },
      'm.secret_storage.key.abc': storage.describe(),
      'm.megolm_backup.v1': storage.encryptSecret('m.megolm_backup.v1', key.toBase64()),
    };
    const authData = main.createAuthData(key.publicKey);
    const result = await main.unlock(storage.toRecoveryKey(), { authData, accountData });
    expect(result.ok && result.by === 'secret-storage-key' && result.keyMatches, 'the way in');
    expect(result.key.toBase64() === key.toBase64(), 'the key');
    const other = main.SecretStorageKey.generate('abc');
    const code = await codeOf(() =>
      main.SecretStorageKey.fromRecoveryKey(other.toRecoveryKey(), accountData),
    );
    expect(code === 'wrong-key', `wrong-key, got ${code}`);
  },

  async 'a key export, and another passphrase'(sessions) {
    const some = sessions.slice(0, 20);
    const options = { iterations: 100_000 };
    const file = (await all(main.writeKeyExport(some, 'pässphrase', options))).join('');
    expectSame(await main.readKeyExport(file, 'pässphrase'), some);
    const code = await codeOf(() => main.readKeyExport(file, 'another'));
    expect(code === 'wrong-passphrase', `wrong-passphrase, got ${code}`);
  },

  async 'authenticated backups'(sessions) {
    const some = sessions
      .slice(0, 20)
      .map((session) => ({ ...session, forwarding_curve25519_key_chain: [] }));
    const key = BackupDecryptionKey.generate();
    const macKey = main.BackupMacKey.fromDecryptionKey(key);
    const records = await all(main.encryptSessions(some, key.publicKey, { macKey }));
    const results = await all(main.decryptSessions(records, key));
    expectSame(results, some);
    expect(
      results.every(({ authenticated }) => authenticated),
      'all of them authenticated',
    );
    const planted = main.decryptSession(main.encryptSession(some[0], key.publicKey), key);
    expect(planted.authenticity === 'no-mac', 'a planted record to be told');
  },
};

/** A backup made, filled, restored and deleted. */
async function roundTrip(sessions, homeserver) {
  const roomKeys = new client.RoomKeys(homeserver);
  const key = BackupDecryptionKey.generate();
  const info = await client.createBackup(roomKeys, { publicKey: key.publicKey });
  const trust = { userId: '@a:x', decryptionKey: key };
  const { outcome, uploaded } = await client.uploadSessions(roomKeys, info, sessions, {
    trust,
    batchKeys: 77,
  });
  expect(outcome === 'complete' && uploaded === sessions.length, `all uploaded, got ${outcome} ${uploaded}`);
  const found = await roomKeys.currentVersion();
  expect(found.count === sessions.length, `a count of ${sessions.length}, got ${found.count}`);
  const wanted = new Map(sessions.map((session) => [session.session_id, core(session)]));
  const restore = new client.Restore(roomKeys, found, key);
  for await (const result of restore) {
    if (!result.ok) throw result.error;
    expect(core(result.session) === wanted.get(result.session_id), 'the session that was uploaded');
    wanted.delete(result.session_id);
  }
  expect(wanted.size === 0 && restore.summary.missing === 0, 'every session to come back');
  const { state } = await client.diagnose(roomKeys, { key });
  expect(state === 'healthy', `a healthy backup, got ${state}`);
  await roomKeys.deleteVersion(info.version);
  expect((await roomKeys.currentVersion()) === undefined, 'no backup after its deletion');
}

async function wrongKey() {
  const fetch = homeserverInMemory({ streams: true });
  const roomKeys = new client.RoomKeys({ baseUrl: 'https://x.example', fetch });
  const { publicKey } = BackupDecryptionKey.generate();
  const info = await client.createBackup(roomKeys, { publicKey });
  const code = await codeOf(async () => new client.Restore(roomKeys, info, BackupDecryptionKey.generate()));
  expect(code === 'wrong-key', `wrong-key, got ${code}`);
}

async function abortedRequest() {
  const cancel = new AbortController();
  // As unhelpful as a fetch can be: it hears nothing and never answers.
  const fetch = () => {
    cancel.abort();
    return new Promise(() => undefined);
  };
  const roomKeys = new client.RoomKeys({ baseUrl: 'https://x.example', fetch });
  const code = await codeOf(() => roomKeys.currentVersion({ signal: cancel.signal }));
  expect(code === 'aborted', `aborted, got ${code}`);
}

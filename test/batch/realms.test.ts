import { createContext, runInContext } from 'node:vm';
import { beforeAll, describe, expect, it } from 'vitest';
import { nodeBackend } from '../../src/backends/node.js';
import * as parts from '../../src/engine.js';
import * as main from '../../src/index.js';
import { bundleScript } from '../backends/bundles.js';
import { all, sessions } from '../backends/sessions.js';
import { sealedExport } from '../support/samples.js';

/**
 * Two realms, each with its own Uint8Array: an iframe, Electron, node:vm, and a test in jsdom, where even the engine's
 * own TextEncoder may be of the other realm.
 */

type Engine = typeof main & typeof parts;

interface Realm {
  readonly engine: Engine;
  /** Bytes of this realm. */
  readonly bytes: (values: Iterable<number>) => Uint8Array;
  readonly isOwn: (value: unknown) => boolean;
}

const here: Realm = {
  engine: { ...main, ...parts },
  bytes: (values) => Uint8Array.from(values),
  isOwn: (value) => Object.getPrototypeOf(value) === Uint8Array.prototype,
};
let there: Realm;
let keyExport: Uint8Array;

beforeAll(async () => {
  const { TextEncoder, TextDecoder, crypto, performance, setTimeout } = globalThis;
  keyExport = new TextEncoder().encode(
    sealedExport({ passphrase: 'p', plaintext: JSON.stringify(sessions(3)) }),
  );
  const context = createContext({ TextEncoder, TextDecoder, crypto, performance, setTimeout });
  runInContext(await bundleScript(['index.ts', 'engine.ts'], 'engine'), context);
  there = {
    engine: runInContext('engine', context) as Engine,
    bytes: runInContext('(values) => Uint8Array.from(values)', context) as Realm['bytes'],
    isOwn: runInContext(
      '(value) => Object.getPrototypeOf(value) === Uint8Array.prototype',
      context,
    ) as Realm['isOwn'],
  };
});

/** A Uint8Array with another class of its realm before it, which is what a Buffer is. */
function asBuffer(bytes: Uint8Array): Uint8Array {
  const between: unknown = Object.create(Object.getPrototypeOf(bytes) as object, {
    constructor: { value: { name: 'Buffer' } },
    slice: { value: (start?: number, end?: number) => bytes.subarray(start, end) },
  });
  return Object.setPrototypeOf(bytes, between as object) as Uint8Array;
}

const seed = Uint8Array.from({ length: 32 }, (_, i) => i + 1);

/** Gives bytes to every public function that takes them, and collects what comes back as bytes. */
async function exchangeBytes(engine: Engine, give: (values: Iterable<number>) => Uint8Array) {
  const { BackupDecryptionKey, BackupPublicKey, SecretStorageKey } = engine;
  const key = BackupDecryptionKey.fromBytes(give(seed));
  const publicKey = BackupPublicKey.fromBytes(give(key.publicKey.toBytes()));
  const sealed = engine.encryptSessionData(give([1, 2, 3]), publicKey);
  const empty = engine.encryptSessionData(give([]), publicKey);
  expect(SecretStorageKey.fromBytes(give(seed), 'id').toRecoveryKey()).toBe(key.toRecoveryKey());
  const signer = engine.ed25519Signer('@a:b', give(seed), 'D');
  const signature = signer.sign(give([1]));
  const signing = { ...signer, sign: (message: Uint8Array) => give(signer.sign(message)) };
  const signed = engine.signAuthData(engine.createAuthData(publicKey), [signing]);
  expect(Object.keys(signed.signatures ?? {})).toEqual(['@a:b']);
  expect(engine.base64Encode(give([255]))).toBe('/w');
  expect(engine.encodeRecoveryKey(give(seed))).toBe(key.toRecoveryKey());
  const passphrase = { private_key_salt: 'é', private_key_iterations: 2 };
  const session = sessions(1)[0];
  const { key_backup_data } = engine.encryptSession(session, publicKey);
  const record = { room_id: session.room_id, session_id: session.session_id, key_backup_data };
  expect(engine.decryptSession(record, key).session).toEqual(session);
  const out: Record<string, Uint8Array> = {
    'BackupDecryptionKey.toBytes': key.toBytes(),
    'BackupPublicKey.toBytes': publicKey.toBytes(),
    base64Decode: engine.base64Decode('AQ', 'x'),
    decodeRecoveryKey: engine.decodeRecoveryKey(key.toRecoveryKey()),
    decryptSessionData: engine.decryptSessionData(sealed, key).plaintext,
    'decryptSessionData of nothing': engine.decryptSessionData(empty, key).plaintext,
    derivePassphraseKey: await engine.derivePassphraseKey('é', passphrase),
    'derivePassphraseKey by a backend': await engine.derivePassphraseKey('é', passphrase, {
      backend: { name: 'other', pbkdf2: () => Promise.resolve(give(seed)) },
    }),
    'Signer.sign': signature,
    decryptKeyExport: await engine.decryptKeyExport(give(keyExport), 'p', { backend: nodeBackend() }),
    'decryptKeyExport of pieces': await engine.decryptKeyExport(pieces(keyExport, give), 'p', {
      backend: nodeBackend(),
    }),
  };
  return out;
}

async function* pieces(bytes: Uint8Array, give: (values: Iterable<number>) => Uint8Array) {
  for (let i = 0; i < bytes.length; i += 100) yield await Promise.resolve(give(bytes.subarray(i, i + 100)));
}

describe.each([
  ['the realm of the tests', () => here, () => there],
  ['another realm', () => there, () => here],
] as const)('the engine of %s', (_, own, other) => {
  it.each([
    ['its own bytes', () => own().bytes],
    ['bytes of the other realm', () => other().bytes],
    ['a Buffer of its own', () => (values: Iterable<number>) => asBuffer(own().bytes(values))],
    ['a Buffer of the other realm', () => (values: Iterable<number>) => asBuffer(other().bytes(values))],
  ])('takes %s and gives plain ones of its own', async (_name, giver) => {
    const given = await exchangeBytes(own().engine, giver());
    const plain = await exchangeBytes(here.engine, here.bytes);
    expect(Object.keys(given)).toEqual(Object.keys(plain));
    for (const [name, bytes] of Object.entries(given)) {
      expect(own().isOwn(bytes), name).toBe(true);
      expect([...bytes], name).toEqual([...plain[name]]);
    }
  });

  it.each([
    ['another typed array', () => new Float32Array(32)],
    ['a DataView', () => new DataView(new ArrayBuffer(32))],
    ['an ArrayBuffer', () => new ArrayBuffer(32)],
    ['an array', () => [...seed]],
    ['what only looks like bytes', () => Object.create(Uint8Array.prototype) as unknown],
    ['what says that it is bytes', () => ({ length: 32, [Symbol.toStringTag]: 'Uint8Array' })],
  ])('refuses %s', (_name, value) => {
    const { BackupPublicKey, KeyBackupError, encryptSessionData, BackupDecryptionKey } = own().engine;
    const attempt = (call: () => unknown) => {
      try {
        call();
      } catch (error) {
        return error instanceof KeyBackupError ? error.code : error;
      }
      return undefined;
    };
    const bytes = value() as Uint8Array;
    expect(attempt(() => BackupPublicKey.fromBytes(bytes))).toBe('bad-length');
    expect(attempt(() => encryptSessionData(bytes, BackupDecryptionKey.generate().publicKey))).toBe(
      'bad-parameters',
    );
  });

  it.each([
    ['its own', () => own()],
    ['the other', () => other()],
  ])('works with a backend that gives bytes of %s realm', async (_name, of) => {
    const { engine } = own();
    const give = (bytes: Uint8Array) => asBuffer(of().bytes(bytes));
    const node = nodeBackend();
    const backend: parts.Backend = {
      name: 'of a realm',
      encapsulateMany: async (...task) => {
        const { ephemeralPublicKeys, sharedSecrets } = await node.encapsulateMany(...task);
        return { ephemeralPublicKeys: give(ephemeralPublicKeys), sharedSecrets: give(sharedSecrets) };
      },
      agreeMany: async (...task) => give(await node.agreeMany(...task)),
    };
    const key = engine.BackupDecryptionKey.generate();
    const input = sessions(3);
    const records: main.BackupRecord[] = [];
    for (const result of await all(engine.encryptSessions(input, key.publicKey, { backend }))) {
      if (result.ok) records.push(result);
    }
    const results = await all(engine.decryptSessions(records, key, { backend }));
    expect(results.map((result) => (result.ok ? result.session : result.error))).toEqual(input);
  });
});

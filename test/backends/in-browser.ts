import { localBackend } from '../../src/backends/local-web.js';
import { hasSimd, simdBackend } from '../../src/backends/simd/index.js';
import { webCryptoBackend, webCryptoHasX25519 } from '../../src/backends/webcrypto.js';
import { workersBackend } from '../../src/backends/workers.js';
import { agreeMany, encapsulateMany, publicKeyOf } from '../../src/curve25519/x25519.js';
import { equal } from '../../src/encoding/bytes.js';
import {
  BackupDecryptionKey,
  KeyBackupError,
  decryptSessions,
  encryptSessions,
  type BackupRecord,
  type ExportedSessionData,
} from '../../src/index.js';
import { type Backend } from '../../src/engine.js';

/** What the test of the browser runs there, under the global name `inBrowser`. Everything in and out is JSON. */
export const inBrowser = {
  /** 500 agreements, some with low-order keys, by WebCrypto and by the engine. */
  async agreements() {
    const privateKey = crypto.getRandomValues(new Uint8Array(32));
    const publicKeys = crypto.getRandomValues(new Uint8Array(32 * 500));
    const lowOrder = [0, 1, 250, 499];
    for (const at of lowOrder) publicKeys.fill(0, 32 * at, 32 * at + 32);
    const native = await webCryptoBackend().agreeMany(privateKey, publicKeys);
    const pure = agreeMany(privateKey, publicKeys);
    return {
      has: await webCryptoHasX25519(),
      same: native.length === pure.length && native.every((byte, i) => byte === pure[i]),
      zero: lowOrder.map((at) => native.subarray(32 * at, 32 * at + 32).every((byte) => byte === 0)),
    };
  },

  /** Agreements by SIMD, where it is allowed, and by the engine: ladders, low-order keys and tables. */
  async simd() {
    const privateKeys = crypto.getRandomValues(new Uint8Array(32 * 501));
    const publicKeys = crypto.getRandomValues(new Uint8Array(32 * 501));
    publicKeys.fill(0, 320, 352);
    const mismatches: string[] = [];
    const backend = simdBackend({ onMismatch: ({ message }) => mismatches.push(message) });
    const privateKey = privateKeys.subarray(0, 32);
    let wrong = 0;
    // Several times, so that the optimizing compiler has a turn.
    for (let round = 0; round < 10; round++) {
      const secrets = await backend.agreeMany(privateKey, publicKeys);
      if (!equal(secrets, agreeMany(privateKey, publicKeys))) wrong++;
      for (const recipient of [publicKeyOf(privateKey), new Uint8Array(32)]) {
        const made = await backend.encapsulateMany(recipient, privateKeys);
        const expected = encapsulateMany(recipient, privateKeys);
        if (!equal(made.sharedSecrets, expected.sharedSecrets)) wrong++;
        if (!equal(made.ephemeralPublicKeys, expected.ephemeralPublicKeys)) wrong++;
      }
    }
    return { has: await hasSimd(), chosen: (await localBackend()).name, wrong, mismatches };
  },

  async encrypt({ sessions, total }: { sessions: ExportedSessionData[]; total?: number }) {
    const key = BackupDecryptionKey.generate();
    return { records: await written(sessions, key, undefined, total), key: key.toBase64() };
  },

  async decrypt({ records, key }: { records: BackupRecord[]; key: string }) {
    return read(records, BackupDecryptionKey.fromBase64(key));
  },

  /** There and back with workers, and what they answer when they are no more. */
  async workers(sessions: ExportedSessionData[]) {
    const key = BackupDecryptionKey.generate();
    const backend = workersBackend({ count: 2 });
    const results = await read(await written(sessions, key, backend), key, backend);
    backend.dispose();
    const after = await codeOf(backend.encryptMany(key.publicKey.toBytes(), [], {}));
    return { results, after };
  },

  /** A worker whose file is not there. */
  async missingWorker() {
    const backend = workersBackend({ count: 1, url: new URL('/nowhere.js', import.meta.url) });
    const { publicKey } = BackupDecryptionKey.generate();
    return codeOf(backend.encryptMany(publicKey.toBytes(), [new Uint8Array(3)], {}));
  },

  /** From here on the page has no workers. */
  forbidWorkers() {
    Object.defineProperty(globalThis, 'Worker', {
      value: class {
        constructor() {
          throw new Error('forbidden by policy');
        }
      },
    });
  },
};

async function written(
  sessions: ExportedSessionData[],
  key: BackupDecryptionKey,
  backend?: Backend,
  total?: number,
): Promise<BackupRecord[]> {
  const records: BackupRecord[] = [];
  for await (const result of encryptSessions(sessions, key.publicKey, { backend, total })) {
    if (!result.ok) throw result.error;
    const { room_id, session_id, key_backup_data } = result;
    records.push({ room_id, session_id, key_backup_data });
  }
  return records;
}

async function read(records: BackupRecord[], key: BackupDecryptionKey, backend?: Backend) {
  const results: (ExportedSessionData | string)[] = [];
  for await (const result of decryptSessions(records, key, { backend }))
    results.push(result.ok ? result.session : result.error.code);
  return results;
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return 'done';
  } catch (error) {
    return error instanceof KeyBackupError ? error.code : String(error);
  }
}

Object.assign(globalThis, { inBrowser });

// Who is measured. Each turns exported sessions into backup records and back: JSON, base64 and all. A contender for
// one direction has `encrypt(sessions, publicKey)` or `decrypt(records, privateKey)`, with keys as 32 bytes.
import {
  BackupDecryptionKey,
  BackupPublicKey,
  decryptSessions,
  decryptSessionsSync,
  encryptSessions,
  encryptSessionsSync,
} from '../dist/index.js';
import { pureBackend } from '../dist/engine.js';
import { nodeBackend } from '../dist/backends/node.js';
import { workersBackend } from '../dist/backends/workers.js';

export const WORKERS = 2;

const base64 = (bytes) => Buffer.from(bytes).toString('base64').replace(/=+$/, '');

// What a client has to do around a library that only encrypts strings.
const plaintextOf = ({ room_id: _, session_id: __, ...fields }) => JSON.stringify(fields);
const recordOf = ({ room_id, session_id, session_key, forwarding_curve25519_key_chain }, session_data) => ({
  room_id,
  session_id,
  key_backup_data: {
    first_message_index: Buffer.from(session_key.slice(0, 8), 'base64').readUInt32BE(1),
    forwarded_count: forwarding_curve25519_key_chain.length,
    is_verified: false,
    session_data,
  },
});
const sessionOf = ({ room_id, session_id }, plaintext) => ({ ...JSON.parse(plaintext), room_id, session_id });

async function libolm() {
  const { default: olm } = await import('@matrix-org/olm');
  await olm.init();
  return {
    encrypt(sessions, publicKey) {
      const encryption = new olm.PkEncryption();
      encryption.set_recipient_key(base64(publicKey));
      const records = sessions.map((session) => {
        const { ephemeral, ciphertext, mac } = encryption.encrypt(plaintextOf(session));
        return recordOf(session, { ephemeral, ciphertext, mac });
      });
      encryption.free();
      return records;
    },
    decrypt(records, privateKey) {
      const decryption = new olm.PkDecryption();
      decryption.init_with_private_key(privateKey);
      const sessions = records.map((record) => {
        const { ephemeral, ciphertext, mac } = record.key_backup_data.session_data;
        return sessionOf(record, decryption.decrypt(ephemeral, mac, ciphertext));
      });
      decryption.free();
      return sessions;
    },
  };
}

async function vodozemac() {
  const sdk = await import('@matrix-org/matrix-sdk-crypto-wasm');
  await sdk.initAsync();
  return {
    encrypt(sessions, publicKey) {
      const key = new sdk.Curve25519PublicKey(base64(publicKey));
      const encryption = sdk.PkEncryption.fromKey(key);
      const records = sessions.map((session) => {
        const message = encryption.encryptString(plaintextOf(session));
        const encoded = message.toBase64();
        const { ephemeralKey: ephemeral, ciphertext, mac } = encoded;
        encoded.free();
        message.free();
        return recordOf(session, { ephemeral, ciphertext, mac });
      });
      encryption.free();
      key.free();
      return records;
    },
    decrypt(records, privateKey) {
      const key = sdk.Curve25519SecretKey.fromUint8Array(privateKey);
      const decryption = sdk.PkDecryption.fromKey(key);
      const sessions = records.map((record) => {
        const { ephemeral, ciphertext, mac } = record.key_backup_data.session_data;
        const message = sdk.PkMessage.fromBase64(new sdk.Base64EncodedPkMessage(ciphertext, mac, ephemeral));
        const plaintext = decryption.decryptString(message);
        message.free();
        return sessionOf(record, plaintext);
      });
      decryption.free();
      key.free();
      return sessions;
    },
  };
}

async function decryptV1() {
  const sdk = await import('@matrix-org/matrix-sdk-crypto-wasm');
  await sdk.initAsync();
  return {
    decrypt(records, privateKey) {
      const key = sdk.BackupDecryptionKey.fromBase64(base64(privateKey));
      const sessions = records.map((record) => {
        const { ephemeral, ciphertext, mac } = record.key_backup_data.session_data;
        return sessionOf(record, key.decryptV1(ephemeral, mac, ciphertext));
      });
      key.free();
      return sessions;
    },
  };
}

async function noble() {
  const { x25519 } = await import('@noble/curves/ed25519.js');
  const { hkdf } = await import('@noble/hashes/hkdf.js');
  const { hmac } = await import('@noble/hashes/hmac.js');
  const { sha256 } = await import('@noble/hashes/sha2.js');
  const { cbc } = await import('@noble/ciphers/aes.js');
  const { base64nopad } = await import('@scure/base');
  const { utf8ToBytes } = await import('@noble/hashes/utils.js');
  const derive = (secret) => {
    const keys = hkdf(sha256, secret, undefined, undefined, 80);
    const mac = hmac(sha256, keys.subarray(32, 64), new Uint8Array(0)).subarray(0, 8);
    return { cipher: cbc(keys.subarray(0, 32), keys.subarray(64)), mac: base64nopad.encode(mac) };
  };
  return {
    encrypt: (sessions, publicKey) =>
      sessions.map((session) => {
        const ephemeral = x25519.utils.randomSecretKey();
        const { cipher, mac } = derive(x25519.getSharedSecret(ephemeral, publicKey));
        return recordOf(session, {
          ephemeral: base64nopad.encode(x25519.getPublicKey(ephemeral)),
          ciphertext: base64nopad.encode(cipher.encrypt(utf8ToBytes(plaintextOf(session)))),
          mac,
        });
      }),
    decrypt: (records, privateKey) =>
      records.map((record) => {
        const { ephemeral, ciphertext, mac } = record.key_backup_data.session_data;
        const keys = derive(x25519.getSharedSecret(privateKey, base64nopad.decode(ephemeral)));
        if (keys.mac !== mac) throw new Error('mac mismatch');
        const plaintext = keys.cipher.decrypt(base64nopad.decode(ciphertext));
        return sessionOf(record, new TextDecoder().decode(plaintext));
      }),
  };
}

function ours(backend, dispose = () => undefined) {
  const collect = async (results) => {
    const taken = [];
    for await (const result of results) taken.push(result);
    return taken;
  };
  return {
    encrypt: (sessions, publicKey) =>
      collect(encryptSessions(sessions, BackupPublicKey.fromBytes(publicKey), { backend })),
    decrypt: (records, privateKey) =>
      collect(decryptSessions(records, BackupDecryptionKey.fromBytes(privateKey), { backend })),
    dispose,
  };
}

function oursSync() {
  return {
    encrypt: (sessions, publicKey) => encryptSessionsSync(sessions, BackupPublicKey.fromBytes(publicKey)),
    decrypt: (records, privateKey) => decryptSessionsSync(records, BackupDecryptionKey.fromBytes(privateKey)),
  };
}

function oursInWorkers() {
  const workers = workersBackend({ count: WORKERS });
  return ours(workers, () => workers.dispose());
}

/** The name in the tables, what it is, and how to make it ready. `libolm` is what the others are measured against. */
export const CONTENDERS = {
  libolm: { title: 'libolm (WebAssembly)', make: libolm },
  vodozemac: { title: 'vodozemac (WebAssembly), PkEncryption and PkDecryption', make: vodozemac },
  decryptV1: { title: 'vodozemac (WebAssembly), BackupDecryptionKey.decryptV1', make: decryptV1 },
  noble: { title: 'plain noble', make: noble },
  sync: { title: 'megolm-backup, pure JavaScript, synchronous', make: oursSync },
  pure: { title: 'megolm-backup, pure JavaScript', make: () => ours(pureBackend) },
  node: { title: 'megolm-backup, node:crypto', make: () => ours(nodeBackend()) },
  workers: { title: `megolm-backup, node:crypto, ${WORKERS} workers`, make: oursInWorkers },
  auto: { title: 'megolm-backup, as it chooses by itself', make: () => ours(undefined) },
};

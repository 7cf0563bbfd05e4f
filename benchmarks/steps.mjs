// Where the time of a decryption on node:crypto goes: each step by itself, on the same sessions. Prints JSON.
import { createDecipheriv, createPrivateKey, createPublicKey, diffieHellman, randomBytes } from 'node:crypto';
import { nodeBackend } from '../dist/backends/node.js';

import { readRoomKey } from '../dist/formats/room-key.js';
import { deriveKeys, openSessionData, parseSessionData } from '../dist/scheme/session-data.js';
import { BackupDecryptionKey, decryptSessions, encryptSessions } from '../dist/index.js';
import { makeSessions } from './sessions.mjs';

const COUNT = 10_000;
const ROUNDS = 7;

const backend = nodeBackend();
const privateKey = new Uint8Array(randomBytes(32));
const key = BackupDecryptionKey.fromBytes(privateKey);
const records = [];
for await (const result of encryptSessions(makeSessions(COUNT), key.publicKey, { backend })) {
  records.push(JSON.parse(JSON.stringify(result)));
}

const jwk = (x, d) => ({ key: { kty: 'OKP', crv: 'X25519', x, d }, format: 'jwk' });
const base64url = (bytes) => Buffer.from(bytes).toString('base64url');
const parse = ({ key_backup_data }) => parseSessionData(key_backup_data.session_data);
const parsed = records.map(parse);
const ephemerals = parsed.map(({ ephemeral }) => ephemeral);
const importOne = (ephemeral) => createPublicKey(jwk(base64url(ephemeral)));
const imported = ephemerals.map(importOne);
const own = createPrivateKey(jwk(key.publicKey.toBase64(), base64url(privateKey)));
const secrets = imported.map((publicKey) => new Uint8Array(diffieHellman({ privateKey: own, publicKey })));
const opened = parsed.map((one, i) => openSessionData(one, secrets[i].slice(), backend.open));
const [aesKey, iv] = [randomBytes(32), randomBytes(16)];

async function whole() {
  for await (const result of decryptSessions(records, key, { backend })) if (!result.ok) throw result.error;
}

const STEPS = {
  'the whole of it, in batches': whole,
  'fields and base64 of the record': () => records.map(parse),
  'OpenSSL: a public key from JWK': () => ephemerals.map(importOne),
  'OpenSSL: diffieHellman': () => imported.map((publicKey) => diffieHellman({ privateKey: own, publicKey })),
  'HKDF and the MAC, 14 blocks of SHA-256': () => secrets.map((secret) => deriveKeys(secret)),
  'OpenSSL: AES, as it is called': () =>
    parsed.map(({ ciphertext }) => {
      const decipher = createDecipheriv('aes-256-cbc', aesKey, iv).setAutoPadding(false);
      decipher.update(ciphertext);
      decipher.final();
    }),
  'UTF-8, JSON and the checks of the room key': () =>
    records.map(({ room_id, session_id }, i) => readRoomKey(opened[i].plaintext, room_id, session_id)),
};

const steps = [];
for (const [title, step] of Object.entries(STEPS)) {
  const times = [];
  for (let round = 0; round < ROUNDS; round++) {
    const start = performance.now();
    await step();
    times.push(((performance.now() - start) * 1000) / COUNT);
  }
  steps.push({ title, microseconds: times.toSorted((a, b) => a - b)[ROUNDS >> 1] });
}
console.log(JSON.stringify({ node: process.version, sessions: COUNT, steps }));

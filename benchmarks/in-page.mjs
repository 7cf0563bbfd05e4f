// What chromium.mjs runs in a page, under the global name `measure`.
import * as sdk from '@matrix-org/matrix-sdk-crypto-wasm';
import { BackupDecryptionKey, decryptSessions, encryptSessions } from '../dist/index.js';
import { simdBackend } from '../dist/backends/simd/index.js';
import { webCryptoBackend } from '../dist/backends/webcrypto.js';

// A script of its own, because it assigns to names that it does not declare.
const olm = globalThis.Olm;
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
const plaintextOf = ({ room_id: _, session_id: __, ...fields }) => JSON.stringify(fields);
const dataOf = (record) => record.key_backup_data.session_data;

function libolm(key) {
  const encryption = new olm.PkEncryption();
  encryption.set_recipient_key(key.publicKey.toBase64());
  const decryption = new olm.PkDecryption();
  decryption.init_with_private_key(key.toBytes());
  return {
    encrypt: (sessions) => sessions.map((session) => encryption.encrypt(plaintextOf(session))),
    decrypt: (records) =>
      records
        .map(dataOf)
        .map(({ ephemeral, mac, ciphertext }) => JSON.parse(decryption.decrypt(ephemeral, mac, ciphertext))),
  };
}

function vodozemac(key) {
  const encryption = sdk.PkEncryption.fromKey(new sdk.Curve25519PublicKey(key.publicKey.toBase64()));
  const decryption = sdk.PkDecryption.fromKey(sdk.Curve25519SecretKey.fromUint8Array(key.toBytes()));
  return {
    encrypt: (sessions) =>
      sessions.map((session) => encryption.encryptString(plaintextOf(session)).toBase64()),
    decrypt: (records) =>
      records.map(dataOf).map(({ ephemeral, mac, ciphertext }) => {
        const encoded = new sdk.Base64EncodedPkMessage(ciphertext, mac, ephemeral);
        return JSON.parse(decryption.decryptString(sdk.PkMessage.fromBase64(encoded)));
      }),
  };
}

function ours(key, backend) {
  const collect = async (results) => {
    const all = [];
    for await (const result of results) {
      if (!result.ok) throw result.error;
      all.push(result);
    }
    return all;
  };
  return {
    encrypt: (sessions) => collect(encryptSessions(sessions, key.publicKey, { backend })),
    decrypt: (records) => collect(decryptSessions(records, key, { backend })),
  };
}

/** Microseconds of one, and the median of the ratios to the first, by name; the first rounds are for the compilers. */
async function inTurn(runs, count, budget) {
  const times = runs.map(() => []);
  const end = performance.now() + budget;
  for (let round = 0; round < 6 || performance.now() < end; round++) {
    for (const [i, [, run]] of runs.entries()) {
      const start = performance.now();
      await run();
      if (round >= 3) times[i].push((1000 * (performance.now() - start)) / count);
    }
  }
  return Object.fromEntries(
    runs.map(([name], i) => [
      name,
      {
        microseconds: median(times[i]),
        ratio: median(times[i].map((time, round) => times[0][round] / time)),
      },
    ]),
  );
}

async function measure({ sessions, budget }) {
  const key = BackupDecryptionKey.generate();
  const webcrypto = webCryptoBackend();
  const simd = simdBackend({ otherwise: webcrypto });
  const contenders = Object.entries({
    libolm: libolm(key),
    vodozemac: vodozemac(key),
    webcrypto: ours(key, webcrypto),
    simd: ours(key, simd),
  });
  const records = await contenders[3][1].encrypt(sessions);
  const runsOf = (direction, inputs) => contenders.map(([name, own]) => [name, () => own[direction](inputs)]);
  const count = 256;
  const [scalar, points] = [32, 32 * count].map((length) => crypto.getRandomValues(new Uint8Array(length)));
  const agreements = async (backend, step) => {
    for (let at = 0; at < points.length; at += 32 * step)
      await backend.agreeMany(scalar, points.subarray(at, at + 32 * step));
  };
  return {
    encrypt: await inTurn(runsOf('encrypt', sessions), sessions.length, budget),
    decrypt: await inTurn(runsOf('decrypt', records), sessions.length, budget),
    ladder: await inTurn(
      [
        ['webcrypto', () => agreements(webcrypto, 64)],
        ['simd', () => agreements(simd, count)],
      ],
      count,
      budget,
    ),
  };
}

await olm.init({ locateFile: () => '/olm.wasm' });
await sdk.initAsync(new URL('/vodozemac.wasm', location.href));
Object.assign(globalThis, { measure });

import { cbc } from '@noble/ciphers/aes.js';
import { expand, extract } from '@noble/hashes/hkdf.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { ed25519Signer, signAuthData, verifyAuthData } from '../../dist/scheme/auth-data.js';
import { base64Decode, base64Encode } from '../../dist/encoding/base64.js';
import { BackupMacKey, addBackupMac, checkBackupMac } from '../../dist/scheme/backup-mac.js';
import { decryptSession } from '../../dist/batch/decrypt.js';
import { encryptSession } from '../../dist/batch/encrypt.js';
import { isZero } from '../../dist/encoding/bytes.js';
import { canonicalJson } from '../../dist/encoding/canonical-json.js';
import { expectSignedBy, publicSigningKeyOf, sign } from '../../dist/curve25519/ed25519.js';
import { KeyBackupError } from '../../dist/errors.js';
import { prepareExportedSession } from '../../dist/formats/exported-session.js';
import { deriveKey } from '../../dist/scheme/passphrase.js';
import { passphraseParameters } from '../../dist/secret-storage/key-description.js';
import { readKeyExport } from '../../dist/formats/key-export.js';
import { expectObject } from '../../dist/encoding/json.js';
import { BackupDecryptionKey, BackupPublicKey } from '../../dist/scheme/keys.js';
import { derivePassphraseKey } from '../../dist/scheme/passphrase.js';
import { decodeRecoveryKey, encodeRecoveryKey } from '../../dist/scheme/recovery-key.js';
import { SecretStorageKey } from '../../dist/secret-storage/secret-storage.js';
import { decryptSessionData, encryptWithEphemeral, unpaddedLength } from '../../dist/scheme/session-data.js';
import { utf8Decode } from '../../dist/encoding/utf8.js';
import { agreeMany, publicKeyOf } from '../../dist/curve25519/x25519.js';

/**
 * How to run a case, by kind and, where the kind has several, by `operation`. The fields of a case depend on its kind
 * (vectors/README.md). The function returns what the implementation makes of the inputs, under the names of the fields it
 * is compared with, and throws what the implementation throws.
 */
export const CASES = new Map([
  ['session-data decrypt', decryptSessionDataCase],
  ['session-data encrypt', encryptSessionDataCase],
  ['room-key decrypt', decryptRoomKeyCase],
  ['room-key encrypt', encryptRoomKeyCase],
  ['recovery-key decode', decodeRecoveryKeyCase],
  ['recovery-key encode', (fields) => ({ text: encodeRecoveryKey(base64(fields.private_key)) })],
  ['passphrase', passphraseCase],
  ['auth-data verify', verifyAuthDataCase],
  ['auth-data sign', signAuthDataCase],
  [
    'auth-data public-key',
    (fields) => ({ public_key: BackupPublicKey.fromAuthData(fields.auth_data).toBase64() }),
  ],
  ['auth-data match', matchAuthDataCase],
  ['canonical-json', (fields) => ({ expected: canonicalJson(JSON.parse(text(fields.input_json))) })],
  ['x25519 agree', agreeCase],
  ['x25519 public-key', (fields) => ({ public_key: bytesToHex(publicKeyOf(hex(fields.private_key))) })],
  ['x25519 iterate', iterateCase],
  ['hkdf-sha256', hkdfCase],
  ['hmac-sha256', hmacCase],
  ['aes-256-cbc encrypt', encryptAesCase],
  ['aes-256-cbc decrypt', decryptAesCase],
  ['backup-mac derive', deriveMacKeyCase],
  ['backup-mac write', writeBackupMacCase],
  ['backup-mac check', checkBackupMacCase],
  ['backup-mac read', readAuthenticityCase],
  ['ed25519 sign', signCase],
  ['ed25519 verify', verifyCase],
  ['key-export decrypt', decryptExportCase],
  ['key-export prepare', prepareExportCase],
  ['secret-storage check', checkStorageKeyCase],
  ['secret-storage passphrase', storagePassphraseCase],
  ['secret-storage decrypt', decryptSecretCase],
]);

function decryptSessionDataCase(fields) {
  const { plaintext, flags } = decryptSessionData(fields.session_data, decryptionKey(fields), mode(fields));
  return { plaintext: base64Encode(plaintext), expected_flags: sorted(flags) };
}

function encryptSessionDataCase(fields) {
  const recipient = BackupPublicKey.fromBase64(text(fields.public_key));
  const ephemeral = base64(fields.ephemeral_private_key);
  return { session_data: encryptWithEphemeral(base64(fields.plaintext), recipient, ephemeral) };
}

function decryptRoomKeyCase(fields) {
  const { session, flags } = decryptSession(recordOf(fields), decryptionKey(fields), mode(fields));
  return { exported: session, expected_flags: sorted(flags) };
}

function encryptRoomKeyCase(fields) {
  const key = decryptionKey(fields);
  const { key_backup_data } = encryptSession(fields.exported, key.publicKey);
  const { session_data, ...metadata } = key_backup_data;
  const { plaintext } = decryptSessionData(session_data, key);
  return { ...metadata, backed_up: JSON.parse(utf8Decode(plaintext, 'plaintext')) };
}

function decodeRecoveryKeyCase(fields) {
  const bytes = decodeRecoveryKey(fields.text);
  const public_key = BackupDecryptionKey.fromBytes(bytes).publicKey.toBase64();
  return { private_key: base64Encode(bytes), public_key };
}

async function passphraseCase(fields) {
  const [passphrase, authData] = [text(fields.passphrase), fields.auth_data];
  // Nothing proves a key without the public key.
  if (authData.public_key === undefined) {
    return { private_key: base64Encode(await derivePassphraseKey(passphrase, authData)) };
  }
  const key = await BackupDecryptionKey.fromPassphrase(passphrase, authData);
  return { private_key: key.toBase64() };
}

function verifyAuthDataCase(fields) {
  const keys = fields.keys;
  const named = keys.map(({ key_id, public_key, trusted }) => ({
    keyId: key_id,
    publicKey: public_key,
    trusted,
  }));
  const { trusted, by, signatures } = verifyAuthData(fields.auth_data, {
    userId: text(fields.user_id),
    trustedKeys: named.filter((key) => key.trusted),
    knownKeys: named.filter((key) => !key.trusted),
    ...(fields.private_key !== undefined && { decryptionKey: decryptionKey(fields) }),
  });
  const listed = new Map(signatures.map(({ keyId, state }) => [keyId, state]));
  const states = Object.fromEntries(keys.map(({ key_id }) => [key_id, listed.get(key_id) ?? 'missing']));
  return { states, trusted, by };
}

function signAuthDataCase(fields) {
  const userId = text(fields.user_id);
  const keyId = text(fields.key_id);
  let signedJson = '';
  const signer = ed25519Signer(userId, base64(fields.seed), keyId.replace(/^ed25519:/, ''));
  const recording = (message) => {
    signedJson = utf8Decode(message, 'signed JSON');
    return signer.sign(message);
  };
  const signed = signAuthData(fields.auth_data, [{ ...signer, sign: recording }]);
  signer.dispose();
  return { signed_json: signedJson, signature: signed.signatures?.[userId]?.[keyId], signed };
}

function matchAuthDataCase(fields) {
  decryptionKey(fields).expectMatch(fields.auth_data);
  return {};
}

function deriveMacKeyCase(fields) {
  return { mac_key: BackupMacKey.fromDecryptionKey(decryptionKey(fields)).toBase64() };
}

function writeBackupMacCase(fields) {
  const macKey = BackupMacKey.fromBase64(text(fields.mac_key));
  const names = fields.names === 'stable' ? 'stable' : 'unstable';
  return { expected: addBackupMac(expectObject(fields.session_data, 'session_data'), macKey, names) };
}

function checkBackupMacCase(fields) {
  const macKey = BackupMacKey.fromBase64(text(fields.mac_key));
  return { state: checkBackupMac(expectObject(fields.session_data, 'session_data'), macKey) };
}

function recordOf(fields) {
  const { key_backup_data } = fields;
  return { room_id: text(fields.room_id), session_id: text(fields.session_id), key_backup_data };
}

function authenticityOf(restored) {
  const { authenticated, authenticity, source = null, session: exported } = restored;
  return { authenticated, authenticity, source, exported };
}

function readAuthenticityCase(fields) {
  const requireAuthenticated = fields.require_authenticated === true;
  return authenticityOf(decryptSession(recordOf(fields), decryptionKey(fields), { requireAuthenticated }));
}

function agreeCase(fields) {
  const sharedSecret = agreeMany(hex(fields.private_key), hex(fields.public_key));
  if (isZero(sharedSecret)) throw new KeyBackupError('low-order-key', 'public key: a point of small order');
  return { shared_secret: bytesToHex(sharedSecret) };
}

function iterateCase(fields) {
  let k = hex(fields.start);
  let u = hex(fields.start);
  for (let i = 0; i < Number(fields.iterations); i++) [k, u] = [agreeMany(k, u), k];
  return { output: bytesToHex(k) };
}

function hkdfCase(fields) {
  const prk = extract(sha256, hex(fields.ikm), hex(fields.salt));
  const okm = expand(sha256, prk, hex(fields.info), Number(fields.length));
  return { prk: bytesToHex(prk), okm: bytesToHex(okm) };
}

function hmacCase(fields) {
  const mac = hmac(sha256, hex(fields.key), hex(fields.message));
  return { mac: bytesToHex(mac.subarray(0, text(fields.mac).length / 2)) };
}

function encryptAesCase(fields) {
  const cipher = cbc(hex(fields.key), hex(fields.iv), { disablePadding: fields.padding === 'none' });
  return { ciphertext: bytesToHex(cipher.encrypt(hex(fields.plaintext))) };
}

function decryptAesCase(fields) {
  const cipher = cbc(hex(fields.key), hex(fields.iv), { disablePadding: true });
  const padded = cipher.decrypt(hex(fields.ciphertext));
  const length = fields.padding === 'none' ? padded.length : unpaddedLength(padded);
  if (length === undefined) throw new KeyBackupError('bad-padding', 'ciphertext: not PKCS#7');
  return { plaintext: bytesToHex(padded.subarray(0, length)) };
}

function signCase(fields) {
  const seed = hex(fields.seed);
  const signature = sign(seed, hex(fields.message));
  return { public_key: bytesToHex(publicSigningKeyOf(seed)), signature: bytesToHex(signature) };
}

function verifyCase(fields) {
  expectSignedBy(hex(fields.public_key), hex(fields.message), hex(fields.signature));
  return {};
}

async function decryptExportCase(fields) {
  const results = await readKeyExport(text(fields.file), text(fields.passphrase));
  const entries = results.map((result) =>
    result.ok
      ? { exported: result.session, expected_flags: sorted(result.flags) }
      : { code: result.error.code },
  );
  return { entries };
}

function prepareExportCase(fields) {
  const { session, flags } = prepareExportedSession(fields.entry);
  return { exported: session, expected_flags: sorted(flags) };
}

function checkStorageKeyCase(fields) {
  const key = SecretStorageKey.fromBytes(base64(fields.private_key), 'id');
  return { check: key.check(fields.description) };
}

async function storagePassphraseCase(fields) {
  const { salt, iterations } = passphraseParameters(fields.description);
  const key = await deriveKey(text(fields.passphrase), salt, iterations, {});
  return { private_key: base64Encode(key) };
}

function decryptSecretCase(fields) {
  const key = SecretStorageKey.fromBytes(base64(fields.private_key), text(fields.key_id));
  return { secret: key.decryptSecret(text(fields.name), fields.content) };
}

function decryptionKey(fields) {
  return BackupDecryptionKey.fromBase64(text(fields.private_key));
}

function mode(fields) {
  return { salvage: fields.mode === 'salvage' };
}

function sorted(flags) {
  return [...flags].sort();
}

function text(value) {
  if (typeof value !== 'string') throw new TypeError('the case lacks a text field its kind needs');
  return value;
}

function base64(value) {
  return base64Decode(text(value), 'case field');
}

function hex(value) {
  return hexToBytes(text(value));
}

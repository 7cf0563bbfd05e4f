import { randomBytes } from 'node:crypto';
import exports from '../vectors/key-export.derived.json' with { type: 'json' };
import * as node from '../src/backends/node.js';
import * as simd from '../src/backends/simd/index.js';
import * as webcrypto from '../src/backends/webcrypto.js';
import * as workers from '../src/backends/workers.js';
import * as engine from '../src/engine.js';
import * as main from '../src/index.js';
import { Kept, testWrongTypes } from './support/wrong-types.js';
import { makeSession } from './support/sessions.js';
import { base64 } from './support/samples.js';

const { BackupDecryptionKey, BackupMacKey, BackupPublicKey, SecretStorageKey } = main;

const bytes = new Uint8Array(32).fill(9);
const passphrase = 'SECRET PASSPHRASE';
const key = BackupDecryptionKey.fromBytes(bytes);
const macKey = () => BackupMacKey.fromDecryptionKey(key);
const authData = main.createAuthData(key.publicKey);
const legacy = { private_key_salt: 'salt', private_key_iterations: 2 };
const session = makeSession(1, '!room:example.org');
const { room_id, session_id } = session;
const record = main.encryptSession(session, key.publicKey);
const { session_data } = record.key_backup_data;
const { plaintext } = engine.decryptSessionData(session_data, key);
const signer = () => main.ed25519Signer('@a:x', bytes, 'DEVICE');
const storageKey = () => SecretStorageKey.generate('k');
const storage = storageKey();
const storageKey2 = () => SecretStorageKey.fromRecoveryKey(storage.toRecoveryKey(), accountData);
const accountData = {
  'm.secret_storage.default_key': { key: 'k' },
  'm.secret_storage.key.k': storage.describe(),
  'm.megolm_backup.v1': storage.encryptSecret('m.megolm_backup.v1', key.toBase64()),
  'org.matrix.msc4048.mac': storage.encryptSecret('org.matrix.msc4048.mac', macKey().toBase64()),
};
const phrased = {
  ...accountData,
  'm.secret_storage.key.k': {
    algorithm: main.SECRET_STORAGE_ALGORITHM,
    passphrase: { algorithm: 'm.pbkdf2', salt: 's', iterations: 2 },
  },
};
const backend = { name: 'quick', pbkdf2: () => Promise.resolve(new Uint8Array(64)) };
/** Of ten rounds. */
const [{ passphrase: filePassphrase, file }] = (exports as { cases: { passphrase: string; file: string }[] })
  .cases;

const PRIVATE = 'its constructor is private';
const BELOW = 'the engine calls it, and has checked';
const NONE = 'an error, which callers do not make';

testWrongTypes({
  exports: [main, engine, node, simd, webcrypto, workers],
  secrets: [passphrase, base64(bytes), key.toRecoveryKey(), session.session_key, '9, 9, 9, 9, 9'],
  made: {
    BackupDecryptionKey: () => BackupDecryptionKey.fromBytes(bytes),
    BackupMacKey: macKey,
    BackupPublicKey: () => key.publicKey,
    KeyBackupError: () => new main.KeyBackupError('bad-json', 'x'),
    SecretStorageKey: () => storageKey2(),
    Signer: signer,
    MasterKey: () => main.readMasterKey(base64(bytes)),
    Workers: () => workers.workersBackend({ count: 1 }),
    Node: () => node.nodeBackend(),
    WebCrypto: () => webcrypto.webCryptoBackend(),
    Simd: () => simd.simdBackend(),
  },
  valid: {
    addSignature: () => [authData, '@a:x', 'ed25519:DEVICE', base64(new Uint8Array(64))],
    authDataBytes: () => [authData],
    addBackupMac: () => [session_data, macKey(), 'stable'],
    authenticateSessions: () => [[record], key, () => session, {}],
    base64Decode: () => ['AQI', 'field'],
    base64Encode: () => [bytes],
    canonicalJson: () => [{}],
    checkBackupMac: () => [engine.addBackupMac(session_data, macKey()), macKey()],
    createAuthData: () => [key.publicKey, {}],
    decodeRecoveryKey: () => [key.toRecoveryKey()],
    decryptKeyExport: () => [file, filePassphrase, {}],
    decryptSession: () => [record, key, {}],
    decryptSessionData: () => [session_data, key, {}],
    decryptSessions: () => [[record], key, {}],
    decryptSessionsSync: () => [[record], key, {}],
    defaultKeyId: () => [accountData],
    derivePassphraseKey: () => [passphrase, legacy, {}],
    ed25519Signer: () => ['@a:x', bytes, 'DEVICE'],
    encodeRecoveryKey: () => [bytes],
    encryptSession: () => [session, key.publicKey, { macKey: macKey() }],
    encryptSessionData: () => [plaintext, key.publicKey],
    encryptSessions: () => [[session], key.publicKey, { macKey: macKey() }],
    encryptSessionsSync: () => [[session], key.publicKey, { macKey: macKey() }],
    groupByRoom: () => [[record]],
    keyDescription: () => [accountData, 'k'],
    nodeBackend: () => [],
    prepareExportedSession: () => [session],
    prepareRoomKey: () => [session],
    readExportedSession: () => [session],
    readKeyExport: () => [file, filePassphrase, {}],
    readMacKeySecret: () => [storage, accountData, key],
    readMasterKey: () => [base64(bytes)],
    recordsIn: () => [main.groupByRoom([record])],
    readRoomKey: () => [plaintext, room_id, session_id, {}],
    readSessionKey: () => [session.session_key],
    hasSimd: () => [],
    simdBackend: () => [{ otherwise: backend, onMismatch: () => undefined }],
    signAuthData: () => [authData, [signer()]],
    unlock: () => [key.toRecoveryKey(), { authData, accountData }],
    verifyAuthData: () => [authData, { userId: '@a:x', decryptionKey: key, trustedKeys: [] }],
    webCryptoBackend: () => [],
    webCryptoHasX25519: () => [],
    workersBackend: () => [{ count: 1 }],
    writeKeyExport: () => [[session], passphrase, new Kept({ backend })],

    'new BackupDecryptionKey': PRIVATE,
    'BackupDecryptionKey.generate': () => [],
    'BackupDecryptionKey.fromBytes': () => [bytes],
    'BackupDecryptionKey.fromBase64': () => [base64(bytes)],
    'BackupDecryptionKey.fromRecoveryKey': () => [key.toRecoveryKey()],
    'BackupDecryptionKey.fromSecret': () => [bytes.join(',')],
    'BackupDecryptionKey.fromPassphrase': () => [
      passphrase,
      { ...legacy, private_key_iterations: 100_000 },
      { allowUnproven: true, backend: { name: 'quick', pbkdf2: () => Promise.resolve(randomBytes(32)) } },
    ],
    'BackupDecryptionKey#toBytes': () => [],
    'BackupDecryptionKey#toBase64': () => [],
    'BackupDecryptionKey#toRecoveryKey': () => [],
    'BackupDecryptionKey#matches': () => [authData],
    'BackupDecryptionKey#expectMatch': () => [authData],
    'BackupDecryptionKey#dispose': () => [],

    'new BackupMacKey': PRIVATE,
    'BackupMacKey.fromBase64': () => [base64(bytes)],
    'BackupMacKey.fromDecryptionKey': () => [key],
    'BackupMacKey#toBase64': () => [],
    'BackupMacKey#mac': () => [session_data],
    'BackupMacKey#equals': () => [macKey()],
    'BackupMacKey#expectMatch': () => [key.publicKey],
    'BackupMacKey#dispose': () => [],

    'new BackupPublicKey': PRIVATE,
    'BackupPublicKey.fromBytes': () => [key.publicKey.toBytes()],
    'BackupPublicKey.fromBase64': () => [key.publicKey.toBase64()],
    'BackupPublicKey.fromAuthData': () => [authData],
    'BackupPublicKey#toBytes': () => [],
    'BackupPublicKey#toBase64': () => [],
    'BackupPublicKey#toString': () => [],
    'BackupPublicKey#toJSON': () => [],
    'BackupPublicKey#equals': () => [BackupPublicKey.fromAuthData(authData)],

    'new KeyBackupError': NONE,

    'new SecretStorageKey': PRIVATE,
    'SecretStorageKey.generate': () => ['k'],
    'SecretStorageKey.fromBytes': () => [bytes, 'k', 2],
    'SecretStorageKey.fromRecoveryKey': () => [storage.toRecoveryKey(), accountData, 'k'],
    'SecretStorageKey.fromPassphrase': () => [passphrase, phrased, { keyId: 'k' }],
    'SecretStorageKey#check': () => [storage.describe()],
    'SecretStorageKey#describe': () => [{}],
    'SecretStorageKey#decryptSecret': () => ['m.megolm_backup.v1', accountData['m.megolm_backup.v1']],
    'SecretStorageKey#encryptSecret': () => ['m.megolm_backup.v1', key.toBase64(), {}],
    'SecretStorageKey#toRecoveryKey': () => [],
    'SecretStorageKey#dispose': () => [],

    'Signer#sign': () => [bytes],
    'Signer#dispose': () => [],
    'MasterKey#signer': () => ['@a:x'],
    'MasterKey#dispose': () => [],
    'Workers#encryptMany': BELOW,
    'Workers#decryptMany': BELOW,
    'Workers#dispose': () => [],
    'Node#encapsulateMany': BELOW,
    'Node#agreeMany': BELOW,
    'Node#seal': BELOW,
    'Node#open': BELOW,
    'Node#pbkdf2': BELOW,
    'Node#aesCtr': BELOW,
    'Node#hmacSha256': BELOW,
    'Simd#agreeMany': BELOW,
    'Simd#decryptMany': BELOW,
    'Simd#encapsulateMany': BELOW,
    'Simd#encryptMany': BELOW,
    'Simd#open': BELOW,
    'Simd#pbkdf2': BELOW,
    'Simd#seal': BELOW,
    'WebCrypto#agreeMany': BELOW,
    'WebCrypto#aesCtr': BELOW,
  },
});

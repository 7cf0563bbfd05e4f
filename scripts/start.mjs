// The main job on real input: back up a sample export of 1,000 megolm sessions and restore it with the key's text
// form. Run by `npm start`, which builds first.
import { readFile } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import {
  BackupDecryptionKey,
  createAuthData,
  decryptSessions,
  ed25519Signer,
  encryptSessions,
  signAuthData,
  verifyAuthData,
} from '../dist/index.js';

const sessions = JSON.parse(
  await readFile(new URL('../vectors/sample-export.json', import.meta.url), 'utf8'),
);
const rooms = new Set(sessions.map(({ room_id }) => room_id));
const checks = [];
const check = (name, holds) => checks.push({ name, holds });
const number = (value) => value.toLocaleString('en');

console.log(`A round trip of ${number(sessions.length)} megolm sessions in ${rooms.size} rooms\n`);

// A new backup: its key, and an auth_data signed by a device, as a client would upload it.
const key = BackupDecryptionKey.generate();
const recoveryKey = key.toRecoveryKey();
const device = ed25519Signer('@sample:example.org', key.toBytes(), 'SAMPLEDEV');
const authData = signAuthData(createAuthData(key.publicKey), [device]);
console.log(`recovery key (the backup decryption key)  ${recoveryKey}`);
console.log(`public key                                ${key.publicKey.toBase64()}\n`);

const encryptStart = performance.now();
const records = [];
for await (const result of encryptSessions(sessions, key.publicKey)) if (result.ok) records.push(result);
const encryptTime = performance.now() - encryptStart;
key.dispose();
check('every session was encrypted', records.length === sessions.length);

// Restoring starts from what a person has: the text form of the key, and what the server sent.
const backup = JSON.parse(JSON.stringify(records));
const restoreKey = BackupDecryptionKey.fromRecoveryKey(recoveryKey);
check('the printed recovery key is this backup’s', restoreKey.matches(authData));
const verdict = verifyAuthData(authData, { userId: '@sample:example.org', decryptionKey: restoreKey });
check('the backup is trusted by the key we hold', verdict.trusted && verdict.by === 'decryption-key');

const decryptStart = performance.now();
const restored = [];
for await (const result of decryptSessions(backup, restoreKey)) if (result.ok) restored.push(result.session);
const decryptTime = performance.now() - decryptStart;
check('every record was decrypted', restored.length === records.length);
// Everything but shared_history is written as it came; that is written under its two names.
const plain = ({ ['m.shared_history']: _, ['org.matrix.msc3061.shared_history']: __, ...session }) => session;
check('what came out is what went in', isDeepStrictEqual(restored.map(plain), sessions.map(plain)));

const wrong = [];
for await (const result of decryptSessions(backup.slice(0, 10), BackupDecryptionKey.generate()))
  wrong.push(result);
check(
  'another key reads nothing, and says why',
  wrong.every(({ error }) => error?.code === 'mac-mismatch'),
);

const bytes = JSON.stringify(backup.map(({ key_backup_data }) => key_backup_data)).length;
const perKey = (milliseconds) => `${((1000 * milliseconds) / sessions.length).toFixed(0)} µs a key`;
console.log(
  `encrypted   ${number(records.length)} sessions into ${number(bytes)} bytes, ${perKey(encryptTime)}`,
);
console.log(`decrypted   ${number(restored.length)} sessions, ${perKey(decryptTime)}\n`);
for (const { name, holds } of checks) console.log(`${holds ? 'ok    ' : 'FAILED'}  ${name}`);
const failed = checks.filter(({ holds }) => !holds).length;
console.log(`\n${checks.length - failed} checks passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

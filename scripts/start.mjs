// The main job on real input: a server on a temporary SQLite file; a backup made there, a sample export of 1,000
// megolm sessions uploaded, restored with the text form of the key, and compared. Run by `npm start`, which builds.
import { createHash, randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { Restore, RoomKeys, createBackup, uploadSessions } from '../dist/client/index.js';
import { BackupDecryptionKey, ed25519Signer, verifyAuthData } from '../dist/index.js';
import { identifyByTokens, createHandler } from '../dist/server/index.js';
import { listen } from '../dist/server/listen.js';
import { openSqliteStore } from '../dist/server/sqlite/index.js';

const user_id = '@sample:localhost';
const checks = [];
const check = (name, holds) => checks.push({ name, holds });
const number = (value) => value.toLocaleString('en');

const sessions = JSON.parse(
  await readFile(new URL('../vectors/sample-export.json', import.meta.url), 'utf8'),
);
const rooms = new Set(sessions.map(({ room_id }) => room_id));
const seconds = (milliseconds) => `in ${(milliseconds / 1000).toFixed(1)} s`;
const kilobytes = (bytes) => `${number(Math.round(bytes / 1000))} KB`;
const sizeOf = async (path) => (await stat(path)).size;
const line = (what, value) => console.log(`${what.padEnd(26)}${value}`);
console.log(
  `A backup of ${number(sessions.length)} room keys of ${rooms.size} rooms, and back, on this machine only.\n`,
);

// A server that knows one user, on a temporary file and a free port.
const folder = await mkdtemp(join(tmpdir(), 'megolm-backup-'));
const file = join(folder, 'backup.db');
const token = randomUUID();
const sha256 = createHash('sha256').update(token).digest('hex');
const store = await openSqliteStore(file);
const identify = identifyByTokens([{ sha256, user_id, device_id: 'SAMPLEDEV' }]);
const server = await listen(await createHandler({ store, identify }));
line('server', server.url);

try {
  // A device makes the backup and uploads what it has.
  const roomKeys = new RoomKeys({ baseUrl: server.url, accessToken: token });
  const seed = crypto.getRandomValues(new Uint8Array(32));
  const device = ed25519Signer(user_id, seed, 'SAMPLEDEV');
  const key = BackupDecryptionKey.generate();
  const recoveryKey = key.toRecoveryKey();
  const info = await createBackup(roomKeys, { publicKey: key.publicKey, signers: [device] });
  device.dispose();
  line('backup version', info.version);
  line('its public key', key.publicKey.toBase64());
  line('its recovery key', `${recoveryKey}\n`);

  const uploadStart = performance.now();
  const trust = { userId: user_id, decryptionKey: key };
  const upload = await uploadSessions(roomKeys, info, sessions, { trust });
  const uploadTime = performance.now() - uploadStart;
  key.dispose();
  check('every session was encrypted and uploaded', upload.uploaded === sessions.length);
  check('the server counts every key', upload.count === sessions.length);

  // Somebody restores, with what a person has: the text form of the key, and the server.
  const found = await roomKeys.currentVersion();
  const typed = BackupDecryptionKey.fromRecoveryKey(recoveryKey);
  check('the printed recovery key is this backup’s', typed.matches(found.auth_data));
  const verdict = verifyAuthData(found.auth_data, { userId: user_id, decryptionKey: typed });
  check('the backup is trusted by the key we hold', verdict.trusted && verdict.by === 'decryption-key');

  const restoreStart = performance.now();
  const restored = new Map();
  const restore = new Restore(roomKeys, found, typed);
  for await (const result of restore) if (result.ok) restored.set(result.session_id, result.session);
  const restoreTime = performance.now() - restoreStart;
  check('every key was restored', restore.summary.ok === sessions.length && restore.summary.failed === 0);
  // Everything but shared_history is written as it came; that is written under its two names.
  const plain = ({ ['m.shared_history']: _, ['org.matrix.msc3061.shared_history']: __, ...session }) =>
    session;
  check(
    'what came out is what went in',
    sessions.every((session) => isDeepStrictEqual(plain(restored.get(session.session_id)), plain(session))),
  );

  let refusal;
  try {
    for await (const _ of new Restore(roomKeys, found, BackupDecryptionKey.generate())) break;
  } catch (error) {
    refusal = error.code;
  }
  check('another key is refused before anything is downloaded', refusal === 'wrong-key');

  line('encrypted and uploaded', `${number(upload.uploaded)} keys ${seconds(uploadTime)}`);
  line('downloaded and decrypted', `${number(restored.size)} keys ${seconds(restoreTime)}`);
} finally {
  await server.stop();
  const log = await sizeOf(`${file}-wal`);
  // This moves the log into the database.
  await store.close();
  line('database', kilobytes(await sizeOf(file)));
  line('write-ahead log', `${kilobytes(log)} while the server ran, empty now\n`);
  await rm(folder, { recursive: true });
}

for (const { name, holds } of checks) console.log(`${holds ? 'ok    ' : 'FAILED'}  ${name}`);
const failed = checks.filter(({ holds }) => !holds).length;
console.log(`\n${checks.length - failed} checks passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
if (failed === 0) {
  console.log(`
Try next:
  node dist/cli/main.js serve --dev    a server to try clients with
  node dist/cli/main.js help rescue    how to get messages back with a recovery key
  npm run page                         dist/page/rescue.html, the same in a browser`);
}

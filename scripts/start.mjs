// The main job on real input: a server on a temporary SQLite file; a backup made there, a sample export of 1,000
// megolm sessions uploaded, restored with the text form of the key, and compared. Run by `npm start`, which builds.
import { createHash, randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { Restore, RoomKeys, createBackup, uploadSessions } from '../dist/client/index.js';
import { BackupDecryptionKey, ed25519Signer, verifyAuthData } from '../dist/index.js';
import { identifyByTokens, createHandler } from '../dist/server/index.js';
import { listen } from '../dist/server/listen.js';
import { openSqliteStore } from '../dist/server/sqlite/index.js';

const user_id = '@sample:localhost';
const line = (what, value) => console.log(`${what.padEnd(26)}${value}`);
const seconds = (since) => `in ${((performance.now() - since) / 1000).toFixed(1)} s`;
function check(name, holds) {
  console.log(`${holds ? 'ok    ' : 'FAILED'}  ${name}`);
  if (!holds) process.exitCode = 1;
}

const sessions = JSON.parse(
  await readFile(new URL('../vectors/sample-export.json', import.meta.url), 'utf8'),
);
console.log(`A backup of ${sessions.length} room keys, and back, on this machine only.\n`);

// A server that knows one user, on a temporary file and a free port.
const folder = await mkdtemp(join(tmpdir(), 'megolm-backup-'));
const token = randomUUID();
const sha256 = createHash('sha256').update(token).digest('hex');
const store = await openSqliteStore(join(folder, 'backup.db'));
const identify = identifyByTokens([{ sha256, user_id, device_id: 'SAMPLEDEV' }]);
const server = await listen(await createHandler({ store, identify }));
line('server', server.url);

try {
  // A device makes the backup and uploads what it has.
  const roomKeys = new RoomKeys({ baseUrl: server.url, accessToken: token });
  const device = ed25519Signer(user_id, crypto.getRandomValues(new Uint8Array(32)), 'SAMPLEDEV');
  const key = BackupDecryptionKey.generate();
  const recoveryKey = key.toRecoveryKey();
  const info = await createBackup(roomKeys, { publicKey: key.publicKey, signers: [device] });
  device.dispose();
  line('backup version', info.version);
  line('its public key', key.publicKey.toBase64());
  line('its recovery key', recoveryKey);

  const uploadStart = performance.now();
  const trust = { userId: user_id, decryptionKey: key };
  const upload = await uploadSessions(roomKeys, info, sessions, { trust });
  line('encrypted and uploaded', `${upload.uploaded} keys ${seconds(uploadStart)}`);
  key.dispose();

  // Somebody restores, with what a person has: the text form of the key, and the server.
  const found = await roomKeys.currentVersion();
  const typed = BackupDecryptionKey.fromRecoveryKey(recoveryKey);
  const verdict = verifyAuthData(found.auth_data, { userId: user_id, decryptionKey: typed });
  const restoreStart = performance.now();
  const restored = new Map();
  const restore = new Restore(roomKeys, found, typed);
  for await (const result of restore) if (result.ok) restored.set(result.session_id, result.session);
  line('downloaded and decrypted', `${restored.size} keys ${seconds(restoreStart)}\n`);

  check('every session was encrypted and uploaded', upload.uploaded === sessions.length);
  check('the server counts as many', upload.count === sessions.length);
  check('the backup is trusted by the key we hold', verdict.trusted && verdict.by === 'decryption-key');
  check('every key was restored', restore.summary.ok === sessions.length && restore.summary.failed === 0);
  // Everything but shared_history is written as it came; that is written under its two names.
  const plain = ({ ['m.shared_history']: _, ['org.matrix.msc3061.shared_history']: __, ...session }) =>
    session;
  check(
    'what came out is what went in',
    sessions.every((session) => isDeepStrictEqual(plain(restored.get(session.session_id)), plain(session))),
  );
} finally {
  await server.stop();
  await store.close();
  await rm(folder, { recursive: true });
}

console.log(`
Try next:
  node dist/cli/main.js serve --dev    a server to try clients with
  node dist/cli/main.js help rescue    how to get messages back with a recovery key
  npm run page                         dist/page/rescue.html, the same in a browser`);

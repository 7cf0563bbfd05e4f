// What clients that nobody here wrote do with the server and the command line: matrix-js-sdk with its Rust crypto.
// Run by js-sdk.slow.test.ts in Node 22 or later: node scenario.mjs, with the settings as JSON in SCENARIO. Prints a
// line for every check, and at the end how many there were.
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { OlmMachine } from '@matrix-org/matrix-sdk-crypto-wasm';
import { createClient } from 'matrix-js-sdk';
import { encodeRecoveryKey } from 'megolm-backup/engine';
import { logger } from 'matrix-js-sdk/lib/logger.js';

const { url, control, node, main, folder, programs } = JSON.parse(process.env.SCENARIO);
const USER = '@alice:localhost';
const ROOMS = 3;
const MESSAGES = 10;
logger.setLevel('silent');

let passed = 0;
let failed = 0;

function check(statement, holds, detail = '') {
  if (holds) passed++;
  else failed++;
  console.log(`${holds ? 'ok' : 'NOT OK'}: ${statement}${holds ? '' : ` (${JSON.stringify(detail)})`}`);
}

async function until(what, condition) {
  const end = Date.now() + 60_000;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const path = (name) => join(folder, name);
const save = (name, text) => writeFile(path(name), text, { mode: 0o600 });

/** Runs the command line; the token is that of a device. */
function run(args, token) {
  const env = { ...process.env, MATRIX_ACCESS_TOKEN: token };
  return new Promise((resolve) => {
    execFile(node, [main, ...args], { env, cwd: folder, maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      resolve({ code: error ? error.code : 0, stdout, stderr });
    });
  });
}

async function asServer(method, where, token, body) {
  const answer = await fetch(`${url}/_matrix/client/v3/${where}`, {
    method,
    headers: { authorization: `Bearer ${token}` },
    ...(body && { body: JSON.stringify(body) }),
  });
  return answer.json();
}

const clients = [];
let recoveryKey;

/** A new device of the account, signed in and synced. */
async function device(name) {
  const signedIn = await createClient({ baseUrl: url }).loginRequest({
    type: 'm.login.password',
    identifier: { type: 'm.id.user', user: 'alice' },
    password: 'p',
    device_id: name,
  });
  const client = createClient({
    baseUrl: url,
    userId: USER,
    deviceId: name,
    accessToken: signedIn.access_token,
    cryptoCallbacks: {
      getSecretStorageKey: ({ keys }) =>
        Promise.resolve(recoveryKey ? [Object.keys(keys)[0], recoveryKey.privateKey] : null),
    },
  });
  clients.push(client);
  await client.initRustCrypto({ useIndexedDB: false });
  await client.startClient({ initialSyncLimit: 100 });
  await until('the first sync', () => client.isInitialSyncComplete());
  return client;
}

/** The texts that a device can read, of all rooms. */
async function readable(client) {
  const texts = [];
  for (const room of client.getRooms()) {
    for (const event of room.getLiveTimeline().getEvents()) {
      if (event.getWireType() !== 'm.room.encrypted') continue;
      await client.decryptEventIfNeeded(event, { forceRedecryptIfUntrusted: true });
      if (event.isDecryptionFailure()) await event.attemptDecryption(client.getCrypto(), { isRetry: true });
      if (!event.isDecryptionFailure()) texts.push(event.getContent().body);
    }
  }
  return texts;
}

async function scenario() {
  const first = await device('FIRST');
  const token = first.getAccessToken();
  const crypto = first.getCrypto();
  recoveryKey = await crypto.createRecoveryKeyFromPassphrase();
  await crypto.bootstrapCrossSigning({ authUploadDeviceSigningKeys: (make) => make(null) });
  await crypto.bootstrapSecretStorage({
    createSecretStorageKey: () => Promise.resolve(recoveryKey),
    setupNewSecretStorage: true,
    setupNewKeyBackup: true,
  });
  const version = await crypto.getActiveSessionBackupVersion();
  check('matrix-js-sdk makes a backup on the server', typeof version === 'string', version);

  const sent = [];
  for (let i = 0; i < ROOMS; i++) {
    const { room_id } = await first.createRoom({
      initial_state: [
        {
          type: 'm.room.encryption',
          content: { algorithm: 'm.megolm.v1.aes-sha2', rotation_period_msgs: 3 },
        },
      ],
    });
    await until('the room', () => first.getRoom(room_id)?.hasEncryptionStateEvent());
    for (let j = 0; j < MESSAGES; j++) {
      const body = `message ${j} of room ${i}`;
      await first.sendTextMessage(room_id, body);
      sent.push(body);
    }
  }
  const exported = JSON.parse(await crypto.exportRoomKeysAsJson());
  check('the sessions rotate', exported.length > ROOMS, exported.length);
  const counted = await until('the upload', async () => {
    const { count } = await asServer('GET', 'room_keys/version', token);
    return count >= exported.length && count;
  });
  check('every session arrives in the backup', counted === exported.length, counted);
  const info = await asServer('GET', 'room_keys/version', token);

  const second = await device('SECOND');
  check('a second device reads nothing before the restore', (await readable(second)).length === 0);
  await second.getCrypto().loadSessionBackupPrivateKeyFromSecretStorage();
  const restored = await second.getCrypto().restoreKeyBackup();
  check('it restores every session', restored.imported === exported.length, restored);
  check('and decrypts the history', sameTexts(await readable(second), sent), await readable(second));

  await judgeAuthData(info, token);
  await rescueInto(sent, exported.length, token);
  await uploadInto(first, exported, sent, token);
  await programsOfTheDocument(first, exported.length, sent, token);
  await resetUnderUpload(first, exported, token);
}

const sameTexts = (a, b) => JSON.stringify([...a].sort()) === JSON.stringify([...b].sort());

/** `verify` on the auth_data that matrix-js-sdk signed, with the keys that the server has of the user. */
async function judgeAuthData(info, token) {
  await save('version.json', JSON.stringify(info));
  const known = await asServer('POST', 'keys/query', token, { device_keys: { [USER]: [] } });
  const [master] = Object.entries(known.master_keys[USER].keys);
  const { FIRST } = known.device_keys[USER];
  for (const [what, [id, key]] of [
    ['the master key', master],
    ['the device', ['ed25519:FIRST', FIRST.keys['ed25519:FIRST']]],
  ]) {
    const verdict = await run(['verify', 'version.json', '--user', USER, '--key', `${id}=${key}`], token);
    check(`verify trusts the backup by the signature of ${what}`, verdict.code === 0, verdict);
  }
  const other = { ...info, auth_data: { ...info.auth_data, extra: 1 } };
  await save('changed.json', JSON.stringify(other));
  const changed = await run(['verify', 'changed.json', '--user', USER, '--key', master.join('=')], token);
  check('verify does not trust it once it was changed', changed.code === 1, changed);
}

/** A rescue of the account with the recovery key; a third device imports the file. */
async function rescueInto(sent, total, token) {
  await save('recovery-key.txt', `${recoveryKey.encodedPrivateKey}\n`);
  await save('phrase.txt', 'phrase of the export\n');
  const args = ['rescue', '--homeserver', url, '--key-file', 'recovery-key.txt'];
  args.push('--export-passphrase-file', 'phrase.txt', '-o', 'element-keys.txt', '--json');
  const rescued = await run(args, token);
  const summary = rescued.code === 0 ? JSON.parse(rescued.stdout) : rescued;
  check('rescue reads every key of the account', summary.ok === total && summary.failed === 0, summary);
  check('with the key of the secret storage', summary.opened_by === 'secret-storage-key', summary);
  check('and knows the signature of the master key', summary.master_signed === true, summary);
  const third = await device('THIRD');
  const file = await readFile(path('element-keys.txt'), 'utf8');
  await third
    .getCrypto()
    .importRoomKeysAsJson(OlmMachine.decryptExportedRoomKeys(file, 'phrase of the export'));
  check('a third device imports the file and decrypts all', sameTexts(await readable(third), sent));
}

/** Our upload of what matrix-js-sdk exported into a backup that it made; it restores from that. */
async function uploadInto(first, exported, sent, token) {
  await first.getCrypto().resetKeyBackup();
  const info = await asServer('GET', 'room_keys/version', token);
  await until('the new backup', async () => {
    return (await asServer('GET', 'room_keys/version', token)).count === exported.length;
  });
  await asServer('DELETE', `room_keys/keys?version=${encodeURIComponent(info.version)}`, token);
  await save('export.json', JSON.stringify(exported));
  await saveBackupKey(first);
  const args = ['upload', 'export.json', '--homeserver', url, '--key-file', 'backup-key.txt'];
  const uploaded = await run(args, token);
  const { count } = await asServer('GET', 'room_keys/version', token);
  check(
    'upload writes into the backup of matrix-js-sdk',
    uploaded.code === 0 && count === exported.length,
    uploaded,
  );
  const fourth = await device('FOURTH');
  await fourth.getCrypto().loadSessionBackupPrivateKeyFromSecretStorage();
  const restored = await fourth.getCrypto().restoreKeyBackup();
  check('matrix-js-sdk restores what upload wrote', restored.imported === exported.length, restored);
  check('and decrypts the history with it', sameTexts(await readable(fourth), sent));
}

/** The functions of docs/sdks.md on clients with and without keys. */
async function programsOfTheDocument(first, total, sent, token) {
  const modules = await Promise.all(programs.map((file) => import(file)));
  const { uploadAll, restoreAll } = Object.assign({}, ...modules);
  const where = `room_keys/keys?version=${(await asServer('GET', 'room_keys/version', token)).version}`;
  await asServer('DELETE', where, token);
  const uploaded = await uploadAll(first);
  const { count } = await asServer('GET', 'room_keys/version', token);
  check(
    'the upload of the document uploads every session',
    uploaded.outcome === 'complete' && uploaded.uploaded > 0 && count === total,
    uploaded,
  );
  const again = await uploadAll(first);
  check('and none that is there already', again.uploaded === 0 && again.skipped === total, again);
  const fifth = await device('FIFTH');
  const recovery = encodeRecoveryKey(await first.getCrypto().getSessionBackupPrivateKey());
  const { ok, failed: lost } = await restoreAll(fifth, recovery);
  check('its restore reads every key', ok === total && lost === 0, { ok, lost });
  check('and the client decrypts the history with them', sameTexts(await readable(fifth), sent));
}

async function saveBackupKey(client) {
  const key = await client.getCrypto().getSessionBackupPrivateKey();
  await save('backup-key.txt', `${Buffer.from(key).toString('base64').replace(/=+$/, '')}\n`);
}

/** A reset of the backup while an upload is under way. */
async function resetUnderUpload(first, exported, token) {
  const sessions = exported.map((session) => ({ ...session, room_id: '!elsewhere:localhost' }));
  await save('more.json', JSON.stringify(sessions));
  await saveBackupKey(first);
  await fetch(`${control}/hold`);
  const uploading = run(['upload', 'more.json', '--homeserver', url, '--key-file', 'backup-key.txt'], token);
  await until('the upload', async () => (await (await fetch(`${control}/held`)).text()) !== '0');
  // As a client resets it, without the uploads of a running one.
  const { algorithm, auth_data } = await asServer('GET', 'room_keys/version', token);
  await asServer('POST', 'room_keys/version', token, { algorithm, auth_data });
  await fetch(`${control}/release`);
  const { code, stdout, stderr } = await uploading;
  check(
    'a reset under an upload is reported as the wrong version',
    code === 1 && /wrong-version|replaced/.test(stderr),
    {
      code,
      stdout,
      stderr,
    },
  );
}

try {
  await scenario();
} catch (error) {
  check('the scenario runs to its end', false, inspect(error));
}
for (const client of clients) client.stopClient();
console.log(`${passed} checks passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);

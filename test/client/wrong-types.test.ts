import * as client from '../../src/client/index.js';
import * as main from '../../src/index.js';
import { createHandler } from '../../src/server/handler.js';
import { createMemoryStore } from '../support/memory-store.js';
import { identify, TOKEN_A } from '../support/serving.js';
import { makeSession } from '../support/sessions.js';
import { Kept, testWrongTypes } from '../support/wrong-types.js';
import { key } from './support.js';

const USER = '@user0:x';
const session = makeSession(1, '!room:example.org');
const { room_id, session_id, key_backup_data } = main.encryptSession(session, key.publicKey);
const auth_data = main.createAuthData(key.publicKey);
const newVersion = { algorithm: main.BACKUP_ALGORITHM, auth_data };
const macKey = main.BackupMacKey.fromDecryptionKey(key);
const storageKey = main.SecretStorageKey.generate('k');
const signers = [main.ed25519Signer(USER, new Uint8Array(32).fill(7), 'DEVICE')];
const trust = { userId: USER, decryptionKey: key };
const sessions = { [session_id]: { ...key_backup_data, session_data: { ...key_backup_data.session_data } } };
const body = { rooms: { [room_id]: { sessions } } };

/** An account with a backup of one key, and an empty one. */
async function makeWorld() {
  const [roomKeys, empty] = await Promise.all([makeRoomKeys(), makeRoomKeys()]);
  const version = await roomKeys.createVersion(newVersion);
  await roomKeys.putKeys(version, body);
  const info = await roomKeys.currentVersion();
  if (!info) throw new Error('the version was not made');
  return { roomKeys, empty, version, info };
}

async function makeRoomKeys(): Promise<client.RoomKeys> {
  return new client.RoomKeys({
    baseUrl: 'https://example.org',
    accessToken: TOKEN_A,
    retries: 0,
    fetch: await makeFetch(),
  });
}

async function makeFetch(): Promise<client.Fetch> {
  const handler = await createHandler({ store: createMemoryStore(), identify });
  const accountData = new Map<string, string>();
  return (url, { redirect: _, ...init }) => {
    const { pathname } = new URL(url);
    if (pathname.includes('/room_keys/')) return handler(new Request(url, init));
    if (pathname.endsWith('/whoami')) return Promise.resolve(Response.json({ user_id: USER }));
    if (pathname.endsWith('/versions')) return Promise.resolve(Response.json({ versions: [] }));
    if (init.method === 'PUT') accountData.set(pathname, init.body ?? '');
    const content = init.method === 'PUT' ? '{}' : accountData.get(pathname);
    return Promise.resolve(
      content === undefined
        ? Response.json({ errcode: 'M_NOT_FOUND', error: '' }, { status: 404 })
        : new Response(content),
    );
  };
}

/** The one that the arguments of the current call are of. */
let world: Awaited<ReturnType<typeof makeWorld>>;
type World = typeof world;
const of = (args: (world: World) => readonly unknown[]) => async () => args((world = await makeWorld()));
const fixed =
  (...args: readonly unknown[]) =>
  () =>
    args;
const request = { method: 'GET', path: '/_matrix/client/versions' };
const answered = (value: unknown) => value;

world = await makeWorld();

testWrongTypes({
  exports: [client],
  secrets: [TOKEN_A, key.toBase64(), key.toRecoveryKey(), session.session_key],
  made: {
    Homeserver: () => world.roomKeys.homeserver,
    KeyLookup: () => new client.KeyLookup(world.roomKeys, world.info, key),
    RequestError: () => new client.RequestError('http', 'x'),
    Restore: () => new client.Restore(world.roomKeys, world.info, key),
    RoomKeys: () => world.roomKeys,
    UploadQueue: () =>
      new client.UploadQueue(world.roomKeys, world.info, { trust, batchKeys: 1, onError: () => undefined }),
  },
  valid: {
    accountData: of(({ roomKeys }) => [roomKeys, USER, 'type', {}]),
    authenticateBackup: of(({ roomKeys, info }) => [roomKeys, info, key, () => session, {}]),
    isBackupEnabled: of(({ roomKeys }) => [roomKeys, USER, {}]),
    copyBackup: of(({ roomKeys, empty }) => [roomKeys, empty, {}]),
    createBackup: of(({ roomKeys }) => [roomKeys, { publicKey: key.publicKey, signers }]),
    diagnose: of(({ roomKeys }) => [roomKeys, { key, userId: USER, sessions: [session] }]),
    discoverHomeserver: async () => [
      'https://example.org',
      new Kept({ fetch: await makeFetch(), retries: 0 }),
    ],
    fetchBackupMacKey: of(({ roomKeys }) => [roomKeys, USER, storageKey, {}]),
    fetchSecretStorage: of(({ roomKeys }) => [roomKeys, USER, {}]),
    checkBackupTrust: of(({ info }) => [info, trust]),
    ownUserId: of(({ roomKeys }) => [roomKeys, {}]),
    readBackup: fixed([new TextEncoder().encode(JSON.stringify(body))], {}),
    replaceBackup: of(({ roomKeys, version }) => [roomKeys, version, { publicKey: key.publicKey }]),
    setAccountData: of(({ roomKeys }) => [roomKeys, USER, 'type', {}, {}]),
    setBackupEnabled: of(({ roomKeys }) => [roomKeys, USER, true, {}]),
    signBackup: of(({ roomKeys, version }) => [roomKeys, version, signers, {}]),
    storeBackupKey: of(({ roomKeys }) => [roomKeys, USER, storageKey, key, {}]),
    storeBackupMacKey: of(({ roomKeys }) => [roomKeys, USER, storageKey, macKey, {}]),
    trustedPublicKey: of(({ info }) => [info, trust]),
    uploadSessions: of(({ roomKeys, info }) => [roomKeys, info, [session], { trust }]),

    'new Homeserver': fixed({ baseUrl: 'https://example.org' }),
    'Homeserver#request': fixed(request, answered),
    'Homeserver#download': fixed(request),

    'new KeyLookup': of(({ roomKeys, info }) => [roomKeys, info, key, {}]),
    'KeyLookup#get': fixed(room_id, session_id, {}),
    'KeyLookup#forget': fixed(),
    'KeyLookup#abort': fixed(),

    'new RequestError': 'an error, which callers do not make',

    'new Restore': of(({ roomKeys, info }) => [roomKeys, info, key, {}]),
    'Restore#state': fixed(),

    'new RoomKeys': fixed({ baseUrl: 'https://example.org' }),
    'RoomKeys#createVersion': fixed(newVersion, {}),
    'RoomKeys#currentVersion': fixed({}),
    'RoomKeys#version': of(({ version }) => [version, {}]),
    'RoomKeys#updateVersion': of(({ version }) => [version, newVersion, {}]),
    'RoomKeys#deleteVersion': of(({ version }) => [version, {}]),
    'RoomKeys#putKeys': of(({ version }) => [version, body, {}]),
    'RoomKeys#putRoomKeys': of(({ version }) => [version, room_id, { sessions }, {}]),
    'RoomKeys#putKey': of(({ version }) => [version, room_id, session_id, key_backup_data, {}]),
    'RoomKeys#keys': of(({ version }) => [version, { roomId: room_id }, {}]),
    'RoomKeys#key': of(({ version }) => [version, room_id, session_id, {}]),
    'RoomKeys#deleteKeys': of(({ version }) => [version, {}]),
    'RoomKeys#deleteRoomKeys': of(({ version }) => [version, room_id, {}]),
    'RoomKeys#deleteKey': of(({ version }) => [version, room_id, session_id, {}]),

    'new UploadQueue': of(({ roomKeys, info }) => [roomKeys, info, { trust }]),
    'UploadQueue#add': fixed(session),
    'UploadQueue#flush': fixed(),
    'UploadQueue#close': fixed(),
    'UploadQueue#abort': fixed(),
  },
});

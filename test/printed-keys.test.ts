import { inspect } from 'node:util';
import { expect, it } from 'vitest';
import {
  BackupDecryptionKey,
  BackupMacKey,
  SecretStorageKey,
  ed25519Signer,
  readMasterKey,
} from '../src/index.js';
import { Homeserver, RoomKeys } from '../src/client/index.js';

const bytes = Uint8Array.from({ length: 32 }, (_, i) => 100 + i);
const key = BackupDecryptionKey.fromBytes(bytes);
const macKey = BackupMacKey.fromDecryptionKey(key);
const storageKey = SecretStorageKey.fromBytes(bytes, 'k');
const seed = Buffer.from(bytes).toString('base64');
const token = 'SECRET-TOKEN';
const homeserver = new Homeserver({ baseUrl: 'https://example.org', accessToken: token });

const SECRETS = [
  seed.replace(/=+$/, ''),
  Buffer.from(bytes).toString('hex'),
  bytes.slice(0, 8).join(','),
  bytes.slice(0, 8).join(', '),
  key.toRecoveryKey(),
  macKey.toBase64(),
  Array.from(Buffer.from(macKey.toBase64(), 'base64').subarray(0, 8)).join(','),
  token,
];

/** What Node, JSON, templates and enumeration show of an object. */
function shown(object: object): string {
  return [
    inspect(object, { showHidden: true, depth: 9, getters: true }),
    JSON.stringify(object),
    JSON.stringify(Object.entries(object)),
    Object.prototype.toString.call(object),
    String(Object.values(object)),
  ].join('\n');
}

const KEYS: Readonly<Record<string, object>> = {
  BackupDecryptionKey: key,
  BackupMacKey: macKey,
  SecretStorageKey: storageKey,
  MasterKey: readMasterKey(seed),
  Signer: ed25519Signer('@a:example.org', bytes, 'DEVICE'),
  Homeserver: homeserver,
  RoomKeys: new RoomKeys(homeserver),
};

it.each(Object.entries(KEYS))('a %s shows no secret however it is printed', (_, object) => {
  expect(SECRETS.filter((secret) => shown(object).includes(secret))).toEqual([]);
});

it('a secret that an object does show is found', () => {
  expect(SECRETS.filter((secret) => shown({ bytes: Array.from(bytes), token }).includes(secret))).toContain(
    token,
  );
});

it('a public key shows its base64', () => {
  const base64 = key.publicKey.toBase64();
  expect(inspect(key.publicKey)).toBe(`BackupPublicKey ${base64}`);
  expect(String(key.publicKey)).toBe(base64);
  expect(JSON.stringify({ key })).toBe(`{"key":{"publicKey":"${base64}"}}`);
  expect(inspect(key)).toBe(`BackupDecryptionKey {\n  publicKey: BackupPublicKey ${base64}\n}`);
});

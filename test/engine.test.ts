import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import * as engine from '../src/engine.js';
import * as rescue from '../src/rescue.js';
import * as face from '../src/index.js';

const ENGINE = [
  'BACKUP_ALGORITHM',
  'BACKUP_MAC_SECRET',
  'BackupDecryptionKey',
  'BackupMacKey',
  'BackupPublicKey',
  'KeyBackupError',
  'MAX_ITERATIONS',
  'MAX_PLAINTEXT_BYTES',
  'MEGOLM_ALGORITHM',
  'addBackupMac',
  'base64Decode',
  'base64Encode',
  'canonicalJson',
  'checkBackupMac',
  'createAuthData',
  'decodeRecoveryKey',
  'decryptSession',
  'decryptSessionData',
  'decryptSessions',
  'decryptSessionsSync',
  'derivePassphraseKey',
  'ed25519Signer',
  'encodeRecoveryKey',
  'encryptSession',
  'encryptSessionData',
  'encryptSessions',
  'encryptSessionsSync',
  'prepareRoomKey',
  'pureBackend',
  'readRoomKey',
  'readSessionKey',
  'signAuthData',
  'verifyAuthData',
];

const RESCUE = [
  'BACKUP_SECRET',
  'EXPORT_ITERATIONS',
  'MASTER_KEY_SECRET',
  'MAX_EXPORT_BYTES',
  'MIN_EXPORT_ITERATIONS',
  'SECRET_STORAGE_ALGORITHM',
  'SecretStorageKey',
  'authenticateSessions',
  'decryptKeyExport',
  'defaultKeyId',
  'keyDescription',
  'prepareExportedSession',
  'readExportedSession',
  'readKeyExport',
  'readMacKeySecret',
  'readMasterKey',
  'unlock',
  'writeKeyExport',
];

const read = (path: string) => readFileSync(new URL(`../src/${path}`, import.meta.url), 'utf8');

it('the public face is this and no more', () => {
  expect(Object.keys(engine).sort()).toEqual(ENGINE);
  expect(Object.keys(rescue).sort()).toEqual(RESCUE);
  expect(Object.keys(face).sort()).toEqual([...ENGINE, ...RESCUE].sort());
});

it('the whole face is the engine, but for the batches that choose their means', () => {
  for (const name of ENGINE as (keyof typeof engine)[]) {
    const chosen = name === 'encryptSessions' || name === 'decryptSessions';
    expect(face[name] === engine[name], name).toBe(!chosen);
  }
});

it('the engine takes everything from itself', () => {
  const faces = read('engine.ts') + read('rescue.ts');
  const sources = [...faces.matchAll(/from '(.*)'/g)].map(([, from]) => from);
  expect(sources.length).toBeGreaterThan(8);
  for (const from of sources) expect(from).toMatch(/^\.\/(?:[a-z0-9-]+\/)?[a-z0-9-]+\.js$/);
});

it('everything exported has a doc comment', () => {
  let documented = 0;
  for (const [, names, from] of (read('engine.ts') + read('rescue.ts')).matchAll(
    /export (?:type )?\{([^}]*)\} from '\.\/(.*)\.js'/g,
  )) {
    const source = read(`${from}.ts`);
    for (const name of names.split(',').map((part) => part.trim().replace(/^type /, ''))) {
      if (name === '') continue;
      expect(source, name).toMatch(
        new RegExp(`\\*/\\nexport (?:async )?(?:function\\*?|class|const|interface|type) ${name}\\b`),
      );
      documented++;
    }
  }
  expect(documented).toBeGreaterThan(60);
});

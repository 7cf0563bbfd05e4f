import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { decryptSessions, encryptSessions } from '../src/backends/auto.js';
import * as engine from '../src/engine.js';
import * as main from '../src/index.js';

const MAIN = [
  'BACKUP_ALGORITHM',
  'BACKUP_MAC_SECRET',
  'BACKUP_SECRET',
  'BackupDecryptionKey',
  'BackupMacKey',
  'BackupPublicKey',
  'KeyBackupError',
  'MASTER_KEY_SECRET',
  'SECRET_STORAGE_ALGORITHM',
  'SecretStorageKey',
  'addSignature',
  'authDataBytes',
  'authenticateSessions',
  'createAuthData',
  'decryptSession',
  'decryptSessions',
  'decryptSessionsSync',
  'defaultKeyId',
  'ed25519Signer',
  'encryptSession',
  'encryptSessions',
  'encryptSessionsSync',
  'groupByRoom',
  'keyDescription',
  'readKeyExport',
  'readMacKeySecret',
  'readMasterKey',
  'recordsIn',
  'signAuthData',
  'unlock',
  'verifyAuthData',
  'writeKeyExport',
];

const ENGINE = [
  'MAX_EXPORT_BYTES',
  'MAX_ITERATIONS',
  'MAX_PLAINTEXT_BYTES',
  'MEGOLM_ALGORITHM',
  'addBackupMac',
  'base64Decode',
  'base64Encode',
  'canonicalJson',
  'checkBackupMac',
  'decodeRecoveryKey',
  'decryptKeyExport',
  'decryptSessionData',
  'derivePassphraseKey',
  'encodeRecoveryKey',
  'encryptSessionData',
  'prepareExportedSession',
  'prepareRoomKey',
  'pureBackend',
  'readExportedSession',
  'readRoomKey',
  'readSessionKey',
];

const FILES = ['index.ts', 'engine.ts'];
const read = (path: string) => readFileSync(new URL(`../src/${path}`, import.meta.url), 'utf8');

/** What an entry point exports, types too, by the file that it comes from. */
function exportsOf(file: string): { readonly from: string; readonly names: readonly string[] }[] {
  return [...read(file).matchAll(/export (?:type )?\{([^}]*)\} from '([^']*)'/g)].map(([, names, from]) => ({
    from,
    names: names
      .split(',')
      .map((part) => part.trim().replace(/^type /, ''))
      .filter((name) => name !== ''),
  }));
}

it('the entry points export this and no more', () => {
  expect(Object.keys(main).sort()).toEqual(MAIN);
  expect(Object.keys(engine).sort()).toEqual(ENGINE);
});

it('every name, of a type too, has one entry point', () => {
  const names = FILES.flatMap((file) => exportsOf(file).flatMap((one) => one.names));
  expect(names.length).toBeGreaterThan(90);
  expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([]);
});

it('the batches choose their backend', () => {
  expect(main.encryptSessions).toBe(encryptSessions);
  expect(main.decryptSessions).toBe(decryptSessions);
});

it('the entry points only re-export from this package', () => {
  for (const file of FILES) {
    const sources = exportsOf(file).map(({ from }) => from);
    expect(sources.length).toBeGreaterThan(8);
    for (const from of sources) expect(from).toMatch(/^\.\/(?:[a-z0-9-]+\/)?[a-z0-9-]+\.js$/);
    expect(read(file).match(/from '/g)).toHaveLength(sources.length);
  }
});

it('everything exported has a doc comment, and nothing is internal', () => {
  let documented = 0;
  for (const { from, names } of FILES.flatMap(exportsOf)) {
    const source = read(from.replace(/\.js$/, '.ts'));
    expect(source, from).not.toContain('@internal');
    for (const name of names) {
      expect(source, name).toMatch(
        new RegExp(`\\*/\\nexport (?:async )?(?:function\\*?|class|const|interface|type) ${name}\\b`),
      );
      documented++;
    }
  }
  expect(documented).toBeGreaterThan(90);
});

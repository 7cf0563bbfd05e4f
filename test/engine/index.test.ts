import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import * as face from '../../src/index.js';

it('the public face is this and no more', () => {
  expect(Object.keys(face).sort()).toEqual([
    'BACKUP_ALGORITHM',
    'BackupDecryptionKey',
    'BackupPublicKey',
    'KeyBackupError',
    'MAX_ITERATIONS',
    'MAX_PLAINTEXT_BYTES',
    'MEGOLM_ALGORITHM',
    'base64Decode',
    'base64Encode',
    'canonicalJson',
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
    'readRoomKey',
    'readSessionKey',
    'signAuthData',
    'verifyAuthData',
  ]);
});

it('takes everything from the engine', () => {
  const source = readFileSync(new URL('../../src/index.ts', import.meta.url), 'utf8');
  const sources = [...source.matchAll(/from '(.*)'/g)].map(([, from]) => from);
  expect(sources.length).toBeGreaterThan(8);
  for (const from of sources) expect(from).toMatch(/^\.\/engine\/[a-z0-9-]+\.js$/);
});

it('every value it exports has a doc comment', () => {
  for (const [, names, from] of readFileSync(new URL('../../src/index.ts', import.meta.url), 'utf8').matchAll(
    /export \{([^}]*)\} from '\.\/(.*)\.js'/g,
  )) {
    const source = readFileSync(new URL(`../../src/${from}.ts`, import.meta.url), 'utf8');
    for (const name of names.split(',').map((part) => part.trim().replace(/^type /, ''))) {
      if (name === '') continue;
      expect(source, name).toMatch(
        new RegExp(`\\*/\\nexport (?:async )?(?:function\\*?|class|const|interface|type) ${name}\\b`),
      );
    }
  }
});

import { describe as group, expect, it } from 'vitest';
import { readFileSync } from 'node:fs';
import {
  BackupDecryptionKey,
  BackupPublicKey,
  KeyBackupError,
  MAX_PLAINTEXT_BYTES,
  base64Decode,
  canonicalJson,
  decodeRecoveryKey,
  decryptSessionData,
  derivePassphraseKey,
  encryptSessionData,
  readRoomKey,
  readSessionKey,
} from '../../src/engine/index.js';
import { expectSignedBy } from '../../src/engine/ed25519.js';
import { describe, numberOr } from '../../src/engine/errors.js';
import { utf8Encode } from '../../src/engine/utf8.js';
import { SecretStorageKey } from '../../src/engine/secret-storage.js';
import { forge, rejection, roomKey } from './samples.js';

group('KeyBackupError', () => {
  it('is an Error with a name, a code and a message', () => {
    const error = new KeyBackupError('bad-json', 'why');
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({ name: 'KeyBackupError', code: 'bad-json', message: 'why' });
    expect(error.check).toBeUndefined();
    expect('cause' in error).toBe(false);
    expect(String(error)).toBe('KeyBackupError: why');
  });

  it('carries a cause and a check', () => {
    const cause = new Error('lower');
    expect(new KeyBackupError('bad-recovery-key', 'x', { cause, check: 'parity' })).toMatchObject({
      cause,
      check: 'parity',
    });
  });
});

it.each([
  [null, 'null'],
  [undefined, 'nothing'],
  [['SECRET'], 'an array'],
  [new Uint8Array(3), '3 bytes'],
  [{ a: 'SECRET' }, 'an object'],
  ['SECRET', 'a string'],
  [1, 'a number'],
  [1n, 'a bigint'],
  [true, 'a boolean'],
  [() => 0, 'a function'],
])('names a value by its type: %s', (value, name) => {
  expect(describe(value)).toBe(name);
});

group('every code of the engine', () => {
  const key = BackupDecryptionKey.generate();
  const forged = forge(key.publicKey.toBytes());
  const valid = forged.withPlaintext(new Uint8Array(0));
  const read = (fields: object) => () => decryptSessionData({ ...valid, ...fields }, key);
  const session = roomKey();
  const restore = (fields: object) => () =>
    readRoomKey(utf8Encode(JSON.stringify({ ...session, ...fields })), '!r', session.session_id);
  const legacy = { private_key_salt: 's', private_key_iterations: 1 };
  const other = { public_key: BackupDecryptionKey.generate().publicKey.toBase64() };

  /** One call for each; the files of tests have them all in every variety. */
  const reached: Record<string, () => unknown> = {
    'mac-mismatch': read({ mac: 'A'.repeat(11) }),
    'bad-mac-length': read({ mac: 'AAAA' }),
    'bad-base64': () => base64Decode('*', 'x'),
    'bad-length': read({ ephemeral: 'AAAA' }),
    'bad-padding': () => decryptSessionData(forged.withBlocks(new Uint8Array(16)), key),
    'bad-ciphertext-length': read({ ciphertext: 'AAAA' }),
    'low-order-key': () => BackupPublicKey.fromBytes(new Uint8Array(32)),
    'bad-utf8': () => readRoomKey(Uint8Array.of(0xff), '!r', 's'),
    'bad-json': () => decryptSessionData([], key),
    'missing-field': read({ mac: undefined }),
    'bad-session-key': () => readSessionKey('AAAA'),
    'session-id-mismatch': restore({ session_key: roomKey().session_key }),
    'unsupported-algorithm': restore({ algorithm: 'other' }),
    'wrong-key': () => {
      key.expectMatch(other);
    },
    'unproven-key': () => SecretStorageKey.fromBytes(new Uint8Array(32), 'k').describe(),
    'bad-auth-data': () => key.matches({}),
    'bad-recovery-key': () => decodeRecoveryKey('EsT0'),
    'bad-canonical-json': () => canonicalJson(0.5),
    'bad-signature': () => {
      expectSignedBy(new Uint8Array(32), new Uint8Array(0), new Uint8Array(64));
    },
    'wrong-passphrase': () => BackupDecryptionKey.fromPassphrase('p', { ...legacy, ...other }),
    'bad-parameters': () => derivePassphraseKey('p', { ...legacy, private_key_iterations: 0 }),
    'too-large': () => encryptSessionData(new Uint8Array(MAX_PLAINTEXT_BYTES + 1), key.publicKey),
    aborted: () => derivePassphraseKey('p', legacy, { signal: AbortSignal.abort() }),
    'backend-failed': () =>
      derivePassphraseKey('p', legacy, {
        backend: { name: 'test', pbkdf2: () => Promise.reject(new Error('no')) },
      }),
  };

  /** Codes that the tests of one file of their own reach. */
  const ELSEWHERE = ['bad-export-file', 'not-authenticated', 'room-id-mismatch'];

  it.each(Object.entries(reached))('%s comes', async (code, call) => {
    const error = await rejection(
      (async () => {
        await call();
      })(),
    );
    expect(error.code).toBe(code);
  });

  it('is in this list', () => {
    const source = readFileSync(new URL('../../src/engine/errors.ts', import.meta.url), 'utf8');
    const union = /export type EngineCode =([^]*?);\n\n/.exec(source)?.[1] ?? '';
    const codes = [...union.matchAll(/\| '([a-z0-9-]+)'/g)].map(([, code]) => code);
    expect(codes.length).toBeGreaterThan(20);
    expect(codes.filter((code) => !ELSEWHERE.includes(code)).sort()).toEqual(Object.keys(reached).sort());
  });
});

it('names a number by itself, and anything else by its kind', () => {
  expect(numberOr(1.5)).toBe('1.5');
  for (const value of ['7', null, undefined, {}]) expect(numberOr(value)).toBe(describe(value));
  expect(numberOr('a secret')).not.toContain('secret');
});

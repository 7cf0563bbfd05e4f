import { describe as group, expect, it } from 'vitest';
import { readFileSync } from 'node:fs';
import { runInNewContext } from 'node:vm';
import { RequestError, type RequestCode } from '../src/client/http-error.js';
import { BackupDecryptionKey, BackupPublicKey, KeyBackupError } from '../src/index.js';
import {
  MAX_PLAINTEXT_BYTES,
  base64Decode,
  canonicalJson,
  decodeRecoveryKey,
  decryptSessionData,
  derivePassphraseKey,
  encryptSessionData,
  readRoomKey,
  readSessionKey,
} from '../src/engine.js';
import { expectSignedBy } from '../src/curve25519/ed25519.js';
import { describe, importPeer, messageOf, numberOr, type ErrorCode } from '../src/errors.js';
import { utf8Encode } from '../src/encoding/utf8.js';
import { SecretStorageKey } from '../src/secret-storage/secret-storage.js';
import { forge, rejection, roomKey } from './support/samples.js';

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
  [new Float32Array(8), 'a Float32Array'],
  [new DataView(new ArrayBuffer(8)), 'a DataView'],
  [{ a: 'SECRET' }, 'an object'],
  ['SECRET', 'a string'],
  [1, 'a number'],
  [1n, 'a bigint'],
  [true, 'a boolean'],
  [() => 0, 'a function'],
])('names a value by its type: %s', (value, name) => {
  expect(describe(value)).toBe(name);
});

group('every code', () => {
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

  /** The codes that the tests of another file reach. */
  const ELSEWHERE: Partial<Record<ErrorCode, string>> = {
    'bad-export-file': 'formats/key-export.test.ts',
    'not-authenticated': 'batch/authenticity.test.ts',
    'room-id-mismatch': 'batch/authenticity.test.ts',
    'not-json': 'encoding/parse-json.test.ts',
    truncated: 'wire/backup-reader.test.ts',
    http: 'client/http.test.ts',
    network: 'client/http.test.ts',
    timeout: 'client/http.test.ts',
    'rate-limited': 'client/http.test.ts',
    unauthorized: 'client/http.test.ts',
    'not-found': 'client/backup.test.ts',
    'wrong-version': 'client/http.test.ts',
    'untrusted-backup': 'client/upload.test.ts',
    'bad-response': 'client/http.test.ts',
    'store-failed': 'server/postgres/index.test.ts',
    'unsupported-schema': 'server/listen.slow.test.ts',
    'missing-dependency': 'errors.test.ts',
  };

  it.each(Object.entries(reached))('%s comes', async (code, call) => {
    const error = await rejection(
      (async () => {
        await call();
      })(),
    );
    expect(error.code).toBe(code);
  });

  it.each(Object.entries(ELSEWHERE))('%s is tested in %s', (code, file) => {
    expect(readFileSync(new URL(file, import.meta.url), 'utf8')).toContain(`'${code}'`);
  });

  it('is in one of the two lists', () => {
    const source = readFileSync(new URL('../src/errors.ts', import.meta.url), 'utf8');
    const union = /export type ErrorCode =([^]*?);\n\n\/\*\*/.exec(source)?.[1] ?? '';
    const codes = [...union.matchAll(/\| '([a-z0-9-]+)'/g)].map(([, code]) => code);
    expect(codes.length).toBeGreaterThan(35);
    expect(codes.sort()).toEqual([...Object.keys(reached), ...Object.keys(ELSEWHERE)].sort());
  });
});

/** These hold when the file compiles: an unused `@ts-expect-error` fails the type check. */
group('the type of a code', () => {
  it('is the closed union in a catch', () => {
    try {
      decodeRecoveryKey('EsT0');
    } catch (error) {
      if (!(error instanceof KeyBackupError)) throw error;
      // @ts-expect-error A misspelt code does not compile.
      expect(error.code === 'bad-recovery-kee').toBe(false);
      switch (error.code) {
        // @ts-expect-error Nor does one as a case.
        case 'mac-missmatch':
          throw error;
      }
      const code: ErrorCode = error.code;
      expect(code === 'bad-recovery-key').toBe(true);
    }
    expect.assertions(2);
  });

  it('is narrower for a failed request', () => {
    const error: unknown = new RequestError('rate-limited', 'why');
    if (!(error instanceof RequestError)) throw error;
    // @ts-expect-error No request fails with the code of a key.
    expect(error.code === 'mac-mismatch').toBe(false);
    const code: RequestCode = error.code;
    expect(code).toBe('rate-limited');
  });

  it('is checked where an error is made', () => {
    // @ts-expect-error There is no such code.
    expect(new KeyBackupError('no-such-code', 'why').code).toBe('no-such-code');
    // @ts-expect-error There is no such code of a request.
    expect(new RequestError('mac-mismatch', 'why').code).toBe('mac-mismatch');
  });
});

it.each([
  [new Error('why'), 'why'],
  [runInNewContext("new Error('why')"), 'why'],
  [new DOMException('why'), 'why'],
  [{ message: 1 }, undefined],
  ['why', undefined],
  [null, undefined],
  [undefined, undefined],
])('messageOf reads the message of an error of any realm: %s', (error, message) => {
  expect(messageOf(error)).toBe(message);
});

it('names a number by itself, and anything else by its kind', () => {
  expect(numberOr(1.5)).toBe('1.5');
  for (const value of ['7', null, undefined, {}]) expect(numberOr(value)).toBe(describe(value));
  expect(numberOr('a secret')).not.toContain('secret');
});

it('names the line that installs a missing package, and passes on any other failure to load', async () => {
  const name = 'no-such-package-is-installed';
  await expect(importPeer(() => import(name), 'some@1')).rejects.toMatchObject({
    code: 'missing-dependency',
    message: expect.stringContaining('npm install some@1'),
  });
  const broken = new Error('it throws while it loads');
  await expect(importPeer(() => Promise.reject(broken), 'some@1')).rejects.toBe(broken);
});

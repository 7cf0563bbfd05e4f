import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  checkErrorBody,
  checkKeyBackupData,
  checkKeyBackups,
  checkKeysChanged,
  checkNewVersion,
  checkRoomKeyBackup,
  checkVersionCreated,
  checkVersionInfo,
  checkVersionUpdate,
} from '../../src/wire/validate.js';
import { KeyBackupError } from '../../src/errors.js';
import { runs } from '../support/runs.js';

const key = (): Record<string, unknown> => ({
  first_message_index: 0,
  forwarded_count: 0,
  is_verified: false,
  session_data: { ephemeral: 'a', ciphertext: 'b', mac: 'c', later: [1] },
  unknown: { kept: true },
});

function fault(run: () => unknown): { code: string; message: string } {
  try {
    run();
  } catch (error) {
    if (error instanceof KeyBackupError) return { code: error.code, message: error.message };
    throw error;
  }
  return { code: 'none', message: '' };
}

describe('one key', () => {
  test.each([
    ['first_message_index', -1],
    ['first_message_index', 1.5],
    ['first_message_index', 2 ** 53],
    ['first_message_index', '0'],
    ['first_message_index', null],
    ['forwarded_count', -1],
    ['forwarded_count', Infinity],
    ['forwarded_count', true],
    ['is_verified', 0],
    ['is_verified', 'true'],
    ['session_data', []],
    ['session_data', null],
    ['session_data', 'abc'],
  ])('%s of %j is refused with its path', (name, value) => {
    const bad = { ...key(), [name]: value };
    expect(fault(() => checkKeyBackupData(bad))).toMatchObject({ code: 'bad-json' });
    const { code, message } = fault(() =>
      checkKeyBackups({ rooms: { '!a:b': { sessions: { 'x/+': bad } } } }),
    );
    expect(code).toBe('bad-json');
    expect(message.startsWith(`rooms["!a:b"].sessions["x/+"].${name}: expected `)).toBe(true);
  });

  test.each(['first_message_index', 'forwarded_count', 'is_verified', 'session_data'])(
    '%s missing',
    (name) => {
      const bad = Object.fromEntries(Object.entries(key()).filter(([n]) => n !== name));
      expect(fault(() => checkKeyBackupData(bad, 'key'))).toEqual({
        code: 'missing-field',
        message: `key.${name}: expected a value, got nothing`,
      });
      expect(fault(() => checkRoomKeyBackup({ sessions: { s: bad } })).message).toBe(
        `sessions.s.${name}: expected a value, got nothing`,
      );
    },
  );

  test('keeps unknown fields and the object itself', () => {
    const value = key();
    expect(checkKeyBackupData(value)).toBe(value);
    expect(value).toEqual(key());
  });
});

test('a field inherited from the prototype is missing', () => {
  const bare = Object.create(key()) as object;
  expect(fault(() => checkKeyBackupData(bare)).code).toBe('missing-field');
  expect(
    fault(() => checkNewVersion(JSON.parse('{"__proto__":{"algorithm":"a","auth_data":{}}}'))).code,
  ).toBe('missing-field');
});

test('a body of another type is called the body', () => {
  for (const check of [
    checkErrorBody,
    checkKeyBackupData,
    checkKeyBackups,
    checkKeysChanged,
    checkNewVersion,
    checkRoomKeyBackup,
    checkVersionCreated,
    checkVersionInfo,
    checkVersionUpdate,
  ]) {
    expect(fault(() => check([]))).toEqual({
      code: 'bad-json',
      message: 'the body: expected an object, got an array',
    });
  }
});

test('a key that is no object is refused, also among many', () => {
  for (const value of [null, 5, 'key', [key()]]) {
    const sessions = { before: key(), bad: value };
    const { code, message } = fault(() => checkRoomKeyBackup({ sessions }));
    expect(code).toBe('bad-json');
    expect(message).toMatch(/^sessions\.bad: expected an object, got /);
  }
});

test('what was expected is said', () => {
  const message = (change: object) => fault(() => checkKeyBackupData({ ...key(), ...change })).message;
  expect(message({ is_verified: 1 })).toBe('is_verified: expected true or false, got a number');
  expect(message({ forwarded_count: -1 })).toBe(
    'forwarded_count: expected an integer of 0 to 2^53-1, got -1',
  );
  expect(fault(() => checkErrorBody({ errcode: 1 })).message).toBe(
    'errcode: expected a string, got a number',
  );
});

test('any string is an id', () => {
  const ids = ['__proto__', 'constructor', 'toString', '', '\0', '"', 'é', 'e\u0301'];
  const sessions = `{${ids.map((id) => `${JSON.stringify(id)}:${JSON.stringify(key())}`).join()}}`;
  const rooms = `{${ids.map((id) => `${JSON.stringify(id)}:{"sessions":${sessions}}`).join()}}`;
  const backups = checkKeyBackups(JSON.parse(`{"rooms":${rooms}}`));
  expect(Object.keys(backups.rooms)).toEqual(ids);
  expect(Object.keys(backups.rooms.__proto__.sessions)).toEqual(ids);
  expect(checkKeyBackups({ rooms: {} }).rooms.constructor).toBeUndefined();
  expect(JSON.stringify(backups)).toBe(`{"rooms":${rooms}}`);
});

test('versions', () => {
  expect(checkNewVersion({ algorithm: 'any', auth_data: {}, more: 1 })).toEqual({
    algorithm: 'any',
    auth_data: {},
    more: 1,
  });
  expect(fault(() => checkNewVersion({ auth_data: {} })).message).toBe(
    'algorithm: expected a value, got nothing',
  );
  expect(fault(() => checkNewVersion({ algorithm: 1, auth_data: {} })).message).toContain(
    'algorithm: expected a string',
  );
  expect(fault(() => checkNewVersion({ algorithm: 'a', auth_data: [] })).message).toContain(
    'auth_data: expected an object',
  );
  expect(fault(() => checkNewVersion([])).message).toContain('the body: expected an object, got an array');
  expect(fault(() => checkVersionUpdate({ algorithm: 'a', auth_data: {}, version: 1 })).message).toContain(
    'version: expected a string, got a number',
  );
  expect(checkVersionUpdate({ algorithm: 'a', auth_data: {} }).version).toBeUndefined();
  expect(checkVersionCreated({ version: 1 })).toEqual({ version: '1' });
  expect(fault(() => checkVersionCreated({ version: 1.5 })).message).toBe(
    'version: expected a string, got 1.5',
  );
  const info = { algorithm: 'a', auth_data: {}, version: '1', etag: '0', count: 0 };
  expect(checkVersionInfo(info)).toEqual(info);
  for (const etag of [null, undefined, {}, 1.5]) expect(checkVersionInfo({ ...info, etag }).etag).toBe('');
  for (const count of [null, undefined, '0', -1]) {
    expect(checkVersionInfo({ ...info, count }).count).toBeUndefined();
  }
  for (const name of ['algorithm', 'auth_data', 'version']) {
    expect(
      fault(() => checkVersionInfo({ ...info, [name]: null })).message.startsWith(`${name}: expected`),
    ).toBe(true);
  }
  expect(fault(() => checkKeysChanged({ etag: '1', count: -1 })).code).toBe('bad-json');
  expect(fault(() => checkKeysChanged({ etag: '1' })).code).toBe('missing-field');
  expect(checkKeysChanged({ etag: 1, count: 2 })).toEqual({ etag: '1', count: 2 });
  expect(checkKeysChanged({ count: 2 })).toEqual({ etag: '', count: 2 });
});

test('an error body loses optional fields of a wrong type only', () => {
  expect(checkErrorBody({ errcode: 'M_X', error: 3, retry_after_ms: '5', current_version: {} })).toEqual({
    errcode: 'M_X',
    error: '',
  });
  expect(checkErrorBody({ errcode: 'M_X', error: 'e', retry_after_ms: 5, current_version: 'v' })).toEqual({
    errcode: 'M_X',
    error: 'e',
    retry_after_ms: 5,
    current_version: 'v',
  });
  expect(fault(() => checkErrorBody({ error: 'no code' })).code).toBe('missing-field');
});

test('arbitrary JSON never fails in another way', () => {
  const checks = [
    checkKeyBackups,
    checkRoomKeyBackup,
    checkKeyBackupData,
    checkNewVersion,
    checkVersionUpdate,
    checkVersionInfo,
    checkErrorBody,
  ];
  const near = fc.record(
    {
      rooms: fc.jsonValue(),
      sessions: fc.dictionary(fc.string(), fc.jsonValue()),
      algorithm: fc.jsonValue(),
      first_message_index: fc.jsonValue(),
      errcode: fc.jsonValue(),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(fc.oneof(fc.jsonValue(), near), fc.constantFrom(...checks), (value, check) => {
      expect(['none', 'bad-json', 'missing-field']).toContain(fault(() => check(value)).code);
    }),
    { numRuns: runs(1000) },
  );
});

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
import { claim, claimEqual, jsonOf, textOf, words, type Target } from '../target.js';

type Test = (value: unknown) => boolean;

const isObject = (value: unknown): value is object =>
  Object.prototype.toString.call(value) === '[object Object]';
const isText: Test = (value) => typeof value === 'string';
const isBoolean: Test = (value) => value === true || value === false;
const isVersion: Test = (value) => isText(value) || isCount(value);
const isCount: Test = (value) =>
  typeof value === 'number' && Math.floor(value) === value && value >= 0 && value < 2 ** 53;

/** An object that has all of these fields. */
const has =
  (fields: Readonly<Record<string, Test>>): Test =>
  (value) => {
    if (!isObject(value)) return false;
    const present = new Map<string, unknown>(Object.entries(value));
    return Object.entries(fields).every(([name, test]) => present.has(name) && test(present.get(name)));
  };
const mapOf =
  (test: Test): Test =>
  (value) =>
    isObject(value) && Object.values(value).every(test);

const key = has({
  first_message_index: isCount,
  forwarded_count: isCount,
  is_verified: isBoolean,
  session_data: isObject,
});
const room = has({ sessions: mapOf(key) });
const version = has({ algorithm: isText, auth_data: isObject });

/** Every validator beside the same shape, written down as a table. */
const VALIDATORS: readonly (readonly [string, (value: unknown) => unknown, Test])[] = [
  ['KeyBackups', checkKeyBackups, has({ rooms: mapOf(room) })],
  ['RoomKeyBackup', checkRoomKeyBackup, room],
  ['KeyBackupData', checkKeyBackupData, key],
  ['NewVersion', checkNewVersion, version],
  [
    'VersionUpdate',
    checkVersionUpdate,
    (value) =>
      version(value) && (!Object.hasOwn(value as object, 'version') || has({ version: isText })(value)),
  ],
  ['VersionCreated', checkVersionCreated, has({ version: isVersion })],
  ['VersionInfo', checkVersionInfo, (value) => version(value) && has({ version: isVersion })(value)],
  ['KeysChanged', checkKeysChanged, has({ count: isCount })],
];

/** What gives a new object, with the fields in the types that they should have. */
const NORMALIZED = new Set(['VersionCreated', 'VersionInfo', 'KeysChanged']);

/** The validators of the wire against tables of their shapes. */
export const wireTarget: Target = {
  name: 'wire',
  jsonAt: 0,
  words: words`
    "rooms":{ "sessions":{ "first_message_index":0 "forwarded_count":0 "is_verified":false
    "session_data":{} "algorithm":"a" "auth_data":{} "version":"1" "etag":"0" "count":1
    "errcode":"M_UNKNOWN" "error":"" "retry_after_ms":1 "current_version":"2" "__proto__":{ -1 1.5
    9007199254740992 1e400 null []
  `,
  seeds: () => {
    const one = { first_message_index: 0, forwarded_count: 1, is_verified: true, session_data: { a: 1 } };
    const info = { algorithm: 'a', auth_data: { public_key: 'k' }, version: '1', etag: '2', count: 3 };
    return [
      { rooms: { '!r:e': { sessions: { s: one, t: { ...one, x: 1 } } } } },
      { sessions: { s: one } },
      one,
      info,
      { errcode: 'M_X', error: 'why', retry_after_ms: 5, current_version: '7' },
    ].map((value) => JSON.stringify(value));
  },
  run(input, seen) {
    const text = textOf(input);
    if (!jsonOf(text)) {
      seen.count('not JSON');
      return;
    }
    for (const [name, check, isRight] of VALIDATORS) {
      const value = JSON.parse(text) as unknown;
      const read = seen.allow(['bad-json', 'missing-field'], () => check(value));
      claim((read !== undefined) === isRight(JSON.parse(text)), `${name}: accepts exactly its shape`);
      if (!read) continue;
      if (!NORMALIZED.has(name)) claim(read.value === value, `${name}: gives back the very object`);
      claimEqual(JSON.stringify(value), JSON.stringify(JSON.parse(text)), `${name}: changes nothing`);
    }
    const error = seen.allow(['bad-json', 'missing-field'], () => checkErrorBody(JSON.parse(text)));
    claim(
      (error !== undefined) === has({ errcode: isText })(JSON.parse(text)),
      'ErrorBody: accepts exactly its shape',
    );
  },
};

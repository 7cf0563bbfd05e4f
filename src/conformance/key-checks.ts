import { ALGORITHM, authData, key, keysPath, versionPath, writes } from './backup.js';
import { recommendation, specification, type Check } from './check.js';
import {
  expectEqual,
  expectError,
  expectOk,
  expectRejected,
  expectThat,
  type User,
} from './server-under-test.js';

const KEYS = 'Server-side key backups';
const GET = 'Server-side key backups, GET /room_keys/keys';
const GET_ROOM = 'Server-side key backups, GET /room_keys/keys/{roomId}';
const GET_ONE = 'Server-side key backups, GET /room_keys/keys/{roomId}/{sessionId}';
const PUT = 'Server-side key backups, PUT /room_keys/keys';
const DATA = 'Server-side key backups, KeyBackupData';

/** Checks of where keys are, and how they come back. */
export const KEY_CHECKS: readonly Check[] = [
  ...specification(PUT, {
    'a key stored one way is read every way': async ({ alice, version }) => {
      await alice.putKeys(version, {
        '!a:x': { sessions: { s: key(1) } },
        '!b:x': { sessions: { s: key(2), t: key(3) } },
      });
      await expectOk(alice.call('PUT', keysPath(version, '!b:x'), { sessions: { u: key(4) } }));
      await alice.putKey(version, '!c:x', 'v', key(5));
      const b = { sessions: { s: key(2), t: key(3), u: key(4) } };
      const rooms = { '!a:x': { sessions: { s: key(1) } }, '!b:x': b, '!c:x': { sessions: { v: key(5) } } };
      expectEqual(await alice.getKeys(version), { rooms }, 'GET /keys');
      expectEqual(await alice.getKeys(version, '!b:x'), b, 'GET of a room');
      expectEqual(await alice.getKeys(version, '!b:x', 'u'), key(4), 'GET of a key');
      expectEqual((await alice.readVersion()).count, 5, 'count');
    },
    'a write to an older version is 403 M_WRONG_ROOM_KEYS_VERSION': async ({ alice, version: older }) => {
      await alice.newVersion();
      for (const [path, body] of writes()) {
        await expectError(alice.call('PUT', path(older), body), 403, 'M_WRONG_ROOM_KEYS_VERSION');
      }
      expectEqual((await alice.readVersion(older)).count, 0, 'count');
    },
    'M_WRONG_ROOM_KEYS_VERSION names the true current_version': async ({ alice, version: older }) => {
      const current = await alice.newVersion();
      for (const [path, body] of writes()) {
        const { json } = await alice.call('PUT', path(older), body);
        const { current_version } = (json ?? {}) as { current_version?: unknown };
        expectEqual(current_version, current, 'current_version');
      }
    },
    'a write to an unknown version is rejected': async ({ alice }) => {
      const errcodes = ['M_NOT_FOUND', 'M_WRONG_ROOM_KEYS_VERSION'];
      for (const [path, body] of writes()) {
        await expectRejected(alice.call('PUT', path('none'), body), errcodes);
      }
    },
    'every other request for keys needs a version': async ({ alice, version }) => {
      await alice.putKey(version, '!r:x', 's', key());
      for (const [path, body] of writes()) {
        for (const method of ['PUT', 'DELETE', ...(path(undefined) === '/keys' ? [] : ['GET'])]) {
          const request = alice.call(method, path(undefined), method === 'PUT' ? body : undefined);
          await expectRejected(request, ['M_MISSING_PARAM']);
        }
      }
      expectEqual((await alice.readVersion()).count, 1, 'count');
    },
    'batches of 200 keys add up, and everything comes in one answer': async ({ alice, version }) => {
      const rooms: Record<string, { sessions: Record<string, unknown> }> = {};
      for (let batch = 0; batch < 6; batch++) {
        const part: typeof rooms = {};
        for (let i = 0; i < 200; i++) {
          const room = `!${(i * 7) % 13}:x`;
          const session = `${batch}/${i}`;
          for (const to of [rooms, part]) (to[room] ??= { sessions: {} }).sessions[session] = key(i, batch);
        }
        expectEqual((await alice.putKeys(version, part)).count, (batch + 1) * 200, 'count');
      }
      expectEqual(await alice.getKeys(version), { rooms }, 'GET /keys');
    },
  }),
  ...recommendation('a client can tell a deleted backup from a replaced one', {
    'a write to an unknown version is 404 M_NOT_FOUND': async ({ alice }) => {
      for (const [path, body] of writes()) {
        await expectError(alice.call('PUT', path('none'), body), 404, 'M_NOT_FOUND');
      }
    },
  }),
  ...specification(GET, {
    'GET /keys without a version is 400 M_MISSING_PARAM, or gives the current backup': async (server) => {
      const { alice, version } = server;
      await alice.putKey(version, '!r:x', 's', key());
      const answer = await alice.call('GET', '/keys');
      if (answer.status !== 200) {
        await expectError(answer, 400, 'M_MISSING_PARAM');
        return 'it is 400 M_MISSING_PARAM';
      }
      const rooms = { '!r:x': { sessions: { s: key() } } };
      expectEqual(await expectOk(answer), { rooms }, 'GET /keys');
      return 'it gives the current backup';
    },
    'an empty backup has no rooms': async ({ alice, version }) => {
      expectEqual(await alice.getKeys(version), { rooms: {} }, 'GET /keys');
    },
    'keys of an unknown version are 404': async ({ alice }) => {
      for (const [path] of writes()) await expectError(alice.call('GET', path('none')), 404, 'M_NOT_FOUND');
    },
  }),
  ...specification(GET_ROOM, {
    'an unknown room has no sessions': async ({ alice, version }) => {
      await alice.putKey(version, '!r:x', 's', key());
      expectEqual(await alice.getKeys(version, '!other:x'), { sessions: {} }, 'GET of an unknown room');
    },
  }),
  ...specification(GET_ONE, {
    'an unknown session is 404': async ({ alice, version }) => {
      await alice.putKey(version, '!r:x', 's', key());
      for (const [room, session] of [
        ['!r:x', 't'],
        ['!other:x', 's'],
        ['!r:x', 'S'],
        ['!r:x', 'constructor'],
      ]) {
        await expectError(alice.call('GET', keysPath(version, room, session)), 404, 'M_NOT_FOUND');
      }
    },
  }),
  ...specification(DATA, {
    'session_data comes back equal, unknown fields included': async ({ alice, version }) => {
      const more = {
        list: [null, true, -1, 9_007_199_254_740_991, ''],
        unsigned: { text: 'é 😀 " \\ \u2028' },
      };
      const data = { ...key(), session_data: { ...key().session_data, ...more } };
      await alice.putKey(version, '!r:x', 's', data);
      await alice.putKeys(version, { '!q:x': { sessions: { s: data } } });
      for (const room of ['!r:x', '!q:x']) {
        expectEqual(await alice.getKeys(version, room, 's'), data, 'the key');
      }
    },
  }),
  ...recommendation('the next version of the specification may add one', {
    'unknown fields beside session_data come back': async ({ alice, version }) => {
      const data = { ...key(), unknown: { a: [] } };
      await alice.putKey(version, '!r:x', 's', data);
      expectEqual(await alice.getKeys(version, '!r:x', 's'), data, 'the key');
    },
  }),
  ...recommendation('they are legal JSON, and databases and languages stumble over them', {
    'fields named __proto__, U+0000 and deep nesting come back': async ({ alice, version }) => {
      const odd = `{"__proto__":{"y":[-0]},"constructor":"c","":"\\u0000","\\u0000":"e\\u0301 \\u007f","deep":${'['.repeat(40)}${']'.repeat(40)}}`;
      const data = `{"first_message_index":0,"forwarded_count":0,"is_verified":true,"session_data":${odd}}`;
      await alice.putKey(version, '!r:x', 's', data);
      expectEqual(await alice.getKeys(version, '!r:x', 's'), JSON.parse(data), 'the key');
      const auth_data = JSON.parse('{"__proto__":{"a":"\\u0000"}}') as unknown;
      const other = await alice.newVersion(auth_data);
      expectEqual((await alice.readVersion(other)).auth_data, auth_data, 'auth_data');
    },
  }),
  ...recommendation('what a server would change without notice is rejected instead', {
    'numbers beyond 2^53, fractions and lone surrogates are rejected': async ({ alice, version }) => {
      for (const value of [
        '9007199254740992',
        '-9007199254740993',
        '1e400',
        '0.1',
        '1e-7',
        '"\\ud800"',
        '"\\udc00x"',
      ]) {
        const data = JSON.stringify(key()).replace('"AAAA"', `[${value}]`);
        const rooms = `{"rooms":{"!r:x":{"sessions":{"s":${data}}}}}`;
        const body = `{"algorithm":"${ALGORITHM}","auth_data":{"v":${value}}}`;
        for (const [method, path, sent] of [
          ['PUT', keysPath(version, '!r:x', 's'), data],
          ['PUT', keysPath(version), rooms],
          ['POST', '/version', body],
          ['PUT', versionPath(version), body],
        ]) {
          await expectError(alice.call(method, path, sent), 400, 'M_BAD_JSON', value);
        }
      }
      expectEqual((await alice.readVersion()).count, 0, 'count');
    },
  }),
  ...specification('API Standards', {
    'ids in paths are percent-decoded once': async ({ alice, version }) => {
      const ids = ['!a:b', '!opaque-id_43', 'a+b/c', '/', '+', '%2F', '%25', 'é', 'e\u0301', '😀'];
      await expectIds(alice, version, ids);
      await alice.putKey(version, '!a:b', '+', key(2, 0, true));
      // Not encoded at all, where a URL allows it.
      const plain = alice.call('GET', `/keys/!a:b/+?version=${encodeURIComponent(version)}`);
      expectEqual(await expectOk(plain), key(2, 0, true), 'GET of +');
    },
  }),
  ...recommendation('the server need not know what an id looks like', {
    'any string is an id in a path': async ({ alice, version }) => {
      const odd = ['=', '%', ' ', '?', '#', '&', '\0', '"', '\\', 'ÿ', '..x', 'a;b', '{}', '~', "'"];
      const more = ['\u007f', '\ufeff', '__proto__', 'constructor', 'x'.repeat(255)];
      await expectIds(alice, version, [...odd, ...more]);
    },
  }),
  ...specification(KEYS, {
    "a user does not see another user's backup": async ({ alice, bob, version }) => {
      await alice.putKey(version, '!r:x', 's', key());
      await bob.newVersion();
      // Ids are per user: bob may have a version of the same name.
      await expectError(bob.call('GET', keysPath(version, '!r:x', 's')), 404, 'M_NOT_FOUND');
      for (const path of [keysPath(version), keysPath(version, '!r:x')]) {
        const { text } = await bob.call('GET', path);
        expectThat(!text.includes('ephemeral'), `GET ${path}: expected no keys of another user, got some`);
      }
    },
    "a user does not change another user's backup": async ({ alice, bob, version }) => {
      await alice.putKey(version, '!r:x', 's', key(1));
      const before = await alice.readVersion();
      await bob.newVersion();
      await bob.call('PUT', versionPath(version), { algorithm: ALGORITHM, auth_data: authData('B') });
      for (const [path, body] of writes()) await bob.call('PUT', path(version), body);
      for (const [path] of writes()) await bob.call('DELETE', path(version));
      await bob.call('DELETE', versionPath(version));
      expectEqual(await alice.readVersion(), before, 'the version');
      expectEqual(await alice.getKeys(version, '!r:x', 's'), key(1), 'the key');
    },
  }),
];

/** Expects each of the ids to work as a room id and as a session id, in paths and in bodies. */
async function expectIds(alice: User, version: string, ids: readonly string[]): Promise<void> {
  const sessions = (): [string, unknown][] => ids.map((id, i) => [id, key(i)]);
  const batch = Object.fromEntries(ids.map((id) => [id, { sessions: Object.fromEntries(sessions()) }]));
  await alice.putKeys(version, batch);
  expectEqual(await alice.getKeys(version), { rooms: batch }, 'GET /keys');
  expectEqual((await alice.readVersion()).count, ids.length ** 2, 'count');
  for (const [i, id] of ids.entries()) {
    const name = JSON.stringify(id);
    expectEqual(await alice.getKeys(version, id, id), key(i), `GET of ${name}`);
    expectEqual(await alice.getKeys(version, id), batch[id], `GET of the room ${name}`);
    await alice.putKey(version, id, id, key(i, 0, true));
    expectEqual(await alice.getKeys(version, id, id), key(i, 0, true), `PUT of ${name}`);
  }
  expectEqual((await alice.readVersion()).count, ids.length ** 2, 'count');
  const { count } = await alice.deleteKeys(version, ids[ids.length - 1]);
  expectEqual(count, ids.length * (ids.length - 1), 'count');
}

import {
  ALGORITHM,
  authData,
  getKey,
  getKeys,
  key,
  keysPath,
  newVersion,
  putKey,
  putKeys,
  readVersion,
  versionPath,
} from './backup.js';
import {
  expectEqual,
  expectError,
  expectOk,
  expectRefused,
  expectThat,
  recommendation,
  specification,
  type Check,
} from './server-under-test.js';

const GET = 'Server-side key backups, GET /room_keys/keys';
const GET_ROOM = 'Server-side key backups, GET /room_keys/keys/{roomId}';
const GET_ONE = 'Server-side key backups, GET /room_keys/keys/{roomId}/{sessionId}';
const PUT = 'Server-side key backups, PUT /room_keys/keys';
const DATA = 'Server-side key backups, KeyBackupData';

/** Checks of where keys are, and how they come back. */
export const KEY_CHECKS: readonly Check[] = [
  specification(PUT, 'a key stored one way is read every way', async ({ alice }) => {
    const version = await newVersion(alice);
    await putKeys(alice, version, {
      '!a:x': { sessions: { s: key(1) } },
      '!b:x': { sessions: { s: key(2), t: key(3) } },
    });
    const room = await alice.call('PUT', keysPath(version, '!b:x'), { sessions: { u: key(4) } });
    expectOk(room, 'PUT of a room');
    await putKey(alice, version, '!c:x', 'v', key(5));
    const b = { sessions: { s: key(2), t: key(3), u: key(4) } };
    const rooms = { '!a:x': { sessions: { s: key(1) } }, '!b:x': b, '!c:x': { sessions: { v: key(5) } } };
    expectEqual(await getKeys(alice, version), { rooms }, 'GET /keys');
    const got = expectOk(await alice.call('GET', keysPath(version, '!b:x')), 'GET of a room');
    expectEqual(got, b, 'GET of a room');
    expectEqual(await getKey(alice, version, '!b:x', 'u'), key(4), 'GET of a key');
    expectEqual((await readVersion(alice)).count, 5, 'count');
  }),
  specification(PUT, 'a write to an older version is 403 M_WRONG_ROOM_KEYS_VERSION', async ({ alice }) => {
    const older = await newVersion(alice);
    await newVersion(alice);
    for (const [path, body] of writes()) {
      const answer = await alice.call('PUT', path(older), body);
      expectError(answer, 403, 'M_WRONG_ROOM_KEYS_VERSION', `PUT ${path('OLDER')}`);
    }
    expectEqual((await readVersion(alice, older)).count, 0, 'count');
  }),
  specification(PUT, 'M_WRONG_ROOM_KEYS_VERSION names the true current_version', async ({ alice }) => {
    const older = await newVersion(alice);
    const current = await newVersion(alice);
    for (const [path, body] of writes()) {
      const { json } = await alice.call('PUT', path(older), body);
      const { current_version } = (json ?? {}) as { current_version?: unknown };
      expectEqual(current_version, current, 'current_version');
    }
  }),
  specification(PUT, 'a write to an unknown version is refused', async ({ alice }) => {
    await newVersion(alice);
    for (const [path, body] of writes()) {
      const answer = await alice.call('PUT', path('none'), body);
      const expected = ['M_NOT_FOUND', 'M_WRONG_ROOM_KEYS_VERSION'];
      expectRefused(answer, 'PUT to an unknown version', expected);
    }
  }),
  recommendation(
    'a client can tell a deleted backup from a replaced one',
    'a write to an unknown version is 404 M_NOT_FOUND',
    async ({ alice }) => {
      await newVersion(alice);
      for (const [path, body] of writes()) {
        const answer = await alice.call('PUT', path('none'), body);
        expectError(answer, 404, 'M_NOT_FOUND', `PUT ${path('none')}`);
      }
    },
  ),
  specification(
    GET,
    'GET /keys without a version is 400 M_MISSING_PARAM, or gives the current backup',
    async ({ alice }) => {
      const version = await newVersion(alice);
      await putKey(alice, version, '!r:x', 's', key());
      const answer = await alice.call('GET', '/keys');
      if (answer.status !== 200) {
        expectError(answer, 400, 'M_MISSING_PARAM', 'GET /keys');
        return 'it is 400 M_MISSING_PARAM';
      }
      const rooms = { '!r:x': { sessions: { s: key() } } };
      expectEqual(expectOk(answer, 'GET /keys'), { rooms }, 'GET /keys');
      return 'it gives the current backup';
    },
  ),
  specification(PUT, 'every other request for keys needs a version', async ({ alice }) => {
    const version = await newVersion(alice);
    await putKey(alice, version, '!r:x', 's', key());
    for (const [path, body] of writes()) {
      for (const method of ['PUT', 'DELETE', ...(path(undefined) === '/keys' ? [] : ['GET'])]) {
        const answer = await alice.call(method, path(undefined), method === 'PUT' ? body : undefined);
        expectRefused(answer, `${method} ${path(undefined)}`, ['M_MISSING_PARAM']);
      }
    }
    expectEqual((await readVersion(alice)).count, 1, 'count');
  }),
  specification(GET, 'an empty backup has no rooms', async ({ alice }) => {
    expectEqual(await getKeys(alice, await newVersion(alice)), { rooms: {} }, 'GET /keys');
  }),
  specification(GET_ROOM, 'an unknown room has no sessions', async ({ alice }) => {
    const version = await newVersion(alice);
    await putKey(alice, version, '!r:x', 's', key());
    const room = expectOk(await alice.call('GET', keysPath(version, '!other:x')), 'GET of an unknown room');
    expectEqual(room, { sessions: {} }, 'GET of an unknown room');
  }),
  specification(GET_ONE, 'an unknown session is 404', async ({ alice }) => {
    const version = await newVersion(alice);
    await putKey(alice, version, '!r:x', 's', key());
    for (const ids of [
      ['!r:x', 't'],
      ['!other:x', 's'],
      ['!r:x', 'S'],
      ['!r:x', 'constructor'],
    ]) {
      const answer = await alice.call('GET', keysPath(version, ...ids));
      expectError(answer, 404, 'M_NOT_FOUND', 'GET of an unknown session');
    }
  }),
  specification(GET, 'keys of an unknown version are 404', async ({ alice }) => {
    await newVersion(alice);
    for (const ids of [[], ['!r:x'], ['!r:x', 's']]) {
      const answer = await alice.call('GET', keysPath('none', ...ids));
      expectError(answer, 404, 'M_NOT_FOUND', 'GET of an unknown version');
    }
  }),
  specification(DATA, 'session_data comes back equal, unknown fields included', async ({ alice }) => {
    const version = await newVersion(alice);
    const { session_data } = key() as { session_data: object };
    const more = {
      list: [null, true, -1, 9_007_199_254_740_991, ''],
      unsigned: { text: 'é 😀 " \\ \u2028' },
    };
    const data = { ...key(), session_data: { ...session_data, ...more } };
    await putKey(alice, version, '!r:x', 's', data);
    await putKeys(alice, version, { '!q:x': { sessions: { s: data } } });
    for (const room of ['!r:x', '!q:x']) {
      expectEqual(await getKey(alice, version, room, 's'), data, 'the key');
    }
  }),
  recommendation(
    'the next version of the specification may add one',
    'unknown fields beside session_data come back',
    async ({ alice }) => {
      const version = await newVersion(alice);
      const data = { ...key(), unknown: { a: [] } };
      await putKey(alice, version, '!r:x', 's', data);
      expectEqual(await getKey(alice, version, '!r:x', 's'), data, 'the key');
    },
  ),
  recommendation(
    'they are legal JSON, and databases and languages stumble over them',
    'fields named __proto__, U+0000 and deep nesting come back',
    async ({ alice }) => {
      const version = await newVersion(alice);
      const odd = `{"__proto__":{"y":[-0]},"constructor":"c","":"\\u0000","\\u0000":"e\\u0301 \\u007f","deep":${'['.repeat(40)}${']'.repeat(40)}}`;
      const data = `{"first_message_index":0,"forwarded_count":0,"is_verified":true,"session_data":${odd}}`;
      expectOk(await alice.call('PUT', keysPath(version, '!r:x', 's'), data), 'PUT of a key');
      expectEqual(await getKey(alice, version, '!r:x', 's'), JSON.parse(data), 'the key');
      const auth_data = JSON.parse('{"__proto__":{"a":"\\u0000"}}') as unknown;
      const other = await newVersion(alice, auth_data);
      expectEqual((await readVersion(alice, other)).auth_data, auth_data, 'auth_data');
    },
  ),
  recommendation(
    'what a server would change without notice is refused instead',
    'numbers beyond 2^53, fractions and lone surrogates are refused',
    async ({ alice }) => {
      const version = await newVersion(alice);
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
        const put = await alice.call('PUT', keysPath(version, '!r:x', 's'), data);
        expectError(put, 400, 'M_BAD_JSON', `PUT of a key with ${value}`);
        const rooms = `{"rooms":{"!r:x":{"sessions":{"s":${data}}}}}`;
        const batch = await alice.call('PUT', keysPath(version), rooms);
        expectError(batch, 400, 'M_BAD_JSON', `PUT /keys with ${value}`);
        const body = `{"algorithm":"${ALGORITHM}","auth_data":{"v":${value}}}`;
        const made = await alice.call('POST', '/version', body);
        expectError(made, 400, 'M_BAD_JSON', `POST /version with ${value}`);
        const updated = await alice.call('PUT', versionPath(version), body);
        expectError(updated, 400, 'M_BAD_JSON', `PUT /version with ${value}`);
      }
      expectEqual((await readVersion(alice)).count, 0, 'count');
    },
  ),
  specification('API Standards', 'ids in paths are percent-decoded once', async ({ alice }) => {
    await expectIds(alice, ['!a:b', '!opaque-id_43', 'a+b/c', '/', '+', '%2F', '%25', 'é', 'e\u0301', '😀']);
    const version = await newVersion(alice);
    await putKey(alice, version, '!a:b', '+', key(2));
    // Not encoded at all, where a URL allows it.
    const plain = await alice.call('GET', `/keys/!a:b/+?version=${encodeURIComponent(version)}`);
    expectEqual(expectOk(plain, 'GET of +'), key(2), 'GET of +');
  }),
  recommendation(
    'the server need not know what an id looks like',
    'any string is an id in a path',
    async ({ alice }) => {
      const odd = ['=', '%', ' ', '?', '#', '&', '\0', '"', '\\', 'ÿ', '..x', 'a;b', '{}', '~', "'"];
      await expectIds(alice, [...odd, '\u007f', '\ufeff', '__proto__', 'constructor', 'x'.repeat(255)]);
    },
  ),
  specification(PUT, 'batches of 200 keys add up, and everything comes in one answer', async ({ alice }) => {
    const version = await newVersion(alice);
    const rooms: Record<string, { sessions: Record<string, unknown> }> = {};
    for (let batch = 0; batch < 6; batch++) {
      const part: typeof rooms = {};
      for (let i = 0; i < 200; i++) {
        const room = `!${(i * 7) % 13}:x`;
        const session = `${batch}/${i}`;
        for (const to of [rooms, part]) (to[room] ??= { sessions: {} }).sessions[session] = key(i, batch);
      }
      expectEqual((await putKeys(alice, version, part)).count, (batch + 1) * 200, 'count');
    }
    expectEqual(await getKeys(alice, version), { rooms }, 'GET /keys');
  }),
  specification('Server-side key backups', "a user does not see another user's backup", async (server) => {
    const { alice, bob } = server;
    const version = await newVersion(alice);
    await putKey(alice, version, '!r:x', 's', key());
    await newVersion(bob);
    // Ids are per user: bob may have a version of the same name.
    const answer = await bob.call('GET', keysPath(version, '!r:x', 's'));
    expectError(answer, 404, 'M_NOT_FOUND', "GET of another user's key");
    for (const path of [keysPath(version), keysPath(version, '!r:x')]) {
      const { text } = await bob.call('GET', path);
      expectThat(!text.includes('ephemeral'), `GET ${path}: expected no keys of another user, got some`);
    }
  }),
  specification('Server-side key backups', "a user does not change another user's backup", async (server) => {
    const { alice, bob } = server;
    const version = await newVersion(alice);
    await putKey(alice, version, '!r:x', 's', key(1));
    const before = await readVersion(alice);
    await newVersion(bob);
    await bob.call('PUT', versionPath(version), { algorithm: ALGORITHM, auth_data: authData('B') });
    for (const [path, body] of writes()) await bob.call('PUT', path(version), body);
    for (const [path] of writes()) await bob.call('DELETE', path(version));
    await bob.call('DELETE', versionPath(version));
    expectEqual(await readVersion(alice), before, 'the version');
    expectEqual(await getKey(alice, version, '!r:x', 's'), key(1), 'the key');
  }),
];

/** Expects each of the ids to work as a room id and as a session id, in paths and in bodies. */
async function expectIds(alice: Parameters<Check['run']>[0]['alice'], ids: readonly string[]): Promise<void> {
  const version = await newVersion(alice);
  const sessions = (): [string, unknown][] => ids.map((id, i) => [id, key(i)]);
  const batch = Object.fromEntries(ids.map((id) => [id, { sessions: Object.fromEntries(sessions()) }]));
  await putKeys(alice, version, batch);
  expectEqual(await getKeys(alice, version), { rooms: batch }, 'GET /keys');
  expectEqual((await readVersion(alice)).count, ids.length ** 2, 'count');
  for (const [i, id] of ids.entries()) {
    const name = JSON.stringify(id);
    expectEqual(await getKey(alice, version, id, id), key(i), `GET of ${name}`);
    const room = expectOk(await alice.call('GET', keysPath(version, id)), `GET of the room ${name}`);
    expectEqual(room, batch[id], `GET of the room ${name}`);
    await putKey(alice, version, id, id, key(i, 0, true));
    expectEqual(await getKey(alice, version, id, id), key(i, 0, true), `PUT of ${name}`);
  }
  expectEqual((await readVersion(alice)).count, ids.length ** 2, 'count');
  const last = ids[ids.length - 1];
  const left = expectOk(await alice.call('DELETE', keysPath(version, last)), 'DELETE of a room');
  expectEqual((left as { count: unknown }).count, ids.length * (ids.length - 1), 'count');
}

/** The three places keys are written to, with a body for each. */
function writes(): [(version: string | undefined) => string, unknown][] {
  return [
    [(version) => keysPath(version), { rooms: { '!r:x': { sessions: { s: key() } } } }],
    [(version) => keysPath(version, '!r:x'), { sessions: { s: key() } }],
    [(version) => keysPath(version, '!r:x', 's'), key()],
  ];
}

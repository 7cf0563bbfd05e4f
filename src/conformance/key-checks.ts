import { getKey, getKeys, key, keysPath, newVersion, putKey, putKeys, readVersion } from './backup.js';
import { expectEqual, expectError, expectOk, type Check, type User } from './server-under-test.js';

/** What the specification says of where keys are, and how they come back. */
export const KEY_CHECKS: readonly Check[] = [
  {
    name: 'a key stored one way is read every way',
    run: async ({ alice }) => {
      const version = await newVersion(alice);
      await putKeys(alice, version, {
        '!a:x': { sessions: { s: key(1) } },
        '!b:x': { sessions: { s: key(2), t: key(3) } },
      });
      expectOk(
        await alice.call('PUT', keysPath(version, '!b:x'), { sessions: { u: key(4) } }),
        'PUT of a room',
      );
      await putKey(alice, version, '!c:x', 'v', key(5));
      const b = { sessions: { s: key(2), t: key(3), u: key(4) } };
      const rooms = { '!a:x': { sessions: { s: key(1) } }, '!b:x': b, '!c:x': { sessions: { v: key(5) } } };
      expectEqual(await getKeys(alice, version), { rooms }, 'GET /keys');
      expectEqual(
        expectOk(await alice.call('GET', keysPath(version, '!b:x')), 'GET of a room'),
        b,
        'GET of a room',
      );
      expectEqual(await getKey(alice, version, '!b:x', 'u'), key(4), 'GET of a key');
      expectEqual((await readVersion(alice)).count, 5, 'count');
    },
  },
  {
    name: 'writes go to the current version only: 403 with the true current_version, 404 for an unknown one',
    run: async ({ alice }) => {
      const older = await newVersion(alice);
      const current = await newVersion(alice);
      for (const [path, body] of writes()) {
        const answer = await alice.call('PUT', path(older), body);
        const error = expectError(answer, 403, 'M_WRONG_ROOM_KEYS_VERSION', 'PUT to an older version');
        expectEqual(error.current_version, current, 'current_version');
        expectError(
          await alice.call('PUT', path('none'), body),
          404,
          'M_NOT_FOUND',
          'PUT to an unknown version',
        );
      }
      expectEqual((await readVersion(alice, older)).count, 0, 'count');
      expectEqual((await readVersion(alice, current)).count, 0, 'count');
    },
  },
  {
    name: 'GET of everything without a version means the current one; every other form needs it',
    run: async ({ alice }) => {
      const version = await newVersion(alice);
      await putKey(alice, version, '!r:x', 's', key());
      const all = expectOk(await alice.call('GET', '/keys'), 'GET /keys');
      expectEqual(all, { rooms: { '!r:x': { sessions: { s: key() } } } }, 'GET /keys');
      for (const [path, body] of writes()) {
        expectError(await alice.call('PUT', path(undefined), body), 400, 'M_MISSING_PARAM', 'PUT');
        expectError(await alice.call('DELETE', path(undefined)), 400, 'M_MISSING_PARAM', 'DELETE');
      }
      for (const ids of [['!r:x'], ['!r:x', 's']]) {
        expectError(await alice.call('GET', keysPath(undefined, ...ids)), 400, 'M_MISSING_PARAM', 'GET');
      }
      expectEqual((await readVersion(alice)).count, 1, 'count');
    },
  },
  {
    name: 'an empty backup and an unknown room are empty, an unknown session is 404',
    run: async ({ alice }) => {
      const version = await newVersion(alice);
      expectEqual(await getKeys(alice, version), { rooms: {} }, 'GET /keys');
      await putKey(alice, version, '!r:x', 's', key());
      const room = expectOk(await alice.call('GET', keysPath(version, '!other:x')), 'GET of an unknown room');
      expectEqual(room, { sessions: {} }, 'GET of an unknown room');
      for (const ids of [
        ['!r:x', 't'],
        ['!other:x', 's'],
        ['!r:x', 'S'],
        ['!r:x', 'constructor'],
      ]) {
        expectError(
          await alice.call('GET', keysPath(version, ...ids)),
          404,
          'M_NOT_FOUND',
          'an unknown session',
        );
      }
      for (const ids of [[], ['!r:x'], ['!r:x', 's']]) {
        expectError(
          await alice.call('GET', keysPath('none', ...ids)),
          404,
          'M_NOT_FOUND',
          'an unknown version',
        );
      }
    },
  },
  {
    name: 'session_data comes back equal, unknown fields, __proto__ and U+0000 included',
    run: async ({ alice }) => {
      const version = await newVersion(alice);
      const data = `{"first_message_index":0,"forwarded_count":9007199254740991,"is_verified":true,"unknown":{"a":[]},
        "__proto__":{"x":1},"session_data":{"__proto__":{"y":[null,true,-0,-9007199254740991]},"constructor":"c",
        "":"\\u0000","\\u0000":"\\ud83d\\ude00 é e\\u0301 \\" \\\\ \\u2028 \\u007f","deep":${'['.repeat(40)}${']'.repeat(40)}}}`;
      expectOk(await alice.call('PUT', keysPath(version, '!r:x', 's'), data), 'PUT of a key');
      expectOk(
        await alice.call('PUT', keysPath(version), `{"rooms":{"!q:x":{"sessions":{"s":${data}}}}}`),
        'PUT /keys',
      );
      for (const room of ['!r:x', '!q:x']) {
        expectEqual(await getKey(alice, version, room, 's'), JSON.parse(data), 'the key');
      }
      const auth_data = JSON.parse('{"__proto__":{"a":"\\u0000"},"n":-9007199254740991}') as unknown;
      expectEqual(
        (await readVersion(alice, await newVersion(alice, auth_data))).auth_data,
        auth_data,
        'auth_data',
      );
    },
  },
  {
    name: 'numbers that would change and lone surrogates are refused',
    run: async ({ alice }) => {
      const version = await newVersion(alice);
      const values = [
        '9007199254740992',
        '-9007199254740993',
        '1e400',
        '0.1',
        '1e-7',
        '"\\ud800"',
        '"\\udc00x"',
      ];
      for (const value of values) {
        const data = `{"first_message_index":0,"forwarded_count":0,"is_verified":false,"session_data":{"v":[${value}]}}`;
        const put = await alice.call('PUT', keysPath(version, '!r:x', 's'), data);
        expectError(put, 400, 'M_BAD_JSON', `PUT of a key with ${value}`);
        const batch = await alice.call(
          'PUT',
          keysPath(version),
          `{"rooms":{"!r:x":{"sessions":{"s":${data}}}}}`,
        );
        expectError(batch, 400, 'M_BAD_JSON', `PUT /keys with ${value}`);
        const body = `{"algorithm":"a","auth_data":{"v":${value}}}`;
        expectError(
          await alice.call('POST', '/version', body),
          400,
          'M_BAD_JSON',
          `POST /version with ${value}`,
        );
        expectError(
          await alice.call('PUT', `/version/${version}`, body),
          400,
          'M_BAD_JSON',
          `PUT /version with ${value}`,
        );
      }
      expectEqual((await readVersion(alice)).count, 0, 'count');
    },
  },
  {
    name: 'ids in paths are percent-decoded once, and any string is one',
    run: async ({ alice }) => {
      const version = await newVersion(alice);
      const ids = [
        '!a:b',
        '/',
        '+',
        'a+b/c=',
        '%',
        '%2F',
        '%25',
        ' ',
        '?',
        '#',
        '&',
        '\0',
        '"',
        '\\',
        'é',
        'e\u0301',
      ];
      ids.push(
        '😀',
        '__proto__',
        'constructor',
        'ÿ',
        'x'.repeat(255),
        '..x',
        'a;b',
        '{}',
        '~',
        "'",
        '\u007f',
        '\ufeff',
      );
      const sessions = (): [string, unknown][] => ids.map((id, i) => [id, key(i)]);
      const batch = Object.fromEntries(ids.map((id) => [id, { sessions: Object.fromEntries(sessions()) }]));
      await putKeys(alice, version, batch);
      expectEqual(await getKeys(alice, version), { rooms: batch }, 'GET /keys');
      expectEqual((await readVersion(alice)).count, ids.length ** 2, 'count');
      for (const [i, id] of ids.entries()) {
        expectEqual(await getKey(alice, version, id, id), key(i), `GET of ${JSON.stringify(id)}`);
        const room = expectOk(await alice.call('GET', keysPath(version, id)), 'GET of a room');
        expectEqual(room, batch[id], `GET of the room ${JSON.stringify(id)}`);
        await putKey(alice, version, id, id, key(i, 0, true, 'single'));
        expectEqual(
          await getKey(alice, version, id, id),
          key(i, 0, true, 'single'),
          `PUT of ${JSON.stringify(id)}`,
        );
      }
      // Not encoded at all, where a URL allows it.
      const plain = await alice.call('GET', `/keys/!a:b/+?version=${version}`);
      expectEqual(expectOk(plain, 'GET of +'), key(2), 'GET of +');
      expectEqual((await readVersion(alice)).count, ids.length ** 2, 'count');
      const left = expectOk(await alice.call('DELETE', keysPath(version, '__proto__')), 'DELETE of a room');
      expectEqual((left as { count: unknown }).count, ids.length * (ids.length - 1), 'count');
    },
  },
  {
    name: 'batches of 200 keys add up, and everything comes in one answer',
    run: async ({ alice }) => {
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
    },
  },
  {
    name: 'users never see or touch what is another’s',
    run: async ({ alice, bob }) => {
      const version = await newVersion(alice);
      await putKey(alice, version, '!r:x', 's', key());
      const before = await readVersion(alice);
      await newVersion(bob);
      await sees404(bob, version);
      expectEqual(await readVersion(alice), before, 'the version');
      expectEqual(await getKey(alice, version, '!r:x', 's'), key(), 'the key');
    },
  },
];

async function sees404(user: User, version: string): Promise<void> {
  for (const method of ['GET', 'PUT', 'DELETE']) {
    const body = method === 'PUT' ? { algorithm: 'a', auth_data: {} } : undefined;
    expectError(
      await user.call(method, `/version/${version}`, body),
      404,
      'M_NOT_FOUND',
      `${method} /version`,
    );
    for (const [path, keys] of writes()) {
      const answer = await user.call(method, path(version), method === 'PUT' ? keys : undefined);
      expectError(answer, 404, 'M_NOT_FOUND', `${method} ${path(undefined)}`);
    }
  }
}

/** The three places keys are written to, with a body for each. */
function writes(): [(version: string | undefined) => string, unknown][] {
  return [
    [(version) => keysPath(version), { rooms: { '!r:x': { sessions: { s: key() } } } }],
    [(version) => keysPath(version, '!r:x'), { sessions: { s: key() } }],
    [(version) => keysPath(version, '!r:x', 's'), key()],
  ];
}

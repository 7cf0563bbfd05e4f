import { key, keysPath, newVersion, readVersion } from './backup.js';
import { expectEqual, expectError, expectOk, expectThat, type Check } from './server-under-test.js';

const API = '/_matrix/client/v3/room_keys';

/** What the specification says of requests, tokens and errors. */
export const HTTP_CHECKS: readonly Check[] = [
  {
    name: 'v3, r0 and unstable are the same API',
    run: async ({ alice, raw }) => {
      const version = await newVersion(alice);
      for (const prefix of ['v3', 'r0', 'unstable']) {
        const answer = await raw('GET', `/_matrix/client/${prefix}/room_keys/version`, {
          headers: alice.headers,
        });
        expectEqual((expectOk(answer, prefix) as { version: unknown }).version, version, prefix);
      }
    },
  },
  {
    name: 'a missing or unknown token is 401, before the body is read',
    run: async ({ alice, raw }) => {
      const version = await newVersion(alice);
      const places: [string, string][] = [
        ['GET', '/version'],
        ['POST', '/version'],
        ['PUT', `/version/${version}`],
        ['DELETE', `/version/${version}`],
        ...['PUT', 'GET', 'DELETE'].flatMap((method): [string, string][] => [
          [method, keysPath(version)],
          [method, keysPath(version, '!r:x')],
          [method, keysPath(version, '!r:x', 's')],
        ]),
      ];
      for (const [method, path] of places) {
        const body = method === 'PUT' || method === 'POST' ? '{ this is no JSON' : undefined;
        const none = await raw(method, API + path, { body });
        expectError(none, 401, 'M_MISSING_TOKEN', `${method} without a token`);
        const wrong = await raw(method, API + path, { body, headers: { authorization: 'Bearer wrong' } });
        expectError(wrong, 401, 'M_UNKNOWN_TOKEN', `${method} with a wrong token`);
      }
      expectEqual((await readVersion(alice)).version, version, 'the current version');
    },
  },
  {
    name: 'a token in the query does not count',
    run: async ({ alice, raw }) => {
      const token = alice.headers.authorization.replace('Bearer ', '');
      const answer = await raw('GET', `${API}/version?access_token=${encodeURIComponent(token)}`);
      expectError(answer, 401, 'M_MISSING_TOKEN', 'GET with a token in the query');
    },
  },
  {
    name: 'a body that is no JSON is M_NOT_JSON',
    run: async ({ alice, raw }) => {
      const version = await newVersion(alice);
      const bodies: (string | Uint8Array<ArrayBuffer>)[] = [
        '',
        '{',
        'x',
        '{"rooms":}',
        '[1,]',
        Uint8Array.of(0x22, 0xff, 0x22),
      ];
      for (const body of bodies) {
        for (const path of [keysPath(version), keysPath(version, '!r:x'), keysPath(version, '!r:x', 's')]) {
          const answer = await raw('PUT', API + path, { headers: alice.headers, body });
          expectError(answer, 400, 'M_NOT_JSON', 'PUT');
        }
        const answer = await raw('POST', `${API}/version`, { headers: alice.headers, body });
        expectError(answer, 400, 'M_NOT_JSON', 'POST /version');
      }
    },
  },
  {
    name: 'deeply nested JSON is refused without harm',
    run: async ({ alice }) => {
      const version = await newVersion(alice);
      const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
      const data = JSON.stringify(key()).replace('"x"', deep);
      const answer = await alice.call('PUT', keysPath(version, '!r:x', 's'), data);
      expectError(answer, 400, 'M_BAD_JSON', 'PUT');
    },
  },
  {
    name: 'unknown paths are 404 and unknown methods 405, both M_UNRECOGNIZED',
    run: async ({ alice, raw }) => {
      for (const path of ['/nothing', '/keys/a/b/c', '/version/a/b', '/keys/!r:x/', '/keys/', '']) {
        const answer = await raw('GET', API + path, { headers: alice.headers });
        expectError(answer, 404, 'M_UNRECOGNIZED', `GET ${path}`);
      }
      for (const [method, path] of [
        ['PATCH', '/version'],
        ['PUT', '/version'],
        ['DELETE', '/version'],
        ['POST', '/version/x'],
        ['POST', '/keys'],
        ['PATCH', '/keys/!r:x'],
        ['POST', '/keys/!r:x/s'],
      ]) {
        const answer = await raw(method, API + path, { headers: alice.headers });
        expectError(answer, 405, 'M_UNRECOGNIZED', `${method} ${path}`);
      }
      const head = await raw('HEAD', `${API}/version`, { headers: alice.headers });
      expectThat(head.status === 405, `HEAD: expected 405, got ${head.status}`);
    },
  },
  {
    name: 'an invalid percent-encoding is the caller’s error',
    run: async ({ alice }) => {
      const version = await newVersion(alice);
      for (const id of ['%ff', '%', '%2', '%zz', '%c3%28', '%ed%a0%80']) {
        for (const path of [`/keys/${id}`, `/keys/!r:x/${id}`, `/keys/${id}/s`]) {
          const answer = await alice.call('GET', `${path}?version=${version}`);
          const { errcode } = (answer.json ?? {}) as { errcode?: unknown };
          expectThat(
            answer.status >= 400 && answer.status < 500 && typeof errcode === 'string',
            `GET ${path}: expected 4xx with an errcode, got ${answer.status}`,
          );
        }
      }
    },
  },
  {
    name: 'every answer lets browsers read it, and a preflight needs no token',
    run: async ({ alice, raw }) => {
      const version = await newVersion(alice);
      for (const path of ['/version', `/version/${version}`, '/keys', '/keys/!r:x', '/keys/!r:x/s']) {
        const headers = {
          origin: 'https://example.org',
          'access-control-request-method': 'PUT',
          'access-control-request-headers': 'authorization, content-type',
        };
        const preflight = await raw('OPTIONS', API + path, { headers });
        expectThat(preflight.status === 200 || preflight.status === 204, `OPTIONS: got ${preflight.status}`);
        const methods = preflight.headers.get('access-control-allow-methods') ?? '';
        expectThat(
          ['GET', 'POST', 'PUT', 'DELETE'].every((m) => methods.includes(m)),
          'OPTIONS: methods missing',
        );
        const allowed = (preflight.headers.get('access-control-allow-headers') ?? '').toLowerCase();
        expectThat(
          allowed.includes('authorization') && allowed.includes('content-type'),
          'OPTIONS: headers missing',
        );
        const answers = [
          preflight,
          await raw('GET', API + path),
          await raw('GET', `${API}${path}?version=${version}`, { headers: alice.headers }),
          await raw('PATCH', API + path, { headers: alice.headers }),
        ];
        for (const { headers: got, status } of answers) {
          expectEqual(
            got.get('access-control-allow-origin'),
            '*',
            `access-control-allow-origin of a ${status}`,
          );
        }
      }
    },
  },
  {
    name: 'bodies beyond the limit are 413 M_TOO_LARGE, and nothing is stored',
    run: async ({ alice, raw, maxBody }) => {
      if (maxBody === undefined) return;
      const version = await newVersion(alice);
      const path = API + keysPath(version, '!r:x', 's');
      const body = (length: number): string => {
        const empty = JSON.stringify(key(0, 0, false, '')).length;
        return JSON.stringify(key(0, 0, false, 'x'.repeat(length - empty)));
      };
      const over = await raw('PUT', path, { headers: alice.headers, body: body(maxBody + 1) });
      expectError(over, 413, 'M_TOO_LARGE', 'PUT of one byte too many');
      expectEqual((await readVersion(alice)).count, 0, 'count');
      const at = await raw('PUT', path, { headers: alice.headers, body: body(maxBody) });
      expectOk(at, 'PUT of as many bytes as allowed');
    },
  },
];

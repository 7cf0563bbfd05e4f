import { key, keysPath, versionPath } from './backup.js';
import { recommendation, specification, type Check } from './check.js';
import {
  expectEqual,
  expectError,
  expectOk,
  expectRejected,
  expectThat,
  type ServerUnderTest,
} from './server-under-test.js';

const AUTHENTICATION = 'Client Authentication, Using access tokens';
const ERRORS = 'API Standards, Common error codes';
const CORS = 'Web Browser Clients';

const PREFLIGHT = {
  origin: 'https://example.org',
  'access-control-request-method': 'PUT',
  'access-control-request-headers': 'authorization, content-type',
};

/** Checks of requests, tokens and errors. */
export const HTTP_CHECKS: readonly Check[] = [
  ...recommendation('old clients still ask there', {
    'r0 and unstable are the same API as v3': async ({ alice, raw, version }) => {
      for (const api of ['v3', 'r0', 'unstable']) {
        const info = await expectOk(raw('GET', '/version', { api, headers: alice.headers }));
        expectEqual((info as { version: unknown }).version, version, api);
      }
    },
  }),
  ...specification(AUTHENTICATION, {
    'a request without a token is 401 M_MISSING_TOKEN': async ({ version, ...server }) => {
      await expectUnauthorized(server, version, 'M_MISSING_TOKEN', '{}');
      expectEqual((await server.alice.readVersion()).version, version, 'the current version');
    },
    'a request with a wrong token is 401 M_UNKNOWN_TOKEN': async ({ version, ...server }) => {
      const headers = { authorization: 'Bearer wrong' };
      await expectUnauthorized(server, version, 'M_UNKNOWN_TOKEN', '{}', headers);
      expectEqual((await server.alice.readVersion()).version, version, 'the current version');
    },
  }),
  ...recommendation('requests without a token then cost the server no memory', {
    'a token is checked before the body is read': async ({ version, ...server }) => {
      await expectUnauthorized(server, version, 'M_MISSING_TOKEN', '{ this is no JSON');
    },
  }),
  ...recommendation('URLs are logged; the specification has dropped the query parameter', {
    'a token in the query does not count': async ({ alice, raw }) => {
      const token = encodeURIComponent(alice.headers.authorization.replace('Bearer ', ''));
      await expectError(raw('GET', `/version?access_token=${token}`), 401, 'M_MISSING_TOKEN');
    },
  }),
  ...specification(ERRORS, {
    'a body that is not JSON is M_NOT_JSON': async ({ alice, version }) => {
      const paths = [keysPath(version), keysPath(version, '!r:x'), keysPath(version, '!r:x', 's')];
      for (const body of ['{', 'x', '{"rooms":}', '[1,]']) {
        for (const path of paths) {
          await expectRejected(alice.call('PUT', path, body), ['M_NOT_JSON'], body);
        }
        await expectRejected(alice.call('POST', '/version', body), ['M_NOT_JSON'], body);
      }
    },
    'an unknown path is 404 M_UNRECOGNIZED': async ({ alice }) => {
      for (const path of ['/nothing', '/keys/a/b/c', '/version/a/b']) {
        await expectError(alice.call('GET', path), 404, 'M_UNRECOGNIZED');
      }
    },
    'a wrong method is 405 M_UNRECOGNIZED': async ({ alice }) => {
      for (const [method, path] of [
        ['PATCH', '/version'],
        ['PUT', '/version'],
        ['DELETE', '/version'],
        ['POST', '/version/x'],
        ['POST', '/keys'],
        ['PATCH', '/keys/!r:x'],
        ['POST', '/keys/!r:x/s'],
      ]) {
        await expectError(alice.call(method, path), 405, 'M_UNRECOGNIZED');
      }
    },
    'a body beyond the limit is M_TOO_LARGE, and nothing is stored': async ({ alice, maxBody, version }) => {
      if (maxBody === undefined) return NO_LIMIT_KNOWN;
      const over = alice.call('PUT', keysPath(version, '!r:x', 's'), bodyOfLength(maxBody + 1));
      await expectRejected(over, ['M_TOO_LARGE'], 'with one byte too many');
      expectEqual((await alice.readVersion()).count, 0, 'count');
      return undefined;
    },
  }),
  ...recommendation('neither is JSON in UTF-8', {
    'an empty body and one that is not UTF-8 are 400 M_NOT_JSON': async ({ alice, version }) => {
      for (const body of ['', Uint8Array.of(0x22, 0xff, 0x22)]) {
        await expectError(alice.call('PUT', keysPath(version), body), 400, 'M_NOT_JSON');
      }
    },
  }),
  ...recommendation('a parser that recurses may run out of stack', {
    'JSON of 100,000 levels is rejected': async ({ alice, version }) => {
      const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
      const data = JSON.stringify(key()).replace('"AAAA"', deep);
      await expectError(alice.call('PUT', keysPath(version, '!r:x', 's'), data), 400, 'M_BAD_JSON');
    },
  }),
  ...recommendation('a room id is never empty', {
    'a path that ends early is 404 M_UNRECOGNIZED': async ({ alice }) => {
      for (const path of ['/keys/!r:x/', '/keys/', '']) {
        await expectError(alice.call('GET', path), 404, 'M_UNRECOGNIZED');
      }
    },
  }),
  ...recommendation('no endpoint has it', {
    'HEAD is 405': async ({ alice }) => {
      const { status } = await alice.call('HEAD', '/version');
      expectThat(status === 405, `HEAD: expected 405, got ${status}`);
    },
  }),
  ...recommendation('it is the fault of the caller, not of the server', {
    'an invalid percent-encoding is 4xx with an errcode': async ({ alice, version }) => {
      for (const id of ['%ff', '%', '%2', '%zz', '%c3%28', '%ed%a0%80']) {
        for (const path of [`/keys/${id}`, `/keys/!r:x/${id}`, `/keys/${id}/s`]) {
          await expectRejected(alice.call('GET', `${path}?version=${encodeURIComponent(version)}`));
        }
      }
    },
  }),
  ...specification(CORS, {
    'OPTIONS is answered without a token': async ({ raw }) => {
      for (const path of PATHS) {
        const { status } = await raw('OPTIONS', path, { headers: PREFLIGHT });
        expectThat(status === 200 || status === 204, `OPTIONS ${path}: expected 200 or 204, got ${status}`);
      }
    },
  }),
  ...recommendation('browsers send no request without them; the specification recommends these headers', {
    'a preflight allows the methods and headers of the API': async ({ raw }) => {
      for (const path of PATHS) {
        const { headers } = await raw('OPTIONS', path, { headers: PREFLIGHT });
        const methods = headers.get('access-control-allow-methods') ?? '';
        const names = (headers.get('access-control-allow-headers') ?? '').toLowerCase();
        const missing = [
          ...['GET', 'POST', 'PUT', 'DELETE'].filter((method) => !methods.includes(method)),
          ...['authorization', 'content-type'].filter((name) => !names.includes(name)),
        ];
        expectThat(missing.length === 0, `OPTIONS ${path}: expected ${missing.join()} to be allowed`);
      }
    },
  }),
  ...recommendation('browsers hide an answer without it; the specification recommends this header', {
    'every answer lets any origin read it, errors too': async ({ alice, raw, version }) => {
      for (const path of PATHS) {
        for (const { headers, status } of [
          await raw('OPTIONS', path, { headers: PREFLIGHT }),
          await raw('GET', path),
          await alice.call('GET', `${path}?version=${encodeURIComponent(version)}`),
          await alice.call('PATCH', path),
        ]) {
          const what = `access-control-allow-origin of a ${status}`;
          expectEqual(headers.get('access-control-allow-origin'), '*', what);
        }
      }
    },
  }),
  ...recommendation('clients learn from it how much they may send', {
    'a body as large as the limit is accepted, and one beyond it is 413': async ({
      alice,
      maxBody,
      version,
    }) => {
      if (maxBody === undefined) return NO_LIMIT_KNOWN;
      const path = keysPath(version, '!r:x', 's');
      const { status } = await alice.call('PUT', path, bodyOfLength(maxBody + 1));
      expectThat(status === 413, `PUT of one byte too many: expected 413, got ${status}`);
      await expectOk(alice.call('PUT', path, bodyOfLength(maxBody)));
      return undefined;
    },
  }),
];

const NO_LIMIT_KNOWN = 'not tried without --max-body';

const PATHS = ['/version', '/version/x', '/keys', '/keys/!r:x', '/keys/!r:x/s'];

/** Every place that has a method. */
function places(version: string): [method: string, path: string][] {
  const keys = [keysPath(version), keysPath(version, '!r:x'), keysPath(version, '!r:x', 's')];
  return [
    ['GET', '/version'],
    ['POST', '/version'],
    ['GET', versionPath(version)],
    ['PUT', versionPath(version)],
    ['DELETE', versionPath(version)],
    ...['PUT', 'GET', 'DELETE'].flatMap((method) => keys.map((path): [string, string] => [method, path])),
  ];
}

/** Requests each method at each path, and expects every response to be 401. */
async function expectUnauthorized(
  { raw }: ServerUnderTest,
  version: string,
  errcode: string,
  body: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<void> {
  for (const [method, path] of places(version)) {
    const hasBody = method === 'PUT' || method === 'POST';
    await expectError(raw(method, path, { headers, ...(hasBody ? { body } : {}) }), 401, errcode);
  }
}

/** White space, because a server may have another limit for one record. */
function bodyOfLength(length: number): string {
  return JSON.stringify(key(0, 0, false, '')).padEnd(length);
}

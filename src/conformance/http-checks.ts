import { key, keysPath, newVersion, readVersion, versionPath } from './backup.js';
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

const API = '/_matrix/client/v3/room_keys';
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
  recommendation(
    'old clients still ask there',
    'r0 and unstable are the same API as v3',
    async ({ alice, raw }) => {
      const version = await newVersion(alice);
      for (const prefix of ['v3', 'r0', 'unstable']) {
        const path = `/_matrix/client/${prefix}/room_keys/version`;
        const answer = await raw('GET', path, { headers: alice.headers });
        expectEqual((expectOk(answer, prefix) as { version: unknown }).version, version, prefix);
      }
    },
  ),
  specification(
    AUTHENTICATION,
    'a request without a token is 401 M_MISSING_TOKEN',
    async ({ alice, raw }) => {
      const version = await newVersion(alice);
      for (const [method, path] of places(version)) {
        const answer = await raw(method, API + path, bodyOf(method, '{}'));
        expectError(answer, 401, 'M_MISSING_TOKEN', `${method} without a token`);
      }
      expectEqual((await readVersion(alice)).version, version, 'the current version');
    },
  ),
  specification(AUTHENTICATION, 'a request with a wrong token is 401 M_UNKNOWN_TOKEN', async (server) => {
    const { alice, raw } = server;
    const version = await newVersion(alice);
    for (const [method, path] of places(version)) {
      const headers = { authorization: 'Bearer wrong' };
      const answer = await raw(method, API + path, { ...bodyOf(method, '{}'), headers });
      expectError(answer, 401, 'M_UNKNOWN_TOKEN', `${method} with a wrong token`);
    }
    expectEqual((await readVersion(alice)).version, version, 'the current version');
  }),
  recommendation(
    'strangers then cost the server no memory',
    'a token is checked before the body is read',
    async ({ alice, raw }) => {
      const version = await newVersion(alice);
      for (const [method, path] of places(version)) {
        const answer = await raw(method, API + path, bodyOf(method, '{ this is no JSON'));
        expectError(answer, 401, 'M_MISSING_TOKEN', `${method} without a token`);
      }
    },
  ),
  recommendation(
    'addresses stand in logs; the specification has dropped the query parameter',
    'a token in the query does not count',
    async ({ alice, raw }) => {
      const token = alice.headers.authorization.replace('Bearer ', '');
      const answer = await raw('GET', `${API}/version?access_token=${encodeURIComponent(token)}`);
      expectError(answer, 401, 'M_MISSING_TOKEN', 'GET with a token in the query');
    },
  ),
  specification(ERRORS, 'a body that is not JSON is M_NOT_JSON', async ({ alice, raw }) => {
    const version = await newVersion(alice);
    const paths = [keysPath(version), keysPath(version, '!r:x'), keysPath(version, '!r:x', 's')];
    for (const body of ['{', 'x', '{"rooms":}', '[1,]']) {
      for (const path of paths) {
        const answer = await raw('PUT', API + path, { headers: alice.headers, body });
        expectRefused(answer, `PUT ${body}`, ['M_NOT_JSON']);
      }
      const answer = await raw('POST', `${API}/version`, { headers: alice.headers, body });
      expectRefused(answer, `POST /version ${body}`, ['M_NOT_JSON']);
    }
  }),
  recommendation(
    'neither is JSON in UTF-8',
    'an empty body and one that is not UTF-8 are 400 M_NOT_JSON',
    async ({ alice, raw }) => {
      const version = await newVersion(alice);
      for (const body of ['', Uint8Array.of(0x22, 0xff, 0x22)]) {
        const answer = await raw('PUT', API + keysPath(version), { headers: alice.headers, body });
        expectError(answer, 400, 'M_NOT_JSON', 'PUT');
      }
    },
  ),
  recommendation(
    'a parser that recurses may run out of stack',
    'JSON of 100,000 levels is refused',
    async ({ alice }) => {
      const version = await newVersion(alice);
      const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
      const data = JSON.stringify(key()).replace('"AAAA"', deep);
      const answer = await alice.call('PUT', keysPath(version, '!r:x', 's'), data);
      expectError(answer, 400, 'M_BAD_JSON', 'PUT');
    },
  ),
  specification(ERRORS, 'an unknown path is 404 M_UNRECOGNIZED', async ({ alice, raw }) => {
    for (const path of ['/nothing', '/keys/a/b/c', '/version/a/b']) {
      const answer = await raw('GET', API + path, { headers: alice.headers });
      expectError(answer, 404, 'M_UNRECOGNIZED', `GET ${path}`);
    }
  }),
  recommendation(
    'a room id is never empty',
    'a path that ends early is 404 M_UNRECOGNIZED',
    async ({ alice, raw }) => {
      for (const path of ['/keys/!r:x/', '/keys/', '']) {
        const answer = await raw('GET', API + path, { headers: alice.headers });
        expectError(answer, 404, 'M_UNRECOGNIZED', `GET ${path}`);
      }
    },
  ),
  specification(ERRORS, 'a wrong method is 405 M_UNRECOGNIZED', async ({ alice, raw }) => {
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
  }),
  recommendation('no endpoint has it', 'HEAD is 405', async ({ alice, raw }) => {
    const head = await raw('HEAD', `${API}/version`, { headers: alice.headers });
    expectThat(head.status === 405, `HEAD: expected 405, got ${head.status}`);
  }),
  recommendation(
    'it is the fault of the caller, not of the server',
    'an invalid percent-encoding is 4xx with an errcode',
    async ({ alice }) => {
      const version = await newVersion(alice);
      for (const id of ['%ff', '%', '%2', '%zz', '%c3%28', '%ed%a0%80']) {
        for (const path of [`/keys/${id}`, `/keys/!r:x/${id}`, `/keys/${id}/s`]) {
          const answer = await alice.call('GET', `${path}?version=${encodeURIComponent(version)}`);
          expectRefused(answer, `GET ${path}`);
        }
      }
    },
  ),
  specification(CORS, 'OPTIONS is answered without a token', async ({ raw }) => {
    for (const path of PATHS) {
      const { status } = await raw('OPTIONS', API + path, { headers: PREFLIGHT });
      expectThat(status === 200 || status === 204, `OPTIONS ${path}: expected 200 or 204, got ${status}`);
    }
  }),
  recommendation(
    'browsers refuse to send a request without them; the specification recommends these headers',
    'a preflight allows the methods and headers of the API',
    async ({ raw }) => {
      for (const path of PATHS) {
        const { headers } = await raw('OPTIONS', API + path, { headers: PREFLIGHT });
        const methods = headers.get('access-control-allow-methods') ?? '';
        const missing = ['GET', 'POST', 'PUT', 'DELETE'].filter((method) => !methods.includes(method));
        expectThat(missing.length === 0, `OPTIONS ${path}: expected ${missing.join()} to be allowed`);
        const allowed = (headers.get('access-control-allow-headers') ?? '').toLowerCase();
        const refused = ['authorization', 'content-type'].filter((name) => !allowed.includes(name));
        expectThat(refused.length === 0, `OPTIONS ${path}: expected ${refused.join()} to be allowed`);
      }
    },
  ),
  recommendation(
    'browsers hide an answer without it; the specification recommends this header',
    'every answer lets any origin read it, errors too',
    async ({ alice, raw }) => {
      const version = encodeURIComponent(await newVersion(alice));
      for (const path of PATHS) {
        for (const { headers, status } of [
          await raw('OPTIONS', API + path, { headers: PREFLIGHT }),
          await raw('GET', API + path),
          await raw('GET', `${API}${path}?version=${version}`, { headers: alice.headers }),
          await raw('PATCH', API + path, { headers: alice.headers }),
        ]) {
          const what = `access-control-allow-origin of a ${status}`;
          expectEqual(headers.get('access-control-allow-origin'), '*', what);
        }
      }
    },
  ),
  specification(ERRORS, 'a body beyond the limit is M_TOO_LARGE, and nothing is stored', async (server) => {
    const { alice, raw, maxBody } = server;
    if (maxBody === undefined) return 'not tried without --max-body';
    const version = await newVersion(alice);
    const path = API + keysPath(version, '!r:x', 's');
    const over = await raw('PUT', path, { headers: alice.headers, body: bodyOfLength(maxBody + 1) });
    expectRefused(over, 'PUT of one byte too many', ['M_TOO_LARGE']);
    expectEqual((await readVersion(alice)).count, 0, 'count');
    return undefined;
  }),
  recommendation(
    'clients learn from it how much they may send',
    'a body as large as the limit is accepted, and one beyond it is 413',
    async ({ alice, raw, maxBody }) => {
      if (maxBody === undefined) return 'not tried without --max-body';
      const version = await newVersion(alice);
      const path = API + keysPath(version, '!r:x', 's');
      const over = await raw('PUT', path, { headers: alice.headers, body: bodyOfLength(maxBody + 1) });
      expectThat(over.status === 413, `PUT of one byte too many: expected 413, got ${over.status}`);
      const at = await raw('PUT', path, { headers: alice.headers, body: bodyOfLength(maxBody) });
      expectOk(at, 'PUT of as many bytes as allowed');
      return undefined;
    },
  ),
];

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

function bodyOf(method: string, body: string): { readonly body?: string } {
  return method === 'PUT' || method === 'POST' ? { body } : {};
}

function bodyOfLength(length: number): string {
  const empty = JSON.stringify(key(0, 0, false, '')).length;
  return JSON.stringify(key(0, 0, false, 'A'.repeat(length - empty)));
}

import { afterEach, describe, expect, it, vi } from 'vitest';
import { RequestError } from '../../src/client/http-error.js';
import { downloadKeys } from '../../src/client/download.js';
import type { Fetch } from '../../src/client/fetch-attempt.js';
import { Homeserver, path, type HomeserverOptions } from '../../src/client/http.js';
import type { RetryNotice } from '../../src/client/retry.js';
import { KeyBackupServer, type Fault } from '../support/key-backup-server.js';
import { clientOf, makeBackup, startServer } from './support.js';

const html = '<html><h1>502 Bad Gateway</h1></html>';

async function failure(promise: Promise<unknown>): Promise<RequestError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(RequestError);
  return error as RequestError;
}

describe('what passes', () => {
  const passing: [string, Fault][] = [
    ['a connection that breaks before the request', { kind: 'drop-before' }],
    ['a connection that breaks before the answer', { kind: 'drop-after' }],
    ['an answer that breaks off', { kind: 'cut', bytes: 10 }],
    ['an answer that ends early', { kind: 'truncate', bytes: 10 }],
    ['500', { kind: 'answer', status: 500, body: '' }],
    ['502 with a page', { kind: 'answer', status: 502, body: html }],
    ['429 without a word', { kind: 'answer', status: 429, body: '' }],
    [
      '429 with a body',
      { kind: 'answer', status: 429, body: '{"errcode":"M_LIMIT_EXCEEDED","error":"slow"}' },
    ],
    ['an answer that stalls', { kind: 'stall', bytes: 5 }],
    ['no answer at all', { kind: 'stall' }],
  ];

  /** Short only where something has to time out: a busy machine is slow. */
  const timeouts = ({ kind }: Fault) =>
    kind === 'stall'
      ? { idleTimeout: 400, responseTimeout: 400 }
      : { idleTimeout: 30_000, responseTimeout: 30_000 };

  it.each(passing)('%s is tried again', async (_, fault) => {
    const server = await startServer();
    const version = makeBackup(server);
    server.faults = [fault, fault];
    const notices: RetryNotice[] = [];
    const roomKeys = clientOf(server, {
      ...timeouts(fault),
      onRetry: (notice) => notices.push(notice),
    });
    expect((await roomKeys.currentVersion())?.version).toBe(version.version);
    expect(notices.map(({ attempt }) => attempt)).toEqual([1, 2]);
    expect(server.seen).toHaveLength(3);
  });

  it.each(passing)('%s is an error when it does not', async (_, fault) => {
    const server = await startServer();
    makeBackup(server);
    server.faults = [fault, fault, fault, fault];
    const roomKeys = clientOf(server, { ...timeouts(fault), retries: 2 });
    const error = await failure(roomKeys.currentVersion());
    expect(server.seen).toHaveLength(3);
    expect(['network', 'http', 'rate-limited', 'bad-response', 'timeout']).toContain(error.code);
    expect(error.message).not.toContain('TOKEN');
  });

  it('is not tried again blindly for POST, but after 429', async () => {
    const server = await startServer();
    const roomKeys = clientOf(server);
    for (const fault of [
      { kind: 'drop-after' },
      { kind: 'drop-before' },
      { kind: 'answer', status: 503, body: '' },
    ] satisfies Fault[]) {
      server.faults = [fault];
      server.seen.length = 0;
      await failure(roomKeys.createVersion({ algorithm: 'x', auth_data: {} }));
      expect(server.seen).toHaveLength(1);
    }
    server.faults = [{ kind: 'answer', status: 429, body: '' }];
    await expect(roomKeys.createVersion({ algorithm: 'x', auth_data: {} })).resolves.toBe('v2');
  });
});

describe('what does not pass', () => {
  it.each([
    [400, '{"errcode":"M_BAD_JSON","error":"no"}', 'http'],
    [401, '{"errcode":"M_UNKNOWN_TOKEN","error":"no"}', 'unauthorized'],
    [403, '{"errcode":"M_FORBIDDEN","error":"no"}', 'http'],
    [403, '{"errcode":"M_WRONG_ROOM_KEYS_VERSION","error":"no","current_version":"9"}', 'wrong-version'],
    [404, '{"errcode":"M_UNRECOGNIZED","error":"no"}', 'http'],
    [404, html, 'http'],
    [404, '', 'http'],
    [413, html, 'too-large'],
    [301, '', 'http'],
    [302, '', 'http'],
  ])('%i %s is %s at once', async (status, body, code) => {
    const server = await startServer();
    server.faults = [{ kind: 'answer', status, body }];
    const error = await failure(clientOf(server).currentVersion());
    expect(error).toMatchObject({ code, status });
    expect(server.seen).toHaveLength(1);
    if (code === 'wrong-version') expect(error.current_version).toBe('9');
    if (body.startsWith('{')) expect(error.errcode).toBe((JSON.parse(body) as { errcode: string }).errcode);
  });

  it.each([
    ['no JSON', html],
    ['empty', ''],
    ['JSON of the wrong types', '{"version":7,"algorithm":[]}'],
    ['JSON of another shape', '[]'],
    ['not JSON, although it looks like it', '{"version":x}'],
  ])('a 200 that is %s is bad-response at once', async (_, body) => {
    const server = await startServer();
    makeBackup(server);
    server.faults = [{ kind: 'misreport', body }];
    const error = await failure(clientOf(server).currentVersion());
    expect(error).toMatchObject({ code: 'bad-response', status: 200 });
    expect(server.seen).toHaveLength(1);
  });

  it.each([html, '{"rooms":[]}', '[]'])('the keys %j are bad-response at once', async (body) => {
    const server = await startServer();
    const { version } = makeBackup(server);
    server.faults = [{ kind: 'misreport', body }];
    const download = downloadKeys(clientOf(server), version).next();
    expect(await failure(download)).toMatchObject({ code: 'bad-response' });
    expect(server.seen).toHaveLength(1);
  });

  it('is a host name that does not exist, unless it has answered before', async () => {
    const answers: (string | Response)[] = ['ENOTFOUND'];
    const fetch: Fetch = async () => {
      const answer = answers.shift()!;
      if (typeof answer !== 'string') return Promise.resolve(answer);
      const cause = Object.assign(new Error('getaddrinfo'), { code: answer });
      return Promise.reject(new TypeError('fetch failed', { cause }));
    };
    const homeserver = new Homeserver({ baseUrl: 'https://a.example.org', fetch, retryDelay: 0 });
    const ask = () => homeserver.request({ method: 'GET', path: '/' }, () => 'answered');
    expect(await failure(ask())).toMatchObject({ code: 'network' });
    expect(answers).toEqual([]);
    answers.push('EAI_AGAIN', 'ECONNREFUSED', new Response('{}'), 'ENOTFOUND', new Response('{}'));
    expect(await ask()).toBe('answered');
    expect(await ask()).toBe('answered');
    expect(answers).toEqual([]);
  });

  it('is 404 with M_NOT_FOUND: there is no backup', async () => {
    const server = await startServer();
    expect(await clientOf(server).currentVersion()).toBeUndefined();
    await expect(clientOf(server).deleteVersion('x')).resolves.toBe(false);
  });

  it('is an answer too large to be one', async () => {
    const server = await startServer();
    makeBackup(server);
    const body = `{"version":"${'x'.repeat(5 << 20)}"}`;
    server.faults = Array.from({ length: 9 }, () => ({ kind: 'misreport', body }) as const);
    const error = await failure(clientOf(server).currentVersion());
    expect(error).toMatchObject({ code: 'bad-response' });
  });
});

describe('a body', () => {
  it('is what its fields say, whatever its methods say', async () => {
    const server = await startServer();
    const methods = { toJSON: () => ({ public_key: 'hijacked' }) };
    const auth_data = Object.assign(Object.create(methods) as object, { public_key: 'A'.repeat(43) });
    await clientOf(server).createVersion({ algorithm: 'm', auth_data: auth_data });
    expect(server.current?.auth_data).toEqual({ public_key: 'A'.repeat(43) });
  });
});

describe('the access token', () => {
  it('goes into the header', async () => {
    const server = await startServer();
    await clientOf(server).currentVersion();
    expect(server.seen[0]).toMatchObject({ authorization: 'Bearer TOKEN' });
    expect(server.seen[0].url).not.toContain('TOKEN');
  });

  it.each(['sec\nret', 'sec…ret', 'sec\0ret', 7 as never])(
    '%j cannot go into one, and is not quoted',
    async (token) => {
      const server = await startServer();
      const onRetry = (notice: RetryNotice) => expect.unreachable(notice.error.code);
      const homeserver = new Homeserver({ baseUrl: server.url, accessToken: token, onRetry });
      const error = await failure(homeserver.request({ method: 'GET', path: '/' }, (value) => value));
      expect(error.code).toBe('bad-parameters');
      expect(error.cause).toBeUndefined();
      expect(error.message).toMatch(/^accessToken: expected .*, got /);
      expect(error.message).not.toMatch(/sec|ret|7/);
      expect(server.seen).toEqual([]);
    },
  );

  it('may end in a line break, as a file does', async () => {
    const server = await startServer();
    makeBackup(server);
    await clientOf(server, { accessToken: () => 'TOKEN\r\n' }).currentVersion();
    expect(server.seen[0]).toMatchObject({ authorization: 'Bearer TOKEN' });
  });

  it('is waited for no longer than until the signal', async () => {
    const server = await startServer();
    const controller = new AbortController();
    const accessToken = () => {
      setTimeout(() => {
        controller.abort('enough');
      });
      return new Promise<string>(() => undefined);
    };
    const pending = clientOf(server, { accessToken }).currentVersion({ signal: controller.signal });
    expect(await failure(pending)).toMatchObject({ code: 'aborted', cause: 'enough' });
    const broken = clientOf(server, { accessToken: () => Promise.reject(new Error('no token')) });
    await expect(broken.currentVersion()).rejects.toThrow(/^no token$/);
  });

  it.each([301, 302, 303, 307, 308])('does not follow a redirect of %i', async (status) => {
    const [server, other] = [await startServer(), await startServer()];
    makeBackup(other);
    server.faults = [{ kind: 'answer', status, body: '', headers: { location: other.url } }];
    expect(await failure(clientOf(server).currentVersion())).toMatchObject({ code: 'http' });
    expect(other.seen).toEqual([]);
  });

  it('is not taken to another server by a fetch that follows redirects on its own', async () => {
    const fetch: Fetch = () =>
      Promise.resolve({
        status: 200,
        url: 'https://elsewhere.example.org/x',
        headers: new Headers(),
        arrayBuffer: () => Promise.resolve(new ArrayBuffer(0)),
      });
    const homeserver = new Homeserver({ baseUrl: 'https://here.example.org', fetch });
    const error = await failure(homeserver.request({ method: 'GET', path: '/' }, (value) => value));
    expect(error.message).toContain('another server');
  });
});

describe('waiting', () => {
  const start = Date.UTC(2026, 9, 21, 7, 27);
  afterEach(() => {
    vi.useRealTimers();
    vi.restoreAllMocks();
  });

  /** Sends one request with time and chance under control. */
  async function waits(random: number, options: Omit<HomeserverOptions, 'baseUrl'>) {
    vi.useFakeTimers({ now: start, toFake: ['setTimeout', 'clearTimeout', 'Date'] });
    vi.spyOn(Math, 'random').mockReturnValue(random);
    const notices: RetryNotice[] = [];
    const onRetry = (notice: RetryNotice) => notices.push(notice);
    const homeserver = new Homeserver({ ...options, baseUrl: 'https://a.example.org', onRetry });
    const ended = homeserver
      .request({ method: 'GET', path: '/' }, () => undefined)
      .catch((error: unknown) => error);
    await vi.runAllTimersAsync();
    return { notices, error: await ended, waited: Date.now() - start };
  }

  /** What the client does after one 429. */
  async function after429(header: string | undefined, body: string): Promise<RetryNotice> {
    const headers = header === undefined ? undefined : { 'retry-after': header };
    const answers = [new Response(body, { status: 429, ...(headers && { headers }) }), new Response('{}')];
    const fetch: Fetch = () => Promise.resolve(answers.shift()!);
    const { notices, error, waited } = await waits(0.5, { fetch });
    expect(error).toBeUndefined();
    expect(notices).toHaveLength(1);
    expect(waited).toBe(notices[0].delay);
    return notices[0];
  }
  const body = '{"errcode":"M_LIMIT_EXCEEDED","error":"","retry_after_ms":1500}';

  it('takes the delay from the header, else from the body, else chooses one', async () => {
    expect(await after429('7', body)).toMatchObject({ delay: 7000, asked: 7000 });
    expect(await after429(undefined, body)).toMatchObject({ delay: 1500, asked: 1500 });
    expect(await after429('soon', body)).toMatchObject({ delay: 1500, asked: 1500 });
    expect(await after429(undefined, '')).toMatchObject({ delay: 250, asked: undefined });
  });

  it('caps an absurd delay and reports it', async () => {
    expect(await after429('99999999', body)).toMatchObject({ delay: 60_000, asked: 99_999_999_000 });
  });

  it('reads a date in the header', async () => {
    expect(await after429('Wed, 21 Oct 2026 07:27:40 GMT', body)).toMatchObject({ asked: 40_000 });
    expect(await after429('Wed, 21 Oct 2026 07:26:00 GMT', body)).toMatchObject({ asked: 0 });
  });

  it('doubles the delay up to a limit, times a random factor', async () => {
    const fetch: Fetch = () => Promise.reject(new TypeError('fetch failed'));
    const { notices, error, waited } = await waits(0.9, { fetch, retryDelay: 100, maxRetryDelay: 1000 });
    expect(error).toMatchObject({ code: 'network' });
    expect(notices.map(({ delay }) => delay)).toEqual([90, 180, 360, 720, 900, 900]);
    expect(waited).toBe(90 + 180 + 360 + 720 + 900 + 900);
  });

  it('ends when the signal aborts', async () => {
    const server = await startServer();
    server.faults = [{ kind: 'drop-before' }];
    const controller = new AbortController();
    const roomKeys = clientOf(server, {
      retryDelay: 1e9,
      maxRetryDelay: 1e9,
      onRetry: () => {
        setTimeout(() => {
          controller.abort();
        }, 5);
      },
    });
    expect(await failure(roomKeys.currentVersion(controller))).toMatchObject({ code: 'aborted' });
  });
});

describe('an abort', () => {
  it.each<[string, Fault]>([
    ['before the answer', { kind: 'stall' }],
    ['within the answer', { kind: 'stall', bytes: 3 }],
  ])('%s ends the request and its connection', async (_, fault) => {
    const server = await startServer();
    makeBackup(server);
    server.faults = [fault];
    const controller = new AbortController();
    const pending = clientOf(server).currentVersion({ signal: controller.signal });
    while (server.openAnswers === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    controller.abort(new Error('enough'));
    const error = await failure(pending);
    expect(error).toMatchObject({ code: 'aborted', cause: { message: 'enough' } });
    while (server.openAnswers > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  });

  it('beforehand sends nothing', async () => {
    const server = await startServer();
    const pending = clientOf(server).currentVersion({ signal: AbortSignal.abort() });
    expect(await failure(pending)).toMatchObject({ code: 'aborted' });
    expect(server.seen).toEqual([]);
  });
});

describe('ids', () => {
  it.each(['a/b', 'a%2Fb', 'a+b c', '__proto__', '!r:x', 'é', 'e\u0301', '...', '?x=1', '#', '😀'])(
    '%s comes to the server as it is',
    async (id) => {
      const server = await startServer();
      const version = makeBackup(server);
      const data = { first_message_index: 1, forwarded_count: 0, is_verified: true, session_data: { a: 1 } };
      const roomKeys = clientOf(server);
      await roomKeys.putKey(version.version, id, id, data);
      expect(server.keysOf(version)).toEqual([[id, id, data]]);
      expect(await roomKeys.key(version.version, id, id)).toEqual(data);
      await roomKeys.deleteKey(version.version, id, id);
      expect(await roomKeys.key(version.version, id, id)).toBeUndefined();
    },
  );

  it('that no URL can name are refused', () => {
    for (const id of ['\ud800', '.', '..']) expect(() => path`/x/${id}`).toThrow(/^id: expected/);
  });
});

it.each([
  '',
  'example.org',
  'ftp://x',
  'https://',
  'https://u:p@x',
  'https://x?a',
  'https://x#a',
  'https://x y',
])('the base URL %j is refused', (baseUrl) => {
  expect(() => new Homeserver({ baseUrl })).toThrow(/baseUrl/);
});

it('the base URL may have a path', async () => {
  const server = await startServer();
  const urls: string[] = [];
  const fetch: Fetch = (url, init) => {
    urls.push(url);
    return globalThis.fetch(server.url + new URL(url).pathname.replace('/matrix', ''), init);
  };
  const homeserver = new Homeserver({ baseUrl: `${server.url}/matrix/`, fetch });
  await homeserver.request({ method: 'GET', path: '/_matrix/client/versions' }, (value) => value);
  expect(urls).toEqual([`${server.url}/matrix/_matrix/client/versions`]);
});

it('a platform without streams gives its answers as a whole', async () => {
  const server = await startServer();
  makeBackup(server);
  const fetch: Fetch = async (url, init) => {
    const response = await globalThis.fetch(url, init);
    const { status, headers } = response;
    return { status, headers, arrayBuffer: () => response.arrayBuffer() };
  };
  const roomKeys = clientOf(server, { fetch });
  expect((await roomKeys.currentVersion())?.count).toBe(0);
});

it('a server that answers slowly, but does answer, is waited for', async () => {
  const server: KeyBackupServer = await startServer();
  makeBackup(server);
  server.faults = [{ kind: 'drip' }];
  expect((await clientOf(server, { idleTimeout: 30_000 }).currentVersion())?.count).toBe(0);
  expect(server.seen).toHaveLength(1);
});

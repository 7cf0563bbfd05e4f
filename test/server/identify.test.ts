import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { identifyByHomeserver, identifyByTokens, parseTokensFile } from '../../src/server/identify.js';
import { MatrixError } from '../../src/server/http.js';
import { createRateLimit } from '../../src/server/rate-limit.js';

const request = (token?: string, query = ''): Request =>
  new Request(`http://localhost/x${query}`, {
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
  });

async function rejection(run: Promise<unknown> | (() => unknown)): Promise<MatrixError> {
  try {
    await (typeof run === 'function' ? run() : run);
  } catch (error) {
    if (error instanceof MatrixError) return error;
    throw error;
  }
  throw new Error('it was allowed');
}

interface Asked {
  url: URL;
  authorization: string | null;
}

function homeserver(answer: (asked: Asked) => Response | Promise<Response>) {
  const asked: Asked[] = [];
  let time = 1_000_000;
  const fetch = ((url: URL, init: RequestInit) => {
    const one = { url: new URL(url), authorization: new Headers(init.headers).get('authorization') };
    asked.push(one);
    return Promise.resolve(answer(one));
  }) as typeof globalThis.fetch;
  const identify = identifyByHomeserver('http://hs.example:8008', { fetch, now: () => time });
  return { asked, identify, pass: (milliseconds: number) => (time += milliseconds) };
}

describe('asking the homeserver', () => {
  test('the identity is the one in its answer, with the caller’s own token', async () => {
    const { asked, identify } = homeserver(() =>
      Response.json({ user_id: '@a:x', device_id: 'D', is_guest: false }),
    );
    expect(await identify(request('t'))).toEqual({ user_id: '@a:x', device_id: 'D' });
    expect(asked).toMatchObject([{ authorization: 'Bearer t' }]);
    expect(asked[0].url.href).toBe('http://hs.example:8008/_matrix/client/v3/account/whoami');
  });

  test('a success stands for a minute, by token and user_id', async () => {
    const { asked, identify, pass } = homeserver(({ url }) =>
      Response.json({ user_id: url.searchParams.get('user_id') ?? '@as:x' }),
    );
    await identify(request('t'));
    await identify(request('t'));
    expect(asked).toHaveLength(1);
    expect(await identify(request('t', '?user_id=%40b%3Ax'))).toEqual({ user_id: '@b:x' });
    expect(await identify(request('t', '?user_id=%40c%3Ax'))).toEqual({ user_id: '@c:x' });
    expect(await identify(request('u'))).toEqual({ user_id: '@as:x' });
    expect(asked).toHaveLength(4);
    pass(59_999);
    await identify(request('t'));
    expect(asked).toHaveLength(4);
    pass(1);
    await identify(request('t'));
    expect(asked).toHaveLength(5);
  });

  test('a token and a user_id cannot be shifted into one another', async () => {
    const { identify } = homeserver(({ url, authorization }) =>
      Response.json({ user_id: `@${authorization ?? ''}|${url.searchParams.get('user_id') ?? ''}` }),
    );
    const one = await identify(request('ab', '?user_id=c'));
    expect(await identify(request('a', '?user_id=bc'))).not.toEqual(one);
  });

  test('passes on a rejection, and asks again', async () => {
    let known = false;
    const { asked, identify } = homeserver(() =>
      known
        ? Response.json({ user_id: '@a:x' })
        : Response.json({ errcode: 'M_UNKNOWN_TOKEN', error: 'x', soft_logout: true }, { status: 401 }),
    );
    const { status, body } = await rejection(identify(request('t')));
    expect([status, body]).toMatchObject([401, { errcode: 'M_UNKNOWN_TOKEN', soft_logout: true }]);
    known = true;
    expect(await identify(request('t'))).toEqual({ user_id: '@a:x' });
    expect(asked).toHaveLength(2);
  });

  test('guests have no backup', async () => {
    const { identify } = homeserver(() => Response.json({ user_id: '@a:x', is_guest: true }));
    const { status, body } = await rejection(identify(request('t')));
    expect([status, body.errcode]).toEqual([403, 'M_GUEST_ACCESS_FORBIDDEN']);
  });

  test.each<[string, () => Response | Promise<Response>]>([
    ['is down', () => Promise.reject(new Error('ECONNREFUSED'))],
    ['fails', () => Response.json({ user_id: '@a:x' }, { status: 500 })],
    ['answers no JSON', () => new Response('<html>')],
    ['has no user id', () => Response.json({})],
    ['names no user id', () => Response.json({ user_id: 'a' })],
    ['names a user no database holds', () => Response.json({ user_id: '@a\0:x' })],
    ['answers null', () => Response.json(null)],
    ['redirects', () => Response.json({ user_id: '@a:x' }, { status: 302 })],
    [
      'is rate limited',
      () => Response.json({ user_id: '@a:x', errcode: 'M_LIMIT_EXCEEDED' }, { status: 429 }),
    ],
  ])('a homeserver that %s is 503, never access', async (_name, answer) => {
    const { identify } = homeserver(answer);
    expect((await rejection(identify(request('t')))).status).toBe(503);
  });

  test('without a token it is not asked', async () => {
    const { asked, identify } = homeserver(() => Response.json({ user_id: '@a:x' }));
    expect((await rejection(identify(request(undefined, '?access_token=t')))).body.errcode).toBe(
      'M_MISSING_TOKEN',
    );
    expect(asked).toEqual([]);
  });
});

describe('a list of tokens', () => {
  const sha256 = createHash('sha256').update('t').digest('hex');

  test('identifies its own tokens and no others', async () => {
    const identify = identifyByTokens([{ sha256: sha256.toUpperCase(), user_id: '@a:x', device_id: 'D' }]);
    expect(await identify(request('t'))).toEqual({ user_id: '@a:x', device_id: 'D' });
    expect((await rejection(identify(request(sha256)))).body.errcode).toBe('M_UNKNOWN_TOKEN');
    expect((await rejection(() => identify(request()))).body.errcode).toBe('M_MISSING_TOKEN');
  });

  test('is read from JSON, and what is wrong is named', () => {
    const read = (value: unknown): unknown =>
      parseTokensFile(new TextEncoder().encode(JSON.stringify(value)));
    expect(read([{ sha256, user_id: '@a:x', device_id: 'D' }])).toEqual([
      { sha256, user_id: '@a:x', device_id: 'D' },
    ]);
    expect(() => read({})).toThrow('the tokens file: expected an array, got an object');
    expect(() => read([])).toThrow('the tokens file: expected a token, got none');
    expect(() => parseTokensFile(Buffer.from('{'))).toThrow('the tokens file: expected JSON');
    expect(() => read([{ sha256: 'a token', user_id: '@a:x' }])).toThrow(/^(?!.*a token)/s);
    expect(() => read([{ sha256: 'secret', user_id: '@a:x' }])).toThrow('[0].sha256');
    expect(() => read([{ sha256, user_id: 'a' }])).toThrow('[0].user_id');
    expect(() => read([{ sha256, user_id: '@a:x', device_id: 1 }])).toThrow('[0].device_id');
    expect(() => read([null])).toThrow('[0].sha256');
  });
});

test('a rate limit lets a burst through, then the rate, each user for itself', async () => {
  let time = 0;
  const limit = createRateLimit({ perSecond: 2, burst: 3 }, () => time);
  for (let i = 0; i < 3; i++) limit('@a:x');
  const rejected = await rejection(() => {
    limit('@a:x');
  });
  expect([rejected.status, rejected.body.errcode, rejected.body.retry_after_ms]).toEqual([
    429,
    'M_LIMIT_EXCEEDED',
    500,
  ]);
  expect(rejected.headers).toEqual({ 'retry-after': '1' });
  limit('@b:x');
  time = 500;
  limit('@a:x');
  await rejection(() => {
    limit('@a:x');
  });
  // A clock that goes back gives nothing.
  time = 0;
  await rejection(() => {
    limit('@a:x');
  });
  time = 100_000;
  for (let i = 0; i < 3; i++) limit('@a:x');
  await rejection(() => {
    limit('@a:x');
  });
});

import { createHash } from 'node:crypto';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import {
  identifyByHomeserver,
  identifyByTokens,
  parseTokensFile,
  type HomeserverOptions,
} from '../../src/server/identify.js';
import { MatrixError } from '../../src/server/matrix-error.js';
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

function homeserver(
  answer: (asked: Asked) => Response | Promise<Response>,
  options: Partial<HomeserverOptions> = {},
) {
  const asked: Asked[] = [];
  let time = 1_000_000;
  const fetch = ((url: URL, init: RequestInit) => {
    const one = { url: new URL(url), authorization: new Headers(init.headers).get('authorization') };
    asked.push(one);
    return Promise.resolve(answer(one));
  }) as typeof globalThis.fetch;
  const identify = identifyByHomeserver('http://hs.example:8008', { fetch, now: () => time, ...options });
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

  test('a device id that is longer than any other id is not known', async () => {
    const { identify } = homeserver(({ authorization }) =>
      Response.json({
        user_id: '@a:x',
        device_id: 'D'.repeat(Number(authorization!.slice('Bearer '.length))),
      }),
    );
    expect(await identify(request('255'))).toEqual({ user_id: '@a:x', device_id: 'D'.repeat(255) });
    expect(await identify(request('256'))).toEqual({ user_id: '@a:x' });
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

  test('passes on a rejection, and asks again after five seconds', async () => {
    let known = false;
    const { asked, identify, pass } = homeserver(() =>
      known
        ? Response.json({ user_id: '@a:x' })
        : Response.json({ errcode: 'M_UNKNOWN_TOKEN', error: 'x', soft_logout: true }, { status: 401 }),
    );
    const { status, body } = await rejection(identify(request('t')));
    expect([status, body]).toMatchObject([401, { errcode: 'M_UNKNOWN_TOKEN', soft_logout: true }]);
    known = true;
    pass(4_999);
    expect((await rejection(identify(request('t')))).body).toMatchObject({ soft_logout: true });
    expect(asked).toHaveLength(1);
    pass(1);
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

describe('a homeserver is not asked too much', () => {
  const unknown = () => Response.json({ errcode: 'M_UNKNOWN_TOKEN', error: 'x' }, { status: 401 });
  const bodyOf = (pull: (controller: ReadableStreamDefaultController) => void | Promise<void>) =>
    new Response(new ReadableStream({ pull }, { highWaterMark: 0 }));

  test.each<[string, () => Response | Promise<Response>]>([
    ['never answers', () => new Promise<Response>(() => undefined)],
    ['never ends its answer', () => bodyOf(() => new Promise(() => undefined))],
    [
      'drips',
      () =>
        bodyOf(async (controller) => {
          await new Promise((resolve) => setTimeout(resolve, 5));
          controller.enqueue(Uint8Array.of(0x20));
        }),
    ],
  ])('one that %s is 503 after the time limit', async (_name, answer) => {
    const { identify } = homeserver(answer, { timeoutMilliseconds: 50 });
    const answers = await Promise.all(
      Array.from({ length: 30 }, (_, i) => rejection(identify(request(`t${i}`)))),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([503]));
  });

  test('an answer is read up to 64 KiB', async () => {
    let sent = 0;
    const { identify } = homeserver(() =>
      bodyOf((controller) => {
        sent += 8_192;
        if (sent > 10_000_000) controller.close();
        else controller.enqueue(new Uint8Array(8_192).fill(0x20));
      }),
    );
    expect((await rejection(identify(request('t')))).status).toBe(503);
    expect(sent).toBeLessThan(100_000);
    const large = homeserver(() => Response.json({ user_id: '@a:x', more: 'x'.repeat(65_000) }));
    expect(await large.identify(request('t'))).toEqual({ user_id: '@a:x' });
  });

  test.each<[string, () => Response, number]>([
    ['a valid token', () => Response.json({ user_id: '@a:x' }), 200],
    ['an unknown token', unknown, 401],
    ['the token of a guest', () => Response.json({ user_id: '@a:x', is_guest: true }), 403],
    ['a token, when it is down,', () => Response.json({}, { status: 500 }), 503],
  ])('about %s once, whatever user_id comes with it', async (_name, answer, status) => {
    const { asked, identify } = homeserver(answer);
    const statuses = await Promise.all(
      Array.from({ length: 100 }, (_, i) =>
        identify(request('t', `?user_id=%40${i}%3Ax`)).then(
          () => 200,
          (error: unknown) => (error as MatrixError).status,
        ),
      ),
    );
    for (let i = 0; i < 800; i++) {
      const later = identify(request('t', `?user_id=%40later${i}%3Ax`));
      if (status === 200) expect(await later).toEqual({ user_id: '@a:x' });
      else expect((await rejection(later)).status).toBe(status);
    }
    expect(new Set(statuses)).toEqual(new Set([status]));
    expect(asked).toHaveLength(1);
  });

  test('about users of an appservice one after another, and not too often', async () => {
    let running = 0;
    let most = 0;
    const { asked, identify, pass } = homeserver(async ({ url }) => {
      most = Math.max(most, ++running);
      await Promise.resolve();
      running--;
      return Response.json({ user_id: url.searchParams.get('user_id') });
    });
    const as = (i: number) => identify(request('t', `?user_id=%40${i}%3Ax`));
    const users = await Promise.all(Array.from({ length: 50 }, (_, i) => as(i)));
    expect(users.map(({ user_id }) => user_id)).toEqual(Array.from({ length: 50 }, (_, i) => `@${i}:x`));
    expect(most).toBe(1);
    for (let i = 50; i < 200; i++) await as(i);
    expect((await rejection(as(200))).body).toMatchObject({
      errcode: 'M_LIMIT_EXCEEDED',
      retry_after_ms: 50,
    });
    expect(asked).toHaveLength(200);
    // What is known is still known, and other tokens are asked about.
    expect(await as(7)).toEqual({ user_id: '@7:x' });
    await rejection(identify(request('other')));
    pass(50);
    expect(await as(200)).toEqual({ user_id: '@200:x' });
  });

  test('another spelling of a user is not taken for the user of the token', async () => {
    const { identify } = homeserver(({ url }) =>
      Response.json({ user_id: url.searchParams.get('user_id')?.toLowerCase() }),
    );
    expect(await identify(request('t', '?user_id=%40B%3Ax'))).toEqual({ user_id: '@b:x' });
    expect(await identify(request('t', '?user_id=%40c%3Ax'))).toEqual({ user_id: '@c:x' });
  });

  test('a user that an appservice may not use is rejected, and its others are not', async () => {
    const { identify } = homeserver(({ url }) => {
      const user_id = url.searchParams.get('user_id');
      return user_id === '@no:x'
        ? Response.json({ errcode: 'M_FORBIDDEN', error: 'x' }, { status: 403 })
        : Response.json({ user_id });
    });
    expect((await rejection(identify(request('t', '?user_id=%40no%3Ax')))).status).toBe(403);
    expect(await identify(request('t', '?user_id=%40yes%3Ax'))).toEqual({ user_id: '@yes:x' });
  });

  test('a flood of unknown tokens does not remove a known one', async () => {
    const { asked, identify } = homeserver(({ authorization }) =>
      authorization === 'Bearer victim' ? Response.json({ user_id: '@a:x' }) : unknown(),
    );
    await identify(request('victim'));
    for (let i = 0; i < 10_500; i++) await rejection(identify(request(`t${i}`)));
    const before = asked.length;
    expect(await identify(request('victim'))).toEqual({ user_id: '@a:x' });
    expect(asked).toHaveLength(before);
  });

  test('more than 100 tokens at once are 503, and known tokens are not', async () => {
    let answer: () => void = () => undefined;
    const answered = new Promise<void>((resolve) => (answer = resolve));
    const { identify } = homeserver(async ({ authorization }) => {
      if (authorization !== 'Bearer known') await answered;
      return Response.json({ user_id: '@a:x' });
    });
    await identify(request('known'));
    const waiting = Array.from({ length: 100 }, (_, i) => identify(request(`t${i}`)));
    const { status, headers, body } = await rejection(identify(request('other')));
    expect([status, body.errcode, headers]).toEqual([503, 'M_LIMIT_EXCEEDED', { 'retry-after': '1' }]);
    expect(await identify(request('known'))).toEqual({ user_id: '@a:x' });
    // And of requests that wait for one question.
    const same = Array.from({ length: 100 }, () => identify(request('t0')));
    expect((await rejection(identify(request('t0')))).status).toBe(429);
    answer();
    expect(await Promise.all([...waiting, ...same])).toHaveLength(200);
    expect(await identify(request('other'))).toEqual({ user_id: '@a:x' });
  });

  test('a clock that is set back by a day keeps no token and no limit', async () => {
    vi.useFakeTimers({ toFake: ['Date', 'performance'], now: 1_800_000_000_000 });
    onTestFinished(() => void vi.useRealTimers());
    let known = true;
    const { identify } = homeserver(() => (known ? Response.json({ user_id: '@a:x' }) : unknown()), {
      now: undefined,
    });
    const limit = createRateLimit({ perSecond: 1, burst: 1 });
    await identify(request('t'));
    limit('@a:x');
    known = false;
    vi.setSystemTime(Date.now() - 86_400_000);
    vi.advanceTimersByTime(60_000);
    expect((await rejection(identify(request('t')))).status).toBe(401);
    limit('@a:x');
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
  time = 100_000;
  for (let i = 0; i < 3; i++) limit('@a:x');
  await rejection(() => {
    limit('@a:x');
  });
});

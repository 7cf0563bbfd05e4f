import { expect, test } from 'vitest';
import { KeyBackupError } from '../../src/errors.js';
import type { BackupStore } from '../../src/server/store.js';
import { createLog, withHealth } from '../../src/server/observability.js';
import { createMemoryStore } from '../support/memory-store.js';

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('lines of one turn are written together after it, in their order', async () => {
  const written: string[] = [];
  const log = createLog(
    (lines) => written.push(lines),
    () => new Date(0),
  );
  log.note('started', { port: 1 });
  log.request({
    method: 'BREW\n',
    route: '/room_keys/keys',
    status: 500,
    milliseconds: 1.26,
    userId: '@a:x',
  });
  log.error(new KeyBackupError('store-failed', 'the store failed', { cause: new Error('secret') }));
  log.error('secret');
  expect(written).toEqual([]);
  await turn();
  const time = '1970-01-01T00:00:00.000Z';
  expect(written).toHaveLength(1);
  expect(written[0].endsWith('\n')).toBe(true);
  expect(
    written[0]
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown),
  ).toEqual([
    { time, level: 'info', message: 'started', port: 1 },
    {
      time,
      level: 'error',
      message: 'request',
      method: 'other',
      route: '/room_keys/keys',
      status: 500,
      milliseconds: 1.3,
      user_id: '@a:x',
    },
    { time, level: 'error', message: 'the store failed', code: 'store-failed' },
    { time, level: 'error', message: 'unknown error' },
  ]);
  log.note('later');
  await turn();
  expect(written).toHaveLength(2);
});

test.each([
  ['info', ['info', 'warn', 'error', 'info', 'error']],
  ['warn', ['warn', 'error', 'error']],
  ['error', ['error', 'error']],
] as const)('a log of level %s has the lines of that level and above', async (least, levels) => {
  let written = '';
  const log = createLog((lines) => (written += lines), undefined, least);
  const request = { method: 'GET', route: '', milliseconds: 1, userId: undefined };
  log.note('started');
  log.warn('strange');
  log.error(new Error('broken'));
  log.request({ ...request, status: 404 });
  log.request({ ...request, status: 503 });
  await turn();
  const found = written.trim().split('\n');
  expect(found.map((line) => (JSON.parse(line) as { level: string }).level)).toEqual(levels);
});

test.each<[string, Partial<BackupStore>, number, unknown]>([
  ['answers', {}, 200, { status: 'ok' }],
  ['reports no fault', { fault: () => undefined }, 200, { status: 'ok' }],
  [
    'does not answer',
    { ping: () => Promise.reject(new Error('secret')), fault: () => 'the last write failed' },
    503,
    { status: 'store-failed', error: 'the database does not answer' },
  ],
  [
    'answers and reports a fault',
    { fault: () => 'the last write failed' },
    503,
    { status: 'store-failed', error: 'the last write failed' },
  ],
])('health of a store that %s', async (_name, change, status, body) => {
  const handler = withHealth(() => Promise.reject(new Error('not called')), {
    ...createMemoryStore(),
    ...change,
  });
  const response = await handler(new Request('http://localhost/health'));
  expect([response.status, await response.json()]).toEqual([status, body]);
});

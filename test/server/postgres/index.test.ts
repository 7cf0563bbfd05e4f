import { expect, test, vi } from 'vitest';
import { openPostgresStore, openStoreOnPool } from '../../../src/server/postgres/index.js';
import type { PgPool } from '../../../src/server/postgres/pool.js';
import type { BackupStore } from '../../../src/server/store.js';
import { keyOf } from '../../contracts/store.js';

/** What `pg` gives a store that makes its own pool. */
let ownPool: PgPool | undefined;
vi.mock('pg', () => ({
  default: {
    Pool: class {
      readonly connect = () => ownPool!.connect();
      readonly end = () => ownPool!.end();
      readonly on = () => undefined;
    },
  },
}));

function openOnOwnPool(pool: PgPool): Promise<BackupStore> {
  ownPool = pool;
  return openPostgresStore('postgres://db.example/backup');
}

type Rows = Record<string, unknown>[];

/** A database of which only the answers are there: by the beginning of a statement, else no rows. */
function answering(answers: Record<string, (() => Rows) | undefined>) {
  const sent: string[] = [];
  const released: boolean[] = [];
  const named: string[] = [];
  const pool: PgPool = {
    connect: () =>
      Promise.resolve({
        query: async (asked) => {
          const text = typeof asked === 'string' ? asked : asked.text;
          if (typeof asked !== 'string') named.push(asked.name);
          const statement = text.trim().replaceAll(/\s+/g, ' ');
          sent.push(statement);
          // An answer takes a while.
          await new Promise((resolve) => setTimeout(resolve, 5));
          if (statement.startsWith('SELECT coalesce(max(version)')) return { rows: [{ version: 1 }] };
          const beginning = Object.keys(answers).find((start) => statement.startsWith(start));
          return { rows: (beginning === undefined ? [] : answers[beginning]?.()) ?? [] };
        },
        release: (destroy) => {
          released.push(destroy === true);
        },
      }),
    end: () => Promise.resolve(),
  };
  return { pool, sent, released, named };
}

const keys = [keyOf('!r:x', 's'), keyOf('!r:x', 't')];
const BEGIN = 'BEGIN ISOLATION LEVEL READ COMMITTED';
/** What is asked of a version, and of the current one, which it is. */
const CURRENT = {
  'SELECT number, etag': () => [{ number: '1', etag: '3', count: '5' }],
  'SELECT number, version': () => [{ number: '1', version: 'v' }],
};

test('keys that are all new go out as one transaction, before any answer has come', async () => {
  const { pool, sent, released } = answering({ 'WITH changed AS': () => [{ etag: '4', count: '7' }] });
  const store = await openStoreOnPool(pool);
  sent.length = released.length = 0;
  const writing = store.writeKeys('@a:x', 'v', keys, {}, 'D');
  await new Promise<void>((resolve) => {
    process.nextTick(resolve);
  });
  expect(sent.map((text) => text.slice(0, 15))).toEqual([
    BEGIN.slice(0, 15),
    'SELECT number, ',
    'WITH changed AS',
    'COMMIT',
  ]);
  expect(sent[1]).toMatch(/FOR UPDATE$/);
  expect(await writing).toEqual({ outcome: 'changed', etag: '4', count: 7 });
  expect(sent).toHaveLength(4);
  expect(released).toEqual([false]);
});

test('replaces existing keys by the rule, in a second transaction', async () => {
  const { pool, sent } = answering({
    ...CURRENT,
    'WITH incoming AS': () => [{ etag: '4', count: '6' }],
  });
  const store = await openStoreOnPool(pool);
  sent.length = 0;
  expect(await store.writeKeys('@a:x', 'v', keys, {}, 'D')).toEqual({
    outcome: 'changed',
    etag: '4',
    count: 6,
  });
  expect(sent.map((text) => text.slice(0, 16))).toEqual(
    [
      [BEGIN, 'SELECT number, etag', 'WITH changed AS (', 'COMMIT'],
      [BEGIN, 'SELECT number, etag', 'SELECT number, version', 'WITH incoming AS (', 'COMMIT'],
    ]
      .flat()
      .map((text) => text.slice(0, 16)),
  );
});

test.each(['40001', '40P01', '23505'])('a write that loses with %s is done again', async (code) => {
  const { pool, released } = answering({
    'WITH changed AS': () => {
      throw Object.assign(new Error('lost'), { code });
    },
    ...CURRENT,
    'WITH incoming AS': () => [{ etag: '4', count: '7' }],
  });
  const store = await openStoreOnPool(pool);
  released.length = 0;
  expect(await store.writeKeys('@a:x', 'v', keys, {}, 'D')).toMatchObject({ outcome: 'changed', count: 7 });
  // The first connection is closed, whatever its state.
  expect(released).toEqual([true, false]);
});

test.each(['WITH changed AS', 'COMMIT'])('a write in which %s fails has failed', async (beginning) => {
  const answers: Parameters<typeof answering>[0] = { 'WITH changed AS': () => [{ etag: '4', count: '7' }] };
  const { pool, sent, released } = answering(answers);
  const store = await openStoreOnPool(pool);
  sent.length = released.length = 0;
  answers[beginning] = () => {
    throw new Error('the connection is gone');
  };
  await expect(store.writeKeys('@a:x', 'v', keys, {}, 'D')).rejects.toMatchObject({ code: 'store-failed' });
  expect(sent).toHaveLength(4);
  expect(released).toEqual([true]);
});

test('a write of many statements is not sent at once', async () => {
  const { pool, sent } = answering({
    ...CURRENT,
    'WITH changed AS': () => [{ etag: '4', count: '7' }],
  });
  const store = await openStoreOnPool(pool);
  sent.length = 0;
  const many = Array.from({ length: 2_001 }, (_, i) => keyOf('!r:x', `s${i}`));
  expect(await store.writeKeys('@a:x', 'v', many, {}, 'D')).toEqual({
    outcome: 'changed',
    etag: '4',
    count: 7,
  });
  expect(sent.filter((text) => text.startsWith('WITH'))).toEqual([
    expect.stringContaining('WITH changed AS'),
    expect.stringContaining('WITH changed AS'),
  ]);
  expect(sent.filter((text) => text === 'COMMIT')).toHaveLength(1);
});

test('statements of our own pool are prepared, under a name for each text', async () => {
  const { pool, named } = answering({ 'WITH changed AS': () => [{ etag: '4', count: '7' }] });
  const onPool = await openStoreOnPool(pool);
  await onPool.writeKeys('@a:x', 'v', keys, {}, 'D');
  expect(named).toEqual([]);
  const store = await openOnOwnPool(pool);
  await store.writeKeys('@a:x', 'v', keys, {}, 'D');
  await store.writeKeys('@a:x', 'v', keys, { keys: 9 }, 'D');
  expect(named).toHaveLength(4);
  for (const name of named) expect(name).toMatch(/^megolm_backup_[0-9a-f]{32}$/);
  expect(named[2]).toBe(named[0]);
  // With a quota it is another statement.
  expect(named[3]).not.toBe(named[1]);
});

test.each(['26000', '42P05'])('where that fails with %s they are not prepared any more', async (code) => {
  const answers: Parameters<typeof answering>[0] = {
    ...CURRENT,
    'SELECT number, etag': () => {
      answers['SELECT number, etag'] = CURRENT['SELECT number, etag'];
      throw Object.assign(new Error('prepared statement'), { code });
    },
    'WITH incoming AS': () => [{ etag: '4', count: '7' }],
  };
  const { pool, named } = answering(answers);
  const store = await openOnOwnPool(pool);
  expect(await store.writeKeys('@a:x', 'v', keys, {}, 'D')).toMatchObject({ outcome: 'changed', count: 7 });
  expect(named).toHaveLength(2);
  await store.writeKeys('@a:x', 'v', keys, {}, 'D');
  expect(named).toHaveLength(2);
});

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
    connect: () => {
      let isPurge = false;
      return Promise.resolve({
        query: async (asked) => {
          const text = typeof asked === 'string' ? asked : asked.text;
          const statement = text.trim().replaceAll(/\s+/g, ' ');
          isPurge = statement.startsWith('SELECT user_id, version FROM versions WHERE deleted');
          if (isPurge) return { rows: [] };
          if (typeof asked !== 'string') named.push(asked.name);
          sent.push(statement);
          // An answer takes a while.
          await new Promise((resolve) => setTimeout(resolve, 5));
          if (statement.startsWith('SELECT coalesce(max(version)')) return { rows: [{ version: 3 }] };
          const beginning = Object.keys(answers).find((start) => statement.startsWith(start));
          return { rows: (beginning === undefined ? [] : answers[beginning]?.()) ?? [] };
        },
        release: (destroy) => {
          if (!isPurge) released.push(destroy === true);
        },
      });
    },
    end: () => Promise.resolve(),
  };
  return { pool, sent, released, named };
}

const keys = [keyOf('!r:x', 's'), keyOf('!r:x', 't')];
const beginnings = (sent: readonly string[]): string[] => sent.map((text) => text.slice(0, 15));
const BEGIN = 'BEGIN ISOLATION';
const LOCK = 'SELECT FROM use';
const VERSION = 'SELECT number, ';
const INSERT = 'WITH changed AS';
const REPLACE = 'WITH incoming A';

const inserted = () => [{ etag: '4', count: '7' }];
/** What is asked of a version, which is the current one. */
const CURRENT = { [VERSION]: () => [{ number: '1', etag: '3', count: '5', current: 'v' }] };

/** Throws once, then answers. */
function failingOnce(code: string, rows: () => Rows): () => Rows {
  let isFirst = true;
  return () => {
    if (!isFirst) return rows();
    isFirst = false;
    throw Object.assign(new Error('lost'), { code });
  };
}

test('sends keys that are all new before any answer has come', async () => {
  const { pool, sent, released } = answering({ [INSERT]: inserted });
  const store = await openStoreOnPool(pool);
  sent.length = released.length = 0;
  const writing = store.writeKeys('@a:x', 'v', keys, {}, 'D');
  await new Promise<void>((resolve) => {
    process.nextTick(resolve);
  });
  expect(beginnings(sent)).toEqual([BEGIN, LOCK, INSERT]);
  expect(sent[1]).toMatch(/FOR UPDATE$/);
  expect(await writing).toEqual({ outcome: 'changed', etag: '4', count: 7 });
  expect(beginnings(sent)).toEqual([BEGIN, LOCK, INSERT, 'COMMIT']);
  expect(released).toEqual([false]);
});

test('replaces existing keys by the rule, in the same transaction', async () => {
  const { pool, sent } = answering({ ...CURRENT, [REPLACE]: inserted });
  const store = await openStoreOnPool(pool);
  sent.length = 0;
  expect(await store.writeKeys('@a:x', 'v', keys, {}, 'D')).toEqual({
    outcome: 'changed',
    etag: '4',
    count: 7,
  });
  expect(beginnings(sent)).toEqual([BEGIN, LOCK, INSERT, VERSION, REPLACE, 'COMMIT']);
});

test.each(['40001', '40P01'])('repeats a write that loses with %s', async (code) => {
  const { pool, released } = answering({ [INSERT]: failingOnce(code, inserted) });
  const store = await openStoreOnPool(pool);
  released.length = 0;
  expect(await store.writeKeys('@a:x', 'v', keys, {}, 'D')).toMatchObject({ outcome: 'changed', count: 7 });
  // The first connection is closed, whatever its state.
  expect(released).toEqual([true, false]);
});

test('takes a duplicate row for a failure and not for a lost race', async () => {
  const { pool, released } = answering({ 'INSERT INTO versions': failingOnce('23505', () => []) });
  const store = await openStoreOnPool(pool);
  released.length = 0;
  await expect(store.createVersion('@a:x', { algorithm: 'a', auth_data: '{}' }, {})).rejects.toMatchObject({
    code: 'store-failed',
  });
  expect(released).toEqual([true]);
});

test.each([INSERT, 'COMMIT'])('fails when %s fails', async (beginning) => {
  const answers: Parameters<typeof answering>[0] = { [INSERT]: inserted };
  const { pool, sent, released } = answering(answers);
  const store = await openStoreOnPool(pool);
  sent.length = released.length = 0;
  answers[beginning] = () => {
    throw new Error('the connection is gone');
  };
  await expect(store.writeKeys('@a:x', 'v', keys, {}, 'D')).rejects.toMatchObject({ code: 'store-failed' });
  // A connection that may be gone is asked nothing more.
  expect(sent).not.toContain('ROLLBACK');
  expect(released).toEqual([true]);
});

test('sends the statements of a large write one after another', async () => {
  const { pool, sent } = answering({ ...CURRENT, [INSERT]: inserted });
  const store = await openStoreOnPool(pool);
  sent.length = 0;
  const many = Array.from({ length: 2_001 }, (_, i) => keyOf('!r:x', `s${i}`));
  expect(await store.writeKeys('@a:x', 'v', many, {}, 'D')).toEqual({
    outcome: 'changed',
    etag: '4',
    count: 7,
  });
  expect(beginnings(sent)).toEqual([BEGIN, LOCK, VERSION, INSERT, INSERT, 'COMMIT']);
});

test('prepares the statements of its own pool, under a name for each text', async () => {
  const { pool, named } = answering({ [INSERT]: inserted });
  const onPool = await openStoreOnPool(pool);
  await onPool.writeKeys('@a:x', 'v', keys, {}, 'D');
  expect(named).toEqual([]);
  const store = await openOnOwnPool(pool);
  named.length = 0;
  await store.writeKeys('@a:x', 'v', keys, {}, 'D');
  await store.writeKeys('@a:x', 'v', keys, { keys: 9 }, 'D');
  expect(named).toHaveLength(4);
  for (const name of named) expect(name).toMatch(/^megolm_backup_[0-9a-f]{32}$/);
  expect(named[2]).toBe(named[0]);
  // With a quota it is another statement.
  expect(named[3]).not.toBe(named[1]);
});

test.each(['26000', '42P05'])('prepares nothing any more where that fails with %s', async (code) => {
  const { pool, named } = answering({ [INSERT]: failingOnce(code, inserted) });
  const store = await openOnOwnPool(pool);
  named.length = 0;
  expect(await store.writeKeys('@a:x', 'v', keys, {}, 'D')).toMatchObject({ outcome: 'changed', count: 7 });
  expect(named).toHaveLength(2);
  await store.writeKeys('@a:x', 'v', keys, {}, 'D');
  expect(named).toHaveLength(2);
});

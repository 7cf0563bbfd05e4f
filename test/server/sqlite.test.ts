import { copyFileSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'libsql';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { utf8Encode } from '../../src/engine/utf8.js';
import { openSqliteStore, type SqliteOptions } from '../../src/server/sqlite.js';
import { keyOf, newVersion, readAll, storeContract } from '../contracts/store.js';
import { runs } from '../support/runs.js';
import { temporarySqlite } from '../support/serving.js';

function contract(name: string, options: SqliteOptions): void {
  storeContract(name, async () => {
    const directory = mkdtempSync(join(tmpdir(), 'store-'));
    const file = join(directory, 'backup.db');
    const store = await openSqliteStore(file, options);
    const second = await openSqliteStore(file, options);
    return {
      store,
      second,
      stop: async () => {
        await store.close();
        await second.close();
        expect(faults(file)).toEqual({ integrity: 'ok', unplaced: 0, dangling: 0, twice: 0 });
        rmSync(directory, { recursive: true });
      },
    };
  });
}

/** What may never be, whatever was written and deleted. */
function faults(file: string): Record<string, unknown> {
  const database = new Database(file);
  const one = (sql: string): unknown => (database.prepare(sql).raw().get() as unknown[])[0];
  const found = {
    integrity: one('PRAGMA integrity_check'),
    unplaced: one(
      `SELECT count(*) FROM keys, late_index WHERE keys.id <= merged_through AND NOT EXISTS (
         SELECT 1 FROM places WHERE room = keys.room AND session_id = keys.session_id AND key = keys.id
       )`,
    ),
    dangling: one(
      `SELECT count(*) FROM places LEFT JOIN keys
         ON keys.id = places.key AND keys.room = places.room AND keys.session_id = places.session_id
       WHERE keys.id IS NULL`,
    ),
    twice: one(`SELECT count(*) - count(DISTINCT room || ' ' || hex(session_id)) FROM keys`),
  };
  database.close();
  return found;
}

contract('SQLite', {});
// So that keys are in the index, on their way there and in memory at the same time.
contract('SQLite, whose index is merged after five keys', { tailKeys: 5 });

describe('the late index', () => {
  const LATE = { tailKeys: 8, checkpointPages: 100 };
  /** Sessions of one room, in an order that is not theirs. */
  const sessions = Array.from(
    { length: 60 },
    (_, i) =>
      `${i % 7 === 3 ? '\0' : ''}s${String((i * 37) % 60).padStart(2, '0')}${i % 5 === 4 ? '\0x' : ''}`,
  );

  test('is found again by whoever opens the file, wherever the merge was', async () => {
    const { store, file, remove } = await temporarySqlite(LATE);
    const version = await newVersion(store, '@a:x');
    const expected: string[] = [];
    for (const session of sessions) {
      await store.writeKeys('@a:x', version, [keyOf('!r:x', session)], {}, undefined);
      expected.push(session);
      const other = await openSqliteStore(file, LATE);
      const read = await readAll(other, '@a:x', version, {}, 7);
      expect(read.map(([, name]) => name)).toEqual([...expected].sort());
      // None of them is new to it.
      const again = expected.map((name) => keyOf('!r:x', name));
      expect(await other.writeKeys('@a:x', version, again, {}, undefined)).toMatchObject({
        count: expected.length,
        etag: String(expected.length),
      });
      await other.close();
    }
    expect(faults(file)).toMatchObject({ unplaced: 0, dangling: 0, twice: 0 });
    await remove();
  });

  test('keeps no place of a key that another process deleted and a third wrote again', async () => {
    const { store, file, remove } = await temporarySqlite(LATE);
    const other = await openSqliteStore(file, LATE);
    const version = await newVersion(store, '@a:x');
    const keys = sessions.map((session) => keyOf('!r:x', session));
    await store.writeKeys('@a:x', version, keys, {}, undefined);
    expect(await readAll(store, '@a:x', version)).toHaveLength(60);
    await other.deleteKeys('@a:x', version, {});
    expect(await readAll(store, '@a:x', version, {}, 7)).toEqual([]);
    expect(await store.readKey('@a:x', version, '!r:x', 's00')).toEqual({ outcome: 'unknown-key' });
    await other.writeKeys('@a:x', version, [keyOf('!q:x', 's01'), keyOf('!r:x', 's00', 5)], {}, undefined);
    expect(await store.readKey('@a:x', version, '!r:x', 's00')).toMatchObject({
      outcome: 'key',
      data: expect.stringContaining('"first_message_index":5') as unknown,
    });
    expect(await store.writeKeys('@a:x', version, keys, {}, undefined)).toMatchObject({ count: 61 });
    expect(await readAll(other, '@a:x', version, {}, 7)).toHaveLength(61);
    await other.close();
    expect(faults(file)).toMatchObject({ unplaced: 0, dangling: 0, twice: 0 });
    await remove();
  });

  test('a room whose keys were deleted and written again is read to its end, at every page size', async () => {
    const { store, remove } = await temporarySqlite();
    const version = await newVersion(store, '@a:x');
    const keys = sessions.map((session) => keyOf('!r:x', session));
    await store.writeKeys('@a:x', version, [...keys, keyOf('!s:x', 'last')], {}, undefined);
    expect(await readAll(store, '@a:x', version)).toHaveLength(61);
    for (const session of sessions.slice(0, 40))
      await store.deleteKeys('@a:x', version, { room_id: '!r:x', session_id: session });
    const left = [...sessions.slice(40).sort(), 'last'];
    for (const limit of [1, 7, 21]) {
      const read = await readAll(store, '@a:x', version, {}, limit);
      expect(read.map(([, session]) => session)).toEqual(left);
    }
    await remove();
  });

  test('a write that was undone leaves nothing in it', async () => {
    const { store, file, remove } = await temporarySqlite({ tailKeys: 4 });
    const version = await newVersion(store, '@a:x');
    for (const [i, session] of sessions.entries()) {
      const over = await store.writeKeys(
        '@a:x',
        version,
        sessions.slice(i).map((name) => keyOf('!r:x', name)),
        { keys: i },
        undefined,
      );
      expect(over).toEqual({ outcome: 'over-quota', of: 'keys' });
      await store.writeKeys('@a:x', version, [keyOf('!r:x', session)], {}, undefined);
    }
    expect(await readAll(store, '@a:x', version, {}, 7)).toHaveLength(60);
    expect(faults(file)).toMatchObject({ unplaced: 0, dangling: 0, twice: 0 });
    await remove();
  });
});

/** What may happen to a room, by the store or by another process, alone or together with the next. */
const event = fc.record({
  by: fc.constantFrom('store' as const, 'other' as const),
  what: fc.constantFrom(
    'write' as const,
    'write' as const,
    'write' as const,
    'undone' as const,
    'delete' as const,
    'delete room' as const,
  ),
  sessions: fc.uniqueArray(fc.constantFrom(...Array.from('abcdefghijklmnop')), {
    minLength: 1,
    maxLength: 9,
  }),
  room: fc.constantFrom('!r:x', '!s:x'),
  waits: fc.boolean(),
});

test('the late index says what is there, whatever is undone and whoever else writes', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(event, { minLength: 5, maxLength: 40 }), async (events) => {
      const options = { tailKeys: 3, checkpointPages: 50 };
      const { store, file, remove } = await temporarySqlite(options);
      const other = await openSqliteStore(file, options);
      const version = await newVersion(store, '@a:x');
      const expected = new Map<string, Set<string>>([
        ['!r:x', new Set()],
        ['!s:x', new Set()],
      ]);
      const names = () =>
        [...expected].flatMap(([room, sessions]) => [...sessions].sort().map((name) => [room, name]));
      let pending: Promise<unknown>[] = [];
      let last: 'store' | 'other' | undefined;
      for (const { by, what, sessions, room, waits } of events) {
        // Of one process the order is that of the calls; of two it is not.
        if (by !== last) await Promise.all(pending.splice(0));
        last = by;
        const db = by === 'store' ? store : other;
        const there = expected.get(room)!;
        if (what === 'delete') {
          pending.push(db.deleteKeys('@a:x', version, { room_id: room, session_id: sessions[0] }));
          there.delete(sessions[0]);
        } else if (what === 'delete room') {
          // The row of the room goes too, and its id comes again.
          pending.push(db.deleteKeys('@a:x', version, { room_id: room }));
          there.clear();
        } else {
          const isNew = sessions.some((name) => !there.has(name));
          const quota = what === 'undone' ? { keys: 0 } : {};
          const keys = sessions.map((name) => keyOf(room, name));
          const outcome = what === 'undone' && isNew ? 'over-quota' : 'changed';
          if (outcome === 'changed') for (const name of sessions) there.add(name);
          pending.push(
            db.writeKeys('@a:x', version, keys, quota, undefined).then((written) => {
              expect(written).toMatchObject({ outcome });
            }),
          );
        }
        if (!waits) continue;
        await Promise.all(pending.splice(0));
        const read = await readAll(by === 'store' ? other : store, '@a:x', version, {}, 5);
        expect(read.map(([inRoom, name]) => [inRoom, name])).toEqual(names());
      }
      await Promise.all(pending);
      pending = [];
      const read = await readAll(store, '@a:x', version);
      expect(read.map(([inRoom, name]) => [inRoom, name])).toEqual(names());
      expect((await store.readVersion('@a:x', version))?.count).toBe(names().length);
      await other.close();
      await store.close();
      expect(faults(file)).toEqual({ integrity: 'ok', unplaced: 0, dangling: 0, twice: 0 });
      await remove();
    }),
    { numRuns: runs(150) },
  );
}, 300_000);

test.each([1, 1000])(
  'a full disk undoes in memory what it undoes on disk, with an index after %i keys',
  async (tailKeys) => {
    const { store, file, remove } = await temporarySqlite({ tailKeys, maxPages: 60 });
    const version = await newVersion(store, '@a:x');
    const keys = Array.from('abcdefghijklmnopqrst', (session) => keyOf('!r:x', session));
    const write = (some: typeof keys) => store.writeKeys('@a:x', version, some, {}, undefined);
    expect(await write(keys)).toMatchObject({ count: 20 });
    const large = { ...keyOf('!s:x', 'large'), data: utf8Encode(JSON.stringify('x'.repeat(500_000))) };
    for (const before of [
      () => store.deleteKeys('@a:x', version, { room_id: '!r:x' }),
      () => store.deleteKeys('@a:x', version, { room_id: '!r:x', session_id: 'c' }),
      () => write([keyOf('!r:x', 'new'), keyOf('!q:x', 'a')]),
    ]) {
      // Both in one transaction.
      const settled = await Promise.allSettled([before(), write([large])]);
      expect(settled.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
      expect(await write(keys)).toMatchObject({ count: 20, etag: '1' });
      expect(await readAll(store, '@a:x', version)).toHaveLength(20);
    }
    expect(await write([keyOf('!q:x', 'a')])).toMatchObject({ count: 21 });
    await store.close();
    expect(faults(file)).toEqual({ integrity: 'ok', unplaced: 0, dangling: 0, twice: 0 });
    await remove();
  },
);

test('a file of the first schema is brought up to date', async () => {
  const { store, file, remove } = await temporarySqlite();
  const version = await newVersion(store, '@a:x');
  await store.writeKeys('@a:x', version, [keyOf('!r:x', 'b'), keyOf('!r:x', 'a')], {}, undefined);
  await store.close();
  const raw = new Database(file);
  raw.exec('DROP TABLE places; DROP TABLE late_index');
  raw.exec('CREATE UNIQUE INDEX keys_of_room ON keys (room, session_id); PRAGMA user_version = 1');
  raw.close();
  const opened = await openSqliteStore(file);
  expect(await opened.readKey('@a:x', version, '!r:x', 'a')).toMatchObject({ outcome: 'key' });
  const both = [keyOf('!r:x', 'b'), keyOf('!r:x', 'c')];
  expect(await opened.writeKeys('@a:x', version, both, {}, undefined)).toMatchObject({ count: 3 });
  expect((await readAll(opened, '@a:x', version)).map(([, session]) => session)).toEqual(['a', 'b', 'c']);
  await opened.close();
  expect(faults(file)).toEqual({ integrity: 'ok', unplaced: 0, dangling: 0, twice: 0 });
  await remove();
});

test('a store that was closed is in its one file', async () => {
  const { store, file, remove } = await temporarySqlite();
  const version = await newVersion(store, '@a:x');
  await store.writeKeys('@a:x', version, [keyOf('!r:x', 'a')], {}, undefined);
  const other = await openSqliteStore(file);
  await other.close();
  expect(await readAll(store, '@a:x', version)).toHaveLength(1);
  await store.close();
  expect(statSync(`${file}-wal`, { throwIfNoEntry: false })?.size ?? 0).toBe(0);
  copyFileSync(file, `${file}.copy`);
  const copy = await openSqliteStore(`${file}.copy`);
  expect(await readAll(copy, '@a:x', version)).toHaveLength(1);
  await copy.close();
  await remove();
});

test('the log has its full length from the first write on, and keeps what is in it', async () => {
  const { store, file, remove } = await temporarySqlite({ checkpointPages: 500 });
  const version = await newVersion(store, '@a:x');
  expect(statSync(`${file}-wal`).size).toBeLessThan(500 * 4120);
  await store.writeKeys('@a:x', version, [keyOf('!r:x', 'a')], {}, undefined);
  expect(statSync(`${file}-wal`).size).toBe(32 + 500 * 4120);
  const other = await openSqliteStore(file);
  expect(await readAll(other, '@a:x', version)).toHaveLength(1);
  await other.close();
  await remove();
});

test('notices when another process deleted a room it knows', async () => {
  const { store, file, remove } = await temporarySqlite();
  const other = await openSqliteStore(file);
  const version = await newVersion(store, '@a:x');
  const write = (session: string) =>
    store.writeKeys('@a:x', version, [keyOf('!r:x', session)], {}, undefined);
  await write('s');
  await other.deleteKeys('@a:x', version, { room_id: '!r:x' });
  await other.writeKeys('@a:x', version, [keyOf('!q:x', 's')], {}, undefined);
  expect(await write('t')).toMatchObject({ count: 2 });
  expect((await readAll(store, '@a:x', version)).map(([room, session]) => [room, session])).toEqual([
    ['!q:x', 's'],
    ['!r:x', 't'],
  ]);
  await other.close();
  await remove();
});

test('a room made by a write that was undone is not remembered', async () => {
  const { store, remove } = await temporarySqlite();
  const version = await newVersion(store, '@a:x');
  const over = await store.writeKeys(
    '@a:x',
    version,
    [keyOf('!r:x', 's'), keyOf('!r:x', 't')],
    { keys: 1 },
    undefined,
  );
  expect(over).toEqual({ outcome: 'over-quota', of: 'keys' });
  await store.writeKeys('@a:x', version, [keyOf('!q:x', 's')], {}, undefined);
  await store.writeKeys('@a:x', version, [keyOf('!r:x', 's')], {}, undefined);
  expect((await readAll(store, '@a:x', version)).map(([room]) => room)).toEqual(['!q:x', '!r:x']);
  expect(await readAll(store, '@a:x', version, { room_id: '!r:x' })).toHaveLength(1);
  await remove();
});

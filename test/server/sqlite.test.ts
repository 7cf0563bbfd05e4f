import { copyFileSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { utf8Encode } from '../../src/encoding/utf8.js';
import { loadSqlite } from '../../src/server/sqlite/connection.js';
import { openSqliteStore } from '../../src/server/sqlite/index.js';
import type { KeyToWrite } from '../../src/server/store.js';
import { keyOf, newVersion, readAll, storeContract } from '../contracts/store.js';
import { createMemoryStore } from '../support/memory-store.js';
import { runs } from '../support/runs.js';
import { temporarySqlite } from '../support/serving.js';

storeContract('the model itself', () =>
  Promise.resolve({ store: createMemoryStore(), stop: () => Promise.resolve() }),
);

/** By the store's own binding: another one in this process would drop its locks. */
const openRaw = await loadSqlite();

const SOUND = { integrity: 'ok', empty: 0, homeless: 0, miscounted: 0, trail: 0 };

/** What must hold after any writes and deletions: a sound file, rooms only with keys, sums that are right. */
function stateOf(file: string): Record<string, unknown> {
  const database = openRaw(file);
  const one = (sql: string): unknown => database.first(sql)?.[0];
  const found = {
    integrity: one('PRAGMA integrity_check'),
    empty: one('SELECT count(*) FROM rooms WHERE id NOT IN (SELECT room FROM keys)'),
    homeless: one('SELECT count(*) FROM keys WHERE room NOT IN (SELECT id FROM rooms)'),
    miscounted: one(
      `SELECT count(*) FROM versions WHERE NOT deleted AND (count, bytes) <> (
         SELECT count(keys.id),
           octet_length(auth_data) + total(octet_length(room_id) + octet_length(session_id) + octet_length(data))
         FROM rooms JOIN keys ON keys.room = rooms.id WHERE rooms.version = versions.id
       )`,
    ),
    trail: one(
      `SELECT (SELECT total(trail_bytes) FROM users) - total(octet_length(room_id) + octet_length(session_id) + 128
         + octet_length(coalesce(old_device_id, '')) + octet_length(coalesce(new_device_id, '')))
       FROM replacements`,
    ),
  };
  database.close();
  return found;
}

storeContract('SQLite', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'store-'));
  const file = join(directory, 'backup.db');
  const store = await openSqliteStore(file);
  const second = await openSqliteStore(file);
  return {
    store,
    second,
    stop: async () => {
      await store.close();
      await second.close();
      expect(stateOf(file)).toEqual(SOUND);
      rmSync(directory, { recursive: true });
    },
  };
});

/** Sessions of one room, not in their order. */
const sessions = Array.from(
  { length: 60 },
  (_, i) => `${i % 7 === 3 ? '\0' : ''}s${String((i * 37) % 60).padStart(2, '0')}${i % 5 === 4 ? '\0x' : ''}`,
);

test('finds a key again that another process deleted and a third wrote', async () => {
  const { store, file, remove } = await temporarySqlite();
  const other = await openSqliteStore(file);
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
  expect(stateOf(file)).toEqual(SOUND);
  await remove();
});

test('reads a room to its end, at every page size, after keys were deleted', async () => {
  const { store, remove } = await temporarySqlite();
  const version = await newVersion(store, '@a:x');
  const keys = sessions.map((session) => keyOf('!r:x', session));
  await store.writeKeys('@a:x', version, [...keys, keyOf('!s:x', 'last')], {}, undefined);
  for (const session of sessions.slice(0, 40))
    await store.deleteKeys('@a:x', version, { room_id: '!r:x', session_id: session });
  const left = [...sessions.slice(40).sort(), 'last'];
  for (const limit of [1, 7, 21]) {
    const read = await readAll(store, '@a:x', version, {}, limit);
    expect(read.map(([, session]) => session)).toEqual(left);
  }
  await remove();
});

test('a room is removed with its last key', async () => {
  const { store, file, remove } = await temporarySqlite();
  const version = await newVersion(store, '@a:x');
  const keys = ['a', 'b'].flatMap((room) => ['s', 't'].map((session) => keyOf(room, session)));
  await store.writeKeys('@a:x', version, keys, {}, undefined);
  const rooms = (): unknown => {
    const database = openRaw(file);
    const names = database.all('SELECT room_id FROM rooms WHERE version > 0 ORDER BY room_id');
    database.close();
    return names;
  };
  expect(rooms()).toEqual([['a'], ['b']]);
  await store.deleteKeys('@a:x', version, { room_id: 'a', session_id: 's' });
  await store.deleteKeys('@a:x', version, { room_id: 'a', session_id: 'none' });
  expect(rooms()).toEqual([['a'], ['b']]);
  await store.deleteKeys('@a:x', version, { room_id: 'a', session_id: 't' });
  expect(rooms()).toEqual([['b']]);
  await store.deleteKeys('@a:x', version, {});
  expect(rooms()).toEqual([]);
  await remove();
});

test('the etag changes only when keys change', async () => {
  const { store, remove } = await temporarySqlite();
  const version = await newVersion(store, '@a:x');
  const write = (...keys: KeyToWrite[]) => store.writeKeys('@a:x', version, keys, {}, undefined);
  const [a, b] = [keyOf('!r:x', 'a', 5), keyOf('!r:x', 'b', 5)];
  expect(await write()).toMatchObject({ etag: '0', count: 0 });
  expect(await write(a, b)).toMatchObject({ etag: '1', count: 2 });
  expect(await write(a, keyOf('!r:x', 'b', 6))).toMatchObject({ etag: '1', count: 2 });
  expect(await write(a, keyOf('!r:x', 'b', 4), keyOf('!r:x', 'c'))).toMatchObject({ etag: '2', count: 3 });
  expect(await store.deleteKeys('@a:x', version, { room_id: '!none:x' })).toMatchObject({ etag: '2' });
  expect(await store.deleteKeys('@a:x', version, { room_id: '!r:x' })).toMatchObject({ etag: '3', count: 0 });
  await remove();
});

/** A change of a room, by the store or by another process, alone or together with the next. */
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

test('two processes agree on what is stored, whatever is written, undone and deleted', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(event, { minLength: 5, maxLength: 40 }), async (events) => {
      const options = { checkpointPages: 50 };
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
        // Calls of one process run in their order, those of two in any.
        if (by !== last) await Promise.all(pending.splice(0));
        last = by;
        const db = by === 'store' ? store : other;
        const there = expected.get(room)!;
        if (what === 'delete') {
          pending.push(db.deleteKeys('@a:x', version, { room_id: room, session_id: sessions[0] }));
          there.delete(sessions[0]);
        } else if (what === 'delete room') {
          // The row of the room goes too, and its id is used again.
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
      expect(stateOf(file)).toEqual(SOUND);
      await remove();
    }),
    { numRuns: runs(150) },
  );
}, 300_000);

test('a full disk undoes the whole transaction, and the next write is complete', async () => {
  const { store, file, remove } = await temporarySqlite({ maxPages: 60 });
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
  expect(stateOf(file)).toEqual(SOUND);
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

const largeKeys = (name: string, count: number) =>
  Array.from({ length: count }, (_, i) => keyOf(`!${i % 20}:x`, `${name}${i}`, 0, false, 'x'.repeat(1_000)));

test('a backup of 1,000 keys takes less than 6 MB, also when each is written alone', async () => {
  const { store, file, remove } = await temporarySqlite();
  const version = await newVersion(store, '@a:x');
  for (const key of largeKeys('a', 1_000)) await store.writeKeys('@a:x', version, [key], {}, undefined);
  expect(statSync(file).size + statSync(`${file}-wal`).size).toBeLessThan(6_000_000);
  await remove();
});

test('the log of a large write is cut back', async () => {
  const { store, file, remove } = await temporarySqlite({ checkpointPages: 100 });
  const logSize = () => statSync(`${file}-wal`).size;
  const version = await newVersion(store, '@a:x');
  await store.writeKeys('@a:x', version, largeKeys('a', 2_000), {}, undefined);
  expect(logSize()).toBeGreaterThan(2_000_000);
  await store.writeKeys('@a:x', version, largeKeys('b', 1), {}, undefined);
  expect(logSize()).toBeLessThanOrEqual(100 * 4_120);
  await remove();
});

test('writes to a room again that another process deleted', async () => {
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

test('a room made by a write that was undone is made again', async () => {
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

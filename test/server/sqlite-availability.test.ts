import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { utf8Encode } from '../../src/encoding/utf8.js';
import { withHealth } from '../../src/server/observability.js';
import { loadSqlite } from '../../src/server/sqlite/connection.js';
import { openSqliteStore } from '../../src/server/sqlite/index.js';
import { keyBytes, type BackupStore } from '../../src/server/store.js';
import { keyOf, newVersion, readAll } from '../contracts/store.js';
import { temporarySqlite } from '../support/serving.js';

/** By the store's own binding: another one in this process would drop its locks. */
const openRaw = await loadSqlite();

const keysOf = (name: string, count: number, rooms = 10) =>
  Array.from({ length: count }, (_, i) => keyOf(`!${i % rooms}:x`, `${name}${i}`));

function countOf(file: string, what = 'keys'): number {
  const database = openRaw(file);
  const [count] = database.first(`SELECT count(*) FROM ${what}`) as [number];
  database.close();
  return count;
}

/** A version of many keys. */
async function fill(store: BackupStore, user: string, count: number, rooms?: number): Promise<string> {
  const version = await newVersion(store, user);
  await store.writeKeys(user, version, keysOf('s', count, rooms), {}, undefined);
  return version;
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await setTimeout(5);
}

/** What another process does that has a long transaction. */
async function lock(file: string): Promise<{ release: () => void }> {
  const other = openRaw(file);
  for (;;) {
    try {
      other.exec('BEGIN IMMEDIATE');
      break;
    } catch {
      await setTimeout(1);
    }
  }
  return {
    release: () => {
      other.exec('COMMIT');
      other.close();
    },
  };
}

test('the event loop runs while another process writes, and then the write is done', async () => {
  const { store, file, remove } = await temporarySqlite();
  const version = await newVersion(store, '@a:x');
  const { release } = await lock(file);
  let isWritten = false;
  const writing = store.writeKeys('@a:x', version, [keyOf('!r:x', 's')], {}, undefined).then((written) => {
    isWritten = true;
    return written;
  });
  for (let turn = 0; turn < 5; turn++) await setTimeout(10);
  expect(await readAll(store, '@a:x', version)).toEqual([]);
  // A file of this release opens without waiting.
  await (await openSqliteStore(file)).close();
  expect(isWritten).toBe(false);
  release();
  expect(await writing).toMatchObject({ outcome: 'changed', count: 1 });
  await remove();
});

test('a signal ends the wait for another process', async () => {
  const stop = new AbortController();
  const { store, file, remove } = await temporarySqlite({ signal: stop.signal });
  const version = await newVersion(store, '@a:x');
  const { release } = await lock(file);
  const writing = store.writeKeys('@a:x', version, [keyOf('!r:x', 's')], {}, undefined);
  await setTimeout(10);
  stop.abort();
  await expect(writing).rejects.toMatchObject({ code: 'store-failed' });
  release();
  expect(await readAll(store, '@a:x', version)).toEqual([]);
  await remove();
});

test('a deleted version is gone at once, and others write before its keys are', async () => {
  const { store, file, remove } = await temporarySqlite();
  const version = await fill(store, '@big:x', 10_000);
  const other = await newVersion(store, '@b:x');
  expect(await store.deleteVersion('@big:x', version)).toEqual({ outcome: 'done' });
  expect(await store.readVersion('@big:x', version)).toBeUndefined();
  await store.writeKeys('@b:x', other, [keyOf('!r:x', 's')], {}, undefined);
  expect(countOf(file)).toBeGreaterThan(5_000);
  // Another process gets its turn, and nothing is deleted meanwhile.
  const { release } = await lock(file);
  const left = countOf(file);
  expect(left).toBeGreaterThan(1);
  await setTimeout(20);
  expect(countOf(file)).toBe(left);
  release();
  await until(() => countOf(file) === 1 && countOf(file, 'rooms') === 1);
  expect(await readAll(store, '@b:x', other)).toHaveLength(1);
  await remove();
});

test.each([{}, { room_id: '!0:x' }])(
  'keys deleted by %j are gone at once, and written again',
  async (scope) => {
    const { store, file, remove } = await temporarySqlite();
    const version = await fill(store, '@a:x', 5_000, 2);
    const deleted = await store.deleteKeys('@a:x', version, scope);
    const left = scope.room_id === undefined ? 0 : 2_500;
    expect(deleted).toMatchObject({ etag: '2', count: left });
    expect(countOf(file)).toBeGreaterThan(left);
    expect(await readAll(store, '@a:x', version)).toHaveLength(left);
    const key = keyOf('!0:x', 's0', 9);
    const kept = scope.room_id === undefined ? [] : keysOf('s', 5_000, 2).filter((_, i) => i % 2 === 1);
    const bytes = utf8Encode('{}').length + [key, ...kept].reduce((sum, one) => sum + keyBytes(one), 0);
    // The bytes of what was deleted no longer count.
    expect(await store.writeKeys('@a:x', version, [key], { bytes }, undefined)).toMatchObject({
      outcome: 'changed',
      count: left + 1,
    });
    await until(() => countOf(file) === left + 1);
    expect(await readAll(store, '@a:x', version, { room_id: '!0:x' })).toMatchObject([
      ['!0:x', 's0', { first_message_index: 9 }],
    ]);
    await remove();
  },
);

test('no room without keys is left to read after many were emptied', async () => {
  const { store, file, remove } = await temporarySqlite();
  const version = await fill(store, '@a:x', 2_000, 2_000);
  for (let i = 0; i < 1_990; i++)
    await store.deleteKeys('@a:x', version, { room_id: `!${i}:x`, session_id: `s${i}` });
  expect(countOf(file, 'rooms')).toBe(10);
  expect(await readAll(store, '@a:x', version)).toHaveLength(10);
  await remove();
});

test('users take turns: many large writes of one do not hold up another', async () => {
  const { store, remove } = await temporarySqlite();
  const [a, b] = [await newVersion(store, '@a:x'), await newVersion(store, '@b:x')];
  const done: string[] = [];
  const writes = Array.from({ length: 8 }, (_, i) =>
    store.writeKeys('@a:x', a, keysOf(`a${i}-`, 2_000), {}, undefined).then(() => done.push('a')),
  );
  await setImmediate();
  writes.push(store.writeKeys('@b:x', b, [keyOf('!r:x', 's')], {}, undefined).then(() => done.push('b')));
  await Promise.all(writes);
  expect(done.indexOf('b')).toBeLessThan(3);
  await remove();
});

test('opens a file in which a version was deleted and its keys are left, and deletes them then', async () => {
  const { store, file, remove } = await temporarySqlite();
  await fill(store, '@a:x', 5_000);
  const other = await fill(store, '@b:x', 10);
  await store.close();
  const raw = openRaw(file);
  raw.exec(`UPDATE versions SET deleted = 1, auth_data = '', count = 0, bytes = 0 WHERE user_id = '@a:x'`);
  raw.close();
  const again = await openSqliteStore(file);
  expect(countOf(file)).toBe(5_010);
  expect(await readAll(again, '@b:x', other)).toHaveLength(10);
  await until(() => countOf(file) === 10);
  await again.close();
  await remove();
});

test('on a full disk a version is deleted, the file opens and is read, and then there is room again', async () => {
  const { store, file, remove } = await temporarySqlite({ maxPages: 200 });
  const kept = await fill(store, '@b:x', 10);
  const version = await newVersion(store, '@a:x');
  const write = (to: BackupStore, i: number) =>
    to.writeKeys('@a:x', version, keysOf(`${i}-`, 100), {}, undefined);
  let full = 0;
  await expect(
    (async () => {
      for (; full < 100; full++) await write(store, full);
    })(),
  ).rejects.toMatchObject({ code: 'store-failed' });
  expect(full).toBeGreaterThan(5);
  expect(store.fault?.()).toContain('takes no writes');
  await store.ping();
  // A small write is possible again.
  expect(store.fault?.()).toBeUndefined();
  await store.close();
  const again = await openSqliteStore(file, { maxPages: 1 });
  expect(await readAll(again, '@b:x', kept)).toHaveLength(10);
  expect(await readAll(again, '@a:x', version)).toHaveLength(full * 100);
  expect(await again.deleteVersion('@a:x', version)).toEqual({ outcome: 'done' });
  expect(await again.readVersion('@a:x', version)).toBeUndefined();
  await until(() => countOf(file) === 10);
  expect(await again.writeKeys('@b:x', kept, keysOf('new', 100), {}, undefined)).toMatchObject({
    count: 110,
  });
  await again.close();
  await remove();
});

test.each([
  [
    'removed',
    (file: string) => {
      renameSync(file, `${file}.old`);
    },
  ],
  [
    'replaced',
    (file: string) => {
      copyFileSync(file, `${file}.new`);
      renameSync(`${file}.new`, file);
    },
  ],
  [
    'left without its log',
    (file: string) => {
      rmSync(`${file}-wal`);
    },
  ],
])('a file that was %s under the store fails writes and the health check', async (_what, change) => {
  const { store, file, remove } = await temporarySqlite();
  const version = await newVersion(store, '@a:x');
  const health = async () =>
    (await withHealth(() => Promise.reject(new Error()), store)(new Request('http://x/health'))).status;
  expect(await health()).toBe(200);
  change(file);
  const failure = {
    code: 'store-failed',
    message: expect.stringContaining('removed or replaced') as unknown,
  };
  expect(store.fault?.()).toContain('removed or replaced');
  expect(await health()).toBe(503);
  const writing = store.writeKeys('@a:x', version, [keyOf('!r:x', 's')], {}, undefined);
  await expect(writing).rejects.toMatchObject(failure);
  const creating = store.createVersion('@a:x', { algorithm: 'a', auth_data: '{}' }, {});
  await expect(creating).rejects.toMatchObject(failure);
  await remove();
});

test('the check at opening finds damaged bytes, and passes a sound file', async () => {
  const { store, file, remove } = await temporarySqlite();
  await fill(store, '@a:x', 1_000);
  await store.close();
  await (await openSqliteStore(file, { check: true })).close();
  const descriptor = openSync(file, 'r+');
  for (let page = 8; page < 16; page++) writeSync(descriptor, 'twenty damaged bytes', page * 4_096);
  await expect(openSqliteStore(file, { check: true })).rejects.toMatchObject({
    code: 'store-failed',
    message: expect.stringContaining('the file is damaged') as unknown,
  });
  await remove();
});

test('the check at opening notices that the log of a killed process is missing', async () => {
  const { store, file, remove } = await temporarySqlite();
  const version = await newVersion(store, '@a:x');
  const copy = `${file}.copy`;
  for (const end of ['', '-shm']) spawnSync('cp', [file + end, copy + end]);
  await expect(openSqliteStore(copy, { check: true })).rejects.toMatchObject({
    code: 'store-failed',
    message: expect.stringContaining(`${copy}-wal is missing`) as unknown,
  });
  expect(await store.readVersion('@a:x', version)).toBeDefined();
  await remove();
});

/** Not by this process: closing the file would drop the locks of the store. */
function holds(file: string, text: string): boolean {
  return ['', '-wal'].some(
    (end) => existsSync(file + end) && spawnSync('grep', ['-qaF', text, file + end]).status === 0,
  );
}

test('nothing of a user who was erased is left in the file or its log', async () => {
  const { store, file, remove } = await temporarySqlite();
  const user = '@traceable:x';
  const other = await newVersion(store, '@b:x');
  const batch = (name: string, count: number, index = 5) =>
    Array.from({ length: count }, (_, i) => {
      const shuffled = `traceable-${(i * 7_919) % 10_007}-${name}`;
      const mark = `traceable ${'x'.repeat(i % 9 === 0 ? 9_000 : 900)}`;
      return keyOf(`!traceable${i % 40}:x`, shuffled, index, false, mark);
    });
  const old = await newVersion(store, user);
  await store.writeKeys(user, old, batch('old', 600), {}, 'traceable');
  await store.deleteVersion(user, old);
  await until(() => countOf(file) === 0);
  const version = await newVersion(store, user);
  await store.updateVersion(user, version, { algorithm: 'a', auth_data: '{"traceable":1}' }, {});
  for (const name of ['a', 'b', 'c']) {
    await store.writeKeys(user, version, batch(name, 600), {}, 'traceable');
    await store.writeKeys('@b:x', other, keysOf(name, 300), {}, undefined);
    await store.writeKeys(user, version, batch(name, 300, 4), {}, 'traceable');
    await store.deleteKeys(user, version, { room_id: '!traceable7:x' });
  }
  expect(holds(file, 'traceable')).toBe(true);
  // As `erase-user` does while `serve` runs.
  const eraser = await openSqliteStore(file);
  expect(await eraser.eraseUser(user)).toBe(true);
  expect(holds(file, 'traceable')).toBe(false);
  expect(await eraser.eraseUser(user)).toBe(false);
  await eraser.close();
  expect(holds(file, 'traceable')).toBe(false);
  expect(await readAll(store, '@b:x', other)).toHaveLength(900);
  await store.close();
  const raw = openRaw(file);
  expect(raw.first('PRAGMA integrity_check')).toEqual(['ok']);
  raw.close();
  await remove();
});

test('an erasure that was stopped is completed by the next', async () => {
  const { store, file, remove } = await temporarySqlite();
  await fill(store, '@traceable:x', 3_000);
  const stop = new AbortController();
  const eraser = await openSqliteStore(file, { signal: stop.signal });
  const erasing = eraser.eraseUser('@traceable:x');
  await until(() => countOf(file) < 2_000);
  stop.abort();
  await expect(erasing).rejects.toMatchObject({ code: 'aborted' });
  expect(await store.readVersion('@traceable:x')).toBeUndefined();
  expect(await store.eraseUser('@traceable:x')).toBe(true);
  expect(holds(file, 'traceable')).toBe(false);
  await eraser.close();
  await remove();
});

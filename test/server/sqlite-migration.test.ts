import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { loadSqlite } from '../../src/server/sqlite/connection.js';
import { openSqliteStore } from '../../src/server/sqlite/index.js';
import { keyOf, newVersion, readAll } from '../contracts/store.js';
import { makeDatabase } from './earlier-schemas.js';
import { ask, expectMigrated, schemaOf } from './sqlite-migration.js';

let directory: string;
let file: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'migration-'));
  file = join(directory, 'backup.db');
});
afterEach(() => {
  rmSync(directory, { recursive: true });
});

const openRaw = await loadSqlite();

function change(sql: string): void {
  const database = openRaw(file);
  database.exec(sql);
  database.close();
}

test.each([2, 3] as const)('brings a database of schema %i over', async (schema) => {
  await makeDatabase(schema, file, 1_000);
  const store = await openSqliteStore(file);
  await expectMigrated(store, file, 1_000);
  await store.close();
});

test('a migration that fails changes nothing, and the next open completes it', async () => {
  await makeDatabase(2, file, 1_000);
  change('ALTER TABLE late_index RENAME TO mislaid');
  await expect(openSqliteStore(file)).rejects.toMatchObject({ code: 'store-failed' });
  expect(schemaOf(file)).toBe(2);
  expect(ask(file, `SELECT count(*) FROM sqlite_schema WHERE name = 'keys_of_room'`)).toEqual([0]);
  expect(ask(file, 'SELECT count(*) FROM places')).toEqual([750]);
  change('ALTER TABLE mislaid RENAME TO late_index');
  const store = await openSqliteStore(file);
  await expectMigrated(store, file, 1_000);
  await store.close();
});

test('a migration on a full disk changes nothing, and the next open completes it', async () => {
  await makeDatabase(2, file, 4_000);
  const [pages] = ask(file, 'PRAGMA page_count') as [number];
  await expect(openSqliteStore(file, { maxPages: pages + 10 })).rejects.toMatchObject({
    code: 'store-failed',
    message: expect.stringContaining('full') as unknown,
  });
  expect(schemaOf(file)).toBe(2);
  const store = await openSqliteStore(file);
  await expectMigrated(store, file, 4_000);
  await store.close();
});

test('brings a database of schema 1 over, whose empty rooms are removed', async () => {
  const store = await openSqliteStore(file);
  const version = await newVersion(store, '@a:x');
  await store.writeKeys('@a:x', version, [keyOf('!r:x', 'a')], {}, undefined);
  await store.close();
  change(`
    INSERT INTO rooms (version, room_id) VALUES (1, '!empty:x');
    UPDATE versions SET bytes = bytes - ${'!r:xa'.length};
    DROP TABLE users;
    PRAGMA user_version = 1;
  `);
  const opened = await openSqliteStore(file);
  expect(await readAll(opened, '@a:x', version)).toHaveLength(1);
  expect(ask(file, 'SELECT count(*) FROM rooms')).toEqual([1]);
  await opened.close();
});

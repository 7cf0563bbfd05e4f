import { expect } from 'vitest';
import { loadSqlite } from '../../src/server/sqlite/connection.js';
import type { BackupStore, KeyPosition } from '../../src/server/store.js';
import { keyOf } from '../contracts/store.js';
import { USER, VERSION, keyAt } from './earlier-schemas.js';

const openRaw = await loadSqlite();

/** The number of a database's schema. */
export function schemaOf(file: string): unknown {
  return ask(file, 'PRAGMA user_version')[0];
}

/** The first row of a query, by a connection of its own. */
export function ask(file: string, sql: string): unknown[] {
  const database = openRaw(file);
  const row = database.first(sql);
  database.close();
  return row ?? [];
}

/** Expects everything that `makeDatabase` stored, and a store that takes writes. */
export async function expectMigrated(store: BackupStore, file: string, count: number): Promise<void> {
  const before = await store.readVersion(USER, VERSION);
  expect(before).toMatchObject({ count, etag: '41', auth_data: '{"a":1}' });
  const expected = new Map<string, string>();
  for (let i = 0; i < count; i++) {
    const { room_id, session_id, data } = keyAt(i);
    expected.set(JSON.stringify([room_id, session_id]), data);
  }
  let after: KeyPosition | undefined;
  for (;;) {
    const page = await store.readKeys(USER, VERSION, {}, after, 5_000);
    if (page.outcome !== 'page') throw new Error(page.outcome);
    if (page.rooms.length === 0) break;
    for (const { room_id, members, last_session_id } of page.rooms) {
      const text = typeof members === 'string' ? members : new TextDecoder().decode(members);
      for (const [session_id, key] of Object.entries(JSON.parse(`{${text}}`) as Record<string, unknown>)) {
        const id = JSON.stringify([room_id, session_id]);
        // Faster than `expect`.
        if (expected.get(id) !== JSON.stringify(key)) throw new Error(`${id} is wrong`);
        expected.delete(id);
      }
      after = { room_id, session_id: last_session_id };
    }
  }
  expect(expected.size).toBe(0);
  expect(await store.readReplacements(USER, 0, 10)).toMatchObject([
    { session_id: keyAt(0).session_id, before: { device_id: 'D' }, after: { device_id: 'E' } },
  ]);
  expect(await store.readVersion(USER, 'deleted')).toBeUndefined();
  // A stored key of the same rank, a stored key of a lower one, and a new one.
  const { room_id, session_id } = keyAt(0);
  const last = keyAt(count - 1);
  const written = await store.writeKeys(
    USER,
    VERSION,
    [
      keyOf(room_id, session_id, 0, true),
      keyOf(last.room_id, last.session_id, 0, true),
      keyOf('!new:x', 'new'),
    ],
    {},
    'F',
  );
  expect(written).toMatchObject({ outcome: 'changed', count: count + 1, etag: '42' });
  expect(schemaOf(file)).toBe(4);
  expect(
    ask(
      file,
      `SELECT bytes - octet_length(auth_data) - (
         SELECT sum(octet_length(room_id) + octet_length(session_id) + octet_length(data))
         FROM rooms JOIN keys ON keys.room = rooms.id WHERE rooms.version = versions.id
       ) FROM versions WHERE NOT deleted`,
    ),
  ).toEqual([0]);
  expect(ask(file, 'SELECT user_id, trail_bytes FROM users')).toEqual([
    USER,
    // One entry was there, the other is of this write; devices have one letter each.
    [keyAt(0), last].reduce((sum, key) => sum + Buffer.byteLength(key.room_id + key.session_id) + 2 + 128, 0),
  ]);
  expect(ask(file, 'SELECT count(*) FROM rooms WHERE id NOT IN (SELECT room FROM keys)')).toEqual([0]);
  expect(ask(file, 'SELECT count(*) FROM keys WHERE room NOT IN (SELECT id FROM rooms)')).toEqual([0]);
  expect(ask(file, 'SELECT count(*) FROM keys')).toEqual([count + 1]);
  expect(ask(file, 'PRAGMA integrity_check')).toEqual(['ok']);
  expect(
    ask(
      file,
      `SELECT group_concat(name, ' ') FROM (SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1)`,
    ),
  ).toEqual(['keys replacements rooms sqlite_sequence users versions']);
}

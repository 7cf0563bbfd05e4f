import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openSqliteStore } from '../../src/server/sqlite.js';
import { keyOf, newVersion, readAll, storeContract } from '../contracts/store.js';
import { temporarySqlite } from '../support/serving.js';

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
      rmSync(directory, { recursive: true });
    },
  };
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

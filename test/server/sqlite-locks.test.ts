import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { openSqliteStore } from '../../src/server/sqlite/index.js';
import { keyOf, newVersion, readAll } from '../contracts/store.js';
import { temporarySqlite } from '../support/serving.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'locks-'));
afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

/** Opens a database in a process of its own, as `audit` does, and returns how many keys that process sees. */
function keysSeenElsewhere(file: string): number {
  const program = `
    import Database from 'libsql';
    const database = new Database(process.argv[1]);
    console.log(database.prepare('SELECT count(*) FROM keys').raw().get()[0]);
    database.close();`;
  const printed = execFileSync(process.execPath, ['--input-type=module', '-e', program, file], {
    cwd: root,
    encoding: 'utf8',
  });
  return Number(printed);
}

test('a write is kept when this process opens the file twice and another opens and closes it', async () => {
  const { store, file, remove } = await temporarySqlite();
  const version = await newVersion(store, '@a:x');
  await store.writeKeys('@a:x', version, [keyOf('!r:x', 'a')], {}, undefined);
  const second = await openSqliteStore(file);
  expect(keysSeenElsewhere(file)).toBe(1);
  expect(existsSync(`${file}-wal`)).toBe(true);
  expect(await store.writeKeys('@a:x', version, [keyOf('!r:x', 'b')], {}, undefined)).toMatchObject({
    count: 2,
  });
  expect(await second.writeKeys('@a:x', version, [keyOf('!r:x', 'c')], {}, undefined)).toMatchObject({
    count: 3,
  });
  expect(keysSeenElsewhere(file)).toBe(3);
  expect(await readAll(store, '@a:x', version)).toHaveLength(3);
  await second.close();
  expect(keysSeenElsewhere(file)).toBe(3);
  await remove();
});

test('a new file and the files beside it have mode 600, and an existing file keeps its mode', async () => {
  const { store, file, remove } = await temporarySqlite();
  const modes = () => ['', '-wal', '-shm'].map((end) => (statSync(file + end).mode & 0o777).toString(8));
  await newVersion(store, '@a:x');
  expect(modes()).toEqual(['600', '600', '600']);
  await store.close();
  chmodSync(file, 0o640);
  const again = await openSqliteStore(file);
  await newVersion(again, '@a:x');
  expect(modes()[0]).toBe('640');
  await again.close();
  await remove();
});

test('a file made through a symbolic link has mode 600', async () => {
  const [link, target] = [join(directory, 'link.db'), join(directory, 'target.db')];
  symlinkSync(target, link);
  const store = await openSqliteStore(link);
  expect((statSync(target).mode & 0o777).toString(8)).toBe('600');
  await store.close();
});

test.each([
  '',
  ':memory:',
  'file:backup.db',
  'FILE:backup.db?mode=memory',
  'libsql://host/db',
  'http://host/db',
])('rejects %j as a file', async (name) => {
  const before = readdirSync('.');
  await expect(openSqliteStore(name)).rejects.toMatchObject({
    code: 'bad-parameters',
    message: `expected the path of an SQLite file, got ${JSON.stringify(name)}`,
  });
  expect(readdirSync('.')).toEqual(before);
});

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openSqliteStore } from '../../src/server/sqlite/index.js';
import { makeDatabase } from './earlier-schemas.js';
import { expectMigrated, schemaOf } from './sqlite-migration.js';

const KEYS = 200_000;
const STORE = new URL('../../dist/server/sqlite/index.js', import.meta.url).href;

/** Opens the file in a process of its own and kills it once the migration has written this many bytes to the log. */
async function killWhileMigrating(file: string, bytes: number): Promise<void> {
  const program = `
    import { openSqliteStore } from ${JSON.stringify(STORE)};
    await openSqliteStore(process.argv[1]);
    console.log('migrated');`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program, file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let printed = '';
  child.stdout.on('data', (text) => (printed += String(text)));
  const exited = new Promise<void>((resolve) =>
    child.once('exit', () => {
      resolve();
    }),
  );
  while ((statSync(`${file}-wal`, { throwIfNoEntry: false })?.size ?? 0) < bytes && child.exitCode === null) {
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  child.kill('SIGKILL');
  await exited;
  expect(printed).toBe('');
  expect(child.signalCode).toBe('SIGKILL');
}

test('a migration of 200,000 keys that is killed in the middle is completed by the next open', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'migration-'));
  const file = join(directory, 'backup.db');
  try {
    await makeDatabase(2, file, KEYS);
    // The new index takes more than all of these.
    for (const bytes of [100_000, 2_000_000, 8_000_000]) {
      await killWhileMigrating(file, bytes);
      expect(schemaOf(file)).toBe(2);
    }
    const store = await openSqliteStore(file);
    await expectMigrated(store, file, KEYS);
    await store.close();
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}, 300_000);

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSqliteStore } from '../../src/server/sqlite.js';
import { storeContract } from '../contracts/store.js';

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

import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { identifyByTokens } from '../../src/server/identify.js';
import { createHandler, type HandlerOptions } from '../../src/server/handler.js';
import { listen, type ListenOptions } from '../../src/server/listen.js';
import { openSqliteStore, type SqliteOptions } from '../../src/server/sqlite/index.js';
import type { BackupStore } from '../../src/server/store.js';

export const TOKEN_A = 'token-a';
export const TOKEN_B = 'token-b';

/** Two users, of a token each. */
export const identify = identifyByTokens(
  [TOKEN_A, TOKEN_B].map((token, i) => ({
    sha256: createHash('sha256').update(token).digest('hex'),
    user_id: `@user${i}:x`,
    device_id: `DEVICE${i}`,
  })),
);

/** A handler of a store, listening. */
export async function serve(
  store: BackupStore,
  options: Partial<HandlerOptions> = {},
  listening: ListenOptions = {},
): Promise<{ url: string; stop: (grace?: number) => Promise<void> }> {
  return listen(await createHandler({ store, identify, ...options }), listening);
}

/** An SQLite store in a directory of its own. */
export async function temporarySqlite(
  options: SqliteOptions = {},
): Promise<{ store: BackupStore; file: string; remove: () => Promise<void> }> {
  const directory = mkdtempSync(join(tmpdir(), 'store-'));
  const file = join(directory, 'backup.db');
  const store = await openSqliteStore(file, options);
  return {
    store,
    file,
    remove: async () => {
      await store.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

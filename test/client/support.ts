import { onTestFinished } from 'vitest';
import type { HomeserverOptions } from '../../src/client/http.js';
import { RoomKeys } from '../../src/client/api.js';
import { BACKUP_ALGORITHM, BackupDecryptionKey, createAuthData } from '../../src/index.js';
import { KeyBackupServer } from '../support/key-backup-server.js';

/** A server that is stopped after the test. */
export async function startServer(): Promise<KeyBackupServer> {
  const server = await new KeyBackupServer().start();
  onTestFinished(() => server.stop());
  return server;
}

/** A client that does not wait between its attempts. */
export function clientOf(server: KeyBackupServer, options: Partial<HomeserverOptions> = {}): RoomKeys {
  return new RoomKeys({
    baseUrl: server.url,
    accessToken: 'TOKEN',
    retryDelay: 0,
    maxRetryDelay: 1,
    ...options,
  });
}

/** One key for all tests: making one costs more than using it. */
export const key = BackupDecryptionKey.fromBytes(new Uint8Array(32).fill(9));

/** A backup of {@link key} on the server. */
export function makeBackup(server: KeyBackupServer) {
  return server.createVersion(BACKUP_ALGORITHM, { ...createAuthData(key.publicKey) });
}

export const trust = { userId: '@a:example.org', decryptionKey: key };

import type { BackupStore } from './store.js';
export function openPostgresStore(_url: string): Promise<BackupStore> {
  return Promise.reject(new Error('not yet'));
}

import { readFileSync } from 'node:fs';
import { BACKUP_ALGORITHM, createAuthData } from '../../src/scheme/auth-data.js';
import { BackupMacKey } from '../../src/scheme/backup-mac.js';
import { encryptSessionsSync, type EncryptSettings } from '../../src/batch/encrypt.js';
import { BackupDecryptionKey } from '../../src/scheme/keys.js';
import { encryptSessionData } from '../../src/scheme/session-data.js';
import type { ExportedSessionData } from '../../src/formats/room-key.js';
import { SecretStorageKey } from '../../src/secret-storage/secret-storage.js';

/** What somebody saved of their account, for the tests of the page. */

export const sample = JSON.parse(
  readFileSync(new URL('../../vectors/sample-export.json', import.meta.url), 'utf8'),
) as ExportedSessionData[];

export const key = BackupDecryptionKey.generate();
export const macKey = BackupMacKey.fromDecryptionKey(key);
export const storage = SecretStorageKey.generate('k');
export const authData = createAuthData(key.publicKey);
export const version = { version: '1', algorithm: BACKUP_ALGORITHM, auth_data: authData };
export const accountData = {
  'm.secret_storage.default_key': { key: 'k' },
  'm.secret_storage.key.k': storage.describe(),
  'm.megolm_backup.v1': storage.encryptSecret('m.megolm_backup.v1', key.toBase64()),
};

export interface SavedBackup {
  readonly rooms: Record<string, { sessions: Record<string, unknown> }>;
}

/** A backup; `copies` of every session in rooms of their own make it large. */
export function backup(
  sessions: readonly ExportedSessionData[],
  { copies = 1, ...settings }: EncryptSettings & { readonly copies?: number } = {},
): SavedBackup {
  const rooms: SavedBackup['rooms'] = {};
  for (const result of encryptSessionsSync(sessions, key.publicKey, settings)) {
    if (!result.ok) throw result.error;
    for (let copy = 0; copy < copies; copy++) {
      const room = copy === 0 ? result.room_id : `${result.room_id}-${copy}`;
      rooms[room] ??= { sessions: {} };
      rooms[room].sessions[result.session_id] = result.key_backup_data;
    }
  }
  return { rooms };
}

/** A backup of one session as another client wrote it: nothing in it is mended. */
export function unmendedBackup({ room_id, session_id, ...fields }: ExportedSessionData): SavedBackup {
  const plaintext = new TextEncoder().encode(JSON.stringify(fields));
  const session_data = encryptSessionData(plaintext, key.publicKey);
  const record = { first_message_index: 0, forwarded_count: 0, is_verified: false, session_data };
  return { rooms: { [room_id]: { sessions: { [session_id]: record } } } };
}

/** A backup with the first four verdicts on where a key comes from, one key each: see {@link sample}. */
export function backupOfAllVerdicts(): SavedBackup {
  const [verified, declared, wrong, none] = sample.slice(0, 4);
  const vouched = backup([verified, wrong], { macKey, unauthenticated: () => undefined });
  const unvouched = backup([declared], { macKey, unauthenticated: () => 'm.legacy-v1' });
  const rooms = merged(vouched, unvouched, backup([none]));
  const record = rooms[wrong.room_id].sessions[wrong.session_id] as {
    session_data: { unsigned: Record<string, string> };
  };
  record.session_data.unsigned = { backup_mac: 'A'.repeat(43) };
  return { rooms };
}

export function merged(...backups: readonly SavedBackup[]): SavedBackup['rooms'] {
  const rooms: SavedBackup['rooms'] = {};
  for (const one of backups) {
    for (const [room, { sessions }] of Object.entries(one.rooms)) {
      rooms[room] ??= { sessions: {} };
      Object.assign(rooms[room].sessions, sessions);
    }
  }
  return rooms;
}

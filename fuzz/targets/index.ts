import type { Target } from '../target.js';
import { armorTarget } from './armor.js';
import { authDataTarget } from './auth-data.js';
import { backupReaderTarget } from './backup-reader.js';
import { jsonTarget } from './json.js';
import { keyExportTarget } from './key-export.js';
import { recoveryKeyTarget } from './recovery-key.js';
import { restoreTarget } from './restore.js';
import { roomKeyTarget } from './room-key.js';
import { secretStorageTarget } from './secret-storage.js';
import { sessionDataTarget } from './session-data.js';
import { wireTarget } from './wire.js';

/** Every parser that reads what others wrote. */
export const targets: readonly Target[] = [
  recoveryKeyTarget,
  jsonTarget,
  backupReaderTarget,
  wireTarget,
  authDataTarget,
  sessionDataTarget,
  roomKeyTarget,
  armorTarget,
  keyExportTarget,
  secretStorageTarget,
  restoreTarget,
];

import { rescueItems, type RescuedKey } from '../report/rescue.js';
import type { VersionInfo } from '../wire/types.js';
import { ownUserId, fetchSecretStorage } from '../client/account.js';
import { Restore } from '../client/restore.js';
import type { RoomKeys } from '../client/api.js';
import type { DecryptSettings } from '../batch/decrypt.js';
import { nodeBackend } from '../backends/node.js';
import type { AccountData } from '../secret-storage/key-description.js';
import type { JsonObject } from '../encoding/json.js';
import type { BackupDecryptionKey } from '../scheme/keys.js';
import { existingBackup, withServer } from './homeserver.js';
import { openKeysFile, readJsonObject } from './files.js';
import { readAuthDataFile } from './secrets.js';
import { shareOf } from './results.js';
import type { Terminal } from './terminal.js';

/** Where a rescue reads the backup: saved files, or a homeserver. */
export interface RescueSource {
  readonly authData: JsonObject;
  readonly accountData: AccountData;
  /** Every key of the backup, or the reason why it could not be read. */
  restore(key: BackupDecryptionKey, options: RestoreSettings): AsyncIterable<RescuedKey>;
}

/** How to restore. */
export interface RestoreSettings extends DecryptSettings {
  readonly signal: AbortSignal;
  /** Told now and then how far it is: 0 to 1, `undefined` when unknown. */
  readonly onProgress: (share: number | undefined) => void;
}

/** Account data of many widgets and rooms reaches megabytes. */
const MAX_ACCOUNT_DATA = 16 << 20;

/** The paths of saved files. */
export interface SavedFiles {
  readonly version: string;
  readonly backup: string;
  readonly accountData: string | undefined;
}

/**
 * A backup saved as files.
 *
 * @throws `InputError` when the version or the account data is unreadable.
 */
export async function filesSource(
  { version, backup, accountData: path }: SavedFiles,
  terminal: Terminal,
): Promise<RescueSource> {
  const authData = await readAuthDataFile(version, terminal);
  const file = { what: 'account data', maxBytes: MAX_ACCOUNT_DATA };
  const accountData = path === undefined ? {} : await readJsonObject(path, file, terminal);
  return {
    authData,
    accountData,
    restore(key, { onProgress, ...settings }) {
      const keys = openKeysFile(backup, 'rooms', terminal);
      return rescueItems(keys.items, key, {
        ...settings,
        backend: nodeBackend(),
        onProgress: () => {
          onProgress(keys.share);
        },
      });
    },
  };
}

/**
 * The current backup on a homeserver, and the account data there.
 *
 * @throws {@link InputError} when there is no way to the server, or no backup on it.
 */
export async function serverSource(roomKeys: RoomKeys, signal: AbortSignal): Promise<RescueSource> {
  return withServer(async () => {
    const info = await existingBackup(roomKeys, signal);
    const userId = await ownUserId(roomKeys, { signal });
    return {
      authData: info.auth_data,
      accountData: await fetchSecretStorage(roomKeys, userId, { signal }),
      restore: (key, settings) => download(roomKeys, info, key, settings),
    };
  });
}

async function* download(
  roomKeys: RoomKeys,
  info: VersionInfo,
  key: BackupDecryptionKey,
  { onProgress, ...settings }: RestoreSettings,
): AsyncGenerator<RescuedKey, void, undefined> {
  const restore = new Restore(roomKeys, info, key, {
    ...settings,
    backend: nodeBackend(),
    onProgress: (progress) => {
      onProgress(shareOf(progress));
    },
  });
  const results = restore[Symbol.asyncIterator]();
  for (;;) {
    const next = await withServer(() => results.next());
    if (next.done === true) return;
    yield next.value;
  }
}

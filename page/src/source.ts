import { readBackup } from '../../src/api/backup-reader.js';
import { decryptSessions, type BackupRecord } from '../../src/engine/batch.js';
import { webCryptoBackend } from '../../src/backends/webcrypto.js';
import type { Place } from '../../src/cli/report.js';
import { ownUserId } from '../../src/client/account.js';
import { discoverHomeserver } from '../../src/client/discovery.js';
import { Restore } from '../../src/client/restore.js';
import { RoomKeys } from '../../src/client/room-keys.js';
import { fetchSecretStorage } from '../../src/client/secret-storage.js';
import { KeyBackupError } from '../../src/engine/errors.js';
import { isJsonObject, parseObject, type JsonObject } from '../../src/engine/json.js';
import type { AccountData } from '../../src/engine/key-description.js';
import type { BackupDecryptionKey } from '../../src/engine/keys.js';
import type { ExportedSessionData } from '../../src/engine/room-key.js';
import type { Authenticity } from '../../src/engine/backup-mac.js';
import type { Task } from './messages.js';
import { onlyTo } from './only-to.js';

/** What became of one key. */
export type SourceResult = Place &
  (
    | {
        readonly ok: true;
        readonly session: ExportedSessionData;
        readonly flags: readonly string[];
        readonly authenticity: Authenticity;
      }
    | {
        readonly ok: false;
        readonly error: KeyBackupError<string>;
        /** Whether the record could be taken apart, so that its failure says something about the key. */
        readonly wellFormed: boolean;
      }
  );

/** How to read the keys. */
export interface ReadSettings {
  readonly salvage: boolean;
  readonly requireAuthenticated: boolean;
  /** Told now and then how far it is: 0 to 1, `undefined` where nobody knows. */
  readonly onShare: (share: number | undefined) => void;
}

/** Where the keys come from. */
export interface Source {
  readonly authData: JsonObject;
  readonly accountData: AccountData;
  readonly restore: (key: BackupDecryptionKey, settings: ReadSettings) => AsyncIterable<SourceResult>;
}

/** More than this is no version and no account data; a backup is read as a stream, whatever its size. */
const MAX_SMALL_FILE = 16 * 1024 * 1024;

/** Opens what the task names. */
export function openSource(task: Task): Promise<Source> {
  const { source } = task;
  return source.kind === 'files' ? openFiles(source.files) : openServer(source.homeserver, source.token);
}

/** Tells the files apart by what is in them, since names are what a browser or a person made of them. */
async function openFiles(files: readonly File[]): Promise<Source> {
  const backups: File[] = [];
  const versions: JsonObject[] = [];
  const accounts: AccountData[] = [];
  for (const file of files) {
    const head = await file.slice(0, 4096).text();
    if (/^\s*\{\s*"rooms"\s*:/.test(head) || file.size > MAX_SMALL_FILE) {
      backups.push(file);
      continue;
    }
    const object = parseObject(await file.text(), file.name);
    if (isJsonObject(object.rooms)) backups.push(file);
    else if (isJsonObject(object.auth_data)) versions.push(object.auth_data);
    else if (typeof object.public_key === 'string') versions.push(object);
    else accounts.push(object);
  }
  const backup = only(backups, 'a backup ({"rooms": ...})');
  const authData = only(versions, 'a version (with auth_data)');
  return {
    authData,
    accountData: accounts.length === 0 ? {} : only(accounts, 'account data'),
    restore: (key, settings) => restoreFile(backup, key, settings),
  };
}

/** One of each: to take one of two and be silent about the other would be to lose its keys. */
function only<T>(found: readonly T[], what: string): T {
  if (found.length === 0) throw new KeyBackupError('missing-field', `files: expected ${what}, got none`);
  if (found.length > 1)
    throw new KeyBackupError('bad-parameters', `files: expected one file with ${what}, got ${found.length}`);
  return found[0];
}

async function* restoreFile(
  file: File,
  key: BackupDecryptionKey,
  { onShare, ...settings }: ReadSettings,
): AsyncGenerator<SourceResult, void, undefined> {
  let read = 0;
  async function* chunks() {
    const reader = file.stream().getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      read += value.length;
      onShare(read / file.size);
      yield value;
    }
  }
  const places: Place[] = [];
  const refused: SourceResult[] = [];
  async function* records(): AsyncGenerator<BackupRecord, void, undefined> {
    for await (const item of readBackup(chunks(), { form: 'rooms' })) {
      const { room_id, session_id, path } = item;
      if (item.error) {
        refused.push({ ok: false, room_id, session_id, path, error: item.error, wellFormed: false });
      } else {
        places.push({ room_id, session_id, path });
        yield { room_id: room_id ?? '', session_id: session_id ?? '', key_backup_data: item.value };
      }
    }
  }
  const options = { ...settings, backend: webCryptoBackend() };
  for await (const result of decryptSessions(records(), key, options)) {
    const place = places.shift();
    if (!place) throw new Error('a batch gave more results than it was given keys');
    if (result.ok) yield { ...result, ...place };
    else yield { ...place, ok: false, error: result.error, wellFormed: result.wellFormed };
    yield* refused.splice(0);
  }
  yield* refused;
}

async function openServer(homeserver: string, accessToken: string): Promise<Source> {
  // Finding the server takes no token; with it, nothing but the server that was found is spoken to.
  const baseUrl = await discoverHomeserver(homeserver.trim());
  const roomKeys = new RoomKeys({ baseUrl, accessToken: accessToken.trim(), fetch: onlyTo(baseUrl) });
  const info = await roomKeys.currentVersion();
  if (!info) throw new KeyBackupError('missing-field', 'this account has no backup');
  return {
    authData: info.auth_data,
    accountData: await fetchSecretStorage(roomKeys, await ownUserId(roomKeys)),
    restore: (key, { onShare, ...settings }) =>
      new Restore(roomKeys, info, key, {
        ...settings,
        backend: webCryptoBackend(),
        onProgress: ({ done, total }) => {
          onShare(total === undefined || total === 0 ? undefined : done / total);
        },
      }),
  };
}

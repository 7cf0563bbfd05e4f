import { readBackup } from '../../src/api/backup-reader.js';
import { decryptSessions, type BackupRecord } from '../../src/engine/batch.js';
import { webCryptoBackend } from '../../src/backends/webcrypto.js';
import { ownUserId } from '../../src/client/account.js';
import { discoverHomeserver } from '../../src/client/discovery.js';
import type { Fetch } from '../../src/client/exchange.js';
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

/** A place in a backup. */
export interface Place {
  readonly room_id: string | undefined;
  readonly session_id: string | undefined;
  readonly path: string;
}

/** What became of one key. */
export type SourceResult = Place &
  (
    | {
        readonly ok: true;
        readonly session: ExportedSessionData;
        readonly flags: readonly string[];
        readonly authenticity: Authenticity;
      }
    | { readonly ok: false; readonly error: KeyBackupError<string> }
  );

/** Where the keys come from. */
export interface Source {
  readonly authData: JsonObject;
  readonly accountData: AccountData;
  readonly restore: (
    key: BackupDecryptionKey,
    salvage: boolean,
    onShare: (share: number | undefined) => void,
  ) => AsyncIterable<SourceResult>;
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
  let backup: File | undefined;
  let version: JsonObject | undefined;
  let accountData: AccountData | undefined;
  for (const file of files) {
    const head = await file.slice(0, 4096).text();
    if (/^\s*\{\s*"rooms"\s*:/.test(head) || file.size > MAX_SMALL_FILE) {
      backup = file;
      continue;
    }
    const object = parseObject(await file.text(), file.name);
    if (isJsonObject(object.rooms)) backup = file;
    else if (isJsonObject(object.auth_data)) version = object.auth_data;
    else if (typeof object.public_key === 'string') version = object;
    else accountData = object;
  }
  if (!backup)
    throw new KeyBackupError('missing-field', 'files: expected a backup ({"rooms": ...}), got none');
  if (!version)
    throw new KeyBackupError('missing-field', 'files: expected a version (with auth_data), got none');
  const file = backup;
  return {
    authData: version,
    accountData: accountData ?? {},
    restore: (key, salvage, onShare) => restoreFile(file, key, salvage, onShare),
  };
}

async function* restoreFile(
  file: File,
  key: BackupDecryptionKey,
  salvage: boolean,
  onShare: (share: number) => void,
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
        refused.push({ ok: false, room_id, session_id, path, error: item.error });
      } else {
        places.push({ room_id, session_id, path });
        yield { room_id: room_id ?? '', session_id: session_id ?? '', key_backup_data: item.value };
      }
    }
  }
  for await (const result of decryptSessions(records(), key, { salvage, backend: webCryptoBackend() })) {
    const place = places.shift();
    if (!place) throw new Error('a batch gave more results than it was given keys');
    if (result.ok) yield { ...result, ...place };
    else yield { ...place, ok: false, error: result.error };
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
    restore: (key, salvage, onShare) =>
      new Restore(roomKeys, info, key, {
        salvage,
        backend: webCryptoBackend(),
        onProgress: ({ done, total }) => {
          onShare(total === undefined || total === 0 ? undefined : done / total);
        },
      }),
  };
}

/** A fetch that speaks to one server and to nobody else, whatever it is asked. */
export function onlyTo(baseUrl: string): Fetch {
  const { origin } = new URL(baseUrl);
  return async (url, init) => {
    if (new URL(url).origin !== origin)
      throw new TypeError(`refused to contact another server than ${origin}`);
    return fetch(url, init);
  };
}

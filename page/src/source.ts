import { readSavedKeys } from '../../src/wire/saved-keys.js';
import { pastedToken } from '../../src/client/access-token.js';
import { ownUserId, fetchSecretStorage } from '../../src/client/account.js';
import { expectAlgorithm } from '../../src/client/backup.js';
import { discoverHomeserver } from '../../src/client/discovery.js';
import { identityOf, resumableDownload, type DownloadLog } from '../../src/client/resumable-download.js';
import type { RetryNotice } from '../../src/client/retry.js';
import { RoomKeys } from '../../src/client/api.js';
import { KeyBackupError } from '../../src/errors.js';
import { isJsonObject, parseShallow, type JsonObject } from '../../src/encoding/json.js';
import { decodeTextFile, utf8Of } from '../../src/encoding/text-file.js';
import { BACKUP_ALGORITHM } from '../../src/scheme/auth-data.js';
import { accountDataOf, type AccountData } from '../../src/secret-storage/key-description.js';
import type { BackupItem } from '../../src/wire/backup-item.js';
import { chunksOf, GrowingBlob } from './growing-blob.js';
import type { KeptRecords, Task } from './messages.js';
import { onlyTo } from './only-to.js';

/** Where the keys come from. */
export interface Source {
  /** How many keys a homeserver says that there are. */
  readonly count?: number | undefined;
  readonly authData: JsonObject;
  /** `undefined` if it was not given. */
  readonly accountData: AccountData | undefined;
  readonly read: () => {
    readonly items: AsyncIterable<BackupItem>;
    /** How far it is when some keys are done: 0 to 1, `undefined` when unknown. */
    readonly shareOf: (done: number) => number | undefined;
  };
  /** What was downloaded so far. */
  readonly kept?: () => KeptRecords;
}

/** More than this is no version and no account data; a backup is read as a stream, whatever its size. */
const MAX_SMALL_FILE = 16 * 1024 * 1024;

/** An error that only the page knows. */
export class PageError extends Error {
  readonly code: 'https-only' | 'no-backup' | 'missing-file';

  constructor(code: PageError['code'], message: string) {
    super(message);
    this.code = code;
  }
}

/**
 * Opens what the task names.
 *
 * @param onStatus - Told why it waits.
 */
export function openSource({ source }: Task, onStatus: (text: string) => void): Promise<Source> {
  return source.kind === 'files' ? openFiles(source.files) : openServer(source, onStatus);
}

/** Tells the files apart by what is in them, since names are what a browser or a person made of them. */
async function openFiles(files: readonly File[]): Promise<Source> {
  const backups: File[] = [];
  const versions: JsonObject[] = [];
  const accounts: AccountData[] = [];
  for (const file of files) {
    if (file.size > MAX_SMALL_FILE || /^\s*\{\s*"rooms"\s*:/.test(await startOf(file))) {
      backups.push(file);
      continue;
    }
    const value = parseShallow(await textOf(file), file.name);
    const object = isJsonObject(value) && !isJsonObject(value.account_data) ? value : {};
    if (isJsonObject(object.rooms)) backups.push(file);
    else if (isJsonObject(object.auth_data)) versions.push(authDataOf(object, file.name));
    else if (typeof object.public_key === 'string') versions.push(object);
    else accounts.push(accountDataOf(value));
  }
  const backup = only(backups, 'a backup ({"rooms": ...})');
  const authData = only(versions, 'a version (with auth_data)');
  return {
    authData,
    accountData: accounts.length === 0 ? undefined : only(accounts, 'account data'),
    read: () => readFile(backup),
  };
}

/** The first characters; what is damaged in them costs nothing else. */
async function startOf(file: File): Promise<string> {
  const bytes = new Uint8Array(await file.slice(0, 4096).arrayBuffer());
  for await (const piece of utf8Of([bytes], file.name)) return new TextDecoder().decode(piece);
  return '';
}

async function textOf(file: File): Promise<string> {
  const text = decodeTextFile(new Uint8Array(await file.arrayBuffer()), file.name);
  if (text.trim() === '') throw new KeyBackupError('bad-json', `${file.name}: the file is empty`);
  if (!text.includes('-----BEGIN MEGOLM SESSION DATA')) return text;
  throw new KeyBackupError(
    'bad-json',
    `${file.name}: expected a backup, got an encrypted export file, which your app imports as it is`,
  );
}

/** The `auth_data` of a version. */
function authDataOf({ algorithm = BACKUP_ALGORITHM, auth_data }: JsonObject, name: string): JsonObject {
  if (algorithm === BACKUP_ALGORITHM) return auth_data as JsonObject;
  throw new KeyBackupError(
    'unsupported-algorithm',
    `${name}: algorithm: expected ${BACKUP_ALGORITHM}, got another`,
  );
}

/** One of each: to take one of two and be silent about the other would be to lose its keys. */
function only<T>(found: readonly T[], what: string): T {
  if (found.length === 0) throw new PageError('missing-file', `files: expected ${what}, got none`);
  if (found.length > 1)
    throw new KeyBackupError('bad-parameters', `files: expected one file with ${what}, got ${found.length}`);
  return found[0];
}

function readFile(file: File): ReturnType<Source['read']> {
  let read = 0;
  async function* chunks() {
    for await (const chunk of chunksOf(file)) {
      read += chunk.length;
      yield chunk;
    }
  }
  return {
    items: readSavedKeys(utf8Of(chunks(), file.name), { form: 'rooms' }),
    shareOf: () => read / file.size,
  };
}

async function openServer(
  { homeserver, token, kept }: Extract<Task['source'], { kind: 'server' }>,
  onStatus: (text: string) => void,
): Promise<Source> {
  expectSecure(homeserver.trim());
  const onRetry = ({ delay }: RetryNotice) => {
    onStatus(`The homeserver did not answer. Trying again in ${Math.ceil(delay / 1000)} s.`);
  };
  // Finding the server takes no token; with it, only the server that was found is contacted.
  const baseUrl = await discoverHomeserver(homeserver.trim(), { onRetry });
  expectSecure(baseUrl);
  const roomKeys = new RoomKeys({
    baseUrl,
    accessToken: pastedToken(token) ?? token.trim(),
    fetch: onlyTo(baseUrl),
    onRetry,
  });
  const info = await roomKeys.currentVersion();
  if (!info) throw new PageError('no-backup', 'this account has no backup');
  expectAlgorithm(info);
  const { version, count, auth_data } = info;
  const backup = JSON.stringify(identityOf(info));
  const records = new GrowingBlob(kept?.backup === backup ? kept.records : undefined);
  const log: DownloadLog = {
    append: (lines) => {
      records.append(lines);
    },
    read: () => chunksOf(records.whole()),
  };
  return {
    count,
    authData: auth_data,
    accountData: await fetchSecretStorage(roomKeys, await ownUserId(roomKeys)),
    read: () => ({
      items: resumableDownload(roomKeys, version, log),
      shareOf: (done) => (count ? Math.min(1, done / count) : undefined),
    }),
    kept: () => ({ backup, records: records.whole() }),
  };
}

/** Unencrypted connections are for servers on this computer only, as the page's policy has it too. */
function expectSecure(address: string): void {
  if (/^http:/i.test(address) && !/^http:\/\/(localhost|127\.0\.0\.1)(:\d+)?(\/|$)/i.test(address)) {
    throw new PageError('https-only', 'homeserver: expected https, got http');
  }
}

import { expectInstance, expectOptions, expectText } from '../encoding/arguments.js';
import type { BackupRecord } from '../batch/decrypt.js';
import type { BackupEntry, BackupFault, BackupItem } from '../wire/backup-item.js';
import { SessionIdSet } from '../wire/session-id-set.js';
import { RoomKeys, type CallOptions } from './api.js';
import { RequestError } from './http-error.js';

/** Which keys of a backup to download. */
export interface DownloadOptions extends CallOptions {
  /** Only these rooms, one request each; default all rooms in one stream. */
  readonly rooms?: readonly string[] | undefined;
  /** Keys to leave out. Every key that is yielded is added. */
  readonly exclude?: SessionIdSet | undefined;
  /** Gets the `rooms` that hold nothing. */
  readonly emptyRooms?: string[] | undefined;
  /** Most keys of one answer, if the server can page; default 10,000. */
  readonly pageKeys?: number | undefined;
  /** The page to begin with, as `onPage` got it. */
  readonly from?: string | undefined;
  /** Gets the token of every further page once the records before it were taken. */
  readonly onPage?: ((from: string) => Promise<void> | void) | undefined;
}

/** A record of a backup and its place, or a place that holds none. */
export type DownloadedItem =
  (BackupEntry & { readonly room_id: string; readonly session_id: string }) | BackupFault;

/**
 * The records of a backup as they arrive, not validated, and the places that hold none. Some dozens at a time: for many
 * keys a step per key costs more than the key. It reconnects where a connection breaks, and yields every key once.
 */
export async function* downloadKeys(
  roomKeys: RoomKeys,
  version: string,
  options: DownloadOptions = {},
): AsyncGenerator<DownloadedItem[], void, undefined> {
  expectInstance(roomKeys, RoomKeys, 'roomKeys');
  expectText(version, 'version');
  expectOptions(options);
  const {
    rooms = [undefined],
    exclude = new SessionIdSet(),
    emptyRooms = [],
    pageKeys = 10_000,
    onPage,
    signal,
  } = options;
  // The places that hold no record: few, or the backup is lost anyway.
  const faults = new Set<string>();
  for (const roomId of new Set(rooms)) {
    const tokens = new Set<string>();
    let { from } = options;
    let attempt = 0;
    let complete = false;
    let isEmpty = true;
    while (!complete) {
      const page = roomKeys.keys(version, { roomId, from, limit: pageKeys }, { signal });
      try {
        let next = await page.next();
        for (; next.done !== true; next = await page.next()) {
          if (next.value.length > 0) isEmpty = false;
          const batch = next.value.filter((item) => isNew(item, exclude, faults));
          if (batch.length === 0) continue;
          // Progress after a failure shows that repeating helps.
          attempt = 0;
          yield batch;
        }
        from = nextToken(next.value, tokens);
        complete = from === undefined;
        if (from !== undefined) await onPage?.(from);
      } catch (error) {
        await roomKeys.homeserver.retry.wait(++attempt, error, true, signal);
      } finally {
        // Only if this loop is left early is the page still open.
        await page.return(undefined);
      }
    }
    if (isEmpty && roomId !== undefined) emptyRooms.push(roomId);
  }
}

/**
 * The records of a download, in the form in which the engine takes them.
 *
 * @param waiting - Gets the item of every record; the results come in this order. A place without a record gives an
 * empty one, which the engine rejects; the item has the true reason.
 */
export async function* recordsOf(
  download: AsyncIterable<DownloadedItem[]>,
  waiting: DownloadedItem[],
): AsyncGenerator<BackupRecord, void, undefined> {
  for await (const batch of download) {
    waiting.push(...batch);
    for (const { room_id = '', session_id = '', key_backup_data } of batch as BackupEntry[]) {
      yield { room_id, session_id, key_backup_data };
    }
  }
}

function isNew(item: BackupItem, exclude: SessionIdSet, faults: Set<string>): item is DownloadedItem {
  if (!item.error && item.room_id !== undefined && item.session_id !== undefined) {
    return exclude.add(item.room_id, item.session_id);
  }
  const place = `${item.error?.code ?? ''} ${item.path}`;
  if (faults.has(place)) return false;
  faults.add(place);
  return true;
}

/** Where the next page begins. A token that comes again would lead round in circles for ever. */
function nextToken(token: string | undefined, tokens: Set<string>): string | undefined {
  if (token === undefined) return undefined;
  if (tokens.has(token)) {
    throw new RequestError('bad-response', 'the keys: the next page is one that was read');
  }
  tokens.add(token);
  return token;
}

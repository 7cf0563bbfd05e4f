import { expectInstance, expectOptions, expectText } from '../encoding/arguments.js';
import type { BackupEntry, BackupFault, BackupItem } from '../wire/backup-reader.js';
import { SessionIdSet } from '../wire/session-id-set.js';
import { RoomKeys, type CallOptions } from './api.js';
import { RequestError } from './http-error.js';

/** Which keys of a backup to download. */
export interface DownloadOptions extends CallOptions {
  /** Only these rooms, one request each; default all rooms in one stream. */
  readonly rooms?: readonly string[] | undefined;
  /** Keys to leave out. Every key that is yielded is added. */
  readonly exclude?: SessionIdSet | undefined;
  /** Most keys of one answer, if the server can page; default 10,000. */
  readonly pageKeys?: number | undefined;
}

/** A record of a backup and its place. */
export type DownloadedKey = BackupEntry & { readonly room_id: string; readonly session_id: string };

/**
 * The records of a backup as they arrive, some dozens at a time: for many keys a step per key costs more than the key.
 * It reconnects where a connection breaks, and yields every key once.
 *
 * @returns Records in the server's order, not validated, and the places that hold none.
 * @throws {@link RequestError} when repeating does not help; what came before has been yielded.
 */
export async function* downloadKeys(
  roomKeys: RoomKeys,
  version: string,
  options: DownloadOptions = {},
): AsyncGenerator<(DownloadedKey | BackupFault)[], void, undefined> {
  expectInstance(roomKeys, RoomKeys, 'roomKeys');
  expectText(version, 'version');
  expectOptions(options);
  const { rooms = [undefined], exclude = new SessionIdSet(), pageKeys = 10_000, signal } = options;
  // The places that hold no record: few, or the backup is lost anyway.
  const faults = new Set<string>();
  for (const roomId of new Set(rooms)) {
    const tokens = new Set<string>();
    let from: string | undefined;
    let attempt = 0;
    let complete = false;
    while (!complete) {
      const page = roomKeys.keys(version, { roomId, from, limit: pageKeys }, { signal });
      try {
        let next = await page.next();
        for (; next.done !== true; next = await page.next()) {
          const batch = next.value.filter((item) => isNew(item, exclude, faults));
          if (batch.length === 0) continue;
          // Progress after a failure shows that repeating helps.
          attempt = 0;
          yield batch;
        }
        from = nextToken(next.value, tokens);
        complete = from === undefined;
      } catch (error) {
        await roomKeys.homeserver.retry.wait(++attempt, error, true, signal);
      } finally {
        // Only if this loop is left early is the page still open.
        await page.return(undefined);
      }
    }
  }
}

function isNew(
  item: BackupItem,
  exclude: SessionIdSet,
  faults: Set<string>,
): item is DownloadedKey | BackupFault {
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

import { expectInstance, expectOptions, expectText } from '../encoding/arguments.js';
import type { BackupEntry, BackupFault, BackupItem } from '../wire/backup-reader.js';
import { SessionIdSet } from '../wire/session-id-set.js';
import { RequestError } from './http-error.js';
import { RoomKeys, type CallOptions } from './api.js';

/** Which keys of a backup to download. */
export interface DownloadOptions extends CallOptions {
  /** Only these rooms, one request each; default all rooms in one stream. */
  readonly rooms?: readonly string[] | undefined;
  /** Keys that are not wanted (again). Every key that is handed out is added. */
  readonly exclude?: SessionIdSet | undefined;
  /** Most keys of one answer, where the server can page; default 10,000. */
  readonly pageKeys?: number | undefined;
}

/** A record of a backup and its place. */
export type DownloadedKey = BackupEntry & { readonly room_id: string; readonly session_id: string };

const DEFAULT_PAGE_KEYS = 10_000;

/**
 * The records of a backup as they arrive. A connection that breaks is made again, and what has come out already
 * is skipped: every key comes once, whatever happens in between.
 *
 * @returns Records in the server's order, nothing in them checked yet, and the places that give none.
 * @throws {@link RequestError} when repeating does not help; what came before has been handed out.
 */
export async function* downloadKeys(
  roomKeys: RoomKeys,
  version: string,
  options: DownloadOptions = {},
): AsyncGenerator<DownloadedKey | BackupFault, void, undefined> {
  for await (const batch of downloadBatches(roomKeys, version, options)) yield* batch;
}

/** {@link downloadKeys}, some dozens at a time. A whole batch counts as excluded when it is handed out. */
export async function* downloadBatches(
  roomKeys: RoomKeys,
  version: string,
  options: DownloadOptions = {},
): AsyncGenerator<(DownloadedKey | BackupFault)[], void, undefined> {
  expectInstance(roomKeys, RoomKeys, 'roomKeys');
  expectText(version, 'version');
  expectOptions(options);
  const { rooms = [undefined], exclude = new SessionIdSet(), pageKeys = DEFAULT_PAGE_KEYS, signal } = options;
  const seen: Seen = { exclude, faults: new Set() };
  for (const roomId of new Set(rooms)) {
    const tokens = new Set<string>();
    let from: string | undefined;
    let attempt = 0;
    let complete = false;
    while (!complete) {
      const page = roomKeys.keyBatches(version, { roomId, from, limit: pageKeys }, { signal });
      try {
        let next = await page.next();
        for (; next.done !== true; next = await page.next()) {
          const batch = next.value.filter((item) => isNew(item, seen));
          if (batch.length === 0) continue;
          // What came after a failure shows that repeating helps.
          attempt = 0;
          yield batch;
        }
        from = nextToken(next.value, tokens);
        complete = from === undefined;
      } catch (error) {
        await roomKeys.homeserver.retry.wait(++attempt, error, true, signal);
      } finally {
        // Only an early end of this loop finds the page still open.
        await page.return(undefined);
      }
    }
  }
}

interface Seen {
  readonly exclude: SessionIdSet;
  /** The places that gave no record: few, or the backup is lost anyway. */
  readonly faults: Set<string>;
}

function isNew(item: BackupItem, { exclude, faults }: Seen): item is DownloadedKey | BackupFault {
  if (!item.error && item.room_id !== undefined && item.session_id !== undefined) {
    return exclude.add(item.room_id, item.session_id);
  }
  const place = `${item.error?.code ?? ''} ${item.path}`;
  if (faults.has(place)) return false;
  faults.add(place);
  return true;
}

/** Where the next page begins. A server that sends us in a circle would keep us for ever. */
function nextToken(token: string | undefined, tokens: Set<string>): string | undefined {
  if (token === undefined) return undefined;
  if (tokens.has(token))
    throw new RequestError('bad-response', 'the keys: the next page is one that was read');
  tokens.add(token);
  return token;
}

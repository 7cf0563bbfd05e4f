import { KeyBackupError } from '../errors.js';
import { jsonPath, ownValue } from '../encoding/json.js';
import type { BackupItem } from '../wire/backup-item.js';
import { SessionIdSet } from '../wire/session-id-set.js';
import type { VersionInfo } from '../wire/types.js';
import type { CallOptions, RoomKeys } from './api.js';
import { downloadKeys, type DownloadedItem } from './download.js';
import { RequestError } from './http-error.js';

/** Where a download keeps what came, as lines of text: the records, still encrypted, and how far the pages were read. */
export interface DownloadLog {
  /** Appends whole lines. */
  append(lines: string): Promise<void> | void;
  /** What was appended, by earlier downloads too. */
  read(): AsyncIterable<Uint8Array>;
}

/** What a backup must have in common with an earlier download to resume it. */
export function identityOf({ version, etag, auth_data }: VersionInfo) {
  return { version, public_key: ownValue(auth_data, 'public_key') ?? null, etag };
}

/**
 * Downloads a backup, and keeps what comes in a log, so that a download that broke off can resume: the records in the
 * log come first, then those that the server has beyond them.
 *
 * @returns The records. Where the connection breaks for good after some came, the last item is a `truncated` one.
 * @throws {@link RequestError} when nothing came, and `aborted`.
 */
export async function* resumableDownload(
  roomKeys: RoomKeys,
  version: string,
  log: DownloadLog,
  { signal }: CallOptions = {},
): AsyncGenerator<BackupItem, void, undefined> {
  const exclude = new SessionIdSet();
  let from: string | undefined;
  for await (const entry of entriesOf(log)) {
    if (typeof entry === 'string') {
      from = entry;
    } else if (exclude.add(entry[0], entry[1])) {
      yield recordAt(...entry);
    }
  }
  // A place without a record is not kept, so its page has to come again.
  let hasFaults = false;
  const onPage = (next: string) => (hasFaults ? undefined : log.append(`${JSON.stringify(next)}\n`));
  try {
    for await (const batch of downloadKeys(roomKeys, version, { exclude, from, onPage, signal })) {
      hasFaults ||= batch.some(({ error }) => error);
      await log.append(batch.map(lineOf).join(''));
      yield* batch;
    }
  } catch (cause) {
    if (!(cause instanceof RequestError) || cause.code === 'aborted' || exclude.size === 0) throw cause;
    const message = `the connection broke (${cause.code}: ${cause.message})`;
    const error = new KeyBackupError('truncated', message, { cause });
    yield { room_id: undefined, session_id: undefined, path: '', error };
  }
}

type LoggedRecord = readonly [roomId: string, sessionId: string, record: unknown];

function recordAt(room_id: string, session_id: string, key_backup_data: unknown): BackupItem {
  const path = jsonPath(jsonPath(jsonPath('rooms', room_id), 'sessions'), session_id);
  return { room_id, session_id, path, key_backup_data };
}

function lineOf(item: DownloadedItem): string {
  if (item.error) return '';
  const entry: LoggedRecord = [item.room_id, item.session_id, item.key_backup_data];
  return `${JSON.stringify(entry)}\n`;
}

/** The records of a log, and the tokens of pages. A line that a crash cut off is left out: its record comes again. */
async function* entriesOf(log: DownloadLog): AsyncGenerator<LoggedRecord | string, void, undefined> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of log.read()) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const entry = parseLine(line);
      if (entry !== undefined) yield entry;
    }
  }
}

function parseLine(line: string): LoggedRecord | string | undefined {
  try {
    const entry = JSON.parse(line) as unknown;
    if (typeof entry === 'string') return entry;
    if (!Array.isArray(entry) || entry.length !== 3) return undefined;
    const [roomId, sessionId] = entry as unknown[];
    return typeof roomId === 'string' && typeof sessionId === 'string' ? (entry as never) : undefined;
  } catch {
    return undefined;
  }
}

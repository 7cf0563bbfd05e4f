import { KeyFit } from '../report/key-match-counter.js';
import type { BackupRecord } from '../batch/decrypt.js';
import { isJsonObject } from '../encoding/json.js';
import type { Report } from '../report/report.js';
import type { ResultFiles } from './result-files.js';
import type { Terminal } from './terminal.js';

interface Stored {
  readonly index: number;
  readonly json: string;
}

/** The backup objects by room and session, as text: a session that comes twice is kept in its better form. */
export class BackupObjects {
  duplicates = 0;
  readonly #rooms = new Map<string, Map<string, Stored>>();

  /** Takes in a record; what is no record in its `first_message_index` loses against one that is. */
  add({ room_id, session_id, key_backup_data }: BackupRecord): void {
    const sessions = this.#rooms.get(room_id) ?? new Map<string, Stored>();
    this.#rooms.set(room_id, sessions);
    const index = indexOf(key_backup_data);
    const stored = sessions.get(session_id);
    if (stored) this.duplicates++;
    if (!stored || index < stored.index)
      sessions.set(session_id, { index, json: JSON.stringify(key_backup_data) });
  }

  /** The pieces of the JSON text, `{"rooms": ...}`. */
  *json(): Generator<string, void, void> {
    yield '{"rooms":{';
    let room = '\n';
    for (const [roomId, sessions] of this.#rooms) {
      yield `${room}${JSON.stringify(roomId)}:{"sessions":{`;
      room = ',\n';
      let session = '\n';
      for (const [sessionId, { json }] of sessions) {
        yield `${session}${JSON.stringify(sessionId)}:${json}`;
        session = ',\n';
      }
      yield '}}';
    }
    yield '}}\n';
  }
}

/** Writes the backup objects, unless the key, as far as the records tell, is another backup's: then says so. */
export async function commitBackup(
  backup: BackupObjects,
  files: ResultFiles,
  { ok, codes }: Report,
  terminal: Terminal,
): Promise<void> {
  if (ok > 0 || !codes.has('mac-mismatch')) {
    for (const piece of backup.json()) await files.result.write(piece);
    await files.result.commit();
    return;
  }
  await files.discard();
  terminal.stderr(`${KeyFit.WRONG_KEY}\n`);
}

function indexOf(record: unknown): number {
  const index = isJsonObject(record) ? record.first_message_index : undefined;
  return typeof index === 'number' ? index : Infinity;
}

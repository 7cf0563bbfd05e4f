import type { BackupRecord } from '../batch/decrypt.js';
import type { KeyBackupError } from '../errors.js';
import type { BackupEntry, BackupItem } from '../wire/backup-item.js';
import type { Place } from './report.js';

/** A place in the input that holds no readable record. */
interface Fault extends Place {
  readonly ok: false;
  readonly error: KeyBackupError;
  readonly wellFormed: false;
}

/**
 * Runs a batch, which gives one result for each input, over what a reader gives. Every result comes out with its place,
 * and the faults of the reader among them, in the order of the input.
 */
export async function* resultsInPlace<Input, Result extends object>(
  items: AsyncIterable<BackupItem>,
  take: (entry: BackupEntry) => Input,
  batch: (inputs: AsyncGenerator<Input, void, undefined>) => AsyncIterable<Result>,
): AsyncGenerator<(Result & Place) | Fault, void, undefined> {
  /** What was read and has not come out yet. */
  const waiting: (Place | Fault)[] = [];
  async function* inputs(): AsyncGenerator<Input, void, undefined> {
    for await (const item of items) {
      const { room_id, session_id, path } = item;
      if (item.error) {
        waiting.push({ ok: false, room_id, session_id, path, error: item.error, wellFormed: false });
      } else {
        waiting.push({ room_id, session_id, path });
        yield take(item);
      }
    }
  }
  for await (const result of batch(inputs())) {
    let next = waiting.shift();
    for (; next && 'ok' in next; next = waiting.shift()) yield next;
    if (!next) throw new Error('a batch gave more results than it was given keys');
    yield { ...result, ...next };
  }
  yield* waiting as Fault[];
}

/** The entry of a backup as the input of a batch. */
export function asRecord({ room_id = '', session_id = '', key_backup_data }: BackupEntry): BackupRecord {
  return { room_id, session_id, key_backup_data };
}

import type { BackupItem } from './backup-item.js';
import { BackupReader } from './backup-reader.js';

/**
 * `readBackup` of a saved file, which may be cut off or damaged: the error that would end the reading is the last item, a
 * `truncated` one at its place. Records behind a lost quotation mark or bracket come out too.
 *
 * @throws {@link KeyBackupError} as `readBackup`, if nothing came before; whatever `chunks` throws.
 */
export async function* readSavedKeys(
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  options: { readonly form: 'rooms' | 'array' },
): AsyncGenerator<BackupItem, void, undefined> {
  const reader = new BackupReader(options, true);
  let found = false;
  try {
    for await (const chunk of chunks) {
      for (const items of reader.read(chunk)) {
        found = true;
        yield* items;
      }
    }
    const rest = reader.rest();
    if (rest.length > 0) found = true;
    yield* rest;
    reader.end();
  } catch (error) {
    const { damage } = reader;
    if (!found || !damage || damage.error.cause !== error) throw error;
    yield damage;
  }
}

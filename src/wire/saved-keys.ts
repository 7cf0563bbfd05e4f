import type { BackupItem } from './backup-item.js';
import { BackupReader, type BackupReaderOptions } from './backup-reader.js';

/**
 * `readBackup` of a saved file. An error that ends the reading costs nothing that came before it: it is the last
 * item, a `truncated` one at the place that was reached.
 *
 * @throws {@link KeyBackupError} as `readBackup`, if nothing came before; whatever `chunks` throws.
 */
export async function* readSavedKeys(
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  options: BackupReaderOptions = {},
): AsyncGenerator<BackupItem, void, undefined> {
  const reader = new BackupReader(options);
  let found = false;
  try {
    for await (const chunk of chunks) {
      for (const items of reader.read(chunk)) {
        found = true;
        yield* items;
      }
    }
    reader.end();
  } catch (error) {
    const { damage } = reader;
    if (!found || !damage || damage.error.cause !== error) throw error;
    yield damage;
  }
}

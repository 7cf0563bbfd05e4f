import { expectIterable, expectOptions } from '../encoding/arguments.js';
import { isBytes } from '../encoding/bytes.js';
import { KeyBackupError, describe } from '../errors.js';
import type { BackupItem, BackupReaderOptions } from './backup-item.js';
import { BackupReader } from './backup-reader.js';

/**
 * Reads a backup while it arrives.
 *
 * @param chunks - The body in pieces of any size. They are not kept, so they may be reused.
 * @returns Every record in the order of the body. A record that is no JSON, too large, or there twice comes out
 * with its `error` and does not affect the others. The values are not checked any further.
 * @throws {@link KeyBackupError} after the last readable record: `truncated` when the body ends early;
 * `bad-json` when it is not JSON between the records, continues after its end, or has another shape.
 *
 * @example
 * ```ts
 * import { readBackup } from 'megolm-backup/client';
 *
 * const body = new TextEncoder().encode('{"rooms":{"!r:example.org":{"sessions":{"a":{},"b":oops}}}}');
 * const read = [];
 * for await (const { path, error } of readBackup([body])) read.push(error?.code ?? path);
 * console.log(read.join(' ')); // rooms["!r:example.org"].sessions.a bad-json
 * ```
 */
export async function* readBackup(
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  options: BackupReaderOptions = {},
): AsyncGenerator<BackupItem, void, undefined> {
  expectIterable(chunks, 'chunks');
  expectOptions(options);
  const reader = new BackupReader(options);
  for await (const chunk of chunks) {
    if (!isBytes(chunk))
      throw new KeyBackupError('bad-parameters', `chunks: expected bytes, got ${describe(chunk)}`);
    for (const items of reader.read(chunk)) yield* items;
  }
  reader.end();
}

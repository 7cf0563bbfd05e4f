import { Report, type Place } from '../../src/report/report.js';
import {
  KeyMatchCounter,
  UNLOCKED_BY,
  disposeRescueKeys,
  exportRescued,
  rescueEntries,
  rescueKeys,
  type RescueKey,
} from '../../src/report/rescue.js';
import { localBackend } from '../../src/backends/local-web.js';
import type { Progress } from '../../src/async.js';
import type { Backend } from '../../src/batch/backend.js';
import { KeyBackupError } from '../../src/errors.js';
import { secretStorageState } from '../../src/secret-storage/key-description.js';
import { unlock } from '../../src/secret-storage/unlock.js';
import { GrowingBlob } from './growing-blob.js';
import type { Answer, RoomCount, Task } from './messages.js';
import { openSource, PageError, type Source } from './source.js';

/** Milliseconds between two messages about the progress. */
const TELL_EVERY = 100;

/** Does a task and tells about it. It ends with `done` or `refused`. */
export async function rescue(task: Task, tell: (answer: Answer) => void): Promise<void> {
  const started = performance.now();
  try {
    tell({ kind: 'status', text: 'Looking for the backup.' });
    const backend = await localBackend();
    const source = await openSource(task, (text) => {
      tell({ kind: 'status', text });
    });
    tell({ kind: 'status', text: 'Trying your key or phrase.' });
    const keys = await open(task, source, backend, tell);
    if (keys.length === 0) return;
    try {
      let [opened] = keys;
      let outcome = await read(task, source, backend, opened, tell);
      if (keys.length > 1 && !outcome.fits) {
        opened = keys[1];
        outcome = await read(task, source, backend, opened, tell);
      }
      const seconds = (performance.now() - started) / 1000;
      tell({ kind: 'done', opened: UNLOCKED_BY[opened.by], seconds, ...outcome });
    } finally {
      disposeRescueKeys(keys);
    }
  } catch (error) {
    const code = error instanceof PageError || error instanceof KeyBackupError ? error.code : 'failed';
    const message = error instanceof Error ? error.message : 'something went wrong';
    tell({ kind: 'refused', code, message, correctable: undefined });
  }
}

async function open(
  { key, correct }: Task,
  { authData, accountData }: Source,
  backend: Backend,
  tell: (answer: Answer) => void,
): Promise<RescueKey[]> {
  let derived = 0;
  const onProgress = ({ done, total }: Progress) => {
    if (done !== total || ++derived < 2) return;
    tell({ kind: 'status', text: `Trying your phrase as keyboards change it: ${derived} forms so far.` });
  };
  const options = { authData, accountData, backend, onProgress };
  let result = await unlock(key, options);
  if (!result.ok && result.suggestion && correct) {
    disposeRescueKeys(rescueKeys(result));
    result = await unlock(result.suggestion.text, options);
  }
  const keys = rescueKeys(result);
  if (keys.length === 0 && !result.ok) {
    const { error, suggestion } = result;
    const correctable = suggestion && UNLOCKED_BY[suggestion.by];
    const storage = secretStorageState(accountData);
    tell({ kind: 'refused', code: error.code, message: error.message, correctable, storage });
  }
  return keys;
}

async function read(
  task: Task,
  source: Source,
  backend: Backend,
  { by, key }: RescueKey,
  tell: (answer: Answer) => void,
) {
  tell({ kind: 'status', text: `Opened with ${UNLOCKED_BY[by]}. Reading the keys.` });
  const lines = new GrowingBlob();
  const report = new Report(undefined, (line) => {
    lines.append(lines.isEmpty ? line : `,\n${line}`);
  });
  const rooms = new RoomCounts();
  const { items, shareOf } = source.read();
  let told = 0;
  const tellProgress = () => {
    if (performance.now() - told < TELL_EVERY) return;
    told = performance.now();
    const keys = report.ok + report.failed;
    tell({ kind: 'progress', keys, share: shareOf(keys) });
  };
  const { salvage, requireAuthenticated } = task;
  const exported = new GrowingBlob();
  const fit = new KeyMatchCounter();
  const entries = rescueEntries(items, key, { salvage, requireAuthenticated, backend });
  const pieces = exportRescued(entries, task.passphrase, report, fit, {
    backend,
    onKey(place, ok) {
      if (place.room_id !== undefined) rooms.of(place)[ok ? 'ok' : 'failed']++;
      tellProgress();
    },
  });
  for await (const piece of pieces) exported.append(piece);
  const { summary, authenticity, codes, cut, salvageable } = report;
  const ending = task.source.kind === 'server' ? ('connection' as const) : ('file' as const);
  return {
    ...summary,
    fits: fit.fits,
    cut: cut && ending,
    kept: cut && source.kept?.(),
    missing: Math.max(0, (source.count ?? 0) - summary.total),
    authenticity,
    codes: [...codes],
    salvageable: salvage ? [] : [...salvageable],
    rooms: rooms.counts,
    exported: summary.ok > 0 || summary.failed === 0 ? exported.whole('text/plain') : undefined,
    report: new Blob([report.head, lines.whole(), Report.TAIL], { type: 'application/json' }),
  };
}

/** What became of the keys of every room. */
class RoomCounts {
  readonly #rooms = new Map<string, { room_id: string; ok: number; failed: number }>();

  of({ room_id = '' }: Place): { ok: number; failed: number } {
    let room = this.#rooms.get(room_id);
    if (!room) this.#rooms.set(room_id, (room = { room_id, ok: 0, failed: 0 }));
    return room;
  }

  get counts(): RoomCount[] {
    return [...this.#rooms.values()];
  }
}

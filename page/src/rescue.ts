import { Report, type Place } from '../../src/report/report.js';
import {
  CHANGES,
  KeyMatchCounter,
  TWICE,
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
import { PASTED_CHANGES, pastedKey } from '../../src/scheme/pasted-key.js';
import { secretStorageState } from '../../src/secret-storage/key-description.js';
import { unlock } from '../../src/secret-storage/unlock.js';
import { GrowingBlob } from './growing-blob.js';
import type { Answer, RoomCount, Task } from './messages.js';
import { openSource, PageError, type Source } from './source.js';

/** Milliseconds between two messages about the progress. */
const TELL_EVERY = 100;

/** What reading a file throws that was changed, moved or removed since it was chosen. */
const UNREADABLE = ['NotReadableError', 'NotFoundError'];

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
    const { keys, change } = await open(task, source, backend, tell);
    if (keys.length === 0) return;
    try {
      let [opened] = keys;
      let outcome = await read(task, source, backend, opened, tell);
      if (keys.length > 1 && !outcome.fits) {
        opened = keys[1];
        outcome = await read(task, source, backend, opened, tell);
      }
      const seconds = (performance.now() - started) / 1000;
      tell({ kind: 'done', opened: describe(opened, change, outcome.fits), seconds, ...outcome });
    } finally {
      disposeRescueKeys(keys);
    }
  } catch (error) {
    const message = error instanceof Error ? error.message : 'something went wrong';
    const code =
      error instanceof PageError || error instanceof KeyBackupError
        ? error.code
        : error instanceof DOMException && UNREADABLE.includes(error.name)
          ? 'file-changed'
          : 'failed';
    tell({ kind: 'refused', code, message, correctable: undefined });
  }
}

/** What the key turned out to be, in sentences. */
function describe({ by, flags }: RescueKey, change: string | undefined, fits: boolean): string {
  const opened = `${fits ? 'Opened with' : 'Tried as'} ${[UNLOCKED_BY[by], change].filter(Boolean).join(', ')}.`;
  return flags.includes('double-base64-public-key') ? `${opened} The public key is ${TWICE}.` : opened;
}

/** The keys to try, and how what was used differs from what was given. */
async function open(
  { key, correct }: Task,
  { authData, accountData }: Source,
  backend: Backend,
  tell: (answer: Answer) => void,
): Promise<{ readonly keys: RescueKey[]; readonly change: string | undefined }> {
  let derived = 0;
  const onProgress = ({ done, total }: Progress) => {
    if (done !== total || ++derived < 2) return;
    tell({ kind: 'status', text: `Trying your phrase as keyboards change it: ${derived} forms so far.` });
  };
  const options = { authData, accountData, backend, onProgress };
  let result = await unlock(key, options);
  let change: string | undefined;
  if (!result.ok && result.suggestion && correct) {
    change = CHANGES[result.suggestion.change];
    disposeRescueKeys(rescueKeys(result));
    result = await unlock(result.suggestion.text, options);
  }
  const keys = rescueKeys(result);
  if (keys.length === 0 && !result.ok) {
    const { error, suggestion } = result;
    const correctable = suggestion && `${UNLOCKED_BY[suggestion.by]}, ${CHANGES[suggestion.change]}`;
    const storage = secretStorageState(accountData);
    tell({ kind: 'refused', code: error.code, message: error.message, correctable, storage });
  }
  if (keys.at(0)?.by.endsWith('-key') === true) {
    const pasted = pastedKey(key)?.change;
    change ??= pasted && `read ${PASTED_CHANGES[pasted]}`;
  }
  return { keys, change };
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
  const { salvage, requireAuthenticated, strict } = task;
  const exported = new GrowingBlob();
  const fit = new KeyMatchCounter();
  const entries = rescueEntries(items, key, { salvage, requireAuthenticated, backend });
  const pieces = exportRescued(entries, task.passphrase, report, fit, {
    backend,
    strict,
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
    leftOut: [
      ...(requireAuthenticated && codes.has('not-authenticated') ? (['authenticated'] as const) : []),
      ...(strict && codes.has('missing-field') ? (['strict'] as const) : []),
    ],
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

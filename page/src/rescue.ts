import { flagsOf, noAuthenticity, reasonOf } from '../../src/api/authenticity.js';
import { webCryptoBackend } from '../../src/backends/webcrypto.js';
import type { Authenticity } from '../../src/engine/backup-mac.js';
import { KeyBackupError } from '../../src/engine/errors.js';
import { writeKeyExport } from '../../src/engine/key-export.js';
import { unlock, type Unlocked } from '../../src/engine/unlock.js';
import type { Answer, RoomCount, Task } from './messages.js';
import { openSource, type Place, type Source, type SourceResult } from './source.js';

const NAMES = {
  'backup-decryption-key': 'the decryption key of the backup',
  'secret-storage-key': 'the key of the secret storage',
  'security-phrase': 'the security phrase',
  'backup-passphrase': 'the passphrase of the backup',
} as const;

/** Milliseconds between two messages about the progress. */
const TELL_EVERY = 100;

/** So many pieces of the file, some megabytes, are held as text. */
const PIECES = 64;

/** Does a task and tells about it. It ends with `done` or `refused`. */
export async function rescue(task: Task, tell: (answer: Answer) => void): Promise<void> {
  const started = performance.now();
  try {
    tell({ kind: 'status', text: 'Looking for the backup' });
    const source = await openSource(task);
    tell({ kind: 'status', text: 'Trying what you hold' });
    const unlocked = await open(task, source, tell);
    if (!unlocked) return;
    tell({ kind: 'status', text: `Opened with ${NAMES[unlocked.by]}; reading the keys` });
    const outcome = await restore(task, source, unlocked, tell);
    unlocked.key.dispose();
    unlocked.storageKey?.dispose();
    const seconds = (performance.now() - started) / 1000;
    tell({ kind: 'done', opened: NAMES[unlocked.by], seconds, ...outcome });
  } catch (error) {
    const code = error instanceof KeyBackupError ? String(error.code) : 'failed';
    const message = error instanceof Error ? error.message : 'something went wrong';
    tell({ kind: 'refused', code, message, correctable: undefined });
  }
}

async function open(
  { key, correct }: Task,
  { authData, accountData }: Source,
  tell: (answer: Answer) => void,
): Promise<Unlocked | undefined> {
  const options = { authData, accountData, backend: webCryptoBackend() };
  let result = await unlock(key, options);
  if (!result.ok && result.suggestion && correct) result = await unlock(result.suggestion.text, options);
  if (result.ok) return result;
  const { error, suggestion } = result;
  const correctable = suggestion && NAMES[suggestion.by];
  tell({ kind: 'refused', code: error.code, message: error.message, correctable });
  return undefined;
}

interface ReportedKey extends Place {
  readonly code?: string;
  readonly reason: string;
  readonly flags: readonly string[];
  readonly authenticity?: Authenticity;
}

async function restore(task: Task, source: Source, { key }: Unlocked, tell: (answer: Answer) => void) {
  const rooms = new Map<string, RoomCount>();
  const codes = new Map<string, number>();
  const keys: ReportedKey[] = [];
  let ok = 0;
  let failed = 0;
  let flagged = 0;
  let share: number | undefined;
  let told = 0;
  let current: Extract<SourceResult, { ok: true }> | undefined;
  const authenticity = noAuthenticity();
  const count = ({ room_id = '' }: Place, good: boolean) => {
    const before = rooms.get(room_id) ?? { room_id, ok: 0, failed: 0 };
    rooms.set(room_id, {
      room_id,
      ok: before.ok + Number(good),
      failed: before.failed + Number(!good),
    });
    if (performance.now() - told < TELL_EVERY) return;
    told = performance.now();
    tell({ kind: 'progress', keys: ok + failed, share });
  };
  const refuse = ({ room_id, session_id, path }: Place, error: KeyBackupError<string>) => {
    failed++;
    codes.set(error.code, (codes.get(error.code) ?? 0) + 1);
    keys.push({ room_id, session_id, path, code: error.code, reason: error.message, flags: [] });
    count({ room_id, session_id, path }, false);
  };
  async function* sessions() {
    for await (const result of source.restore(key, task.salvage, (value) => (share = value))) {
      if (result.ok) {
        current = result;
        yield result.session;
      } else {
        refuse(result, result.error);
      }
    }
  }
  // Blobs, which the browser keeps outside the worker's heap; joined now and then, since each has its cost.
  let exported = new Blob([]);
  let pieces: string[] = [];
  const options = {
    backend: webCryptoBackend(),
    onResult(result: { ok: boolean; flags?: readonly string[]; error?: KeyBackupError }) {
      if (!current) return;
      const { room_id, session_id, path } = current;
      if (result.error) {
        refuse(current, result.error);
        return;
      }
      ok++;
      authenticity[current.authenticity]++;
      const flags = flagsOf([...current.flags, ...(result.flags ?? [])], current.authenticity);
      if (flags.length > 0) {
        flagged++;
        keys.push({
          room_id,
          session_id,
          path,
          reason: reasonOf(flags),
          flags,
          authenticity: current.authenticity,
        });
      }
      count(current, true);
    },
  };
  for await (const piece of writeKeyExport(sessions(), task.passphrase, options)) {
    pieces.push(piece);
    if (pieces.length < PIECES) continue;
    exported = new Blob([exported, ...pieces]);
    pieces = [];
  }
  const numbers = { total: ok + failed, ok, failed, flagged };
  const report = { format: 'megolm-backup-report/1', ...numbers, authenticity, keys };
  return {
    ...numbers,
    authenticity,
    codes: [...codes],
    rooms: [...rooms.values()],
    exported: ok > 0 || failed === 0 ? new Blob([exported, ...pieces], { type: 'text/plain' }) : undefined,
    report: new Blob([JSON.stringify(report, null, 1)], { type: 'application/json' }),
  };
}

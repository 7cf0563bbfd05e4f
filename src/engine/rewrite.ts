import { run, type BatchOptions, type Outcome } from './chunks.js';
import { decryption, type BackupRecord, type DecryptedSession } from './directions.js';
import { KeyBackupError } from './errors.js';
import type { BackupDecryptionKey } from './keys.js';
import type { UnauthenticatedSource } from './provenance.js';
import type { ExportedSessionData } from './room-key.js';
import { attempt } from './session-data-batch.js';
import { untilAborted } from './turn.js';

/** A backup read and written in one go: every record is decrypted, and stays as it is or is encrypted anew. */

/** What becomes of a record: a result already, or a session to encrypt. */
export type Plan<Output, Encrypted> =
  | { readonly done: Output }
  | {
      readonly session: ExportedSessionData;
      readonly source: UnauthenticatedSource | undefined;
      readonly done: (encrypted: Encrypted) => Output;
    };

/** How a backup is rewritten. */
export interface Rewriting<Output, Encrypted> {
  readonly plan: (result: DecryptedSession, record: BackupRecord) => Plan<Output, Encrypted>;
  readonly encrypt: (
    sessions: readonly ExportedSessionData[],
    unauthenticated: (session: ExportedSessionData) => UnauthenticatedSource | undefined,
  ) => AsyncGenerator<Outcome<Encrypted>, void, void>;
}

/** So many records wait for their encryption together. */
const CHUNK = 256;

/**
 * Rewrites the records of a v1 backup.
 *
 * @returns One result per record, in order.
 */
export async function* rewrite<Output extends object, Encrypted extends object>(
  records: Iterable<BackupRecord> | AsyncIterable<BackupRecord>,
  key: BackupDecryptionKey,
  options: BatchOptions,
  rewriting: Rewriting<Output, Encrypted>,
): AsyncGenerator<Outcome<Output>, void, void> {
  const total = options.total ?? (Array.isArray(records) ? records.length : undefined);
  const waiting: BackupRecord[] = [];
  async function* inputs() {
    for await (const record of untilAborted(records, options.signal)) {
      waiting.push(record);
      yield record;
    }
  }
  let pending: Planned<Output, Encrypted>[] = [];
  for await (const result of run(inputs(), () => decryption(key, {}), { ...options, total })) {
    const record = waiting.shift();
    if (!record) throw new Error('a batch gave more results than it was given records');
    pending.push(planned(result, record, rewriting));
    if (pending.length < CHUNK) continue;
    yield* conclude(pending, rewriting);
    pending = [];
  }
  yield* conclude(pending, rewriting);
}

interface Planned<Output, Encrypted> {
  readonly result: Outcome<DecryptedSession>;
  readonly plan: Plan<Output, Encrypted> | undefined;
}

/** What cannot be planned for has failed, like what cannot be read. */
function planned<Output, Encrypted>(
  result: Outcome<DecryptedSession>,
  record: BackupRecord,
  { plan }: Rewriting<Output, Encrypted>,
): Planned<Output, Encrypted> {
  if (!result.ok) return { result, plan: undefined };
  const made = attempt(() => plan(result, record));
  if (!(made instanceof KeyBackupError)) return { result, plan: made };
  const { index, room_id, session_id } = result;
  return {
    result: { ok: false, index, room_id, session_id, wellFormed: true, error: made },
    plan: undefined,
  };
}

async function* conclude<Output extends object, Encrypted extends object>(
  pending: readonly Planned<Output, Encrypted>[],
  { encrypt }: Rewriting<Output, Encrypted>,
): AsyncGenerator<Outcome<Output>, void, void> {
  const sources = new Map<ExportedSessionData, UnauthenticatedSource | undefined>();
  for (const { plan } of pending) if (plan && 'session' in plan) sources.set(plan.session, plan.source);
  const encrypted = encrypt([...sources.keys()], (session) => sources.get(session));
  for (const { result, plan } of pending) {
    const { index } = result;
    if (!plan) {
      if (!result.ok) yield result;
    } else if (!('session' in plan)) {
      yield { ok: true, index, ...plan.done };
    } else {
      const next = await encrypted.next();
      if (next.done === true) throw new Error('a batch gave fewer results than it was given sessions');
      yield next.value.ok ? { ok: true, ...plan.done(next.value), index } : { ...next.value, index };
    }
  }
}

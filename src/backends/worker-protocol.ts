import { decryptMany, encryptMany, type Backend } from '../batch/backend.js';
import { decryptChunk, type BackupRecord, type DecryptSettings } from '../batch/decrypt.js';
import { entryOf, type EntryResult } from '../batch/entries.js';
import { plainBytes, wipe } from '../encoding/bytes.js';
import { KeyBackupError, messageOf, type ErrorCode } from '../errors.js';
import { BackupDecryptionKey } from '../scheme/keys.js';
import type {
  OpenedSessionData,
  ParsedSessionData,
  SessionData,
  SessionDataFlag,
} from '../scheme/session-data.js';

/**
 * What travels between a pool and its workers: a chunk of keys as one buffer, and its results. The buffers are
 * transferred, not copied.
 */

/** Many byte arrays in one, and where each ends. */
interface Packed {
  readonly bytes: Uint8Array;
  readonly ends: Uint32Array;
}

interface EncryptJob {
  readonly direction: 'encrypt';
  readonly recipient: Uint8Array;
  readonly plaintexts: Packed;
}

interface DecryptJob {
  readonly direction: 'decrypt';
  readonly privateKey: Uint8Array;
  /** Three arrays for each: ephemeral, ciphertext, MAC. */
  readonly sessionData: Packed;
  readonly salvage: readonly boolean[];
}

/** Records to decrypt and to write as entries of an export file. They are copied. */
interface EntriesJob extends Pick<DecryptSettings, 'salvage' | 'requireAuthenticated'> {
  readonly direction: 'entries';
  readonly privateKey: Uint8Array;
  readonly records: readonly BackupRecord[];
}

/** A chunk of keys. */
export type Job = EncryptJob | DecryptJob | EntriesJob;

/** A {@link KeyBackupError} on its way from a worker. */
interface ErrorMessage {
  readonly code: ErrorCode;
  readonly message: string;
}

interface EncryptReply {
  readonly direction: 'encrypt';
  readonly sessionData: readonly SessionData[];
}

interface DecryptReply {
  readonly direction: 'decrypt';
  /** Empty for a key that failed. */
  readonly plaintexts: Packed;
  /** By slot: why a key failed, or its flags. Most keys have neither. */
  readonly remarks: ReadonlyMap<number, ErrorMessage | readonly SessionDataFlag[]>;
}

type Failed = Extract<EntryResult, { ok: false }>;

interface EntriesReply {
  readonly direction: 'entries';
  readonly results: readonly (
    Extract<EntryResult, { ok: true }> | (Omit<Failed, 'error'> & { readonly error: ErrorMessage })
  )[];
}

/** What a worker answers. `failed` is about the whole job. */
export type Reply =
  EncryptReply | DecryptReply | EntriesReply | { readonly direction: 'failed'; readonly message: string };

/**
 * Handles a worker's messages: does one job after the other by a backend chosen anew, and posts each answer, in order.
 */
export function answering(
  backend: () => Promise<Backend>,
  post: (reply: Reply, transfer: ArrayBuffer[]) => void,
): (job: Job) => void {
  let last: Promise<void> = Promise.resolve();
  const answer = async (job: Job) => {
    try {
      const reply = await work(job, await backend());
      post(reply, transferOf(reply));
    } catch (error) {
      // Should this fail too, no later job is answered either: its answer would be taken for this one.
      post({ direction: 'failed', message: messageOf(error) ?? 'unknown error' }, []);
    }
  };
  return (job) => {
    last = last.then(() => answer(job));
  };
}

function work(job: Job, backend: Backend): Promise<Reply> {
  switch (job.direction) {
    case 'encrypt':
      return encrypt(job, backend);
    case 'decrypt':
      return decrypt(job, backend);
    case 'entries':
      return writeEntries(job, backend);
  }
}

async function encrypt({ recipient, plaintexts }: EncryptJob, backend: Backend): Promise<EncryptReply> {
  try {
    const sessionData = await encryptMany(backend, recipient, unpack(plaintexts), {});
    return { direction: 'encrypt', sessionData };
  } finally {
    wipe(plaintexts.bytes);
  }
}

async function decrypt(
  { privateKey, sessionData, salvage }: DecryptJob,
  backend: Backend,
): Promise<DecryptReply> {
  const parts = unpack(sessionData);
  const parsed: ParsedSessionData[] = salvage.map((own, i) => ({
    ephemeral: parts[3 * i],
    ciphertext: parts[3 * i + 1],
    mac: parts[3 * i + 2],
    salvage: own,
  }));
  const results = await decryptMany(backend, privateKey, parsed, {}).finally(() => {
    wipe(privateKey);
  });
  const remarks = new Map<number, ErrorMessage | readonly SessionDataFlag[]>();
  const plaintexts = results.map((result, slot) => {
    if (result instanceof KeyBackupError) {
      remarks.set(slot, { code: result.code, message: result.message });
      return new Uint8Array(0);
    }
    if (result.flags.length > 0) remarks.set(slot, result.flags);
    return result.plaintext;
  });
  return { direction: 'decrypt', plaintexts: pack(plaintexts), remarks };
}

async function writeEntries(
  { privateKey, records, ...settings }: EntriesJob,
  backend: Backend,
): Promise<EntriesReply> {
  const key = BackupDecryptionKey.fromBytes(privateKey);
  wipe(privateKey);
  try {
    const results = (await decryptChunk(records, key, settings, backend)).map((result) => {
      const entry = entryOf(result);
      return entry.ok ? entry : { ...entry, error: { code: entry.error.code, message: entry.error.message } };
    });
    return { direction: 'entries', results };
  } finally {
    key.dispose();
  }
}

/** The results of an {@link EntriesReply}, one per record. */
export function entriesIn({ results }: EntriesReply): EntryResult[] {
  return results.map((result) =>
    result.ok ? result : { ...result, error: new KeyBackupError(result.error.code, result.error.message) },
  );
}

/** The results of a {@link DecryptReply}, one per key. */
export function resultsOf({ plaintexts, remarks }: DecryptReply): (OpenedSessionData | KeyBackupError)[] {
  return unpack(plaintexts).map((plaintext, slot) => {
    const remark = remarks.get(slot);
    if (remark === undefined) return { plaintext, flags: [] };
    return 'code' in remark ? new KeyBackupError(remark.code, remark.message) : { plaintext, flags: remark };
  });
}

/** Puts byte arrays into one that owns its buffer. */
export function pack(parts: readonly Uint8Array[]): Packed {
  const ends = new Uint32Array(parts.length);
  let length = 0;
  parts.forEach((part, i) => {
    length += part.length;
    ends[i] = length;
  });
  const bytes = new Uint8Array(length);
  parts.forEach((part, i) => {
    bytes.set(part, ends[i] - part.length);
  });
  return { bytes, ends };
}

function unpack({ bytes: packed, ends }: Packed): Uint8Array[] {
  const bytes = plainBytes(packed);
  return Array.from(ends, (end, i) => bytes.subarray(i === 0 ? 0 : ends[i - 1], end));
}

/** The buffers of a message that move instead of being copied. */
export function transferOf(message: Job | Reply): ArrayBuffer[] {
  const packed: Packed[] = [];
  if ('plaintexts' in message) packed.push(message.plaintexts);
  if (message.direction === 'decrypt' && 'privateKey' in message) packed.push(message.sessionData);
  return packed.map(({ bytes }) => bytes.buffer as ArrayBuffer);
}

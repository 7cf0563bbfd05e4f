import type { Backend } from '../engine/backend.js';
import { wipe } from '../engine/bytes.js';
import { KeyBackupError, type EngineCode } from '../engine/errors.js';
import { decryptManyBy, encryptManyBy } from '../engine/session-data-batch.js';
import type {
  OpenedSessionData,
  ParsedSessionData,
  SessionData,
  SessionDataFlag,
} from '../engine/session-data.js';

/**
 * What travels between a pool and its workers: a chunk of keys as one buffer, and what came of it. The buffers
 * are transferred, not copied.
 */

/** Many byte arrays as one, with the place where each ends. */
export interface Packed {
  readonly bytes: Uint8Array;
  readonly ends: Uint32Array;
}

/** A chunk to encrypt. */
export interface EncryptJob {
  readonly direction: 'encrypt';
  readonly recipient: Uint8Array;
  readonly plaintexts: Packed;
}

/** A chunk to decrypt. */
export interface DecryptJob {
  readonly direction: 'decrypt';
  readonly privateKey: Uint8Array;
  /** Three arrays for each: ephemeral, ciphertext, MAC. */
  readonly sessionData: Packed;
  readonly salvage: readonly boolean[];
}

/** What a worker is asked to do. */
export type Job = EncryptJob | DecryptJob;

/** An error on its way from a worker. */
export interface FailureMessage {
  readonly code: EngineCode;
  readonly message: string;
}

/** What a worker answers to an {@link EncryptJob}. */
export interface EncryptReply {
  readonly direction: 'encrypt';
  readonly sessionData: readonly SessionData[];
}

/** What a worker answers to a {@link DecryptJob}. */
export interface DecryptReply {
  readonly direction: 'decrypt';
  /** Empty where there is a failure. */
  readonly plaintexts: Packed;
  /** What is to be said of a key, by its place; nothing of most. */
  readonly remarks: ReadonlyMap<number, FailureMessage | readonly SessionDataFlag[]>;
}

/** What a worker answers. A failure is that of the whole job. */
export type Reply = EncryptReply | DecryptReply | { readonly direction: 'failed'; readonly message: string };

/** Does a job. Never throws: what went wrong is an answer too. */
export async function perform(job: Job, backend: Backend): Promise<Reply> {
  try {
    return job.direction === 'encrypt' ? await encrypt(job, backend) : await decrypt(job, backend);
  } catch (error) {
    return { direction: 'failed', message: error instanceof Error ? error.message : 'unknown error' };
  }
}

async function encrypt({ recipient, plaintexts }: EncryptJob, backend: Backend): Promise<EncryptReply> {
  try {
    const sessionData = await encryptManyBy(backend, recipient, unpack(plaintexts), {});
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
  const results = await decryptManyBy(backend, privateKey, parsed, {}).finally(() => {
    wipe(privateKey);
  });
  const remarks = new Map<number, FailureMessage | readonly SessionDataFlag[]>();
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

function unpack({ bytes, ends }: Packed): Uint8Array[] {
  return Array.from(ends, (end, i) => bytes.subarray(i === 0 ? 0 : ends[i - 1], end));
}

/** The buffers of a message that move instead of being copied. */
export function transferOf(message: Job | Reply): ArrayBuffer[] {
  const packed: Packed[] = [];
  if ('plaintexts' in message) packed.push(message.plaintexts);
  if (message.direction === 'decrypt' && 'privateKey' in message) packed.push(message.sessionData);
  return packed.map(({ bytes }) => bytes.buffer as ArrayBuffer);
}

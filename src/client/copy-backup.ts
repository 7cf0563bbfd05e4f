import { type AbortSignalLike, prefetch, type Progress } from '../async.js';
import { expectInstance } from '../encoding/arguments.js';
import type { NewVersion, VersionInfo } from '../wire/types.js';
import { KeyBackupError } from '../errors.js';
import type { KeyBackupData } from '../formats/room-key.js';
import { BatchSender, type FailedUpload } from './batch-sender.js';
import { downloadBatches } from './download.js';
import { RoomKeys, signalOf, type CallOptions } from './api.js';
import { UploadBatch, isUnicode, sealKey, type BatchLimits, type SealedKey } from './upload-batch.js';

/** How to copy. */
export interface CopyOptions extends CallOptions {
  /** Most keys of one request; default 200. */
  readonly batchKeys?: number | undefined;
  /** Most bytes of one request; default 800,000, since many a proxy allows 1 MB. A 413 halves it. */
  readonly batchBytes?: number | undefined;
  /**
   * What to do where the destination has a current backup that is another one: make a new version all the same,
   * which then is the current one. Default false: somebody may be using it.
   */
  readonly replace?: boolean | undefined;
  /** Keys that were sent, and how many the source has. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  /** Hears at once of every record that could not be copied. */
  readonly onFailed?: ((failure: FailedUpload) => void) | undefined;
}

/** How a copy ended. */
export interface CopyOutcome {
  /**
   * `complete`: the destination has acknowledged every key that the source gave, and the numbers of both fit;
   * `incomplete`: some were refused, or the numbers do not fit; `no-backup`: the source has none; `other-backup`: the
   * destination's current backup is another one, and nothing was sent; `replaced`: the source's current version is not
   * the one that was copied any more.
   */
  readonly outcome: 'complete' | 'incomplete' | 'no-backup' | 'other-backup' | 'replaced';
  /** The version that was copied. */
  readonly sourceVersion: string | undefined;
  /** The version at the destination that has the keys now; with `other-backup` the one that is in the way. */
  readonly version: string | undefined;
  /** Whether this copy made that version. */
  readonly created: boolean;
  /** Keys that the destination acknowledged. What it has in an equal or better form it keeps. */
  readonly copied: number;
  readonly failures: readonly FailedUpload[];
  /** How many keys the source says it has, afterwards. */
  readonly sourceCount: number;
  /** How many keys the destination says it has, afterwards. */
  readonly count: number;
  /** Whether the source changed meanwhile: then another copy brings what came in between. */
  readonly sourceChanged: boolean;
}

/** So many requests' worth of keys is downloaded while one is on its way. */
const PREFETCHED_BATCHES = 2;

/**
 * Copies the current backup of an account from one server to another, with the right to both and without any key:
 * records of any algorithm, with every field they have, as they are.
 *
 * Safe to repeat. When the destination's current version is a copy already (its algorithm and `auth_data` are the same,
 * signatures aside), the keys go into that version, and the rule of replacement keeps the better of two records
 * of a session, whoever wrote it. Nothing is deleted on either side. A record that is refused never stops the others.
 *
 * Numbers which are no integers within ±(2^53-1) do not survive JavaScript; a record that has one fails with `bad-json`.
 *
 * @param source - Is only read from.
 * @param destination - Of the same user: nothing here can tell.
 * @throws {@link RequestError} for what stops everything, such as a token that is not valid (`unauthorized`), a
 * destination whose version was replaced meanwhile (`wrong-version`), or a quota that is used up; `aborted`.
 *
 * @example
 * ```ts
 * import { RoomKeys, copyBackup } from 'megolm-backup/client';
 *
 * async function move(accessToken: string) {
 *   const source = new RoomKeys({ baseUrl: 'https://old.example.org', accessToken });
 *   const destination = new RoomKeys({ baseUrl: 'https://new.example.org', accessToken });
 *   const { outcome, copied, failures } = await copyBackup(source, destination);
 *   console.log(outcome, copied, failures.length);
 * }
 * ```
 */
export async function copyBackup(
  source: RoomKeys,
  destination: RoomKeys,
  options: CopyOptions = {},
): Promise<CopyOutcome> {
  expectInstance(source, RoomKeys, 'source');
  expectInstance(destination, RoomKeys, 'destination');
  const signal = signalOf(options);
  const info = await source.currentVersion({ signal });
  const present = await destination.currentVersion({ signal });
  const nothing = {
    ...{ sourceVersion: info?.version, version: present?.version, created: false, copied: 0, failures: [] },
    ...{ sourceCount: info?.count ?? 0, count: present?.count ?? 0, sourceChanged: false },
  };
  if (!info) return { ...nothing, outcome: 'no-backup' };
  const same = present !== undefined && isSameBackup(info, present);
  if (present && !same && options.replace !== true) return { ...nothing, outcome: 'other-backup' };
  const version = same ? present.version : await destination.createVersion(info, { signal });
  const { copied, failures } = await copyKeys(source, info, destination, version, options);

  const sourceNow = await source.currentVersion({ signal });
  const count = (await destination.version(version, { signal }))?.count ?? 0;
  const sourceCount = sourceNow?.count ?? 0;
  // Keys may come and go at the source meanwhile; fewer than both numbers were not given.
  const whole = copied >= Math.min(info.count, sourceCount) && count >= copied;
  return {
    outcome:
      sourceNow?.version !== info.version
        ? 'replaced'
        : whole && failures.length === 0
          ? 'complete'
          : 'incomplete',
    sourceVersion: info.version,
    version,
    created: !same,
    copied,
    failures,
    sourceCount,
    count,
    sourceChanged: sourceNow?.etag !== info.etag,
  };
}

async function copyKeys(
  source: RoomKeys,
  info: VersionInfo,
  destination: RoomKeys,
  version: string,
  options: CopyOptions,
): Promise<{ readonly copied: number; readonly failures: readonly FailedUpload[] }> {
  const { onProgress, signal } = options;
  const failures: FailedUpload[] = [];
  let copied = 0;
  const onFailed = (failure: FailedUpload): void => {
    failures.push(failure);
    options.onFailed?.(failure);
  };
  const sender = new BatchSender(destination, version, {
    limits: { keys: options.batchKeys ?? 200, bytes: options.batchBytes ?? 800_000 },
    // Copy every key that can be copied, however many cannot.
    maxConsecutiveRejections: Infinity,
    signal,
    onSent: (_, keys) => {
      copied += keys.length;
    },
    onFailed,
  });
  const start = (untilLeft: AbortSignalLike) =>
    batchesOf(source, info.version, () => sender.limits, onFailed, untilLeft);
  for await (const keys of prefetch(start, PREFETCHED_BATCHES, signal)) {
    await sender.send(keys);
    onProgress?.({ done: copied, total: info.count, failed: failures.length });
  }
  return { copied, failures };
}

/** The records of a version in the batches in which they are sent. */
async function* batchesOf(
  source: RoomKeys,
  version: string,
  limits: () => BatchLimits,
  onFailed: (failure: FailedUpload) => void,
  signal: AbortSignalLike,
): AsyncGenerator<readonly SealedKey[], void, undefined> {
  let batch = new UploadBatch();
  for await (const items of downloadBatches(source, version, { signal })) {
    for (const item of items) {
      if (item.error) {
        onFailed({ room_id: item.room_id, session_id: item.session_id, error: item.error });
        continue;
      }
      const { room_id, session_id } = item;
      if (!isFaithful(item.value) || !isUnicode(room_id) || !isUnicode(session_id)) {
        const message = 'the record: expected Unicode text and integers within ±(2^53-1), got others';
        onFailed({ room_id, session_id, error: new KeyBackupError('bad-json', message) });
        continue;
      }
      // Whether it is a record is for the destination to say.
      const key = sealKey({ room_id, session_id, key_backup_data: item.value as KeyBackupData });
      if (!batch.fits(key, limits())) {
        yield batch.keys;
        batch = new UploadBatch();
      }
      batch.add(key);
    }
  }
  yield batch.keys;
}

/** Whether JavaScript writes the numbers as it read them, and the text is one that servers take. */
function isFaithful(value: unknown): boolean {
  if (typeof value === 'string') return isUnicode(value);
  if (typeof value === 'number') return Number.isSafeInteger(value);
  if (typeof value !== 'object' || value === null) return true;
  return Object.entries(value).every(([name, item]) => isUnicode(name) && isFaithful(item));
}

/** Signatures come and go on a backup that stays the same. */
function isSameBackup(a: NewVersion, b: NewVersion): boolean {
  const unsigned = ({ algorithm, auth_data }: NewVersion) => ({
    algorithm,
    auth_data: { ...auth_data, signatures: undefined },
  });
  return isEqualJson(unsigned(a), unsigned(b));
}

function isEqualJson(a: unknown, b: unknown): boolean {
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return Object.is(a, b);
  const [own, other] = [new Map(Object.entries(a)), new Map(Object.entries(b))];
  return (
    Array.isArray(a) === Array.isArray(b) &&
    own.size === other.size &&
    [...own].every(([name, value]) => other.has(name) && isEqualJson(value, other.get(name)))
  );
}

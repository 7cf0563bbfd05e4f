import { type AbortSignalLike, prefetch, type Progress } from '../async.js';
import { expectInstance } from '../encoding/arguments.js';
import type { NewVersion, VersionInfo } from '../wire/types.js';
import { equal } from '../encoding/bytes.js';
import { KeyBackupError } from '../errors.js';
import type { KeyBackupData } from '../formats/room-key.js';
import { authDataBytes } from '../scheme/auth-data.js';
import {
  BatchSender,
  isUnicode,
  sealKey,
  type BatchLimits,
  type FailedUpload,
  type SealedItem,
} from './batch-sender.js';
import { downloadKeys } from './download.js';
import { RoomKeys, signalOf, type CallOptions } from './api.js';

/** How to copy. */
export interface CopyOptions extends CallOptions, BatchLimits {
  /** Makes a new, then current version even if the destination has another backup, which may be in use. Default false. */
  readonly replace?: boolean | undefined;
  /** Counts the keys that were sent; `total` is what the source counts. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  /** Called at once for every record that could not be copied. */
  readonly onFailed?: ((failure: FailedUpload) => void) | undefined;
}

/** How a copy ended. */
export interface CopyOutcome {
  /**
   * `complete`: the destination has acknowledged every key, and the counts of both agree; `incomplete`: some keys were
   * rejected, or the counts differ; `no-backup`: the source has none; `other-backup`: the destination has another
   * backup, and nothing was sent; `replaced`: the source has a new version, and the old one was copied.
   */
  readonly outcome: 'complete' | 'incomplete' | 'no-backup' | 'other-backup' | 'replaced';
  /** The version that was copied. */
  readonly sourceVersion: string | undefined;
  /** The version at the destination: with the keys, or with `other-backup` the one that is in the way. */
  readonly version: string | undefined;
  /** Whether this copy made that version. */
  readonly created: boolean;
  /** Keys that the destination acknowledged. It may have kept its own equal or better ones. */
  readonly copied: number;
  readonly failures: readonly FailedUpload[];
  /** How many keys the source counts afterwards; `undefined` if it does not count them. */
  readonly sourceCount: number | undefined;
  /** How many keys the destination counts afterwards; `undefined` if it does not count them. */
  readonly count: number | undefined;
  /** Whether the source changed meanwhile: then copy again. */
  readonly sourceChanged: boolean;
}

/** How many batches are downloaded while one is being sent. */
const PREFETCHED_BATCHES = 2;

/**
 * Copies the current backup of an account from one server to another, without any key: records of any algorithm,
 * unchanged.
 *
 * It can be repeated. If the destination's current version is a copy already (same algorithm and `auth_data`, except
 * for signatures), the keys go into that version, and its server keeps the better record of each session. Nothing is
 * deleted. A rejected record does not stop the others.
 *
 * A record with a number other than an integer within ±(2^53-1) fails with `bad-json`: JavaScript would change it.
 *
 * @param source - Is only read.
 * @param destination - Must belong to the same user, which is not checked.
 * @throws {@link RequestError} for an error that stops the copy, such as an invalid token (`unauthorized`), a new
 * version at the destination (`wrong-version`), or a full quota; `aborted`.
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
    ...{ sourceCount: countOf(info), count: countOf(present), sourceChanged: false },
  };
  if (!info) return { ...nothing, outcome: 'no-backup' };
  const same = present !== undefined && isSameBackup(info, present);
  if (present && !same && options.replace !== true) return { ...nothing, outcome: 'other-backup' };
  const version = same ? present.version : await destination.createVersion(info, { signal });
  const { copied, failures } = await copyKeys(source, info, destination, version, options);

  const sourceNow = await source.currentVersion({ signal });
  const count = countOf(await destination.version(version, { signal }));
  const sourceCount = countOf(sourceNow);
  // The source may gain and lose keys meanwhile; fewer than both counts means that some are missing.
  const whole = copied >= Math.min(info.count ?? 0, sourceCount ?? 0) && (count ?? copied) >= copied;
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

function countOf(info: VersionInfo | undefined): number | undefined {
  return info ? info.count : 0;
}

async function copyKeys(
  source: RoomKeys,
  info: VersionInfo,
  destination: RoomKeys,
  version: string,
  options: CopyOptions,
): Promise<{ readonly copied: number; readonly failures: readonly FailedUpload[] }> {
  const { batchKeys, batchBytes, onProgress, signal } = options;
  const failures: FailedUpload[] = [];
  let copied = 0;
  const onFailed = (failure: FailedUpload): void => {
    failures.push(failure);
    options.onFailed?.(failure);
  };
  const sender = new BatchSender(destination, version, {
    ...{ batchKeys, batchBytes, signal },
    // Copy every key that can be copied, even if many cannot.
    maxConsecutiveRejections: Infinity,
    onSent: (_, keys) => {
      copied += keys.length;
    },
    onFailed,
  });
  const start = (untilLeft: AbortSignalLike) =>
    sender.batches(sealedRecords(source, info.version, onFailed, untilLeft));
  for await (const { keys } of prefetch(start, PREFETCHED_BATCHES, signal)) {
    await sender.send(keys);
    onProgress?.({ done: copied, total: info.count, failed: failures.length });
  }
  return { copied, failures };
}

/** The records of a version that can be copied. */
async function* sealedRecords(
  source: RoomKeys,
  version: string,
  onFailed: (failure: FailedUpload) => void,
  signal: AbortSignalLike,
): AsyncGenerator<SealedItem, void, undefined> {
  for await (const items of downloadKeys(source, version, { signal })) {
    for (const item of items) {
      const { room_id, session_id } = item;
      if (item.error) {
        onFailed({ room_id, session_id, error: item.error });
      } else if (isFaithful([item.room_id, item.session_id, item.key_backup_data])) {
        // The destination checks whether it is a record.
        yield { key: sealKey({ ...item, key_backup_data: item.key_backup_data as KeyBackupData }) };
      } else {
        const message = 'the record: expected Unicode text and integers within ±(2^53-1), got others';
        onFailed({ room_id, session_id, error: new KeyBackupError('bad-json', message) });
      }
    }
  }
}

/** Whether JavaScript can copy the value unchanged, and its text has no lone surrogates. */
function isFaithful(value: unknown): boolean {
  if (typeof value === 'string') return isUnicode(value);
  if (typeof value === 'number') return Number.isSafeInteger(value);
  if (typeof value !== 'object' || value === null) return true;
  return Object.entries(value).every(([name, item]) => isUnicode(name) && isFaithful(item));
}

/** Whether two versions are the same backup. Its signatures may change. */
function isSameBackup(a: NewVersion, b: NewVersion): boolean {
  if (a.algorithm !== b.algorithm) return false;
  try {
    return equal(authDataBytes(a.auth_data), authDataBytes(b.auth_data));
  } catch {
    // What has no canonical form is no copy: a server of today does not store it.
    return false;
  }
}

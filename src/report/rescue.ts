import type { WaitOptions } from '../async.js';
import type { Backend } from '../batch/backend.js';
import type { Authenticity } from '../scheme/backup-mac.js';
import { decryptSessions, type BackupRecord, type DecryptSettings } from '../batch/decrypt.js';
import type { BatchOptions } from '../batch/run.js';
import type { KeyBackupError } from '../errors.js';
import { writeKeyExport } from '../formats/key-export.js';
import type { BackupDecryptionKey } from '../scheme/keys.js';
import type { UnlockedBy } from '../secret-storage/locks.js';
import type { ExportedSessionData } from '../formats/room-key.js';
import type { NotUnlocked, Unlocked } from '../secret-storage/unlock.js';
import type { BackupItem } from '../wire/backup-reader.js';
import { KeyFit } from './key-match-counter.js';
import type { Place, Report } from './report.js';

/** A rescue, from a backup to an export file, as the command line and the page do it. */

/** What became of one key of a backup. */
export type RescuedKey = Place &
  (
    | {
        readonly ok: true;
        readonly session: ExportedSessionData;
        readonly flags: readonly string[];
        readonly authenticity: Authenticity;
      }
    | {
        readonly ok: false;
        readonly error: KeyBackupError;
        /** Whether the record could be taken apart, so that its failure says something about the key. */
        readonly wellFormed: boolean;
      }
  );

/** What a key or phrase turned out to be, for people. */
export const UNLOCKED_BY: Readonly<Record<UnlockedBy, string>> = {
  'backup-decryption-key': 'the decryption key of the backup',
  'secret-storage-key': 'the key of the secret storage',
  'security-phrase': 'the security phrase',
  'backup-passphrase': 'the passphrase of the backup',
};

/** A key to read a backup with. */
export type RescueKey = Pick<Unlocked, 'by' | 'key' | 'keyMatches' | 'masterKey'>;

/**
 * The keys to try on the records of a backup, one after the other until one fits: the one that was proven, or those
 * that nothing could be compared with. None where something close to what was given is proven: that is to be asked
 * about first.
 *
 * @returns Keys that the caller disposes of with {@link disposeRescueKeys}.
 */
export function rescueKeys(result: Unlocked | NotUnlocked): RescueKey[] {
  if (result.ok) {
    result.storageKey?.dispose();
    return [result];
  }
  const keys = result.unproven.map((one) => ({ ...one, keyMatches: false, masterKey: undefined }));
  if (!result.suggestion) return keys;
  disposeRescueKeys(keys);
  return [];
}

/** Overwrites the keys. */
export function disposeRescueKeys(keys: readonly RescueKey[]): void {
  for (const { key, masterKey } of keys) {
    key.dispose();
    masterKey?.dispose();
  }
}

/** Decrypts the records of a saved backup; what its reader refused comes out among them. */
export async function* rescueItems(
  items: AsyncIterable<BackupItem>,
  key: BackupDecryptionKey,
  options: BatchOptions & DecryptSettings,
): AsyncGenerator<RescuedKey, void, undefined> {
  const places: Place[] = [];
  const refused: RescuedKey[] = [];
  async function* records(): AsyncGenerator<BackupRecord, void, undefined> {
    for await (const item of items) {
      const { room_id, session_id, path } = item;
      if (item.error) {
        refused.push({ ok: false, room_id, session_id, path, error: item.error, wellFormed: false });
      } else {
        places.push({ room_id, session_id, path });
        yield { room_id: room_id ?? '', session_id: session_id ?? '', key_backup_data: item.value };
      }
    }
  }
  for await (const result of decryptSessions(records(), key, options)) {
    const place = places.shift();
    if (!place) throw new Error('a batch gave more results than it was given keys');
    yield { ...result, ...place };
    yield* refused.splice(0);
  }
  yield* refused;
}

/** How to write the export file. */
export interface ExportRescuedOptions {
  readonly backend: Backend;
  readonly signal?: WaitOptions['signal'];
  /** Told of every key once it is in the report. */
  readonly onKey?: (place: Place, ok: boolean) => void;
}

/**
 * Writes an encrypted export file of the keys that come out. Every key goes into the report.
 *
 * @param fit - Learns of every record whether the key is the backup's.
 * @returns The file in pieces.
 */
export function exportRescued(
  keys: AsyncIterable<RescuedKey>,
  passphrase: string,
  report: Report,
  fit: KeyFit,
  { onKey, ...options }: ExportRescuedOptions,
): AsyncGenerator<string, void, void> {
  let current: Extract<RescuedKey, { ok: true }> | undefined;
  const refuse = (place: Place, error: KeyBackupError) => {
    report.refused(place, error);
    onKey?.(place, false);
  };
  async function* sessions(): AsyncGenerator<ExportedSessionData, void, undefined> {
    for await (const result of keys) {
      fit.take(result);
      if (result.ok) {
        current = result;
        yield result.session;
      } else {
        refuse(result, result.error);
      }
    }
  }
  return writeKeyExport(sessions(), passphrase, {
    ...options,
    // Called for the session that was yielded last.
    onResult(result) {
      if (!current) return;
      if (result.ok) {
        report.succeeded(current, [...current.flags, ...result.flags], current.authenticity);
        onKey?.(current, true);
      } else {
        refuse(current, result.error);
      }
    },
  });
}

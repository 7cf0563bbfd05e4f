import type { WaitOptions } from '../async.js';
import type { Backend } from '../batch/backend.js';
import type { Authenticity } from '../scheme/backup-mac.js';
import { decryptSessions, type DecryptSettings } from '../batch/decrypt.js';
import type { BatchOptions } from '../batch/run.js';
import type { KeyBackupError } from '../errors.js';
import { decryptToEntries } from '../backends/entries.js';
import type { EntryResult } from '../batch/entries.js';
import { expectClaimedKey } from '../formats/exported-session.js';
import { writeEntries } from '../formats/key-export.js';
import type { BackupDecryptionKey } from '../scheme/keys.js';
import { PASSPHRASE_FORMS } from '../scheme/passphrase-forms.js';
import type { UnlockedBy } from '../secret-storage/account-secrets.js';
import type { ExportedSessionData } from '../formats/room-key.js';
import type { NotUnlocked, Suggestion, Unlocked } from '../secret-storage/unlock.js';
import type { BackupItem } from '../wire/backup-item.js';
import { asRecord, resultsInPlace } from './in-place.js';
import type { Place, Report } from './report.js';

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
        /** Whether the record could be parsed, so that its failure tells something about the key. */
        readonly wellFormed: boolean;
      }
  );

/** What became of one key of a backup, as an entry of an export file. */
export type RescuedEntry = Place & EntryResult;

/** What a key or phrase turned out to be, for people. */
export const UNLOCKED_BY: Readonly<Record<UnlockedBy, string>> = {
  'backup-decryption-key': 'the decryption key of the backup',
  'secret-storage-key': 'the key of the secret storage',
  'security-phrase': 'the security phrase',
  'backup-passphrase': 'the passphrase of the backup',
};

/** How what fits differs from what was given, for people. */
export const CHANGES: Readonly<Record<Suggestion['change'], string>> = {
  substitution: 'with another character in one place',
  swap: 'with two neighbouring characters swapped',
  omission: 'with one more character',
  insertion: 'with one character less',
  ...PASSPHRASE_FORMS,
};

/** What to say of a public key with the flag `double-base64-public-key`. */
export const TWICE = 'encoded in base64 twice, as nheko does: this backup can be read but not written to';

/** A key to read a backup with. */
export type RescueKey = Pick<Unlocked, 'by' | 'key' | 'keyMatches' | 'masterKey' | 'flags'>;

/**
 * The keys to try on a backup in turn, to be disposed of: the proven one, or those that could not be compared. Empty if
 * there is a proven suggestion, which the user has to confirm first.
 */
export function rescueKeys(result: Unlocked | NotUnlocked): RescueKey[] {
  if (result.ok) {
    result.storageKey?.dispose();
    return [result];
  }
  const keys = result.unproven.map((one) => ({ ...one, keyMatches: false, masterKey: undefined, flags: [] }));
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

/** Decrypts the records of a saved backup. The faults that its reader found come out among them. */
export function rescueItems(
  items: AsyncIterable<BackupItem>,
  key: BackupDecryptionKey,
  options: BatchOptions & DecryptSettings,
): AsyncGenerator<RescuedKey, void, undefined> {
  return resultsInPlace(items, asRecord, (records) => decryptSessions(records, key, options));
}

/** {@link rescueItems} for an export file: each key comes out as an entry of it. Takes all cores for a large backup. */
export function rescueEntries(
  items: AsyncIterable<BackupItem>,
  key: BackupDecryptionKey,
  options: BatchOptions & DecryptSettings,
): AsyncGenerator<RescuedEntry, void, undefined> {
  return resultsInPlace(items, asRecord, (records) => decryptToEntries(records, key, options));
}

/** How to write the export file. */
export interface ExportRescuedOptions {
  readonly backend: Backend;
  readonly signal?: WaitOptions['signal'];
  /** See `writeKeyExport`. */
  readonly strict?: boolean;
  /** Called for every key once it is in the report. */
  readonly onKey?: (place: Place, ok: boolean) => void;
}

/**
 * Writes an encrypted export file of the keys that come out. Every key goes into the report, and every result into
 * `matches`.
 *
 * @returns The file in pieces.
 */
export function exportRescued(
  keys: AsyncIterable<RescuedEntry>,
  passphrase: string,
  report: Report,
  matches: KeyMatchCounter,
  { onKey, strict = false, ...options }: ExportRescuedOptions,
): AsyncGenerator<string, void, void> {
  async function* entries(): AsyncGenerator<string, void, undefined> {
    for await (const result of keys) {
      matches.add(result);
      const entry = strictly(result, strict);
      if (entry.ok) {
        report.succeeded(result, entry.flags, entry.authenticity);
        onKey?.(result, true);
        yield entry.json;
      } else {
        report.refused(result, entry.error);
        onKey?.(result, false);
      }
    }
  }
  return writeEntries(entries(), passphrase, options);
}

/** With `strict`, an entry that makes an importer refuse the whole file is an error. */
function strictly(entry: EntryResult, strict: boolean): EntryResult {
  try {
    if (entry.ok && strict) expectClaimedKey(entry.flags);
    return entry;
  } catch (error) {
    return { ok: false, error: error as KeyBackupError, wellFormed: true };
  }
}

/** Counts what the results of records tell about the key: if every MAC was made with another key, it is the wrong one. */
export class KeyMatchCounter {
  #telling = 0;
  #mismatched = 0;

  /** Counts one result. `wellFormed` tells of a failed record whether it could be parsed. */
  add(result: {
    readonly ok: boolean;
    readonly wellFormed?: boolean;
    readonly error?: { readonly code: string };
  }): void {
    const { ok, wellFormed = false, error } = result;
    // An ephemeral key of small order gives the same secret to every key.
    if (ok || (wellFormed && error?.code !== 'low-order-key')) this.#telling++;
    if (!ok && error?.code === 'mac-mismatch') this.#mismatched++;
  }

  /** False if every record that tells anything has a MAC of another key. */
  get fits(): boolean {
    return this.#mismatched === 0 || this.#mismatched < this.#telling;
  }
}

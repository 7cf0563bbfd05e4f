import { InputError, systemError } from './errors.js';
import { open } from 'node:fs/promises';
import { readBackup, type BackupEntry, type BackupForm, type BackupItem } from '../wire/backup-reader.js';
import { KeyBackupError } from '../errors.js';
import type { Place, Report } from '../report/report.js';

/** A JSON file of keys that is read while it is worked on; it never has to fit into memory. */
export interface KeysFile {
  readonly items: AsyncGenerator<BackupItem, void, undefined>;
  /** Share of the file that was read, 0 to 1. */
  readonly share: number;
}

/** What a file should be, for people who gave another. */
const FORMS = {
  rooms: 'a backup, {"rooms": ...}, as GET /room_keys/keys gives it',
  array: 'an array of ExportedSessionData',
} as const;

/** How an encrypted export file begins. */
const EXPORT_FILE = '-----BEGIN MEGOLM SESSION DATA';

/**
 * Opens a file of keys: a backup (`rooms`) or an export (`array`).
 *
 * @throws {@link InputError} from the items when the file cannot be read or is not JSON of that form, after the
 * last key that could be read.
 */
export function openKeysFile(path: string, form: Extract<BackupForm, 'rooms' | 'array'>): KeysFile {
  let size = 0;
  let read = 0;
  let found = 0;
  let start = '';
  async function* chunks() {
    const file = await open(path, 'r');
    try {
      ({ size } = await file.stat());
      for await (const chunk of file.createReadStream({ autoClose: false, highWaterMark: 1 << 18 })) {
        if (read === 0) start = (chunk as Buffer).toString('latin1', 0, EXPORT_FILE.length);
        read += (chunk as Uint8Array).length;
        yield chunk as Uint8Array;
      }
    } finally {
      await file.close();
    }
  }
  async function* items() {
    try {
      for await (const item of readBackup(chunks(), { form })) {
        found++;
        yield item;
      }
    } catch (cause) {
      if (start === EXPORT_FILE) {
        throw new InputError(
          `${path}: expected ${FORMS[form]}, got an encrypted export file; "megolm-backup export decrypt" opens it`,
          { cause },
        );
      }
      if (cause instanceof KeyBackupError) {
        const why = `${cause.code}: ${cause.message}`;
        throw new InputError(`${path}: ${found > 0 ? why : `expected ${FORMS[form]}: ${why}`}`, { cause });
      }
      throw new InputError(`cannot read ${path} (${systemError(cause)})`, { cause });
    }
  }
  return {
    items: items(),
    get share() {
      return size === 0 ? 0 : read / size;
    },
  };
}

/** Keys on their way through a batch, which gives one result for each, in order. */
export interface KeysInFlight<Input> {
  readonly inputs: AsyncGenerator<Input, void, undefined>;
  /** The place of the key whose result comes next. */
  nextPlace(): Place;
}

/**
 * Turns what a file holds into the inputs of a batch. What the reader refused goes into the report at once.
 *
 * @param take - Makes an input of an entry.
 */
export function keysInFlight<Input>(
  file: KeysFile,
  report: Report,
  take: (entry: BackupEntry) => Input,
): KeysInFlight<Input> {
  const places: Place[] = [];
  async function* inputs() {
    for await (const item of file.items) {
      const { room_id, session_id, path } = item;
      if (item.error) {
        report.refused({ room_id, session_id, path }, item.error);
      } else {
        places.push({ room_id, session_id, path });
        yield take(item);
      }
    }
  }
  return {
    inputs: inputs(),
    nextPlace() {
      const place = places.shift();
      if (!place) throw new Error('a batch gave more results than it was given keys');
      return place;
    },
  };
}

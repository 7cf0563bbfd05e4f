import { KeyBackupError } from '../errors.js';
import { prepareEntry } from '../formats/exported-session.js';
import type { Authenticity } from '../scheme/backup-mac.js';
import type { DecryptedSession, DecryptResult } from './decrypt.js';

/** Keys of a backup as entries of an export file. */

/** A key as an entry of an export file, or the reason why it cannot be one. */
export type EntryResult =
  | {
      readonly ok: true;
      /** The entry, as every importer takes it. */
      readonly json: string;
      readonly flags: readonly string[];
      readonly authenticity: Authenticity;
    }
  | {
      readonly ok: false;
      readonly error: KeyBackupError;
      /** Whether the record could be parsed, so that its failure tells something about the key. */
      readonly wellFormed: boolean;
    };

type Decrypted =
  | (Pick<DecryptedSession, 'session' | 'authenticity'> & {
      readonly ok: true;
      readonly flags: readonly string[];
    })
  | Pick<Extract<DecryptResult, { ok: false }>, 'ok' | 'error' | 'wellFormed'>;

/** Prepares a decrypted session for an export file, with the flags of both steps. */
export function entryOf(result: Decrypted): EntryResult {
  if (!result.ok) return { ok: false, error: result.error, wellFormed: result.wellFormed };
  try {
    const { session, flags } = prepareEntry(result.session, true);
    const all = flags.length === 0 ? result.flags : [...new Set([...result.flags, ...flags])];
    return { ok: true, json: JSON.stringify(session), flags: all, authenticity: result.authenticity };
  } catch (error) {
    if (error instanceof KeyBackupError) return { ok: false, error, wellFormed: true };
    throw error;
  }
}

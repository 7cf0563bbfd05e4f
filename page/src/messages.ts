import type { AuthenticityCounts } from '../../src/report/report.js';
import type { SecretStorageState } from '../../src/secret-storage/key-description.js';

/** What the page asks of its worker. */
export interface Task {
  readonly source:
    | { readonly kind: 'files'; readonly files: readonly File[] }
    | {
        readonly kind: 'server';
        readonly homeserver: string;
        readonly token: string;
        /** Of an earlier task, whose connection broke. */
        readonly kept: KeptRecords | undefined;
      };
  readonly key: string;
  readonly passphrase: string;
  readonly salvage: boolean;
  /** Refuse every key that does not prove where it comes from. */
  readonly requireAuthenticated: boolean;
  /** Leave out what makes an importer refuse the whole file. */
  readonly strict: boolean;
  /** Use the one key or phrase close to what was given, if that is what fits. */
  readonly correct: boolean;
}

/** What came of a backup before the connection broke, still encrypted. */
export interface KeptRecords {
  /** Which backup it is of. */
  readonly backup: string;
  readonly records: Blob;
}

/** The first message to the worker. */
export interface Start {
  readonly task: Task;
  /** The worker's own code, from which it starts others. */
  readonly workerCode: Blob;
}

/** What became of the keys of a room. */
export interface RoomCount {
  readonly room_id: string;
  readonly ok: number;
  readonly failed: number;
}

/** What the worker answers. */
export type Answer =
  | { readonly kind: 'status'; readonly text: string }
  | { readonly kind: 'progress'; readonly keys: number; readonly share: number | undefined }
  | {
      readonly kind: 'refused';
      readonly code: string;
      readonly message: string;
      /** How something close to what was given, which fits, differs from it; what it is stays in the worker. */
      readonly correctable: string | undefined;
      /** Of a key or phrase that fits nothing: what the account has that it could have fitted. */
      readonly storage?: SecretStorageState;
    }
  | {
      readonly kind: 'done';
      /** What the key or phrase was, and what is special about it, in sentences. */
      readonly opened: string;
      /** Whether the key is the backup's, as far as its records tell. */
      readonly fits: boolean;
      /** What ended before its end, so that only the keys before that came. */
      readonly cut: 'file' | 'connection' | undefined;
      /** For a task that gets the rest. */
      readonly kept: KeptRecords | undefined;
      /** How many fewer keys the homeserver sent than it counts. */
      readonly missing: number;
      readonly total: number;
      readonly ok: number;
      readonly failed: number;
      readonly flagged: number;
      readonly authenticity: AuthenticityCounts;
      readonly codes: readonly (readonly [string, number])[];
      /** Which choices left keys out. */
      readonly leftOut: readonly ('authenticated' | 'strict')[];
      /** Of those, what a salvage may read; empty when it was one. */
      readonly salvageable: readonly (readonly [string, number])[];
      readonly rooms: readonly RoomCount[];
      readonly seconds: number;
      /** Absent when not one key came out. */
      readonly exported: Blob | undefined;
      readonly report: Blob;
    };

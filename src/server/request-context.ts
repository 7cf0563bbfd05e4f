import type { BackupStore, Quota } from './store.js';

/** One authenticated request, as the operations see it. */
export interface Call {
  readonly store: BackupStore;
  readonly quota: Quota;
  readonly userId: string;
  readonly deviceId: string | undefined;
  /** The bytes of the body; rejects with 413 when there are too many. */
  body(): Promise<Uint8Array>;
  /** Tells of a failure after the answer began. */
  failed(error: unknown): void;
  /** A part of the path, percent-decoded once. */
  pathParameter(name: 'version' | 'roomId' | 'sessionId'): string;
  /** The first value of that name in the query. */
  query(name: string): string | undefined;
}

import { expectMethod, expectOptions } from '../encoding/arguments.js';
import { wipe } from '../encoding/bytes.js';
import { expectObject, expectString, ownValue, type JsonObject } from '../encoding/json.js';
import { KeyBackupError } from '../errors.js';
import { readRoomKey, type ExportedSessionData, type RoomKeyFlag } from '../formats/room-key.js';
import {
  BackupMacKey,
  checkBackupMac,
  hasBackupMac,
  readUnauthenticated,
  ROOM_ID_COPY,
  withProvenance,
  type Authenticity,
  type UnauthenticatedSource,
} from '../scheme/backup-mac.js';
import { BackupDecryptionKey } from '../scheme/keys.js';
import {
  parseSessionData,
  type OpenedSessionData,
  type ParsedSessionData,
  type ReadOptions,
} from '../scheme/session-data.js';
import { decryptChunkSync, tryRecord, type Backend, type Chunk } from './backend.js';
import { only, run, runChunk, runSync, type Direction, type Outcome, type RunOptions } from './run.js';

/** Takes room keys out of a backup: parse, agree, open, check. */

/** How to decrypt. */
export interface DecryptSettings extends ReadOptions {
  /** Reject every key that is not authenticated, with `not-authenticated`. Default false. */
  readonly requireAuthenticated?: boolean | undefined;
}

/** A record of a backup and its ids, not checked yet. */
export interface BackupRecord {
  readonly room_id: string;
  readonly session_id: string;
  /** The `KeyBackupData` as the server gave it. */
  readonly key_backup_data: unknown;
}

/** Whether a key proves where it comes from. */
export interface Provenance {
  /** True only when `authenticity` is `verified`. */
  readonly authenticated: boolean;
  /** Why. */
  readonly authenticity: Authenticity;
  /** With `declared-unauthenticated`: where the writer got the key, as it declares. */
  readonly source?: UnauthenticatedSource;
}

/** A session out of a backup. */
export interface DecryptedSession extends Provenance {
  readonly room_id: string;
  readonly session_id: string;
  readonly session: ExportedSessionData;
  /**
   * What had to be overlooked, and what other implementations refuse: with `unreadable-by-others` they drop the record.
   * Empty for almost every record.
   */
  readonly flags: readonly RoomKeyFlag[];
}

/** One result of {@link decryptSessions}. */
export type DecryptResult = Outcome<DecryptedSession>;

/**
 * Decrypts one record of a backup, and checks that it is the key of its session.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#backup-algorithm-mmegolm_backupv1curve25519-aes-sha2
 * @param record - The `KeyBackupData` as it came from the server, and the ids under which it stood there.
 * @param key - The backup's decryption key.
 * @throws {@link KeyBackupError} the codes of {@link decryptSessionData} and {@link readRoomKey};
 * `room-id-mismatch`; with `requireAuthenticated` also `not-authenticated`.
 */
export function decryptSession(
  record: BackupRecord,
  key: BackupDecryptionKey,
  options: DecryptSettings = {},
): DecryptedSession {
  return only(decryptSessionsSync([record], key, options));
}

/** The batch of the main entry point, in pure JavaScript unless `options.backend` says otherwise. */
export function decryptSessions(
  records: Iterable<BackupRecord> | AsyncIterable<BackupRecord>,
  key: BackupDecryptionKey,
  options: RunOptions & DecryptSettings = {},
): AsyncGenerator<DecryptResult, void, void> {
  return run(records, () => decryption(key, options), options);
}

/**
 * {@link decryptSessions} in one synchronous call, in pure JavaScript. It holds the thread until it is done.
 *
 * @returns One result per record, in order.
 * @throws {@link KeyBackupError} `bad-parameters` when the key is disposed.
 */
export function decryptSessionsSync(
  records: Iterable<BackupRecord>,
  key: BackupDecryptionKey,
  options: DecryptSettings = {},
): DecryptResult[] {
  return runSync(records, () => decryption(key, options));
}

/** {@link decryptSessions} of one chunk, in a thread that has nothing else to do. */
export function decryptChunk(
  records: readonly BackupRecord[],
  key: BackupDecryptionKey,
  settings: DecryptSettings,
  backend: Backend,
): Promise<DecryptResult[]> {
  return runChunk(records, () => decryption(key, settings), backend);
}

type MacState = ReturnType<typeof checkBackupMac>;

/** A record that was parsed. */
interface ReadyRecord {
  readonly room_id: string;
  readonly session_id: string;
  readonly parsed: ParsedSessionData;
  readonly mac: MacState;
}

function decryption(
  key: BackupDecryptionKey,
  settings: DecryptSettings,
): Direction<BackupRecord, ReadyRecord, DecryptedSession> {
  expectMethod(key, 'matches', 'decryption key');
  expectOptions(settings);
  const { salvage, requireAuthenticated = false } = settings;
  const privateKey = key.toBytes();
  let macKey: BackupMacKey | undefined;
  const check = ({ room_id, session_id, mac }: ReadyRecord, opened: OpenedSessionData): DecryptedSession => {
    const { session: stored, flags } = readRoomKey(opened.plaintext, room_id, session_id, { salvage });
    if (mac === 'right') expectRoom(stored, room_id);
    const provenance = provenanceOf(mac, stored);
    if (requireAuthenticated && !provenance.authenticated) throw notAuthenticated(provenance);
    const session = withProvenance(stored, {});
    return { room_id, session_id, session, flags: [...opened.flags, ...flags], ...provenance };
  };
  const parsedOf = (ready: readonly ReadyRecord[]) => ready.map(({ parsed }) => parsed);
  const checking = (ready: readonly ReadyRecord[], { finish, dispose }: Chunk<OpenedSessionData>) => ({
    finish(slot: number) {
      const record = ready[slot];
      const open = () => finish(slot);
      return check(record, requireAuthenticated ? openAuthenticated(record.mac, open) : open());
    },
    dispose,
  });
  return {
    prepare(input) {
      const record = expectObject(input, 'record');
      const room_id = expectString(record, 'room_id', 'record');
      const session_id = expectString(record, 'session_id', 'record');
      const keyBackupData = expectObject(ownValue(record, 'key_backup_data'), 'key_backup_data');
      const value = ownValue(keyBackupData, 'session_data');
      if (value === undefined) {
        throw new KeyBackupError(
          'missing-field',
          'key_backup_data.session_data: expected an object, got nothing',
        );
      }
      const session_data = expectObject(value, 'session_data');
      const parsed = parseSessionData(session_data, { salvage });
      // Most backups have no MAC, and need no key for it.
      const mac = hasBackupMac(session_data)
        ? checkBackupMac(session_data, (macKey ??= macKeyOf(privateKey)))
        : 'no-mac';
      return { room_id, session_id, parsed, mac };
    },
    work: async (ready, backend, options) =>
      checking(ready, await backend.decryptChunk(privateKey, parsedOf(ready), options)),
    workSync: (ready) => checking(ready, decryptChunkSync(privateKey, parsedOf(ready))),
    pipeline: ({ pipelines }) => pipelines.decrypt,
    dispose() {
      wipe(privateKey);
      macKey?.dispose();
    },
  };
}

function macKeyOf(privateKey: Uint8Array): BackupMacKey {
  const key = BackupDecryptionKey.fromBytes(privateKey);
  try {
    return BackupMacKey.fromDecryptionKey(key);
  } finally {
    key.dispose();
  }
}

/** The codes of a wrong key, which must show whether the record is authenticated or not. */
const WRONG_KEY: ReadonlySet<string> = new Set(['mac-mismatch', 'low-order-key']);

/**
 * Opens a record that has a right MAC. Of any other it tells only whether it was encrypted to this key, and nothing
 * about its padding or text, which its sender could use to probe ciphertexts.
 */
function openAuthenticated(mac: MacState, open: () => OpenedSessionData): OpenedSessionData {
  const opened = tryRecord(open);
  const isWrongKey = opened instanceof KeyBackupError && WRONG_KEY.has(opened.code);
  if (mac !== 'right' && !isWrongKey) throw notAuthenticated({ authenticity: mac });
  if (opened instanceof KeyBackupError) throw opened;
  return opened;
}

function notAuthenticated({ authenticity, source }: Omit<Provenance, 'authenticated'>): KeyBackupError {
  const why = source === undefined ? authenticity : `${authenticity} (${source})`;
  return new KeyBackupError('not-authenticated', `backup_mac: expected an authenticated key, got ${why}`);
}

function provenanceOf(mac: MacState, plaintext: JsonObject): Provenance {
  if (mac !== 'right') return { authenticated: false, authenticity: mac };
  const source = readUnauthenticated(plaintext);
  if (source === undefined) return { authenticated: true, authenticity: 'verified' };
  return { authenticated: false, authenticity: 'declared-unauthenticated', source };
}

/** Rejects a record whose copy of the room id differs from its room: it was moved. */
function expectRoom(plaintext: JsonObject, roomId: string): void {
  if (Object.hasOwn(plaintext, ROOM_ID_COPY) && plaintext[ROOM_ID_COPY] !== roomId) {
    throw new KeyBackupError(
      'room-id-mismatch',
      `${ROOM_ID_COPY}: expected the room of the record, got another: the record was moved`,
    );
  }
}

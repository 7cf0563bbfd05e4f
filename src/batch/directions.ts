import { callback } from '../async.js';
import {
  addBackupMac,
  BackupMacKey,
  checkBackupMac,
  hasBackupMac,
  type Authenticity,
  type MacNames,
} from '../scheme/backup-mac.js';
import type { Direction } from './run.js';
import { KeyBackupError, describe } from '../errors.js';
import { expectObject, expectString, ownValue, type JsonObject } from '../encoding/json.js';
import { wipe } from '../encoding/bytes.js';
import type { BackupDecryptionKey, BackupPublicKey } from '../scheme/keys.js';
import {
  expectSource,
  readUnauthenticated,
  ROOM_ID_COPY,
  withProvenance,
  type UnauthenticatedSource,
} from '../scheme/provenance.js';
import {
  prepareRoomKey,
  readRoomKey,
  type ExportedSessionData,
  type KeyBackupData,
  type PreparedRoomKey,
  type RoomKeyFlag,
} from '../formats/room-key.js';
import {
  checkPlaintext,
  parseSessionData,
  type OpenedSessionData,
  type ParsedSessionData,
  type ReadOptions,
  type SessionData,
} from '../scheme/session-data.js';
import {
  tryRecord,
  openingBy,
  openingSync,
  sealingBy,
  sealingSync,
  type Finish,
} from './session-data-batch.js';

/**
 * The two directions of a batch, key by key: what happens before the agreement and what after it. Here the scheme,
 * the room key inside and the proof of where it comes from meet.
 */

/** What encryption accepts besides. */
export interface EncryptSettings {
  /** `is_verified` of what is written: whether the device that gave the key was verified. Default false. */
  readonly isVerified?: boolean | ((session: ExportedSessionData) => boolean);
  /**
   * Adds a `backup_mac` (MSC4048) to every record, so that readers can tell them from what somebody else adds. With
   * it the writer vouches for every session that it does not declare unauthenticated.
   */
  readonly macKey?: BackupMacKey | undefined;
  /** The names of the proposal to write. Default `unstable`. */
  readonly macNames?: MacNames | undefined;
  /**
   * Says where a session came from that the writer does not vouch for; `undefined` for one that it vouches for,
   * unless the session itself carries such a declaration. The default, with a `macKey`: a session with a forwarding
   * chain is `m.forwarded_room_key`.
   */
  readonly unauthenticated?:
    ((session: ExportedSessionData) => UnauthenticatedSource | undefined) | undefined;
  /**
   * Writes a copy of the room id into the plaintext, as `org.megolm-backup.room_id`. The `backup_mac` does not
   * cover the room id; with the copy this package notices a record that was moved to another room. Other readers
   * ignore it. Needs a `macKey`. Default false.
   */
  readonly bindRoomId?: boolean | undefined;
}

/** A session on its way into a backup. */
export interface EncryptedSession {
  readonly room_id: string;
  readonly session_id: string;
  readonly key_backup_data: KeyBackupData;
}

/** What decryption accepts besides. */
export interface DecryptSettings extends ReadOptions {
  /** Refuse every key that is not authenticated, with `not-authenticated`. Default false. */
  readonly requireAuthenticated?: boolean | undefined;
}

/** A record of a backup with the place it came from, nothing about it checked yet. */
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
  /** With `declared-unauthenticated`: where the writer says it had the key from. */
  readonly source?: UnauthenticatedSource;
}

/** A session out of a backup. */
export interface DecryptedSession extends Provenance {
  readonly room_id: string;
  readonly session_id: string;
  readonly session: ExportedSessionData;
  /** What had to be overlooked; empty unless salvage was asked for and needed. */
  readonly flags: readonly RoomKeyFlag[];
}

/** Room keys into a backup. */
export function encryption(
  publicKey: BackupPublicKey,
  settings: EncryptSettings,
): Direction<ExportedSessionData, PreparedRoomKey, SessionData, EncryptedSession> {
  const { isVerified = false, macKey, macNames: names, bindRoomId = false } = settings;
  const unauthenticated = settings.unauthenticated ?? (macKey && forwarded);
  if (bindRoomId && !macKey) {
    throw new KeyBackupError(
      'bad-parameters',
      'bindRoomId: expected a macKey too, got none: what nothing authenticates binds nothing',
    );
  }
  macKey?.expectMatch(publicKey);
  const recipient = publicKey.toBytes();
  return {
    before(session) {
      const source = expectSource(callback(() => unauthenticated?.(session)));
      const prepared = prepareRoomKey(withProvenance(session, { source, bindRoomId, names }));
      checkPlaintext(prepared.plaintext);
      return prepared;
    },
    workSync: (ready) => sealingSync(recipient, ready.map(plaintextOf)),
    work: (ready, backend, options) => sealingBy(backend, recipient, ready.map(plaintextOf), options),
    pipeline: ({ pipeline, encryptMany, encapsulateMany }) =>
      (encryptMany ?? encapsulateMany) ? pipeline : undefined,
    after(session, { room_id, session_id, plaintext: _, ...metadata }, sealed) {
      const session_data = macKey ? addBackupMac(sealed, macKey, names) : sealed;
      const is_verified = typeof isVerified === 'function' ? callback(() => isVerified(session)) : isVerified;
      // A promise would become `{}` on the wire.
      if (typeof is_verified !== 'boolean') {
        throw new KeyBackupError(
          'bad-parameters',
          `isVerified: expected a boolean, got ${describe(is_verified)}`,
        );
      }
      return { room_id, session_id, key_backup_data: { ...metadata, is_verified, session_data } };
    },
  };
}

function plaintextOf({ plaintext }: PreparedRoomKey): Uint8Array {
  return plaintext;
}

/** Whoever forwards a key could have made it. What is no session is for the check that follows. */
function forwarded(session: unknown): UnauthenticatedSource | undefined {
  const { forwarding_curve25519_key_chain: chain } = (session ?? {}) as Partial<ExportedSessionData>;
  return Array.isArray(chain) && chain.length > 0 ? 'm.forwarded_room_key' : undefined;
}

type MacState = ReturnType<typeof checkBackupMac>;

/** A `session_data` on its way out of a backup. */
export interface ReadySessionData {
  readonly parsed: ParsedSessionData;
  readonly mac: MacState;
}

/** {@link decryption} holds copies of keys; whoever asked for it disposes of them. */
export interface Decryption extends Direction<
  BackupRecord,
  ReadySessionData,
  OpenedSessionData,
  DecryptedSession
> {
  readonly dispose: () => void;
}

/** Room keys out of a backup. */
export function decryption(key: BackupDecryptionKey, settings: DecryptSettings): Decryption {
  const { salvage, requireAuthenticated = false } = settings;
  const privateKey = key.toBytes();
  const macKey = lazily(() => BackupMacKey.fromPrivateKey(privateKey));
  const guard = (ready: readonly ReadySessionData[], finish: Finish<OpenedSessionData>) =>
    requireAuthenticated ? ofAuthenticated(ready, finish) : finish;
  return {
    dispose() {
      wipe(privateKey);
      macKey.made()?.dispose();
    },
    before(input) {
      const record = expectObject(input, 'record');
      expectString(record, 'room_id', 'record');
      expectString(record, 'session_id', 'record');
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
      const mac = hasBackupMac(session_data) ? checkBackupMac(session_data, macKey.get()) : 'no-mac';
      return { parsed, mac };
    },
    workSync: (ready) => guard(ready, openingSync(privateKey, ready.map(parsedOf))),
    work: async (ready, backend, options) =>
      guard(ready, await openingBy(backend, privateKey, ready.map(parsedOf), options)),
    pipeline: ({ pipeline, decryptMany, agreeMany }) => ((decryptMany ?? agreeMany) ? pipeline : undefined),
    after({ room_id, session_id }, { mac }, opened) {
      const { session: stored, flags } = readRoomKey(opened.plaintext, room_id, session_id, { salvage });
      if (mac === 'right') expectRoom(stored, room_id);
      const provenance = provenanceOf(mac, stored);
      if (requireAuthenticated && !provenance.authenticated) throw notAuthenticated(provenance);
      const session = withProvenance(stored, {});
      return { room_id, session_id, session, flags: [...opened.flags, ...flags], ...provenance };
    },
  };
}

function parsedOf({ parsed }: ReadySessionData): ParsedSessionData {
  return parsed;
}

function lazily<T>(make: () => T): { get(): T; made(): T | undefined } {
  let made: T | undefined;
  return { get: () => (made ??= make()), made: () => made };
}

/** What a wrong key shows as: it has to be seen, whether the record is authenticated or not. */
const WRONG_KEY: ReadonlySet<string> = new Set(['mac-mismatch', 'low-order-key']);

/**
 * Opens what has a right MAC. Of everything else it tells only whether it was encrypted to this key: what the
 * padding and the text of a record are that nobody vouches for is nobody's business.
 */
function ofAuthenticated(
  ready: readonly ReadySessionData[],
  finish: Finish<OpenedSessionData>,
): Finish<OpenedSessionData> {
  const finishAuthenticated = (slot: number) => {
    const { mac } = ready[slot];
    const opened = tryRecord(() => finish(slot));
    if (!(opened instanceof KeyBackupError && WRONG_KEY.has(opened.code))) expectMac(mac);
    if (opened instanceof KeyBackupError) throw opened;
    return opened;
  };
  return Object.assign(finishAuthenticated, { dispose: finish.dispose });
}

function expectMac(mac: MacState): void {
  if (mac !== 'right') throw notAuthenticated({ authenticity: mac });
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

/** A record that names its room has to stand there. Whatever is no room id names another. */
function expectRoom(plaintext: JsonObject, roomId: string): void {
  if (Object.hasOwn(plaintext, ROOM_ID_COPY) && plaintext[ROOM_ID_COPY] !== roomId) {
    throw new KeyBackupError(
      'room-id-mismatch',
      `${ROOM_ID_COPY}: expected the room of the record, got another: the record was moved`,
    );
  }
}

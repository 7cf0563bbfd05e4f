import { callback } from '../async.js';
import { expectInstance, expectOptions } from '../encoding/arguments.js';
import { isJsonObject, ownValue } from '../encoding/json.js';
import { KeyBackupError, describe } from '../errors.js';
import {
  prepareRoomKey,
  type ExportedSessionData,
  type KeyBackupData,
  type PreparedRoomKey,
  type RoomKeyFlag,
} from '../formats/room-key.js';
import {
  addBackupMac,
  BackupMacKey,
  expectNames,
  expectSource,
  withProvenance,
  type MacNames,
  type UnauthenticatedSource,
} from '../scheme/backup-mac.js';
import { BackupPublicKey } from '../scheme/keys.js';
import { checkPlaintext, type SessionData } from '../scheme/session-data.js';
import { encryptChunkSync, type Chunk } from './backend.js';
import { only, run, runSync, type Direction, type Outcome, type RunOptions } from './run.js';

/** Puts room keys into a backup: prepare, agree, seal. */

/** How to encrypt. */
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
   * The origin of a session that the writer does not vouch for; `undefined` for one that it vouches for, unless the
   * session itself carries such a declaration. The default, with a `macKey`: a session with a forwarding
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
  /**
   * What was mended so that other implementations read the record; empty for almost every session. With
   * `unreadable-by-others` it could not be mended, and they do not.
   */
  readonly flags: readonly RoomKeyFlag[];
}

/** One result of {@link encryptSessions}. */
export type EncryptResult = Outcome<EncryptedSession>;

/**
 * Encrypts one session to a backup's public key: the whole `KeyBackupData` and where it belongs.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#backup-algorithm-mmegolm_backupv1curve25519-aes-sha2
 * @param session - An `ExportedSessionData`; nothing about it is assumed, and it is not changed.
 * @param publicKey - The backup's, once it is known to be the user's own (`verifyAuthData`).
 * @throws {@link KeyBackupError} `missing-field`, `bad-json`, `unsupported-algorithm`, `bad-session-key`,
 * `session-id-mismatch`, `too-large`; `wrong-key` for another backup's `macKey`, `bad-parameters`.
 *
 * @example
 * ```ts
 * import { readFile } from 'node:fs/promises';
 * import { BackupDecryptionKey, decryptSession, encryptSession } from 'megolm-backup';
 *
 * const [session] = JSON.parse(await readFile('export.json', 'utf8'));
 * const key = BackupDecryptionKey.generate();
 * const record = encryptSession(session, key.publicKey);
 * const restored = decryptSession(record, key);
 * console.log(restored.session.session_key === session.session_key, restored.authenticity); // true no-mac
 * ```
 */
export function encryptSession(
  session: ExportedSessionData,
  publicKey: BackupPublicKey,
  settings: EncryptSettings = {},
): EncryptedSession {
  return only(encryptSessionsSync([session], publicKey, settings));
}

/** The batch of the main entry point, in pure JavaScript unless `options.backend` says otherwise. */
export function encryptSessions(
  sessions: Iterable<ExportedSessionData> | AsyncIterable<ExportedSessionData>,
  publicKey: BackupPublicKey,
  options: RunOptions & EncryptSettings = {},
): AsyncGenerator<EncryptResult, void, void> {
  return run(sessions, () => encryption(publicKey, options), options);
}

/**
 * {@link encryptSessions} in one synchronous call, in pure JavaScript. It holds the thread until it is done.
 *
 * @returns One result per session, in order.
 * @throws {@link KeyBackupError} `wrong-key` for another backup's `macKey`; `bad-parameters`.
 */
export function encryptSessionsSync(
  sessions: Iterable<ExportedSessionData>,
  publicKey: BackupPublicKey,
  settings: EncryptSettings = {},
): EncryptResult[] {
  return runSync(sessions, () => encryption(publicKey, settings));
}

/** A session ready to be encrypted. */
interface ReadySession {
  readonly session: ExportedSessionData;
  readonly prepared: PreparedRoomKey;
}

function encryption(
  publicKey: BackupPublicKey,
  settings: EncryptSettings,
): Direction<ExportedSessionData, ReadySession, EncryptedSession> {
  expectInstance(publicKey, BackupPublicKey, 'public key');
  expectOptions(settings);
  const { isVerified = false, macKey, macNames: names, bindRoomId = false } = settings;
  if (macKey !== undefined) expectInstance(macKey, BackupMacKey, 'macKey');
  if (names !== undefined) expectNames(names);
  const unauthenticated = settings.unauthenticated ?? (macKey && forwardedSource);
  if (bindRoomId && !macKey) {
    throw new KeyBackupError(
      'bad-parameters',
      'bindRoomId: expected a macKey too, got none: what nothing authenticates binds nothing',
    );
  }
  macKey?.expectMatch(publicKey);
  const recipient = publicKey.toBytes();
  const complete = ({ session, prepared }: ReadySession, sealed: SessionData): EncryptedSession => {
    const { room_id, session_id, plaintext: _, flags, ...metadata } = prepared;
    const session_data = macKey ? addBackupMac(sealed, macKey, names) : sealed;
    const is_verified = typeof isVerified === 'function' ? callback(() => isVerified(session)) : isVerified;
    // A promise would become `{}` on the wire.
    if (typeof is_verified !== 'boolean') {
      throw new KeyBackupError(
        'bad-parameters',
        `isVerified: expected a boolean, got ${describe(is_verified)}`,
      );
    }
    return { room_id, session_id, key_backup_data: { ...metadata, is_verified, session_data }, flags };
  };
  const plaintextsOf = (ready: readonly ReadySession[]) => ready.map(({ prepared }) => prepared.plaintext);
  const completing = (ready: readonly ReadySession[], { finish, dispose }: Chunk<SessionData>) => ({
    finish: (slot: number) => complete(ready[slot], finish(slot)),
    dispose,
  });
  return {
    prepare(session) {
      const source = expectSource(callback(() => unauthenticated?.(session)));
      const prepared = prepareRoomKey(withProvenance(session, { source, bindRoomId, names }));
      checkPlaintext(prepared.plaintext);
      return { session, prepared };
    },
    work: async (ready, backend, options) =>
      completing(ready, await backend.encryptChunk(recipient, plaintextsOf(ready), options)),
    workSync: (ready) => completing(ready, encryptChunkSync(recipient, plaintextsOf(ready))),
    pipeline: ({ pipelines }) => pipelines.encrypt,
  };
}

/**
 * The default of `unauthenticated`: a forwarder could have made the key. A chain that does not read proves no direct
 * way; what is not a session at all is refused afterwards.
 */
export function forwardedSource(session: unknown): UnauthenticatedSource | undefined {
  const chain = isJsonObject(session) ? ownValue(session, 'forwarding_curve25519_key_chain') : undefined;
  const isDirect = chain === undefined || (Array.isArray(chain) && chain.length === 0);
  return isDirect ? undefined : 'm.forwarded_room_key';
}
